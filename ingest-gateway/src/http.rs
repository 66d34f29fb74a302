//! HTTP: connections, and the way from a request on the wire to [`Acceptor::accept`] and back.
//!
//! The one hot path is matched by hand, so that a request passes no router and no middleware; everything else goes to the
//! admin routes that every process has.

use crate::accept::{Acceptor, Content, Request, shed};
use crate::answer::Answer;
use crate::budget::{Budget, Charge, Exhausted};
use crate::config::Config;
use crate::connections::{self, Caller, Connection};
use crate::cors::preflight;
use crate::inflate::Encoding;
use crate::keys::{self, Keys, Sender};
use crate::metrics::METRICS;
use crate::refusal::Refusal;
use crate::trace;
use axum::Router;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{self, HeaderMap, Method, Response, header};
use axum::routing::get;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use schema::json::batch::Layout;
use service::{Health, Stop, admin};
use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tonic::codegen::Service as _;

const EVENTS: &str = "/v1/events";

/// Most bytes of a request's headers; beyond it, and beyond hyper's own 100 headers, 431.
const HEADER_BYTES_MAX: usize = 32 << 10;

/// Most bytes that are read at once.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// How much of a refused body is read before its answer, and for how long: a client that is still sending would see its
/// connection reset instead of the answer.
const DISCARD_BYTES_MAX: usize = 256 << 20;
const DISCARD_FOR: Duration = Duration::from_secs(1);

/// First allocation for a body whose parts have to be joined; claims beyond it are not believed until bytes come.
const BODY_BYTES_BELIEVED: usize = 1 << 20;

const INDEX: &str = "Forebay takes events: POST /v1/events\n";

/// Answers requests.
#[derive(Debug)]
pub(crate) struct Front {
    acceptor: Arc<Acceptor>,
    budget: Arc<Budget>,
    config: Config,
    keys: Arc<Keys>,
    others: Router,
}

/// Everything but the events. Where the admin routes have an address of their own, they are only there.
pub(crate) fn others(health: Health, admin_is_elsewhere: bool) -> Router {
    let admin = if admin_is_elsewhere { admin::public_routes(health) } else { admin::routes(health) };
    Router::new().route("/", get(|| async { INDEX })).merge(admin).fallback(|| async { Refusal::NotFound.response() })
}

/// Serves until `stop`; then finishes the requests at hand, for as long as the drain timeout allows.
pub(crate) async fn serve(
    listener: TcpListener,
    front: Arc<Front>,
    tls: Option<TlsAcceptor>,
    stop: Stop,
) -> anyhow::Result<()> {
    let places = Arc::new(Semaphore::new(front.config.connections_max.get()));
    let graceful = GracefulShutdown::new();
    let mut open = JoinSet::new();
    while let Some(caller) = connections::next(&listener, &places, &stop).await {
        let (front, tls, watcher) = (front.clone(), tls.clone(), graceful.watcher());
        open.spawn(async move {
            if let Err(error) = converse(caller, front, tls, watcher).await {
                tracing::debug!(error, "a connection ended badly");
            }
        });
        while open.try_join_next().is_some() {}
    }
    drop(listener);
    if tokio::time::timeout(front.config.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!(connections = open.len(), "closing connections that did not finish in time");
    }
    open.shutdown().await;
    Ok(())
}

async fn converse(
    caller: Caller,
    front: Arc<Front>,
    tls: Option<TlsAcceptor>,
    watcher: Watcher,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let connection = caller.greet(tls.as_ref()).await?;
    Ok(watcher.watch(requests(connection, front)).await?)
}

type Requests<S> = http1::Connection<TokioIo<Connection>, S>;

