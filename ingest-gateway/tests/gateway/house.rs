//! A running gateway.

use crate::client::{self, Answer};
use crate::faulty_queue::FaultyQueue;
use crate::memory::MemoryStream;
use clap::Parser;
use ingest_gateway::{Config, Gateway, Overflow};
use service::env::{Clock, SystemRandom};
use service::{Env, Health, Stop};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// 2026-11-20T08:30:00Z: what the gateway's clock says in these tests.
pub(crate) const NOW: i64 = 1_795_163_400_000_000;

#[derive(Debug)]
struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> i64 {
        NOW
    }
}

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    config: Config,
}

pub(crate) struct House {
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) stream: Arc<MemoryStream>,
    pub(crate) stop: Stop,
    pub(crate) task: JoinHandle<anyhow::Result<()>>,
}

impl House {
    pub(crate) async fn open(arguments: &[&str]) -> House {
        House::before(arguments, Arc::new(MemoryStream::new(4)), None).await
    }

    /// With a queue next to the stream.
    pub(crate) async fn with_overflow(arguments: &[&str], queue: &Arc<FaultyQueue>) -> House {
        House::before(arguments, Arc::new(MemoryStream::new(4)), Some(queue)).await
    }

    pub(crate) async fn before(words: &[&str], stream: Arc<MemoryStream>, queue: Option<&Arc<FaultyQueue>>) -> House {
        let house = House::start(words, stream, queue).await;
        while house.get("/readyz").await.status != 200 {
            tokio::task::yield_now().await;
        }
        house
    }

    /// As [`House::before`], without waiting until it is ready.
    pub(crate) async fn start(words: &[&str], stream: Arc<MemoryStream>, queue: Option<&Arc<FaultyQueue>>) -> House {
        let overflow = queue.map(|queue| Overflow { queue: queue.clone(), retention: None });
        let gateway = Gateway::new(arguments(words), stream.clone(), overflow, env(), Health::default()).unwrap();
        let (http, grpc) = (listener().await, listener().await);
        let addresses = (http.local_addr().unwrap(), grpc.local_addr().unwrap());
        let stop = Stop::new();
        let task = tokio::spawn(gateway.run(http, grpc, stop.clone()));
        House { http: addresses.0, grpc: addresses.1, stream, stop, task }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        client::send(self.http, client::request("GET", path, &[]), "").await
    }

    pub(crate) async fn post(&self, content_type: &str, body: impl Into<bytes::Bytes>) -> Answer {
        self.post_with(&[("content-type", content_type)], body).await
    }

    pub(crate) async fn post_with(&self, headers: &[(&str, &str)], body: impl Into<bytes::Bytes>) -> Answer {
        client::send(self.http, client::request("POST", "/v1/events", headers), body).await
    }

    /// Whether a valid event still gets its 202.
    pub(crate) async fn still_serves(&self) -> bool {
        let answer = self.post("application/json", event(999_999)).await;
        answer.status == 202
    }
}

pub(crate) fn arguments(words: &[&str]) -> Config {
    Arguments::parse_from(["gateway"].iter().chain(words)).config
}

pub(crate) fn env() -> Env {
    Env::of(Arc::new(FixedClock), Arc::new(SystemRandom))
}

pub(crate) async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

pub(crate) fn id(k: u32) -> String {
    format!("0192f0c1-7b6d-7e1a-8a3b-{k:012}")
}

pub(crate) fn event(k: u32) -> String {
    let id = id(k);
    format!(
        r#"{{"event_id":"{id}","event_name":"page:view","created_at":"2026-11-20T08:29:59Z","properties":{{"k": {k}}}}}"#
    )
}

pub(crate) fn lines(range: std::ops::Range<u32>) -> String {
    range.map(|k| event(k) + "\n").collect()
}
