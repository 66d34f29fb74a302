//! The gateway before the stream that ships with it.

use crate::client;
use crate::house::{arguments, env, event, lines, listener};
use ingest_gateway::Gateway;
use schema::record::{decode_raw, ids};
use schema::{EventId, Position};
use service::{Health, Stop};
use std::collections::HashSet;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store::{Options, Store};
use stream::embedded::EmbeddedStream;
use stream::{ReadLimit, Stream};

const ALL: ReadLimit = ReadLimit { records_max: 10_000, bytes_max: 64 << 20, wait: Duration::ZERO };

async fn open(data_dir: &Path) -> Arc<EmbeddedStream> {
    let store = Store::open(data_dir, Options::new(Arc::new(|| 0), "a test")).unwrap();
    let shards = NonZeroU32::new(4).unwrap();
    Arc::new(EmbeddedStream::open(&Arc::new(store), "raw", shards, "a1").await.unwrap())
}

async fn ids_in(stream: &dyn Stream) -> Vec<EventId> {
    let mut found = Vec::new();
    for shard in stream.shards().await.unwrap() {
        let page = stream.read(&shard.id, &Position::start(), ALL).await.unwrap();
        for record in page.records {
            let raw = decode_raw(record.bytes).unwrap();
            assert!(ids(&raw.ids).all(|id| shard.range.covers(id.hash())));
            found.extend(ids(&raw.ids));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_that_got_its_202_is_there_after_a_restart() {
    let data_dir = tempfile::tempdir().unwrap();
    let stream = open(data_dir.path()).await;
    let gateway = Gateway::new(arguments(&[]), stream, None, env(), Health::default()).unwrap();
    let (http, grpc, stop) = (listener().await, listener().await, Stop::new());
    let address = http.local_addr().unwrap();
    let running = tokio::spawn(gateway.run(http, grpc, stop.clone()));
    while client::send(address, client::request("GET", "/readyz", &[]), "").await.status != 200 {}

    let post = |body: String| {
        let request = client::request("POST", "/v1/events", &[("content-type", "application/x-ndjson")]);
        async move { assert_eq!(client::send(address, request, body).await.status, 202) }
    };
    let batches = (0..20).map(|k| post(lines(k * 100..(k + 1) * 100)));
    let singles = (0..200).map(|k| post(event(10_000 + k)));
    tokio::join!(futures::future::join_all(batches), futures::future::join_all(singles));
    stop.cancel();
    running.await.unwrap().unwrap();

    let found = ids_in(&*open(data_dir.path()).await).await;
    assert_eq!(found.len(), 2200);
    assert_eq!(found.into_iter().collect::<HashSet<_>>().len(), 2200);
}
