//! The chains of whole worlds, on ledgers in data directories: as they should be, read whole or in part, and cut short.

use super::*;
use crate::embedded::{self, LogConfig, Places};
use bytes::Bytes;
use clap::Parser;
use dedup_service::dedup::Tally;
use ledger::Ledger;
use schema::id::sum_hashes;
use schema::v1::{Announcement, Decision, DedupGenesis, Lane, OriginSet, Void, WriterGenesis};
use schema::v1::{dedup_entry, writer_entry};
use schema::{ChainId, EventId, HashKey, Position, ShardId, record};
use std::num::NonZeroU32;
use std::sync::Arc;
use store::{Options, Store};
use stream::embedded::EmbeddedStream;
use stream::{NewRecord, Stream};
use tempfile::TempDir;

const DAY_MICROS: i64 = 86_400_000_000;

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    log: LogConfig,
}

/// A data directory of its own.
struct World {
    ports: Embedded,
    env: Env,
    _dir: TempDir,
}

impl World {
    async fn empty() -> World {
        let (dir, env) = (tempfile::tempdir().unwrap(), Env::system());
        let places = Places { data_dir: dir.path().to_owned(), lake: None };
        let Settings { log } = Settings::parse_from(["a test", "--shards", "1"]);
        let (ports, _store) = embedded::open(&places, &log, &env).await.unwrap();
        World { ports, env, _dir: dir }
    }

    /// One chain of each sort, and one writer. Whether entries count makes no difference to what is so.
    async fn full(counts: bool) -> World {
        let world = World::empty().await;
        let (ledger, now) = (&*world.ports.ledger, world.env.now());
        let mut running = Chain::begin(ledger, RUNNING, counts).await;
        for number in 1..=40 {
            running.busy_entry(number, now).await;
        }
        for (shard, ended_at) in [(ENDED, now), (FORGOTTEN, now - 40 * DAY_MICROS), (NEVER, now - 40 * DAY_MICROS)] {
            let mut chain = Chain::begin(ledger, shard, counts).await;
            for number in 1..=9 {
                chain.busy_entry(number, ended_at).await;
            }
            let end = Decision { forwarded_through: 10, end: true, appended_at: ended_at, ..Decision::default() };
            chain.append([0, 0], end).await;
        }
        Chain::begin(ledger, FRESH, counts).await.busy_entry(1, now).await;
        world.take(1, &[(RUNNING, &[(0, 90), (96, 99)]), (ENDED, &[(0, 24)]), (FORGOTTEN, &[(0, 24)])]).await;
        world
    }

    /// A writer's entry: it has taken these events, and of the same origins all that are in quarantine.
    async fn take(&self, number: u64, taken: &[(&str, &[(u64, u64)])]) {
        let mut sets_after = Vec::new();
        for (shard, ranges) in taken {
            let mut events = IntervalSet::default();
            ranges.iter().for_each(|&(start, end)| events.insert(start, end));
            let mut quarantine = IntervalSet::default();
            match *shard {
                RUNNING => quarantine.insert(0, 5),
                FRESH => {}
                _ => quarantine.insert(0, 1),
            }
            sets_after.push(set(shard, Kind::Events, &events));
            sets_after.push(set(shard, Kind::Quarantine, &quarantine));
        }
        let entry = Announcement { sets_after, done_through: number, ..Announcement::default() };
        let ledger = &*self.ports.ledger;
        if number == 1 {
            let genesis = writer_entry::Entry::Genesis(WriterGenesis::default());
            ledger.append(&writer(), 0, writer_service::chain::encode(0, genesis)).await.unwrap();
        }
        let entry = writer_service::chain::encode(number.into(), writer_entry::Entry::Announcement(entry));
        ledger.append(&writer(), number, entry).await.unwrap();
    }

    /// A copy of the ledger with the entries that `keeps` names.
    async fn copy(&self, keeps: impl Fn(&ChainId, u64) -> bool) -> World {
        let copy = World::empty().await;
        for chain in self.ports.ledger.chains("").await.unwrap() {
            for slot in self.ports.ledger.load(&chain, 0, 100).await.unwrap() {
                if keeps(&chain, slot.number) {
                    copy.ports.ledger.append(&chain, slot.number, slot.entry).await.unwrap();
                }
            }
        }
        copy
    }

