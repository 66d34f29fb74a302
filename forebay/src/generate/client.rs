//! The producer's side of `POST /v1/events`: one keep-alive connection, one request at a time.
//!
//! **Target**: where to and as whom. **Verdict**: what an answer means for the one who sent. A batch is **acknowledged**
//! when the answer says so and at no other time: whatever else happens, the same bytes are sent again.

use super::tls::Tls;
use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const EVENTS_PATH: &str = "/v1/events";
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// Longest wait for a whole answer, connecting included. A gateway answers within a few seconds, if only with 503.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// Most bytes of an answer: a thousand quarantined events with their reasons, several times over.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Most characters of an unexpected answer that are shown.
const SHOWN_CHARS_MAX: usize = 300;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

/// Where events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    scheme: Scheme,
    host: String,
    port: u16,
    path: String,
}

impl Url {
    fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl FromStr for Url {
    type Err = String;

    /// Reads `http://host[:port][/path]`, or the same with `https://`; without a path events go to `/v1/events`.
    fn from_str(text: &str) -> Result<Url, String> {
        let uri: Uri = text.parse().map_err(|error| format!("`{text}` is not a URL: {error}"))?;
        let (scheme, port) = match uri.scheme_str() {
            Some("http") => (Scheme::Http, HTTP_PORT),
            Some("https") => (Scheme::Https, HTTPS_PORT),
            Some(other) => return Err(format!("`{other}://` is not spoken here, only http:// and https://")),
            None => return Err(format!("`{text}` does not start with http:// or https://")),
        };
        let authority = uri.authority().ok_or(format!("`{text}` names no host"))?;
        if authority.as_str().contains('@') {
            return Err("a URL with a user in it is not understood; use --key".to_string());
        }
        let port = authority.port_u16().unwrap_or(port);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path == "/" { EVENTS_PATH } else { path };
        Ok(Url { scheme, host: authority.host().to_string(), port, path: path.to_string() })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// A write key. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(HeaderValue);

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Key, String> {
        let mut value = HeaderValue::from_str(&format!("Bearer {text}"))
            .map_err(|_| "the key has characters that no HTTP header may have".to_string())?;
        value.set_sensitive(true);
        Ok(Key(value))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Where to send and as whom, made once for all connections.
#[derive(Debug)]
pub struct Target {
    authority: String,
    /// Where it is to be spoken.
    tls: Option<Tls>,
    uri: Uri,
    headers: HeaderMap,
}

impl Target {
    /// # Errors
    /// No issuers of certificates to believe, or some where none is shown; a host or a path that can't be sent.
    pub fn new(url: &Url, key: Option<&Key>, ca_cert: Option<&Path>) -> anyhow::Result<Target> {
        let tls = match url.scheme {
            Scheme::Https => Some(Tls::with(&url.host, ca_cert)?),
            Scheme::Http => None,
        };
        ensure!(tls.is_some() || ca_cert.is_none(), "--ca-cert is for https://, and {url} is not");
        let mut headers = HeaderMap::new();
        headers.insert(HOST, url.authority().parse().context("write the host header")?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        if let Some(Key(value)) = key {
            headers.insert(AUTHORIZATION, value.clone());
        }
        let uri = url.path.parse().with_context(|| format!("read the path of {url}"))?;
        Ok(Target { authority: url.authority(), tls, uri, headers })
    }
}

/// What a gateway says to a batch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Answer {
    pub accepted: u64,
    /// May name only the first ones of many.
    #[serde(default)]
    pub quarantined: Vec<Quarantined>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Quarantined {
    /// Place in the batch, from 0.
    pub index: u64,
    pub quarantine_id: String,
    pub reason: String,
}

/// What an answer means for the one who sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is durable, invalid events in quarantine.
    Acknowledged(Answer),
    /// Not now: send the same again, not before the wait is over.
    Again { wait: Option<Duration> },
    /// Sending the same again won't help.
    Refused { body: String },
}

/// No answer: the batch may have been taken or not. Send it again.
#[derive(Debug, Error)]
pub enum NoAnswer {
    #[error("connect: {0}")]
    Connect(std::io::Error),
    #[error("exchange: {0}")]
    Exchange(hyper::Error),
    #[error("read the answer: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("no answer within {ANSWER_TIME_MAX:?}")]
    TooLate,
}

/// One connection, made when it is needed and again after it broke.
#[derive(Debug)]
pub struct Client {
    target: Arc<Target>,
    connection: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Moves the bytes; ends with the connection, and at the latest when this is dropped.
    _driver: JoinSet<()>,
}

impl Client {
    pub fn new(target: Arc<Target>) -> Client {
        Client { target, connection: None }
    }

    /// Sends a batch of NDJSON once.
    pub async fn post(&mut self, batch: Bytes) -> Result<(StatusCode, Verdict), NoAnswer> {
        let answered = tokio::time::timeout(ANSWER_TIME_MAX, self.exchange(batch)).await;
        let answer = answered.unwrap_or(Err(NoAnswer::TooLate));
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    async fn exchange(&mut self, batch: Bytes) -> Result<(StatusCode, Verdict), NoAnswer> {
        if self.connection.as_ref().is_none_or(|connection| connection.sender.is_closed()) {
            self.connection = Some(connect(&self.target).await?);
        }
        let sender = &mut self.connection.as_mut().expect("just made").sender;
        let mut request = Request::new(Full::new(batch));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.uri.clone();
        *request.headers_mut() = self.target.headers.clone();
        sender.ready().await.map_err(NoAnswer::Exchange)?;
        let response = sender.send_request(request).await.map_err(NoAnswer::Exchange)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(NoAnswer::Body)?;
        Ok((head.status, verdict(head.status, &head.headers, &body.to_bytes())))
    }
}

async fn connect(target: &Target) -> Result<Connection, NoAnswer> {
    let socket = TcpStream::connect(&target.authority).await.map_err(NoAnswer::Connect)?;
    socket.set_nodelay(true).map_err(NoAnswer::Connect)?;
    match &target.tls {
        Some(tls) => begin(tls.agree(socket).await.map_err(NoAnswer::Connect)?).await,
        None => begin(socket).await,
    }
}

async fn begin(socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Connection, NoAnswer> {
    let (sender, connection) = handshake(TokioIo::new(socket)).await.map_err(NoAnswer::Exchange)?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // Who waits for an answer is told of the error as well.
        let _ = connection.await;
    });
    Ok(Connection { sender, _driver: driver })
}

fn verdict(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Verdict {
    match status {
        StatusCode::ACCEPTED | StatusCode::OK | StatusCode::UNPROCESSABLE_ENTITY => match read_answer(body) {
            Ok(answer) => Verdict::Acknowledged(answer),
            Err(error) => Verdict::Refused { body: format!("{error:#}: {}", shown(body)) },
        },
        StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::INTERNAL_SERVER_ERROR
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Verdict::Again { wait: retry_after(headers) },
        _ => Verdict::Refused { body: shown(body) },
    }
}

fn read_answer(body: &[u8]) -> anyhow::Result<Answer> {
    let answer: Answer = serde_json::from_slice(body).context("the answer is not one to a batch of events")?;
    if answer.quarantined.windows(2).any(|pair| pair[0].index >= pair[1].index) {
        bail!("the answer lists quarantined events out of order");
    }
    Ok(answer)
}

/// Reads `Retry-After` in seconds; its date form means our clocks agree, which is not relied on.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn shown(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_with_the_port_and_path_that_are_meant() {
        for (text, meant) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1/events"),
            ("http://lake.example/", "http://lake.example:80/v1/events"),
            ("http://[::1]:9/other?x=1", "http://[::1]:9/other?x=1"),
            ("https://lake.example", "https://lake.example:443/v1/events"),
            ("https://[::1]:9", "https://[::1]:9/v1/events"),
        ] {
            assert_eq!(text.parse::<Url>().expect(text).to_string(), meant);
        }
        for text in ["lake.example:80", "https://", "http://", "", "ftp://x", "http://me@x", "/v1"] {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_is_never_printed() {
        let key: Key = "secret".parse().expect("a key");
        let target = Target::new(&"http://x".parse().expect("a URL"), Some(&key), None).expect("a target");
        assert!(!format!("{key:?} {target:?}").contains("secret"));
        assert!("new\nline".parse::<Key>().is_err());
    }

    #[test]
    fn issuers_are_asked_for_where_a_certificate_is_shown_and_refused_by_the_name_of_the_setting() {
        let empty = tempfile::NamedTempFile::new().expect("a file");
        for url in ["http://x", "https://x", "https://[::1]"] {
            let target = Target::new(&url.parse().expect(url), None, Some(empty.path()));
            let error = target.expect_err("no certificates").to_string();
            assert!(error.contains("--ca-cert"), "{error}");
        }
    }

    #[test]
    fn only_an_answer_that_can_be_read_acknowledges() {
        let read = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).expect("a status");
            verdict(status, &HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("3"))]), body.as_bytes())
        };
        let quarantined = Quarantined { index: 4, quarantine_id: "q".into(), reason: "bad_uuid".into() };
        let full = r#"{"accepted":9,"quarantined":[{"index":4,"event_id":null,"quarantine_id":"q","reason":"bad_uuid","more":1}]}"#;
        assert_eq!(read(202, full), Verdict::Acknowledged(Answer { accepted: 9, quarantined: vec![quarantined] }));
        assert_eq!(read(422, r#"{"accepted":0}"#), Verdict::Acknowledged(Answer { accepted: 0, quarantined: vec![] }));
        for status in [408, 429, 500, 502, 503, 504] {
            assert_eq!(read(status, ""), Verdict::Again { wait: Some(Duration::from_secs(3)) }, "{status}");
        }
        for (status, body) in [(202, ""), (202, "ok"), (422, "{}"), (400, full), (401, ""), (413, ""), (204, full)] {
            assert!(matches!(read(status, body), Verdict::Refused { .. }), "{status} {body}");
        }
    }
}
