//! What `up` says once it is up: where everything is, and how to send a first event.

use crate::up::UpArgs;
use std::fmt;
use std::net::SocketAddr;

/// The first event, between the single quotes of a shell.
const FIRST: &str =
    r#"{"event_id":"'$(cat /proc/sys/kernel/random/uuid)'","event_name":"page:view","created_at":'$(date +%s)'}"#;

/// The header that a write key comes in, for a shell that has the key in a variable.
const KEY_HEADER: &str = r#" -H "Authorization: Bearer $FOREBAY_KEY""#;

/// Where `up` serves, and on what settings.
#[derive(Debug)]
pub(crate) struct Greeting<'a> {
    pub(crate) args: &'a UpArgs,
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
}

impl Greeting<'_> {
    pub(crate) fn http_url(&self) -> String {
        format!("{}://{}", self.scheme(), self.http)
    }

    fn scheme(&self) -> &'static str {
        if self.args.gateway.tls_cert.is_some() { "https" } else { "http" }
    }

    fn asks_for_keys(&self) -> bool {
        !self.args.gateway.write_keys.is_empty() || self.args.gateway.write_keys_file.is_some()
    }
}

impl fmt::Display for Greeting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Greeting { args, grpc, .. } = self;
        let (url, key) = (self.http_url(), if self.asks_for_keys() { KEY_HEADER } else { "" });
        writeln!(f, "forebay {} is up\n", env!("CARGO_PKG_VERSION"))?;
        writeln!(f, "  HTTP     {url}/v1/events   (also /healthz /readyz /metrics)")?;
        writeln!(f, "  gRPC     {}://{grpc}   (forebay.v1.Ingest, grpc.health.v1)", self.scheme())?;
        writeln!(f, "  data     {}", args.places.data_dir.display())?;
        writeln!(f, "  lake     {}\n", args.places.lake_dir().display())?;
        writeln!(f, "Send an event:\n")?;
        writeln!(f, "  curl -sS {url}/v1/events{key} -H 'Content-Type: application/json' -d '{FIRST}'\n")?;
        if self.asks_for_keys() {
            writeln!(f, "FOREBAY_KEY holds one of the write keys.")?;
        }
        if args.gateway.tls_cert.is_some() {
            let ip = self.http.ip();
            writeln!(f, "In place of {ip}: the name that the certificate is for. CURL_CA_BUNDLE holds the file with")?;
            writeln!(f, "its issuer, where the system does not know it.")?;
        }
        writeln!(f, "It is in the lake within {:?}. Ctrl-C drains and stops.", args.writer.flush_interval)
    }
}