    fn conservation(&self) -> Conservation {
        Conservation::new(self.ports.clone(), self.env.clone(), Duration::ZERO)
    }
}

impl Conservation {
    /// What it says of a chain once another ledger has taken the place of its own.
    async fn on(&mut self, world: &World) -> Conserved {
        self.ports = world.ports.clone();
        self.look().await.unwrap()
    }
}

const RUNNING: &str = "raw-0000";
const FRESH: &str = "raw-0001";
const ENDED: &str = "raw-0002";
const FORGOTTEN: &str = "raw-0003";
const NEVER: &str = "raw-0004";

fn id(shard: &str) -> ChainId {
    ChainId::dedup("r1", &ShardId::new(shard), 0)
}

fn writer() -> ChainId {
    ChainId::writer("c1", &ShardId::new("clean-0000"), 0)
}

fn set(shard: &str, kind: Kind, set: &IntervalSet) -> OriginSet {
    OriginSet { origin: Origin::of(&id(shard), kind).to_string(), intervals: set.encode() }
}

/// A dedup chain while it is written.
struct Chain<'a> {
    ledger: &'a dyn Ledger,
    id: ChainId,
    next: u64,
    ordinals: [u64; 2],
    sums: [u128; 2],
    tally: Option<Tally>,
}

impl Chain<'_> {
    async fn begin<'a>(ledger: &'a dyn Ledger, shard: &str, counts: bool) -> Chain<'a> {
        let [hash_low, hash_high, point] = [0, u8::MAX, 0].map(|byte| Bytes::from(vec![byte; 16]));
        let genesis = DedupGenesis { shard: shard.to_owned(), hash_low, hash_high, point, ..DedupGenesis::default() };
        let entry = dedup_service::chain::encode(0, dedup_entry::Entry::Genesis(genesis));
        ledger.append(&id(shard), 0, entry).await.unwrap();
        let tally = counts.then(Tally::default);
        Chain { ledger, id: id(shard), next: 1, ordinals: [0; 2], sums: [0; 2], tally }
    }

    /// Three events and a copy, or now and then one for quarantine, or one that is given up; the last two are on their way.
    async fn busy_entry(&mut self, number: u64, appended_at: i64) {
        let entry = Decision { forwarded_through: number.saturating_sub(2).max(1), appended_at, ..Decision::default() };
        if number.is_multiple_of(8) {
            let ids = ids(self.ordinals[0] - 2..self.ordinals[0] - 1, 0);
            let first_ordinal = self.ordinals[0] - 2;
            let void = Void { kind: Kind::Events.into(), first_ordinal, ids, reason: String::new() };
            return self.append([0, 0], Decision { voids: vec![void], ..entry }).await;
        }
        let quarantined = u64::from(number.is_multiple_of(4));
        self.append([3, quarantined], Decision { duplicates: 1, met: 4 + quarantined as u32, ..entry }).await;
    }

    async fn append(&mut self, counts: [u64; 2], mut entry: Decision) {
        let mut lanes = [Lane::default(), Lane::default()];
        for (k, lane) in lanes.iter_mut().enumerate() {
            let first_ordinal = self.ordinals[k];
            self.ordinals[k] += counts[k];
            lane.first_ordinal = first_ordinal;
            lane.count = counts[k] as u32;
            lane.ids = ids(first_ordinal..self.ordinals[k], k);
            self.sums[k] = self.sums[k].wrapping_add(sum_hashes(record::ids(&lane.ids)));
            lane.sum_through = self.sums[k].to_be_bytes().to_vec().into();
        }
        self.tally = self.tally.map(|tally| tally.with(&entry));
        for (k, lane) in lanes.iter_mut().enumerate() {
            lane.voids_through = self.tally.map(|tally| tally.voids[k]);
        }
        entry.duplicates_through = self.tally.map(|tally| tally.duplicates);
        let [events, quarantine] = lanes;
        (entry.events, entry.quarantine) = (Some(events), Some(quarantine));
        let entry = dedup_service::chain::encode(self.next.into(), dedup_entry::Entry::Decision(entry));
        self.ledger.append(&self.id, self.next, entry).await.unwrap();
        self.next += 1;
    }
}

/// Ids that no other lane of the chain has.
fn ids(ordinals: std::ops::Range<u64>, lane: usize) -> Bytes {
    ordinals.flat_map(|ordinal| EventId(u128::from(ordinal) << 8 | lane as u128).to_bytes()).collect()
}

