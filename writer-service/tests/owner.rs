//! The writer on the embedded backends, from clean records to objects in the lake.

#![allow(clippy::unwrap_used)] // A test that can't be set up may panic.

use bytes::Bytes;
use clap::Parser;
use lake::local::LocalLake;
use lake::parquet_file::{Columns, batches_of};
use ledger::embedded::EmbeddedLedger;
use ledger::{Entry, Ledger};
use prometheus::proto::Metric;
use schema::body::BodyPacker;
use schema::stored::StoredEvent;
use schema::v1::{Decision, DedupEntry, DedupGenesis, Lane, dedup_entry};
use schema::{ChainId, EventId, HashKey, Kind, Origin, ShardId, Table, columns, record};
use service::{Env, Rules, Stop};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::Duration;
use store::{Options, Store};
use stream::embedded::EmbeddedStream;
use stream::{NewRecord, Stream};
use tempfile::TempDir;
use writer_service::budget::Budget;
use writer_service::{Config, Encode, Ending, Owner, OwnerError, Parts};

const DAY: i64 = 86_400_000_000;

#[derive(Parser)]
struct Only {
    #[command(flatten)]
    config: Config,
}

struct House {
    parts: Parts,
    clean: EmbeddedStream,
    origin: Origin,
    /// Time as the streams tell it, in microseconds.
    clock: Arc<AtomicI64>,
    dir: TempDir,
}

async fn house(args: &[&str]) -> House {
    house_on("clean", args).await
}

/// A house whose clean stream has this name.
async fn house_on(stream: &str, args: &[&str]) -> House {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(0));
    let arrivals = clock.clone();
    let options = Options::new(Arc::new(move || arrivals.load(SeqCst)), "a test");
    let store = Arc::new(Store::open(dir.path(), options).unwrap());
    let clean = EmbeddedStream::open(&store, stream, NonZeroU32::MIN, "c1").await.unwrap();
    let ledger = EmbeddedLedger::new(store);
    let chain = ChainId::dedup("r1", &ShardId::new("raw-0000"), 0);
    put_entry(&ledger, &chain, 0, dedup_entry::Entry::Genesis(DedupGenesis::default())).await;
    let config = Only::parse_from(["writer", "--writer-settle-after", "20ms"].iter().chain(args)).config;
    let parts = Parts {
        clean: Arc::new(clean.clone()),
        ledger: Arc::new(ledger),
        lake: Arc::new(LocalLake::open(dir.path().join("lake")).unwrap()),
        env: Env::system(),
        budget: Budget::new(config.memory_bytes_max),
        config,
        encode: Encode::OnPool,
        rules: Rules::default(),
    };
    House { parts, clean, origin: Origin::of(&chain, Kind::Events), clock, dir }
}

async fn put_entry(ledger: &dyn Ledger, chain: &ChainId, number: u64, entry: dedup_entry::Entry) {
    let bytes = record::encode(&DedupEntry { entry: Some(entry) });
    ledger.append(chain, number, Entry { nonce: number.into(), bytes }).await.unwrap();
}

fn clean_record(origin: &Origin, first: u64, count: u64, day: i64) -> Bytes {
    let (mut plain, mut ids) = (Vec::new(), Vec::new());
    for ordinal in first..first + count {
        StoredEvent { event_name: "a:b", created_at: day * DAY + ordinal as i64, ..Default::default() }
            .encode_delimited(&mut plain);
        ids.extend(EventId(u128::from(ordinal) + 1).to_bytes());
    }
    let raw = record::raw(Kind::Events, ids, 5, BodyPacker::default().pack(&plain, count as u32));
    let places: Vec<usize> = (0..count as usize).collect();
    record::encode(&record::clean_of(&raw, &places, origin, first))
}

impl House {
    async fn put(&self, bytes: Bytes) {
        self.clean.append(vec![NewRecord { point: HashKey(0), bytes }]).await.remove(0).unwrap();
    }

    async fn events(&self, first: u64, count: u64) {
        self.put(clean_record(&self.origin, first, count, 20_000)).await;
    }

