//! Settings of the gateway: flag, environment variable, help text and default of each in one place.

use crate::cors::Origins;
use crate::flush::Patience;
use crate::keys::{Keys, WriteKey};
use crate::overflow::Overflow;
use crate::tls::Identity;
use anyhow::ensure;
use schema::validate::{ORIGINAL_BYTES_MAX, Rules};
use service::settings;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Largest body that may be allowed: places in it are counted in 32 bits, and it is held in memory.
const BODY_BYTES_CEILING: usize = 1 << 30;

/// Most flushes at a time that may be allowed: each holds the tables of a compressor.
const FLUSHES_CEILING: usize = 64;

/// Files that a process has open besides connections of clients: a compaction beside the gateway opens 128 at a time, and
/// the rest is for listeners, the runtime, and connections of our own. A log is not counted in.
pub const FILES_RESERVED: u64 = 256;

/// Settings of the gateway.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "ingest-gateway")]
#[command(next_help_heading = "Gateway")]
pub struct Config {
    /// Where HTTP is served
    #[arg(long, env = "FOREBAY_HTTP_ADDR", default_value = "127.0.0.1:8080")]
    pub http_addr: SocketAddr,

    /// Where gRPC is served
    #[arg(long, env = "FOREBAY_GRPC_ADDR", default_value = "127.0.0.1:8081")]
    pub grpc_addr: SocketAddr,

    /// Write keys as SOURCE=KEY, several by commas; a key lets its holder send, and names the source of events that
    /// name none themselves. Without keys anybody may send
    #[arg(long, env = "FOREBAY_WRITE_KEYS", hide_env_values = true, value_delimiter = ',', value_name = "SOURCE=KEY")]
    pub write_keys: Vec<WriteKey>,

    /// File of further write keys, one SOURCE=KEY a line, or SOURCE=sha256:DIGEST with the key's digest in hexadecimal.
    /// Looked at again every minute
    #[arg(long, env = "FOREBAY_WRITE_KEYS_FILE", value_name = "FILE")]
    pub write_keys_file: Option<PathBuf>,

    /// Web origins whose pages may send: `*`, or several by commas
    #[arg(long, env = "FOREBAY_CORS_ORIGINS", default_value = "*")]
    pub cors_origins: Origins,

    /// Longest body, as sent and again once decompressed
    #[arg(long, env = "FOREBAY_BODY_BYTES_MAX", default_value = "16MiB", value_parser = body_bytes)]
    pub body_bytes_max: usize,

    /// Most events in one request
    #[arg(long, env = "FOREBAY_BATCH_EVENTS_MAX", default_value = "50000")]
    pub batch_events_max: NonZeroUsize,

    /// Largest valid event, as sent; larger ones go to quarantine
    #[arg(long, env = "FOREBAY_EVENT_BYTES_MAX", default_value = "256KiB", value_parser = event_bytes)]
    pub event_bytes_max: usize,

    /// How far ahead of the clock `created_at` may be
    #[arg(long, env = "FOREBAY_FUTURE_TOLERANCE", default_value = "5m", value_parser = settings::duration)]
    pub future_tolerance: Duration,

    /// How old an event may be; without it, events since 2000 are taken
    #[arg(long, env = "FOREBAY_EVENT_AGE_MAX", value_parser = settings::duration)]
    pub event_age_max: Option<Duration>,

    /// Most bytes of requests that are read, parsed or waiting for the stream; beyond it, 429
    #[arg(long, env = "FOREBAY_IN_FLIGHT_BYTES_MAX", default_value = "128MiB", value_parser = settings::bytes)]
    pub in_flight_bytes_max: usize,

    /// Most HTTP connections at a time; further ones wait to be accepted
    #[arg(long, env = "FOREBAY_CONNECTIONS_MAX", default_value = "10000")]
    pub connections_max: NonZeroUsize,

    /// Most gRPC connections at a time; further ones wait to be accepted
    #[arg(long, env = "FOREBAY_GRPC_CONNECTIONS_MAX", default_value = "1000")]
    pub grpc_connections_max: NonZeroUsize,

    /// Certificate chain in PEM: HTTP and gRPC speak TLS. Looked at again every minute
    #[arg(long, env = "FOREBAY_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Private key of the certificate, in PEM
    #[arg(long, env = "FOREBAY_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// How long a connection may take to send a request's headers, or idle; longer than a load balancer's own
    #[arg(long, env = "FOREBAY_IDLE_TIMEOUT", default_value = "75s", value_parser = settings::duration)]
    pub idle_timeout: Duration,

    /// How long a client may take to send a body
    #[arg(long, env = "FOREBAY_BODY_TIMEOUT", default_value = "30s", value_parser = settings::duration)]
    pub body_timeout: Duration,