/// How many ordinals of a shard's events were decided by entries that a watch has not read.
fn unread(conservation: &Conservation, shard: &str) -> u64 {
    let chain = conservation.dedup.chains().find(|chain| chain.chain == id(shard)).unwrap();
    chain.lanes().next().unwrap().trimmed
}

#[tokio::test]
async fn a_part_of_the_chains_says_the_same_as_the_whole() {
    let (counted, uncounted) = (World::full(true).await, World::full(false).await);
    let (mut part, mut whole) = (counted.conservation(), uncounted.conservation());
    let (first, full) = (part.look().await.unwrap(), whole.look().await.unwrap());
    assert_eq!(first, full);
    assert_eq!(part.due(), whole.due());
    assert_eq!([RUNNING, ENDED, NEVER, FRESH].map(|shard| unread(&whole, shard)), [0; 4]);
    assert_eq!([RUNNING, ENDED, NEVER, FRESH].map(|shard| unread(&part, shard)), [90, 24, 24, 0]);

    let Conserved { numbered, live, quarantined, void, in_flight, missing, unknown, duplicate, broken } = first;
    assert_eq!(numbered, (105 + 5) + 3 * (24 + 1) + 3);
    assert_eq!((void, duplicate, missing, broken), (5 + 3, 35 + 3 * 8 + 1, 0, 0));
    assert_eq!((live, quarantined, in_flight), (89 + 2 * 23, 5 + 2, 11 + 3));
    assert_eq!(unknown, 24, "nobody can tell whether they were taken");
    assert_eq!(live + quarantined + in_flight + void + unknown, numbered);

    // Everything comes, and what ended long ago is forgotten.
    for (world, watch) in [(&counted, &mut part), (&uncounted, &mut whole)] {
        world.take(2, &[(RUNNING, &[(0, 105)]), (ENDED, &[(0, 24)]), (FRESH, &[(0, 3)])]).await;
        let conserved = watch.look().await.unwrap();
        let Conserved { live, in_flight, missing, unknown, broken, .. } = conserved;
        assert_eq!((live, in_flight, missing, unknown, broken), (100 + 2 * 23 + 3, 0, 0, 24, 0));
    }
}

#[tokio::test]
async fn a_trimmed_chain_is_what_it_was_and_says_the_same() {
    let world = World::full(true).await;
    let begin = || Conservation::new(world.ports.clone(), world.env.clone(), Duration::from_secs(3600));
    let mut watch = begin();
    let before = watch.look().await.unwrap();
    for chain in world.ports.ledger.chains(ChainId::DEDUP).await.unwrap() {
        world.ports.ledger.trim(&chain, 38).await.unwrap();
    }
    assert_eq!(watch.look().await.unwrap(), before);
    assert_eq!(begin().look().await.unwrap(), before);
}

#[tokio::test]
async fn an_origin_that_nobody_has_ever_taken_stays_missing_however_old_it_is() {
    let world = World::empty().await;
    let now = world.env.now();
    let mut chain = Chain::begin(&*world.ports.ledger, ENDED, true).await;
    chain.busy_entry(1, now).await;
    let end = Decision { forwarded_through: 2, end: true, appended_at: now, ..Decision::default() };
    chain.append([0, 0], end).await;
    let mut watch = world.conservation();
    watch.look().await.unwrap();
    for days in [1, 40] {
        watch.env = Env { clock: Arc::new(At(now + days * DAY_MICROS)), ..world.env.clone() };
        let Conserved { live, missing, unknown, .. } = watch.look().await.unwrap();
        assert_eq!((live, missing, unknown), (0, 3, 0), "after {days} days");
    }
}

/// A clean stream of one shard, which no writer here has read and whose oldest records are gone.
async fn overtaken() -> (EmbeddedStream, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 1000, ..Options::new(Arc::new(|| 0), "a test") };
    let store = Arc::new(Store::open(dir.path(), options).unwrap());
    let clean = EmbeddedStream::open(&store, "clean", NonZeroU32::MIN, "c2").await.unwrap();
    for _ in 0..50 {
        let record = NewRecord { point: HashKey(0), bytes: Bytes::from_static(b"a record") };
        clean.append(vec![record]).await.remove(0).unwrap();
    }
    clean.consumed(&ShardId::new("clean-0000"), &Position::from_number(39)).await;
    assert!(store.enforce_retention(i64::MAX).await.unwrap().segments_dropped > 0);
    (clean, dir)
}