    /// Ends the chain of the origin, now, with so many ordinals.
    async fn end_origin(&self, count: u64) {
        let lane = Some(Lane { first_ordinal: count, ..Lane::default() });
        let (appended_at, quarantine) = (self.clock.load(SeqCst), Some(Lane::default()));
        let end = Decision { end: true, events: lane, quarantine, appended_at, ..Decision::default() };
        put_entry(&*self.parts.ledger, &self.origin.chain(), 1, dedup_entry::Entry::Decision(end)).await;
    }

    /// Moves the clock, and writes an event of another origin, which goes on.
    async fn other_event(&self, day: i64, ordinal: u64) {
        self.clock.store(day * DAY, SeqCst);
        let chain = ChainId::dedup("r1", &ShardId::new("raw-0001"), 0);
        put_entry(&*self.parts.ledger, &chain, 0, dedup_entry::Entry::Genesis(DedupGenesis::default())).await;
        self.put(clean_record(&Origin::of(&chain, Kind::Events), ordinal, 1, 20_001)).await;
        self.settle().await;
    }

    /// Origins in the sets of the head.
    async fn origins(&self) -> Vec<String> {
        let shard = self.clean.shards().await.unwrap().remove(0);
        let chain = writer_service::owner::chain_of(&self.clean, &shard);
        let (_, head) = writer_service::chain::head(&*self.parts.ledger, &chain).await.unwrap().unwrap();
        head.sets_after.into_iter().map(|set| set.origin).collect()
    }

    async fn open(&self) -> Result<Owner, OwnerError> {
        let shard = self.clean.shards().await.unwrap().remove(0);
        Owner::open(self.parts.clone(), shard).await
    }

    async fn settle(&self) -> Ending {
        let owner = self.open().await.unwrap();
        let stop = Stop::new();
        let stopping = stop.clone();
        let later = async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            stopping.cancel();
        };
        let (outcome, ()) = tokio::join!(owner.run(stop), later);
        outcome.unwrap()
    }

    async fn keys(&self, prefix: &str) -> Vec<String> {
        self.parts.lake.list(prefix).await.unwrap().into_iter().map(|object| object.key).collect()
    }

    /// Ordinals in the lake, sorted, each as often as it is there.
    async fn ordinals(&self) -> Vec<u64> {
        let mut ordinals = Vec::new();
        for key in self.keys("live/events/").await {
            let bytes = self.parts.lake.get(&key).await.unwrap();
            for batch in batches_of(Table::Events, &key, &bytes, Columns::All).unwrap() {
                ordinals.extend(columns::places(Table::Events, &batch).unwrap().map(|place| place.unwrap().ordinal));
            }
        }
        ordinals.sort_unstable();
        ordinals
    }
}