    /// How long a record is sent again before its requests get 503; never less than --overflow-after where there is an
    /// overflow queue
    #[arg(long, env = "FOREBAY_RESEND_FOR", default_value = "2s", value_parser = settings::duration)]
    pub resend_for: Duration,

    /// How long a record waits for the stream before it goes to the overflow queue, where there is one
    #[arg(long, env = "FOREBAY_OVERFLOW_AFTER", default_value = "2s", value_parser = settings::duration)]
    pub overflow_after: Duration,

    /// The dedup stage's window; the overflow queue must keep records for less
    #[arg(long, env = "FOREBAY_WINDOW", default_value = "24h", value_parser = settings::duration)]
    pub dedup_window: Duration,

    /// How long events wait for company before they are sent; the time that a log on this disk takes to answer does it
    /// already. 200ms on AWS, where each record is paid for: answers take so much longer
    #[arg(long, env = "FOREBAY_LINGER", default_value = "0s", default_value_if("backend", "aws", "200ms"), value_parser = settings::duration)]
    pub linger: Duration,

    /// zstd level of records, -7 to 9: below 0 they are larger and cost the processor less, which is right where a log on
    /// this disk takes them; 1 on AWS, where a stream is paid for by its bytes
    #[arg(long, env = "FOREBAY_RECORD_LEVEL", default_value = "-1", default_value_if("backend", "aws", "1"), value_parser = record_level, allow_negative_numbers = true)]
    pub record_level: i32,

    /// Appends to the stream at a time
    #[arg(long, env = "FOREBAY_FLUSHES_MAX", default_value = "2", value_parser = flushes)]
    pub flushes_max: usize,

    /// How long the gateway goes on taking requests once it is asked to stop, while it already says that it is not ready:
    /// what sends to it has to see that. With --drain-timeout it is a part of --shutdown-grace
    #[arg(long, env = "FOREBAY_DRAIN_NOTICE", default_value = "0s", value_parser = settings::duration)]
    pub drain_notice: Duration,

    /// How long open connections may take to finish once the gateway stops
    #[arg(long, env = "FOREBAY_DRAIN_TIMEOUT", default_value = "10s", value_parser = settings::duration)]
    pub drain_timeout: Duration,
}

impl Config {
    /// Allows no more connections than leave `reserved` of the files that this process may have open, or half of them
    /// where these are fewer. Without files the log can't go on, which is worse than connections that wait.
    #[must_use]
    pub fn leaving_files(self, reserved: u64) -> Config {
        self.within(service::files::limit(), reserved)
    }

    fn within(self, files: u64, reserved: u64) -> Config {
        let spare = files.saturating_sub(reserved).max(files / 2);
        let wanted = self.connections_max.get() as u128 + self.grpc_connections_max.get() as u128;
        if wanted <= u128::from(spare) {
            return self;
        }
        let share = |max: NonZeroUsize| {
            let share = max.get() as u128 * u128::from(spare) / wanted;
            NonZeroUsize::new(share as usize).unwrap_or(NonZeroUsize::MIN)
        };
        let (http, grpc) = (share(self.connections_max), share(self.grpc_connections_max));
        tracing::warn!(
            open_files = files,
            "--connections-max is {http} and --grpc-connections-max {grpc}, since the system allows no more open files: \
             raise that limit (ulimit -Hn, LimitNOFILE=), or lower the settings"
        );
        Config { connections_max: http, grpc_connections_max: grpc, ..self }
    }

    /// Checks what can be checked before anything is opened, for a process that has `grace` to drain.
    ///
    /// # Errors
    /// Settings that contradict each other, or files that can't be had or hold nothing of use.
    pub fn check(&self, grace: Duration) -> anyhow::Result<()> {
        let Config { body_bytes_max, in_flight_bytes_max, .. } = self;
        ensure!(
            in_flight_bytes_max >= body_bytes_max,
            "--in-flight-bytes-max {in_flight_bytes_max} is less than --body-bytes-max {body_bytes_max}"
        );
        self.check_grace(grace)?;
        self.identity()?;
        self.keys()?;
        Ok(())
    }

    /// Refuses a notice that leaves connections less time to finish than they may take.
    fn check_grace(&self, grace: Duration) -> anyhow::Result<()> {
        let Config { drain_notice, drain_timeout, .. } = self;
        ensure!(
            drain_notice.is_zero() || *drain_notice + *drain_timeout < grace,
            "--drain-notice {drain_notice:?} and --drain-timeout {drain_timeout:?} leave nothing of --shutdown-grace \
             {grace:?}: raise that, and the orchestrator's own patience"
        );
        Ok(())
    }

