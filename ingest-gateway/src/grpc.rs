//! gRPC: `forebay.v1.Ingest/Publish`, and the standard health service next to it.

use crate::accept::{Acceptor, Content, Request, shed};
use crate::budget::{Budget, Exhausted};
use crate::inflate::Encoding;
use crate::keys::{self, WriteKey};
use crate::refusal::Refusal;
use anyhow::Context;
use bytes::Bytes;
use proto::ingest_server::{Ingest, IngestServer};
use schema::v1::PublishAnswer;
use service::{Health, Stop, health};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::metadata::MetadataMap;
use tonic::transport::Server;

/// Calls at a time on one connection.
const STREAMS_MAX: u32 = 256;

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
    pub(crate) write_keys: Vec<WriteKey>,
}

#[tonic::async_trait]
impl Ingest for Publisher {
    async fn publish(&self, call: tonic::Request<RawBatch>) -> Result<tonic::Response<PublishAnswer>, tonic::Status> {
        let sender = keys::sender(&self.write_keys, presented(call.metadata())).ok_or(Refusal::Unauthorized)?;
        let events = call.into_inner().events;
        let mut charge = self.budget.open();
        charge.grow(events.iter().map(Bytes::len).sum()).map_err(|Exhausted| shed())?;
        let request = Request { content: Content::Messages(events), encoding: Encoding::Identity, sender, charge };
        let answer = self.acceptor.accept(request).await?;
        Ok(tonic::Response::new(answer.into_message()))
    }
}

fn presented(metadata: &MetadataMap) -> Option<&[u8]> {
    let bearer = metadata.get("authorization").and_then(|value| keys::bearer(value.as_encoded_bytes()));
    bearer.or_else(|| metadata.get("x-write-key").map(|value| value.as_encoded_bytes()))
}

/// How the server treats clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    pub(crate) body_bytes_max: usize,
    pub(crate) drain_timeout: Duration,
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
    let ingest = IngestServer::new(publisher).max_decoding_message_size(manners.body_bytes_max);
    let server = Server::builder()
        .tcp_nodelay(true)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(health_server)
        .add_service(ingest)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.clone().cancelled_owned());
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