fn requests(
    connection: Connection,
    front: Arc<Front>,
) -> Requests<impl HttpService<Incoming, ResBody = Body, Error = Infallible, Future: Send> + Send> {
    let idle_timeout = front.config.idle_timeout;
    let service = service_fn(move |request| {
        let front = front.clone();
        async move { Ok::<_, Infallible>(front.respond(request).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle_timeout)
        .max_header_size(HEADER_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(connection), service)
}

impl Front {
    pub(crate) fn new(
        config: Config,
        keys: Arc<Keys>,
        acceptor: Arc<Acceptor>,
        budget: Arc<Budget>,
        others: Router,
    ) -> Front {
        Front { acceptor, budget, config, keys, others }
    }

    async fn respond(&self, request: http::Request<Incoming>) -> Response<Body> {
        let response = if request.uri().path() == EVENTS {
            self.events(request).await
        } else {
            self.others.clone().call(request.map(Body::new)).await.unwrap_or_else(|never| match never {})
        };
        METRICS.requests(response.status()).inc();
        response
    }

    async fn events(&self, request: http::Request<Incoming>) -> Response<Body> {
        let origin = request.headers().get(header::ORIGIN).cloned();
        let (head, body) = request.into_parts();
        let mut response = match head.method {
            Method::POST => self.publish(&head, body).await,
            Method::OPTIONS => preflight(),
            _ => Refusal::Method.response(),
        };
        self.config.cors_origins.allow(origin.as_ref(), response.headers_mut());
        response
    }

    async fn publish(&self, head: &Parts, mut body: Incoming) -> Response<Body> {
        let outcome = match self.admit(head, &body) {
            Ok(admitted) => self.take(head, admitted, &mut body).await,
            Err(refusal) => {
                // A client that asks first has not sent anything yet, and reading would tell it to.
                if !head.headers.contains_key(header::EXPECT) {
                    discard(&mut body).await;
                }
                Err(refusal)
            }
        };
        outcome.map_or_else(|refusal| refusal.response(), |answer| answer.response())
    }

    /// Refuses what can be refused by its headers.
    fn admit(&self, head: &Parts, body: &Incoming) -> Result<Admitted, Refusal> {
        let bytes_max = &self.config.body_bytes_max;
        let presented = keys::presented(&head.headers, &head.uri);
        let sender = self.keys.sender(presented).ok_or(Refusal::Unauthorized)?;
        let format = Format::of(&head.headers)?;
        let encoding = Encoding::of(&head.headers).map_err(Refusal::ContentEncoding)?;
        let claimed = body.size_hint().exact().unwrap_or(0);
        let claimed = usize::try_from(claimed).ok().filter(|claimed| claimed <= bytes_max);
        let claimed = claimed.ok_or(Refusal::BodyTooLarge { bytes_max: *bytes_max })?;
        Ok(Admitted { sender, format, encoding, claimed })
    }

    async fn take(&self, head: &Parts, admitted: Admitted, body: &mut Incoming) -> Result<Answer, Refusal> {
        let Admitted { sender, format, encoding, claimed } = admitted;
        let traceparent = || head.headers.get(trace::TRACEPARENT).and_then(|value| value.to_str().ok());
        let mut spans = self.acceptor.env.traces.request("POST /v1/events", traceparent);
        let Config { body_bytes_max, body_timeout, .. } = self.config;
        let mut charge = self.budget.open();
        let collected = tokio::time::timeout(body_timeout, collect(body, claimed, body_bytes_max, &mut charge));
        let too_slow = |_| Err(Refusal::TooSlow { seconds: body_timeout.as_secs() });
        let bytes = match collected.await.unwrap_or_else(too_slow) {
            Ok(bytes) => bytes,
            Err(refusal) => {
                trace::refused(&mut spans, &refusal);
                drop(charge);
                discard(body).await;
                return Err(refusal);
            }
        };
        let content = match format {
            Format::Json(layout) => Content::Json(bytes, layout),
            Format::Protobuf => Content::Protobuf(bytes),
        };
        self.acceptor.accept(Request { content, encoding, sender, charge, spans }).await
    }
}

/// What the headers of a request say.
struct Admitted {
    sender: Sender,
    format: Format,
    encoding: Encoding,
    /// Length of the body; 0 where it is not said.
    claimed: usize,
}

/// What a content type stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    Json(Layout),
    Protobuf,
}

impl Format {
    /// Without a content type a body is read like `text/plain`, which is how beacons arrive.
    fn of(headers: &HeaderMap) -> Result<Format, Refusal> {
        let Some(value) = headers.get(header::CONTENT_TYPE) else {
            return Ok(Format::Json(Layout::Unknown));
        };
        let value = value.as_bytes();
        let essence = value.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        let is = |names: &[&str]| names.iter().any(|name| essence.eq_ignore_ascii_case(name.as_bytes()));
        if is(&["application/json"]) {
            Ok(Format::Json(Layout::Json))
        } else if is(&["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"]) {
            Ok(Format::Json(Layout::Lines))
        } else if is(&["text/plain"]) {
            Ok(Format::Json(Layout::Unknown))
        } else if is(&["application/x-protobuf", "application/protobuf"]) {
            Ok(Format::Protobuf)
        } else {
            Err(Refusal::ContentType(String::from_utf8_lossy(essence).into_owned()))
        }
    }
}

/// Reads a body to its end, within the bound and the budget.
async fn collect(body: &mut Incoming, claimed: usize, bytes_max: usize, charge: &mut Charge) -> Result<Bytes, Refusal> {
    let first = next_part(body, 0, bytes_max, charge).await?.unwrap_or_default();
    if body.is_end_stream() {
        return Ok(first);
    }
    let mut joined = BytesMut::with_capacity(claimed.clamp(first.len(), first.len().max(BODY_BYTES_BELIEVED)));
    joined.extend_from_slice(&first);
    while let Some(part) = next_part(body, joined.len(), bytes_max, charge).await? {
        joined.extend_from_slice(&part);
    }
    Ok(joined.freeze())
}

async fn next_part(
    body: &mut Incoming,
    before: usize,
    bytes_max: usize,
    charge: &mut Charge,
) -> Result<Option<Bytes>, Refusal> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::Incomplete(error.to_string()))?;
        if let Ok(part) = frame.into_data() {
            if before + part.len() > bytes_max {
                return Err(Refusal::BodyTooLarge { bytes_max });
            }
            charge.grow(part.len()).map_err(|Exhausted| shed())?;
            return Ok(Some(part));
        }
    }
    Ok(None)
}

