//! The same, and nobody else can read it.

use crate::house::{House, event};
use crate::memory::MemoryStream;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A gateway with a certificate of its own, and who trusts it.
struct Guarded {
    house: House,
    roots: Arc<RootCertStore>,
    _files: TempDir,
}

impl Guarded {
    async fn open() -> Guarded {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_string()]).unwrap();
        let files = tempfile::tempdir().unwrap();
        let write = |name: &str, pem: String| {
            let path = files.path().join(name);
            std::fs::write(&path, pem).unwrap();
            path
        };
        let (certificate, key) = (write("tls.crt", cert.pem()), write("tls.key", signing_key.serialize_pem()));
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let files_of_it = ["--tls-cert", &text(&certificate), "--tls-key", &text(&key)];
        let house = House::start(&files_of_it, Arc::new(MemoryStream::new(4)), None).await;
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        Guarded { house, roots: Arc::new(roots), _files: files }
    }

    async fn connect(&self, address: SocketAddr, protocols: &[&str]) -> TlsStream<TcpStream> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = versions.with_root_certificates(self.roots.clone()).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let socket = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap()
    }
}

#[tokio::test]
async fn events_are_taken_over_tls() {
    let guarded = Guarded::open().await;
    let mut client = guarded.connect(guarded.house.http, &["h2", "http/1.1"]).await;
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
    let body = event(1);
    let head = format!("POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n", body.len());
    let request = format!("{head}content-type: application/json\r\nconnection: close\r\n\r\n{body}");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 202 "), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(guarded.house.stream.events().len(), 1);
}

#[tokio::test]
async fn grpc_speaks_tls_too() {
    let guarded = Guarded::open().await;
    let client = guarded.connect(guarded.house.grpc, &["h2"]).await;
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
}

#[tokio::test]
async fn a_client_that_speaks_no_tls_holds_up_nobody() {
    let guarded = Guarded::open().await;
    for address in [guarded.house.http, guarded.house.grpc] {
        let mut plain = TcpStream::connect(address).await.unwrap();
        let _silent = TcpStream::connect(address).await.unwrap();
        plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        guarded.connect(address, &["h2", "http/1.1"]).await;
        let mut answer = Vec::new();
        // An alert or a reset, and no answer.
        let _ = plain.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    }
}
