//! TLS in front of HTTP and gRPC, with a certificate that may be renewed while the gateway runs.

use crate::reload;
use anyhow::{Context, ensure};
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use tokio_rustls::TlsAcceptor;

/// What the gateway shows to clients, and the files it comes from.
#[derive(Debug)]
pub(crate) struct Identity {
    files: Files,
    shown: RwLock<Shown>,
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// Contents of the files, and what they make.
#[derive(Debug)]
struct Shown {
    contents: [Vec<u8>; 2],
    certified: Arc<CertifiedKey>,
}

impl Identity {
    /// # Errors
    /// Files that can't be read, or that are no certificate and its key.
    pub(crate) fn load(certificate: PathBuf, key: PathBuf) -> anyhow::Result<Arc<Identity>> {
        let files = Files { certificate, key };
        let shown = RwLock::new(files.certify(files.read()?)?);
        Ok(Arc::new(Identity { files, shown }))
    }

    /// Takes over what the files have become. What can't be used is left alone, and the old certificate stays.
    pub(crate) fn reload(&self) -> anyhow::Result<()> {
        let contents = self.files.read()?;
        if self.shown.read().expect("no holder panics").contents == contents {
            return Ok(());
        }
        let shown = self.files.certify(contents)?;
        *self.shown.write().expect("no holder panics") = shown;
        tracing::info!(file = %self.files.certificate.display(), "showing a new certificate");
        Ok(())
    }

    /// Speaks `protocol`, by its ALPN name, to clients that ask which.
    pub(crate) fn acceptor(self: &Arc<Identity>, protocol: &str) -> TlsAcceptor {
        let versions = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let versions = versions.expect("the provider has what TLS 1.2 and 1.3 need");
        let mut config = versions.with_no_client_auth().with_cert_resolver(self.clone());
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown.read().expect("no holder panics").certified.clone())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

impl Files {
    fn read(&self) -> anyhow::Result<[Vec<u8>; 2]> {
        Ok([reload::read("--tls-cert", &self.certificate)?, reload::read("--tls-key", &self.key)?])
    }

    fn certify(&self, contents: [Vec<u8>; 2]) -> anyhow::Result<Shown> {
        let [certificate, key] = &contents;
        let no_chain = || format!("--tls-cert {}: no certificates in PEM", self.certificate.display());
        let chain =
            CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>().with_context(no_chain)?;
        ensure!(!chain.is_empty(), no_chain());
        let no_key = || format!("--tls-key {}: no private key in PEM", self.key.display());
        let key = PrivateKeyDer::from_pem_slice(key).with_context(no_key)?;
        let certified = CertifiedKey::from_der(chain, key, &provider()).with_context(|| {
            format!("--tls-cert {} and --tls-key {}", self.certificate.display(), self.key.display())
        })?;
        Ok(Shown { contents, certified: Arc::new(certified) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    /// A folder with a certificate and its key.
    fn folder() -> (TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
        renew(&certificate, &key);
        (folder, certificate, key)
    }

    fn renew(certificate: &PathBuf, key: &PathBuf) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).expect("a certificate");
        fs::write(certificate, made.cert.pem()).expect("a file");
        fs::write(key, made.signing_key.serialize_pem()).expect("a file");
    }

    fn shown(identity: &Identity) -> Arc<CertifiedKey> {
        identity.shown.read().expect("no holder panics").certified.clone()
    }

    #[test]
    fn a_renewed_certificate_is_shown_and_a_broken_one_is_not() {
        let (_folder, certificate, key) = folder();
        let identity = Identity::load(certificate.clone(), key.clone()).expect("a certificate");
        let first = shown(&identity);
        identity.reload().expect("unchanged files");
        assert!(Arc::ptr_eq(&shown(&identity), &first));
        fs::write(&key, "rubbish").expect("a file");
        let error = format!("{:#}", identity.reload().expect_err("no key"));
        assert!(error.contains("--tls-key"), "{error}");
        assert!(Arc::ptr_eq(&shown(&identity), &first));
        renew(&certificate, &key);
        identity.reload().expect("a new certificate");
        assert_ne!(shown(&identity).cert, first.cert);
    }

    #[test]
    fn a_key_of_another_certificate_is_refused_by_the_names_of_both_files() {
        let ((_a, certificate, _), (_b, _, key)) = (folder(), folder());
        let error = format!("{:#}", Identity::load(certificate, key).expect_err("not its key"));
        assert!(error.contains("--tls-cert") && error.contains("--tls-key"), "{error}");
    }
}