/// Reads on past a refusal, within bounds, so that the client gets to see the answer.
async fn discard(body: &mut Incoming) {
    let read_on = async {
        let mut left = DISCARD_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    // Past the time, the client has to live with a reset.
    let _ = tokio::time::timeout(DISCARD_FOR, read_on).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_told_apart_whatever_their_case_and_parameters() {
        let format = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(value));
            Format::of(&headers).ok()
        };
        assert_eq!(format("Application/JSON; charset=utf-8"), Some(Format::Json(Layout::Json)));
        assert_eq!(format("application/x-ndjson"), Some(Format::Json(Layout::Lines)));
        assert_eq!(format("text/plain;charset=UTF-8"), Some(Format::Json(Layout::Unknown)));
        assert_eq!(format("application/x-protobuf"), Some(Format::Protobuf));
        assert_eq!(format("application/x-www-form-urlencoded"), None);
        assert_eq!(format(""), None);
    }

    async fn status(admin_is_elsewhere: bool, path: &str) -> u16 {
        let request = http::Request::get(path).body(Body::empty()).expect("a request");
        let health = Health::default();
        let answer = others(health, admin_is_elsewhere).call(request).await;
        answer.unwrap_or_else(|never| match never {}).status().as_u16()
    }

    #[tokio::test]
    async fn what_is_inside_is_shown_in_one_place_only() {
        for (path, here, elsewhere) in [("/metrics", 200, 404), ("/healthz", 200, 200), ("/readyz", 200, 200)] {
            assert_eq!((status(false, path).await, status(true, path).await), (here, elsewhere), "{path}");
        }
    }
}