#[tokio::test]
async fn every_ordinal_becomes_one_row_in_whatever_order_it_comes() {
    let house = house(&[]).await;
    for (first, count) in [(5, 3), (0, 2), (1, 5), (5, 3), (8, 1)] {
        house.events(first, count).await;
    }
    assert_eq!(house.settle().await, Ending::Stopped);
    assert_eq!(house.ordinals().await, (0..9).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_event_goes_to_the_day_on_which_it_happened() {
    let house = house(&[]).await;
    house.put(clean_record(&house.origin, 0, 1, 0)).await;
    house.put(clean_record(&house.origin, 1, 1, 1)).await;
    house.settle().await;
    let days: Vec<String> = house.keys("live/events/").await.iter().map(|key| key[12..33].to_string()).collect();
    assert_eq!(days, ["event_date=1970-01-01", "event_date=1970-01-02"]);
}

#[tokio::test]
async fn what_an_owner_announced_and_did_not_upload_is_made_by_the_next_in_the_same_objects() {
    let house = house(&["--live-object-rows", "4"]).await;
    house.events(0, 10).await;
    house.settle().await;
    let before = house.keys("live/").await;
    assert_eq!(before.len(), 3);
    // As if the owner had died right after it announced: the objects are gone, and so is the entry that settles them.
    for key in &before {
        std::fs::remove_file(house.dir.path().join("lake").join(Path::new(key))).unwrap();
    }
    let ledger = Arc::new(Headless { ledger: house.parts.ledger.clone(), from: 2 });
    let other_split = Only::parse_from(["writer", "--live-object-rows", "7"]).config;
    let parts = Parts { ledger, config: other_split, ..house.parts.clone() };
    let shard = house.clean.shards().await.unwrap().remove(0);
    let owner = Owner::open(parts, shard).await.unwrap();
    let stop = Stop::new();
    stop.cancel();
    // Its own append finds the slot taken, which is right; the objects are there by then.
    assert!(matches!(owner.run(stop).await, Err(OwnerError::Ledger(ledger::LedgerError::Taken { .. }))));
    assert_eq!(house.keys("live/").await, before);
    assert_eq!(house.ordinals().await, (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_was_taken_from_a_stream_is_not_taken_again_from_the_one_that_came_after_it() {
    let house = house(&[]).await;
    house.events(0, 4).await;
    house.settle().await;
    let log = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(log.path(), Options::new(Arc::new(|| 0), "a test")).unwrap());
    let clean = EmbeddedStream::open(&store, "clean", NonZeroU32::MIN, "c2").await.unwrap();
    let parts = Parts { clean: Arc::new(clean.clone()), ..house.parts.clone() };
    let later = House { parts, clean, ..house };
    // The last decision before is forwarded again by whoever does not know that it was.
    later.events(2, 4).await;
    later.settle().await;
    assert_eq!(later.ordinals().await, (0..6).collect::<Vec<_>>());
}

#[tokio::test]
async fn events_of_an_origin_that_nobody_registered_go_to_quarantine() {
    let house = house(&[]).await;
    let nobody = Origin::new("r1/raw-0099/0");
    house.put(clean_record(&nobody, 0, 3, 20_000)).await;
    house.put(Bytes::from_static(b"rubbish")).await;
    house.events(0, 1).await;
    house.settle().await;
    assert_eq!(house.ordinals().await, [0]);
    assert_eq!(house.keys("live/quarantine/").await.len(), 1);
    assert!(foreign("undecodable") >= 2.0, "both are shown by their reason");
}

#[tokio::test]
async fn an_object_of_other_rows_under_an_announced_name_halts() {
    let house = house(&[]).await;
    house.events(0, 3).await;
    let name = lake::layout::ObjectName::live(
        Table::Events,
        schema::Day(20_000),
        &ChainId::new("writer/c1/clean-0000/0"),
        1,
        0,
    );
    let mut rows = schema::rows::Rows::new(Table::Events);
    let place = schema::rows::RowPlace { origin: &house.origin, ordinal: 99, id: EventId(99), received_at: 0 };
    rows.push_event(&place, &StoredEvent { event_name: "x:y", ..Default::default() });
    house.parts.lake.create(&name.key(), lake::parquet_file::encode(rows).0).await.unwrap();
    let stop = Stop::new();
    let owner = house.open().await.unwrap();
    let stopping = stop.clone();
    let later = async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stopping.cancel();
    };
    let (outcome, ()) = tokio::join!(owner.run(stop), later);
    assert!(matches!(outcome, Err(OwnerError::Halt(_))), "{outcome:?}");
}

#[tokio::test]
async fn little_memory_means_more_objects_and_the_same_rows() {
    let house = house(&["--writer-memory", "100KiB"]).await;
    for k in 0..20 {
        house.events(k * 500, 500).await;
    }
    house.settle().await;
    assert_eq!(house.ordinals().await.len(), 10_000);
}

#[tokio::test]
async fn the_largest_part_of_all_shards_is_closed_whoever_needs_the_memory() {
    let args = ["--writer-memory", "3MiB", "--flush-interval", "1h"];
    let (quiet, mut busy) = (house(&args).await, house(&args).await);
    busy.parts.budget = quiet.parts.budget.clone();
    let stop = Stop::new();
    let owners = [quiet.open().await.unwrap(), busy.open().await.unwrap()];
    let runs = owners.map(|owner| tokio::spawn(owner.run(stop.clone())));
    for k in 0..40 {
        quiet.events(k * 500, 500).await;
    }
    for k in 0..1000 {
        if evicted() > 0.0 {
            break;
        }
        busy.events(k * 50, 50).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(evicted() > 0.0);
    assert!(busy.keys("live/").await.is_empty(), "the busy shard need not give up what it gathers");
    stop.cancel();
    for run in runs {
        assert_eq!(run.await.unwrap().unwrap(), Ending::Stopped);
    }
    assert_eq!(quiet.ordinals().await.len(), 20_000);
}

#[tokio::test]
async fn an_origin_that_ended_long_ago_is_forgotten_and_what_strays_in_later_is_not_taken_twice() {
    let house = house(&[]).await;
    house.events(0, 5).await;
    house.end_origin(5).await;
    house.other_event(29, 0).await;
    assert_eq!(house.origins().await, ["r1/raw-0000/0", "r1/raw-0001/0"]);
    house.other_event(31, 1).await;
    assert_eq!(house.origins().await, ["r1/raw-0001/0"]);

    assert_eq!(house.ordinals().await, [0, 0, 1, 1, 2, 3, 4], "five of the one and two of the other");
    house.events(1, 2).await;
    house.settle().await;
    assert_eq!(house.ordinals().await, [0, 0, 1, 1, 2, 3, 4]);
    assert_eq!(house.origins().await, ["r1/raw-0001/0"]);
    assert_eq!(house.keys("live/quarantine/").await.len(), 1);
}

#[tokio::test]
async fn an_origin_with_an_ordinal_missing_is_not_forgotten_and_can_be_repaired() {
    let house = house(&[]).await;
    house.events(0, 3).await;
    house.end_origin(5).await;
    house.other_event(31, 0).await;
    house.other_event(33, 1).await;
    assert_eq!(house.origins().await, ["r1/raw-0000/0", "r1/raw-0001/0"]);
    house.events(3, 2).await;
    house.settle().await;
    assert_eq!(house.ordinals().await, [0, 0, 1, 1, 2, 3, 4]);
}

#[tokio::test]
async fn what_arrived_in_time_is_taken_however_late_it_is_read() {
    let house = house(&[]).await;
    house.events(0, 5).await;
    house.end_origin(5).await;
    house.other_event(400, 0).await;
    assert_eq!(house.ordinals().await, [0, 0, 1, 2, 3, 4]);
    assert!(house.keys("live/quarantine/").await.is_empty());
}

#[tokio::test]
async fn the_next_owner_derives_the_same_rows_of_an_origin_that_was_forgotten() {
    let house = house(&[]).await;
    house.events(0, 5).await;
    house.end_origin(5).await;
    house.other_event(31, 0).await;
    house.clock.store(31 * DAY, SeqCst);
    house.events(0, 5).await;
    house.settle().await;
    let before = house.keys("live/").await;
    let strayed = house.keys("live/quarantine/").await.remove(0);
    std::fs::remove_file(house.dir.path().join("lake").join(Path::new(&strayed))).unwrap();
    // As if the owner had died right after it announced the stray.
    let name = lake::layout::ObjectName::parse(&strayed).unwrap();
    let lake::layout::Role::Live { entry, .. } = name.role else { panic!("{strayed} is of no writer") };
    let ledger = Arc::new(Headless { ledger: house.parts.ledger.clone(), from: entry + 1 });
    let shard = house.clean.shards().await.unwrap().remove(0);
    let owner = Owner::open(Parts { ledger, ..house.parts.clone() }, shard).await.unwrap();
    let stop = Stop::new();
    stop.cancel();
    assert!(matches!(owner.run(stop).await, Err(OwnerError::Ledger(ledger::LedgerError::Taken { .. }))));
    assert_eq!(house.keys("live/").await, before);
}

/// The figure of a metric whose one label begins so.
fn figure(name: &str, label: &str, value: impl Fn(&Metric) -> f64) -> f64 {
    let family = prometheus::gather().into_iter().find(|family| family.name() == name);
    let metrics = family.map(|family| family.get_metric().to_vec()).unwrap_or_default();
    metrics.iter().find(|metric| metric.get_label()[0].value().starts_with(label)).map_or(0.0, value)
}

/// Origins with a hole that stays.
fn holes(stream: &str) -> f64 {
    figure("forebay_writer_holes", stream, |metric| metric.get_gauge().get_value())
}

/// Rows of quarantine that no gateway has counted.
fn foreign(reason: &str) -> f64 {
    figure("forebay_writer_foreign_quarantined_total", reason, |metric| metric.get_counter().get_value())
}

/// Objects closed early.
fn evicted() -> f64 {
    let families = prometheus::gather();
    let family = families.iter().find(|family| family.name() == "forebay_writer_evicted_total");
    family.map_or(0.0, |family| family.get_metric()[0].get_counter().get_value())
}

/// Lets time pass until so many origins have a hole that stays; what happens meanwhile is `each_second`.
async fn until_holes<F: Future<Output = ()>>(stream: &str, count: f64, mut each_second: impl FnMut(u64) -> F) {
    for second in 0..600 {
        if holes(stream) == count {
            return;
        }
        each_second(second).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("{} origins have a hole that stays", holes(stream));
}

async fn a_hole_is_told_of<F: Future<Output = ()>>(stream: &str, house: &House, each_second: impl FnMut(u64) -> F) {
    house.events(0, 2).await;
    house.events(5, 1).await;
    let (owner, stop) = (house.open().await.unwrap(), Stop::new());
    let told = async {
        until_holes(stream, 1.0, each_second).await;
        house.events(2, 3).await;
        until_holes(stream, 0.0, |_| std::future::ready(())).await;
        stop.cancel();
    };
    let (outcome, ()) = tokio::join!(owner.run(stop.clone()), told);
    assert_eq!(outcome.unwrap(), Ending::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_hole_is_told_of_where_nothing_else_comes_until_it_is_closed() {
    let house = house_on("quiet", &[]).await;
    a_hole_is_told_of("quiet", &house, |_| std::future::ready(())).await;
    assert_eq!(house.ordinals().await, (0..6).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_hole_is_told_of_where_events_go_on_coming_above_it_until_it_is_closed() {
    let house = house_on("busy", &[]).await;
    a_hole_is_told_of("busy", &house, |second| house.events(6 + second, 1)).await;
    assert!(house.ordinals().await.len() > 6, "something came meanwhile");
}

/// A ledger in which the entries from number `from` on have not been written yet, as far as readers can tell.
#[derive(Debug)]
struct Headless {
    ledger: Arc<dyn Ledger>,
    from: u64,
}

#[async_trait::async_trait]
impl Ledger for Headless {
    async fn append(&self, chain: &ChainId, number: u64, entry: Entry) -> Result<(), ledger::LedgerError> {
        self.ledger.append(chain, number, entry).await
    }

    async fn load(
        &self,
        chain: &ChainId,
        from: u64,
        count_max: usize,
    ) -> Result<Vec<ledger::Slot>, ledger::LedgerError> {
        let mut slots = self.ledger.load(chain, from, count_max).await?;
        slots.retain(|slot| slot.number < self.from);
        Ok(slots)
    }

    async fn head(&self, chain: &ChainId) -> Result<Option<ledger::Slot>, ledger::LedgerError> {
        Ok(self.load(chain, 0, 1000).await?.pop())
    }

    async fn chains(&self, prefix: &str) -> Result<Vec<ChainId>, ledger::LedgerError> {
        self.ledger.chains(prefix).await
    }

    async fn trim(&self, chain: &ChainId, below: u64) -> Result<(), ledger::LedgerError> {
        self.ledger.trim(chain, below).await
    }

    async fn acquire(
        &self,
        name: &str,
        owner: &str,
        seen: Option<&ledger::Lease>,
    ) -> Result<ledger::Lease, ledger::LeaseError> {
        self.ledger.acquire(name, owner, seen).await
    }

    async fn renew(&self, lease: &ledger::Lease) -> Result<ledger::Lease, ledger::LeaseError> {
        self.ledger.renew(lease).await
    }

    async fn release(&self, lease: &ledger::Lease) -> Result<(), ledger::LeaseError> {
        self.ledger.release(lease).await
    }

    async fn leases(&self, prefix: &str) -> Result<Vec<ledger::Lease>, ledger::LedgerError> {
        self.ledger.leases(prefix).await
    }
}