#[tokio::test]
async fn where_retention_was_quicker_than_a_writer_holes_are_missing_and_tails_are_not_judged() {
    const HOLES: u64 = 90 - 84;
    const TAILS: u64 = 99 - 93;
    let mut world = World::empty().await;
    let mut running = Chain::begin(&*world.ports.ledger, RUNNING, true).await;
    for number in 1..=40 {
        running.busy_entry(number, world.env.now()).await;
    }
    world.take(1, &[(RUNNING, &[(0, 84), (90, 93)])]).await;
    let (clean, _dir) = overtaken().await;
    let whole = std::mem::replace(&mut world.ports.clean, Arc::new(clean));
    let mut watch = world.conservation();
    for missing in [0, HOLES, HOLES] {
        assert_eq!(watch.look().await.unwrap().missing, missing);
    }
    watch.ports.clean = whole;
    assert_eq!(watch.look().await.unwrap().missing, HOLES + TAILS, "writers have read everything");
}

/// A clock that stands still.
#[derive(Debug)]
struct At(i64);

impl service::Clock for At {
    fn now(&self) -> i64 {
        self.0
    }
}

/// What a watch that has seen a world says once another ledger has taken its place, and what of one chain.
async fn broken_on(case: &World, whole: &World) -> Conserved {
    let mut watch = whole.conservation();
    let before = watch.look().await.unwrap();
    assert!(before.is_right(), "{before:?}");
    let after = watch.on(case).await;
    assert_eq!(after.numbered, before.numbered, "what was numbered once stays so");
    assert_eq!(watch.on(whole).await.broken, 0, "the entries were put back");
    after
}

#[tokio::test]
async fn a_ledger_that_is_cut_short_is_not_what_it_was() {
    let whole = World::full(true).await;
    let same = whole.copy(|_, _| true).await;
    assert_eq!(broken_on(&same, &whole).await.broken, 0);
    for (lost, what) in
        [(id(RUNNING), "a dedup chain"), (id(ENDED), "one that has ended"), (writer(), "a writer's chain")]
    {
        let gone = whole.copy(|chain, _| *chain != lost).await;
        assert_eq!(broken_on(&gone, &whole).await.broken, 1, "{what} is gone");
    }
    for (lost, from) in [(id(RUNNING), 40), (writer(), 1)] {
        let short = whole.copy(|chain, number| *chain != lost || number < from).await;
        assert!(!broken_on(&short, &whole).await.is_right(), "{lost} ends before entry {from}");
    }
}

#[tokio::test]
async fn a_chain_that_was_cut_short_and_has_gone_on_since_is_not_what_it_was() {
    let whole = World::full(true).await;
    let other = whole.copy(|chain, number| *chain != id(RUNNING) || number < 40).await;
    let ledger = &other.ports.ledger;
    for number in [40, 41] {
        let slot = whole.ports.ledger.load(&id(RUNNING), 39, 1).await.unwrap().remove(0);
        let entry = ledger::Entry { nonce: 1000 + u128::from(number), ..slot.entry };
        ledger.append(&id(RUNNING), number, entry).await.unwrap();
    }
    assert_eq!(broken_on(&other, &whole).await.broken, 1);
}

#[tokio::test]
async fn who_begins_to_watch_a_ledger_that_lost_what_writers_have_taken_sees_it() {
    let whole = World::full(true).await;
    for (lost, from) in [(id(RUNNING), 35), (id(ENDED), 7), (id(RUNNING), 0)] {
        let case = whole.copy(|chain, number| *chain != lost || number < from).await;
        assert_eq!(case.conservation().look().await.unwrap().broken, 1, "{lost} from entry {from} on");
    }
}

#[tokio::test]
async fn entries_that_do_not_follow_from_each_other_are_told_of_at_every_look() {
    let world = World::empty().await;
    let mut chain = Chain::begin(&*world.ports.ledger, RUNNING, true).await;
    chain.busy_entry(1, 0).await;
    chain.ordinals[0] += 7;
    chain.busy_entry(2, 0).await;
    let mut watch = world.conservation();
    for _ in 0..2 {
        assert_eq!(watch.look().await.unwrap().broken, 1);
    }
}
