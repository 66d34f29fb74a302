//! gRPC: `forebay.v1.Ingest/Publish`, and the standard health service next to it.

mod admission;

use crate::accept::{Acceptor, Content, Request};
use crate::budget::Budget;
use crate::connections::{self, Caller};
use crate::inflate::Encoding;
use crate::keys::Keys;
use crate::trace;
use admission::{Admission, Admitted};
use anyhow::Context;
use bytes::Bytes;
use futures::{StreamExt, stream};
use proto::ingest_server::{Ingest, IngestServer};
use schema::v1::PublishAnswer;
use service::{Health, Stop, health};
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tonic::transport::Server;

/// Clients that agree on TLS at a time; further ones wait.
const GREETINGS_MAX: usize = 64;

/// Calls at a time on one connection.
const STREAMS_MAX: u32 = 256;

/// Most bytes of a call's headers, as HTTP/2 counts them; beyond it, 431.
const HEADER_BYTES_MAX: u32 = 32 << 10;

/// After which a silent connection is asked whether anybody is there, and how long that may take.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The generated service and its client.
#[allow(missing_debug_implementations, unreachable_pub, clippy::needless_pass_by_value)]
pub mod proto {
    tonic::include_proto!("forebay.v1");
}

/// A `v1::EventBatch` whose events are still bytes: the same on the wire, but one broken event does not fail it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RawBatch {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub events: Vec<Bytes>,
}

/// The service.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) acceptor: Arc<Acceptor>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) body_timeout: Duration,
}

#[tonic::async_trait]
impl Ingest for Publisher {
    async fn publish(&self, call: tonic::Request<RawBatch>) -> Result<tonic::Response<PublishAnswer>, tonic::Status> {
        let (metadata, extensions, RawBatch { events }) = call.into_parts();
        let admitted: &Admitted = extensions.get().expect("a call that was admitted says so");
        let (sender, charge) = (admitted.sender.clone(), admitted.take_charge());
        let traceparent = || metadata.get(trace::TRACEPARENT).and_then(|value| value.to_str().ok());
        let spans = self.acceptor.env.traces.request("forebay.v1.Ingest/Publish", traceparent);
        let (content, encoding) = (Content::Messages(events), Encoding::Identity);
        let request = Request { content, encoding, sender, charge, spans };
        let answer = self.acceptor.accept(request).await?;
        Ok(tonic::Response::new(answer.into_message()))
    }
}

/// How the server treats clients.
#[derive(Clone)]
pub(crate) struct Manners {
    pub(crate) body_bytes_max: usize,
    pub(crate) connections_max: NonZeroUsize,
    pub(crate) drain_timeout: Duration,
    pub(crate) tls: Option<TlsAcceptor>,
}

/// Serves until `stop`; then finishes the calls at hand, for as long as the drain timeout allows.
pub(crate) async fn serve(
    listener: TcpListener,
    publisher: Publisher,
    manners: Manners,
    health: Health,
    stop: Stop,
) -> anyhow::Result<()> {
    let (reporter, health_server) = tonic_health::server::health_reporter();
    let names = vec!["forebay.v1.Ingest".to_string()];
    let report = health::report_to_grpc(health, reporter, names, stop.clone());
    let publisher = Arc::new(publisher);
    let server = IngestServer::from_arc(publisher.clone()).max_decoding_message_size(manners.body_bytes_max);
    let places = Arc::new(Semaphore::new(manners.connections_max.get()));
    let callers = stream::unfold((listener, places, stop.clone()), async |(listener, places, stop)| {
        let caller = connections::next(&listener, &places, &stop).await?;
        Some((caller, (listener, places, stop)))
    });
    let greet = |caller: Caller| {
        let tls = manners.tls.clone();
        async move { caller.greet(tls.as_ref()).await }
    };
    let greeted = callers.map(greet).buffer_unordered(GREETINGS_MAX);
    let incoming = greeted.filter_map(async |connection| match connection {
        Ok(connection) => Some(Ok::<_, Infallible>(connection)),
        Err(error) => {
            tracing::debug!(%error, "a connection ended badly");
            None
        }
    });
    let server = Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(health_server)
        .add_service(Admission { publisher, server })
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    // A watcher of the health service keeps its call open for ever, so draining has an end of its own.
    let overtime = async {
        stop.cancelled().await;
        tokio::time::sleep(manners.drain_timeout).await;
    };
    let served = async {
        tokio::select! {
            served = server => served.context("serve gRPC"),
            () = overtime => Ok(()),
        }
    };
    let (served, ()) = tokio::join!(served, report);
    served
}
