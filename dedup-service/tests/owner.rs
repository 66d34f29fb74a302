//! The dedup stage on the embedded backends, from raw records to clean ones.

#![allow(clippy::unwrap_used)] // A test that can't be set up may panic.

use async_trait::async_trait;
use bytes::Bytes;
use clap::Parser;
use dedup_service::again::{Again, Ordinals};
use dedup_service::budget::Budget;
use dedup_service::{Config, Ending, Owner, Parts};
use ledger::embedded::EmbeddedLedger;
use schema::body::BodyPacker;
use schema::stored::StoredEvent;
use schema::v1::{CleanRecord, Decision, Void, dedup_entry};
use schema::{EventId, HashKey, IntervalSet, Kind, Origin, Position, ShardId, record};
use service::{Env, Rules, Stop};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use store::{Options, Store};
use stream::embedded::EmbeddedStream;
use stream::{AppendError, NewRecord, Page, Placed, ReadError, ReadLimit, Shard, Stream};
use tempfile::TempDir;

#[derive(Parser)]
struct Only {
    #[command(flatten)]
    config: Config,
}

struct House {
    parts: Parts,
    raw: EmbeddedStream,
    store: Arc<Store>,
    _dir: TempDir,
}

async fn house(raw_shards: u32, args: &[&str]) -> House {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path(), Options::new(Arc::new(|| 0), "a test")).unwrap());
    let shards = NonZeroU32::new(raw_shards).unwrap();
    let raw = EmbeddedStream::open(&store, "raw", shards, "r1").await.unwrap();
    let clean = EmbeddedStream::open(&store, "clean", NonZeroU32::MIN, "c1").await.unwrap();
    let parts = Parts {
        raw: Arc::new(raw.clone()),
        clean: Arc::new(clean),
        ledger: Arc::new(EmbeddedLedger::new(store.clone())),
        env: Env::system(),
        config: Only::parse_from(["dedup", "--dedup-settle-after", "20ms"].iter().chain(args)).config,
        budget: Budget::new(1_000_000),
        rules: Rules::default(),
    };
    House { parts, raw, store, _dir: dir }
}

fn raw_record(ids: impl IntoIterator<Item = u128>, received_at: i64) -> Bytes {
    let (mut plain, mut bytes, mut count) = (Vec::new(), Vec::new(), 0);
    for id in ids {
        StoredEvent { event_name: "a:b", created_at: id as i64, ..Default::default() }.encode_delimited(&mut plain);
        bytes.extend(EventId(id).to_bytes());
        count += 1;
    }
    record::encode(&record::raw(Kind::Events, bytes, received_at, BodyPacker::default().pack(&plain, count)))
}

impl House {
    /// Has another stream take the place of the raw one, which is gone with all that it held.
    async fn make_raw_again(&mut self, incarnation: &str, shards: u32) {
        let shards = NonZeroU32::new(shards).unwrap();
        let name = format!("raw-{incarnation}");
        self.raw = EmbeddedStream::open(&self.store, &name, shards, incarnation).await.unwrap();
        self.parts.raw = Arc::new(self.raw.clone());
    }

    async fn put(&self, bytes: Bytes, point: HashKey) {
        let placed = self.raw.append(vec![NewRecord { point, bytes }]).await.remove(0);
        placed.unwrap();
    }

    /// Runs owners of all shards, parents first, until nothing is left to do.
    async fn settle(&self) -> Vec<Ending> {
        let mut outcomes = Vec::new();
        for shard in self.raw.shards().await.unwrap() {
            outcomes.push(self.run(shard).await);
        }
        outcomes
    }

    async fn run(&self, shard: stream::Shard) -> Ending {
        let owner = Owner::open(self.parts.clone(), shard).await.unwrap();
        let stop = Stop::new();
        let stopping = stop.clone();
        let later = async move {
            tokio::time::sleep(Duration::from_millis(150)).await;
            stopping.cancel();
        };
        let (outcome, ()) = tokio::join!(owner.run(stop), later);
        outcome.unwrap()
    }

    async fn clean(&self) -> Vec<CleanRecord> {
        let limit = ReadLimit { records_max: 1000, bytes_max: 1 << 20, wait: Duration::ZERO };
        let mut records = Vec::new();
        for shard in self.parts.clean.shards().await.unwrap() {
            let page = self.parts.clean.read(&shard.id, &Position::start(), limit).await.unwrap();
            records.extend(page.records.into_iter().map(|record| record::decode_clean(record.bytes).unwrap()));
        }
        records
    }

