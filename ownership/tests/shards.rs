//! Which shards of an embedded stream may be owned.

#![allow(clippy::unwrap_used)] // A test that can't be set up may panic.

use async_trait::async_trait;
use ledger::LedgerError;
use ledger::keeper::{Ending, Failure, Work};
use ownership::{OwnerError, Shards, Stage};
use schema::{ChainId, ShardId};
use service::{Halt, Health, Stop};
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use store::{Options, Store};
use stream::embedded::EmbeddedStream;
use stream::{Shard, Stream};
use tempfile::TempDir;

/// Owners that do nothing; which chains have ended is up to the test.
#[derive(Clone, Debug)]
struct Idle {
    stream: EmbeddedStream,
    ended: Arc<Mutex<BTreeSet<String>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Stage for Idle {
    const NAME: &'static str = "idle";

    fn stream(&self) -> &dyn Stream {
        &self.stream
    }

    fn chain_of(&self, shard: &ShardId) -> ChainId {
        ChainId::new(format!("idle/{shard}"))
    }

    async fn has_ended(&self, chain: &ChainId) -> Result<bool, OwnerError> {
        self.asked.lock().unwrap().push(chain.to_string());
        Ok(self.ended.lock().unwrap().contains(chain.as_str()))
    }

    async fn own(&self, shard: Shard, _stop: Stop) -> Result<Ending, OwnerError> {
        match shard.id.as_str() {
            "s-0000" => Ok(Ending::Done),
            "s-0001" => Err(LedgerError::Unavailable("no answer".to_string()).into()),
            _ => Err(Halt("its chain is lost".to_string()).into()),
        }
    }
}

async fn idle(shards: u32) -> (Idle, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path(), Options::new(Arc::new(|| 0), "a test")).unwrap());
    let stream = EmbeddedStream::open(&store, "s", NonZeroU32::new(shards).unwrap(), "i1").await.unwrap();
    (Idle { stream, ended: Arc::default(), asked: Arc::default() }, dir)
}

fn shards(idle: &Idle) -> Shards<Idle> {
    Shards::new(idle.clone(), Health::default().part("idle"))
}

impl Idle {
    fn end(&self, chain: &str) {
        self.ended.lock().unwrap().insert(chain.to_string());
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

#[tokio::test]
async fn a_child_may_be_owned_when_all_its_parents_have_ended_and_an_ended_shard_never_again() {
    let (idle, _dir) = idle(2).await;
    let shards = shards(&idle);
    assert_eq!(shards.pieces().await.unwrap(), ["idle/s-0000", "idle/s-0001"]);
    let [a, b] = ["s-0000", "s-0001"].map(ShardId::new);
    idle.stream.merge(&a, &b).await.unwrap();
    assert_eq!(shards.pieces().await.unwrap(), ["idle/s-0000", "idle/s-0001"]);
    idle.end("idle/s-0000");
    assert_eq!(shards.pieces().await.unwrap(), ["idle/s-0001"]);
    idle.end("idle/s-0001");
    assert_eq!(shards.pieces().await.unwrap(), ["idle/s-0002"]);
}

#[tokio::test]
async fn the_ledger_is_asked_of_closed_shards_only_and_of_none_that_has_ended() {
    let (idle, _dir) = idle(1).await;
    let shards = shards(&idle);
    shards.pieces().await.unwrap();
    assert!(idle.asked().is_empty());
    idle.stream.reshard(NonZeroU32::MIN).await.unwrap();
    idle.end("idle/s-0000");
    shards.pieces().await.unwrap();
    assert_eq!(idle.asked(), ["idle/s-0000"]);
    shards.pieces().await.unwrap();
    assert!(idle.asked().is_empty());
}

#[tokio::test]
async fn a_stage_is_ready_while_shards_can_be_seen_and_taken() {
    let (idle, _dir) = idle(1).await;
    let health = Health::default();
    let shards = Shards::new(idle, health.part("idle"));
    let reasons = || health.reasons().into_iter().map(|(_, reason)| reason).collect::<Vec<_>>();
    shards.pieces().await.unwrap();
    assert_eq!(reasons(), ["starting"], "seeing shards is not taking them");
    shards.able(Ok(()));
    assert!(reasons().is_empty());
    shards.able(Err("no answer"));
    assert_eq!(reasons(), ["no answer"]);
    shards.able(Ok(()));
    assert!(reasons().is_empty());
}

#[tokio::test]
async fn a_halt_is_fatal_and_anything_else_is_tried_again() {
    let (idle, _dir) = idle(3).await;
    let shards = shards(&idle);
    assert_eq!(shards.run("idle/s-0000", Stop::new()).await.unwrap(), Ending::Done);
    for missing in ["idle/s-0001", "idle/s-0099"] {
        assert!(matches!(shards.run(missing, Stop::new()).await, Err(Failure::Again(_))), "{missing}");
    }
    let Err(Failure::Fatal(fatal)) = shards.run("idle/s-0002", Stop::new()).await else { panic!("no halt") };
    assert!(fatal.is::<Halt>());
}
