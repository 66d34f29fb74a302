//! An owner whose lake refuses objects: lag grows as what waits gets older, and records are kept for longer.

#![allow(clippy::unwrap_used)] // A test that can't be set up may panic.

#[path = "../../ownership/tests/shared/aging.rs"]
mod aging;
#[path = "../../ownership/tests/shared/hands.rs"]
mod hands;

use aging::{Aging, DAY, until};
use async_trait::async_trait;
use bytes::Bytes;
use clap::Parser;
use hands::Hands;
use lake::local::LocalLake;
use lake::{Created, Lake, LakeError, ObjectMeta};
use ledger::embedded::EmbeddedLedger;
use ledger::{Entry, Ledger};
use schema::body::BodyPacker;
use schema::stored::StoredEvent;
use schema::v1::{DedupEntry, DedupGenesis, dedup_entry};
use schema::{ChainId, EventId, HashKey, Kind, Origin, ShardId, record};
use service::{Clock, Env, Rules, Stop};
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use store::{Options, Store};
use stream::embedded::EmbeddedStream;
use stream::{NewRecord, Shard, Stream};
use tempfile::TempDir;
use writer_service::budget::Budget;
use writer_service::{Config, Encode, Ending, Owner, Parts};

const HOUR: i64 = 3_600_000_000;

#[derive(Parser)]
struct Only {
    #[command(flatten)]
    config: Config,
}

/// A lake that takes no objects while it is closed to them.
#[derive(Debug)]
struct Closing {
    lake: LocalLake,
    is_closed: AtomicBool,
}

impl Closing {
    fn check(&self, key: &str) -> Result<(), LakeError> {
        match self.is_closed.load(SeqCst) {
            true => Err(LakeError::Unavailable { key: key.to_owned(), detail: "it is closed".to_owned() }),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Lake for Closing {
    async fn create(&self, key: &str, bytes: Bytes) -> Result<Created, LakeError> {
        self.check(key)?;
        self.lake.create(key, bytes).await
    }

    async fn create_from_file(&self, key: &str, file: &Path) -> Result<Created, LakeError> {
        self.check(key)?;
        self.lake.create_from_file(key, file).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, LakeError> {
        self.lake.get(key).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, LakeError> {
        self.lake.get_range(key, range).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, LakeError> {
        self.lake.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, LakeError> {
        self.lake.list(prefix).await
    }

    async fn delete(&self, key: &str) -> Result<(), LakeError> {
        self.lake.delete(key).await
    }
}

struct House {
    parts: Parts,
    clean: Arc<Aging>,
    lake: Arc<Closing>,
    clock: Arc<Hands>,
    shard: Shard,
    origin: Origin,
    _dir: TempDir,
}

async fn house() -> House {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(Hands::default()));
    let arrivals = clock.clone();
    let options = Options::new(Arc::new(move || arrivals.now()), "a test");
    let store = Arc::new(Store::open(dir.path(), options).unwrap());
    let stream = EmbeddedStream::open(&store, "clean", NonZeroU32::MIN, "c1").await.unwrap();
    let clean = Aging::new(stream);
    let lake = LocalLake::open(dir.path().join("lake")).unwrap();
    let lake = Arc::new(Closing { lake, is_closed: AtomicBool::new(true) });
    let ledger = EmbeddedLedger::new(store);
    let chain = ChainId::dedup("r1", &ShardId::new("raw-0000"), 0);
    let genesis = DedupEntry { entry: Some(dedup_entry::Entry::Genesis(DedupGenesis::default())) };
    ledger.append(&chain, 0, Entry { nonce: 0, bytes: record::encode(&genesis) }).await.unwrap();
    let settings = "writer --flush-interval 1ms --writer-settle-after 20ms --writer-linger 0s";
    let config = Only::parse_from(settings.split(' ')).config;
    let parts = Parts {
        clean: clean.clone(),
        ledger: Arc::new(ledger),
        lake: lake.clone(),
        env: Env { clock: clock.clone(), ..Env::system() },
        budget: Budget::new(config.memory_bytes_max),
        config,
        encode: Encode::Inline,
        rules: Rules::default(),
    };
    let shard = clean.shards().await.unwrap().remove(0);
    House { parts, clean, lake, clock, shard, origin: Origin::of(&chain, Kind::Events), _dir: dir }
}

impl House {
    async fn put(&self) {
        let mut plain = Vec::new();
        StoredEvent { event_name: "a:b", ..Default::default() }.encode_delimited(&mut plain);
        let ids = EventId(1).to_bytes().to_vec();
        let raw = record::raw(Kind::Events, ids, 0, BodyPacker::default().pack(&plain, 1));
        let bytes = record::encode(&record::clean_of(&raw, &[0], &self.origin, 0));
        self.clean.append(vec![NewRecord { point: HashKey(0), bytes }]).await.remove(0).unwrap();
    }

    /// Runs an owner next to `then`, which gets what stops it; `None` where `then` was over first.
    async fn run_while(&self, then: impl AsyncFnOnce(Stop)) -> Option<Ending> {
        let owner = Owner::open(self.parts.clone(), self.shard.clone()).await.unwrap();
        let stop = Stop::new();
        tokio::select! {
            biased;
            ending = owner.run(stop.clone()) => Some(ending.unwrap()),
            () = then(stop) => None,
        }
    }
}

/// What the gauge of the shard says; 0 before it says anything.
fn share() -> f64 {
    let families = prometheus::gather();
    let shown = families.iter().find(|family| family.name() == "forebay_writer_lag_of_retention");
    shown.and_then(|family| family.get_metric().first()).map_or(0.0, |metric| metric.get_gauge().get_value())
}

#[tokio::test(start_paused = true)]
async fn the_lag_of_an_owner_whose_lake_takes_nothing_grows_and_retention_is_raised() {
    let house = house().await;
    house.put().await;
    let killed = house.run_while(async |_| {
        house.clock.0.store(13 * HOUR, SeqCst);
        until(|| share() > 0.5).await;
        assert_eq!(house.clean.kept_for(), Some(DAY));
    });
    assert_eq!(killed.await, None);

    // Whoever comes next knows how long it has waited.
    house.clock.0.store(20 * HOUR, SeqCst);
    let ending = house.run_while(async |stop| {
        until(|| house.clean.kept_for() == Some(2 * DAY)).await;
        house.lake.is_closed.store(false, SeqCst);
        stop.cancel();
        std::future::pending::<()>().await;
    });
    assert_eq!(ending.await, Some(Ending::Stopped));
    assert_eq!(house.lake.list("live/").await.unwrap().len(), 1);
}