    /// Ids that were forwarded, sorted, each as often as it was.
    async fn forwarded(&self) -> Vec<u128> {
        let records = self.clean().await;
        let mut ids: Vec<u128> = records.iter().flat_map(|record| record::ids(&record.ids)).map(|id| id.0).collect();
        ids.sort_unstable();
        ids
    }
}

#[tokio::test]
async fn each_id_goes_on_once_with_dense_ordinals() {
    let house = house(1, &[]).await;
    house.put(raw_record([1, 2, 1, 3], 10), HashKey(0)).await;
    house.put(raw_record([3, 4], 20), HashKey(0)).await;
    house.settle().await;
    let records = house.clean().await;
    let ranges: Vec<_> = records.iter().map(|r| (r.first_ordinal, record::count(&r.ids), r.received_at)).collect();
    assert_eq!(ranges, [(0, 3, 10), (3, 1, 20)]);
    assert_eq!(house.forwarded().await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_new_owner_remembers_what_the_last_one_accepted() {
    let house = house(1, &[]).await;
    house.put(raw_record([1, 2], 10), HashKey(0)).await;
    house.settle().await;
    house.put(raw_record([2, 3], 20), HashKey(0)).await;
    house.settle().await;
    assert_eq!(house.forwarded().await, [1, 2, 3]);
}

#[tokio::test]
async fn the_children_of_a_shard_remember_what_it_accepted() {
    let house = house(1, &[]).await;
    let ids: Vec<u128> = (1..=40).collect();
    house.put(raw_record(ids.clone(), 10), HashKey(0)).await;
    house.raw.reshard(NonZeroU32::new(3).unwrap()).await.unwrap();
    for &id in &ids {
        house.put(raw_record([id], 20), EventId(id).hash()).await;
    }
    let outcomes = house.settle().await;
    assert_eq!(outcomes, [Ending::Done, Ending::Stopped, Ending::Stopped, Ending::Stopped]);
    assert_eq!(house.forwarded().await, ids);
}

#[tokio::test]
async fn a_stream_that_takes_another_ones_place_remembers_what_that_accepted() {
    let mut house = house(1, &[]).await;
    house.put(raw_record([1, 2], 10), HashKey(0)).await;
    house.settle().await;
    let parent = house.raw.shards().await.unwrap().remove(0);
    house.raw.split(&parent.id, parent.range.middle()).await.unwrap();
    house.put(raw_record([3], 20), EventId(3).hash()).await;
    house.settle().await;
    for (incarnation, shards) in [("r2", 2), ("r3", 1)] {
        house.make_raw_again(incarnation, shards).await;
        for id in [1, 2, 3] {
            house.put(raw_record([id], 30), EventId(id).hash()).await;
        }
        house.settle().await;
        assert_eq!(house.forwarded().await, [1, 2, 3], "{incarnation}");
    }
    house.put(raw_record([4, 1], 40), HashKey(0)).await;
    house.settle().await;
    assert_eq!(house.forwarded().await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn strays_come_home_and_are_decided_there() {
    let house = house(2, &[]).await;
    let ids: Vec<u128> = (1..=30).collect();
    // All in one record on one shard, whatever their hashes say, and once more where they belong.
    house.put(raw_record(ids.clone(), 10), HashKey(0)).await;
    for &id in &ids {
        house.put(raw_record([id], 20), EventId(id).hash()).await;
    }
    for _ in 0..4 {
        house.settle().await;
    }
    assert_eq!(house.forwarded().await, ids);
}

#[tokio::test]
async fn other_producers_events_are_understood_and_rubbish_is_kept() {
    let house = house(1, &[]).await;
    let event = br#"{"event_id":"0192f0c1-7b6d-7e1a-8a3b-1234567890ab","event_name":"a:b","created_at":"2001-01-01T00:00:00Z"}"#;
    // The embedded stream's clock stands still at 1970: what is read as of then is in the future, and kept as such.
    house.put(Bytes::from_static(event), HashKey(0)).await;
    house.put(Bytes::from_static(b"rubbish"), HashKey(0)).await;
    house.settle().await;
    let records = house.clean().await;
    assert_eq!(records.iter().map(|r| r.kind).collect::<Vec<_>>(), [Kind::Quarantine as i32; 2]);
    assert_eq!(records[1].first_ordinal, 1);
}

#[tokio::test]
async fn an_event_that_comes_very_late_is_judged_by_the_entries_of_its_time() {
    const HOUR: i64 = 3_600_000_000;
    let house = house(1, &["--window", "2h", "--window-delay-max", "0s"]).await;
    house.put(raw_record([1], 10 * HOUR), HashKey(0)).await;
    house.settle().await;
    for hour in 11..60 {
        house.put(raw_record([1000 + hour as u128], hour * HOUR), HashKey(0)).await;
    }
    house.settle().await;
    // A copy that was received with the first, and reaches the stream two days later.
    house.put(raw_record([1], 10 * HOUR + 5), HashKey(0)).await;
    house.settle().await;
    assert_eq!(house.forwarded().await.iter().filter(|id| **id == 1).count(), 1);
}

#[tokio::test]
async fn a_chain_that_is_missing_while_a_writer_knows_its_ordinals_halts() {
    use schema::v1::{Announcement, OriginSet, WriterEntry, writer_entry};
    let house = house(1, &[]).await;
    let sets_after = vec![OriginSet { origin: "r1/raw-0000/0".into(), intervals: vec![0, 5] }];
    let entry = writer_entry::Entry::Announcement(Announcement { sets_after, ..Announcement::default() });
    let bytes = record::encode(&WriterEntry { entry: Some(entry) });
    let chain = schema::ChainId::new("writer/c1/clean-0000/0");
    house.parts.ledger.append(&chain, 0, ledger::Entry { nonce: 1, bytes }).await.unwrap();
    let shard = house.raw.shards().await.unwrap().remove(0);
    let error = Owner::open(house.parts.clone(), shard).await.expect_err("the chain is lost");
    assert!(error.to_string().contains("halt") && error.to_string().contains("r1/raw-0000/0"), "{error}");
}

#[tokio::test]
async fn what_was_decided_goes_on_again_as_it_was_and_what_is_not_there_is_named() {
    let house = house(1, &[]).await;
    house.put(raw_record([1, 2, 1, 3], 10), HashKey(0)).await;
    house.put(raw_record([3, 4], 20), HashKey(0)).await;
    house.settle().await;
    let sent = house.clean().await;
    let origin = Origin::new(&sent[0].origin);
    let mut ordinals = IntervalSet::default();
    ordinals.insert(3, 9);
    let wanted = Ordinals::from([(origin.clone(), ordinals)]);
    let Parts { raw, clean, ledger, .. } = &house.parts;
    let again = Again { raw: &**raw, clean: &**clean, ledger: &**ledger, is_rehearsal: false };
    let rehearsed = Again { is_rehearsal: true, ..again }.forward(&wanted).await.unwrap();
    assert_eq!((rehearsed.records, house.clean().await.len()), (1, 2));
    let outcome = again.forward(&wanted).await.unwrap();
    assert_eq!((outcome.records, outcome.events), (1, 1));
    assert_eq!(outcome.gone[&origin].intervals(), [(4, 9)], "nobody decided these");
    assert_eq!(house.clean().await[2], sent[1]);
}

#[tokio::test]
async fn tombstones_of_voids_go_on_again_where_entries_and_raw_records_are_gone_as_well() {
    let house = house(1, &[]).await;
    house.put(raw_record([1, 2, 3], 10), HashKey(0)).await;
    house.settle().await;
    let (origin, Parts { raw, clean, ledger, .. }) = (Origin::new(&house.clean().await[0].origin), &house.parts);
    let void = |first_ordinal: u64, count: u64| Void {
        kind: Kind::Events.into(),
        first_ordinal,
        ids: (0..count).flat_map(|k| EventId((first_ordinal + k).into()).to_bytes()).collect::<Vec<u8>>().into(),
        reason: "too large".to_string(),
    };
    let (chain, saved) = (origin.chain(), dedup_service::chain::of_voids(&origin.chain()));
    for (chain, voids) in [(&chain, vec![void(0, 3)]), (&saved, vec![void(5, 2)])] {
        let number = ledger.head(chain).await.unwrap().map_or(0, |head| head.number + 1);
        let decision = dedup_entry::Entry::Decision(Decision { voids, ..Decision::default() });
        ledger.append(chain, number, dedup_service::chain::encode(7, decision)).await.unwrap();
    }
    let mut ordinals = IntervalSet::default();
    ordinals.insert(1, 2);
    ordinals.insert(6, 8);
    let wanted = Ordinals::from([(origin.clone(), ordinals)]);
    let again = Again { raw: &**raw, clean: &**clean, ledger: &**ledger, is_rehearsal: false };
    let outcome = again.forward(&wanted).await.unwrap();
    assert_eq!(outcome.gone[&origin].intervals(), [(7, 8)], "nobody decided it");
    let sent = house.clean().await.split_off(1);
    let tombstones = [void(5, 2), void(0, 3)].map(|void| record::tombstone(&origin, void.first_ordinal, void.ids));
    assert_eq!(sent, tombstones);
}

/// A stream of which retention has removed the first record of each shard.
#[derive(Debug)]
struct WithoutFirst(EmbeddedStream);

#[async_trait]
impl Stream for WithoutFirst {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn incarnation(&self) -> &str {
        self.0.incarnation()
    }

    async fn append(&self, records: Vec<NewRecord>) -> Vec<Result<Placed, AppendError>> {
        self.0.append(records).await
    }

    async fn shards(&self) -> Result<Vec<Shard>, ReadError> {
        self.0.shards().await
    }

    /// From the start, what is left.
    async fn read(&self, shard: &ShardId, after: &Position, limit: ReadLimit) -> Result<Page, ReadError> {
        let first = Position::from_number(0);
        match after {
            after if after.is_start() => self.0.read(shard, &first, limit).await,
            after if *after == first => Err(ReadError::Trimmed { shard: shard.clone(), after: first }),
            after => self.0.read(shard, after, limit).await,
        }
    }

    async fn consumed(&self, shard: &ShardId, through: &Position) {
        self.0.consumed(shard, through).await;
    }
}

/// Everything that clean records hold.
fn ordinals_of(records: &[CleanRecord]) -> Ordinals {
    let mut all = Ordinals::new();
    for record in records {
        let end = record.first_ordinal + record::count(&record.ids) as u64;
        all.entry(Origin::new(&record.origin)).or_default().insert(record.first_ordinal, end);
    }
    all
}

#[tokio::test]
async fn entries_and_chains_go_on_again_behind_a_first_entry_of_which_a_raw_record_is_gone() {
    let house = house(2, &[]).await;
    let [mut early, mut late] = [Vec::new(), Vec::new()];
    for (ids, sent) in [(1..=20, &mut early), (21..=40, &mut late)] {
        let before = house.clean().await.len();
        for id in ids {
            house.put(raw_record([id], 10), EventId(id).hash()).await;
        }
        house.settle().await;
        sent.extend(house.clean().await.split_off(before));
    }
    let wanted = ordinals_of(&[early.clone(), late.clone()].concat());
    assert_eq!(wanted.len(), 2, "both shards have some");
    let (raw, Parts { clean, ledger, .. }) = (WithoutFirst(house.raw.clone()), &house.parts);
    let again = Again { raw: &raw, clean: &**clean, ledger: &**ledger, is_rehearsal: false };
    let outcome = again.forward(&wanted).await.unwrap();
    assert_eq!(outcome.gone, ordinals_of(&early));
    assert_eq!(ordinals_of(&house.clean().await.split_off(early.len() + late.len())), ordinals_of(&late));
}

#[tokio::test]
async fn a_range_of_as_many_other_records_is_not_taken_for_one_that_is_gone() {
    let (house, other) = (house(1, &[]).await, house(1, &[]).await);
    house.put(raw_record([1, 2], 10), HashKey(0)).await;
    other.put(raw_record([3, 4], 10), HashKey(0)).await;
    house.settle().await;
    let Parts { clean, ledger, .. } = &house.parts;
    let again = Again { raw: &other.raw, clean: &**clean, ledger: &**ledger, is_rehearsal: false };
    let halt = again.forward(&ordinals_of(&house.clean().await)).await.expect_err("it is another stream");
    assert!(halt.to_string().contains("halt") && halt.to_string().contains("other ids"), "{halt}");
    assert_eq!(house.clean().await.len(), 1);
}
