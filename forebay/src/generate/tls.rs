//! TLS towards a gateway, which is believed by its certificate.

use anyhow::{Context, ensure};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Who is called, and whose word for it is taken.
#[derive(Debug)]
pub(super) struct Tls {
    host: ServerName<'static>,
    config: Arc<ClientConfig>,
}

impl Tls {
    /// Believes the issuers in `ca_cert`; without it, those that the system believes.
    ///
    /// # Errors
    /// No issuers; a host that no certificate can name.
    pub(super) fn with(host: &str, ca_cert: Option<&Path>) -> anyhow::Result<Tls> {
        let issuers = ca_cert.map_or_else(issuers_of_the_system, issuers_in)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let versions = versions.expect("the provider has what TLS 1.2 and 1.3 need");
        let config = Arc::new(versions.with_root_certificates(issuers).with_no_client_auth());
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let host = ServerName::try_from(bare).with_context(|| format!("`{host}` is no name for a certificate"))?;
        Ok(Tls { host, config })
    }

    pub(super) async fn agree(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(self.config.clone()).connect(self.host.clone(), socket).await
    }
}

fn issuers_in(file: &Path) -> anyhow::Result<RootCertStore> {
    let what = || format!("--ca-cert {}: no certificates in PEM", file.display());
    let read = CertificateDer::pem_file_iter(file).and_then(|found| found.collect::<Result<Vec<_>, _>>());
    let mut issuers = RootCertStore::empty();
    for certificate in read.with_context(what)? {
        issuers.add(certificate).with_context(what)?;
    }
    ensure!(!issuers.is_empty(), what());
    Ok(issuers)
}

fn issuers_of_the_system() -> anyhow::Result<RootCertStore> {
    let mut issuers = RootCertStore::empty();
    issuers.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    ensure!(!issuers.is_empty(), "the system has no issuers of certificates: name a file of them with --ca-cert");
    Ok(issuers)
}