    /// How long records wait for the stream, and for the queue next to it.
    pub(crate) fn patience(&self, overflow: Option<&Overflow>) -> Patience {
        let Config { overflow_after, resend_for, .. } = *self;
        match overflow {
            Some(_) => Patience { overflow_after, resend_for: resend_for.max(overflow_after) },
            None => Patience { overflow_after: resend_for, resend_for },
        }
    }

    /// What is shown to clients, where they are to speak TLS.
    pub(crate) fn identity(&self) -> anyhow::Result<Option<Arc<Identity>>> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Identity::load(certificate.clone(), key.clone()).map(Some),
            _ => Ok(None),
        }
    }

    pub(crate) fn keys(&self) -> anyhow::Result<Arc<Keys>> {
        Keys::load(self.write_keys.clone(), self.write_keys_file.clone())
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules {
            event_bytes_max: self.event_bytes_max,
            ahead_micros_max: micros(self.future_tolerance),
            age_micros_max: self.event_age_max.map(micros),
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn body_bytes(text: &str) -> Result<usize, String> {
    at_most(settings::bytes(text)?, BODY_BYTES_CEILING)
}

fn event_bytes(text: &str) -> Result<usize, String> {
    at_most(settings::bytes(text)?, ORIGINAL_BYTES_MAX)
}

fn record_level(text: &str) -> Result<i32, String> {
    let level = text.parse().ok().filter(|level| (-7..=9).contains(level));
    level.ok_or_else(|| format!("`{text}` is no level of zstd between -7 and 9"))
}

fn flushes(text: &str) -> Result<usize, String> {
    at_most(text.parse().map_err(|_| format!("`{text}` is not a number"))?, FLUSHES_CEILING)
}

fn at_most(value: usize, ceiling: usize) -> Result<usize, String> {
    if (1..=ceiling).contains(&value) { Ok(value) } else { Err(format!("must be from 1 to {ceiling}")) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        config: Config,
    }

    pub(crate) fn parse(args: &[&str]) -> Result<Config, String> {
        let args = ["gateway"].iter().chain(args);
        Only::try_parse_from(args).map(|only| only.config).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_keep_what_the_help_says() {
        let config = parse(&[]).expect("defaults");
        assert_eq!(config.rules().event_bytes_max, 256 << 10);
        assert_eq!(config.rules().ahead_micros_max, 300_000_000);
        assert_eq!(config.rules().age_micros_max, None);
    }

    #[test]
    fn nonsense_is_refused_by_the_name_of_the_setting() {
        for args in [
            ["--event-bytes-max", "1MiB"],
            ["--event-bytes-max", "0"],
            ["--body-bytes-max", "2GiB"],
            ["--batch-events-max", "0"],
            ["--flushes-max", "0"],
            ["--connections-max", "0"],
            ["--grpc-connections-max", "0"],
            ["--write-keys", "web"],
            ["--write-keys", "web=short"],
            ["--cors-origins", "example.com"],
            ["--linger", "5"],
            ["--overflow-after", "soon"],
            ["--dedup-window", "24"],
            ["--record-level", "10"],
        ] {
            let error = parse(&args).expect_err("nonsense");
            assert!(error.contains(args[0]), "{error}");
        }
    }

    #[test]
    fn a_notice_and_the_drain_after_it_fit_into_the_grace() {
        let fits = |args: &[&str], grace: u64| {
            let checked = parse(args).expect("settings").check_grace(Duration::from_secs(grace));
            checked.map_err(|error| error.to_string())
        };
        assert_eq!(fits(&[], 5), Ok(()), "without a notice a drain may be cut short, as ever");
        assert_eq!(fits(&["--drain-notice", "5s"], 16), Ok(()));
        let refused = fits(&["--drain-notice", "5s"], 15).expect_err("nothing is left");
        assert!(["--drain-notice", "--drain-timeout", "--shutdown-grace"].iter().all(|name| refused.contains(name)));
    }

    #[test]
    fn connections_leave_files_to_the_rest_of_the_process() {
        let caps = |files: u64| {
            let config = parse(&[]).expect("defaults").within(files, FILES_RESERVED);
            (config.connections_max.get(), config.grpc_connections_max.get())
        };
        assert_eq!(caps(u64::MAX), (10_000, 1_000));
        assert_eq!(caps(11_000 + FILES_RESERVED), (10_000, 1_000));
        assert_eq!(caps(1_100 + FILES_RESERVED), (1_000, 100));
        assert_eq!(caps(128), (58, 5));
        assert_eq!(caps(2), (1, 1));
    }

    #[test]
    fn keys_are_not_printed() {
        let config = parse(&["--write-keys", "web=0123456789abcdef,app=fedcba9876543210"]).expect("two keys");
        assert_eq!(config.write_keys.len(), 2);
        let printed = format!("{config:?}");
        assert!(printed.contains("web") && !printed.contains("0123456789abcdef"), "{printed}");
    }
}
