//! Trimming dedup chains, on the embedded backends and by a clock that is moved by hand.

#![allow(clippy::unwrap_used)] // A test that can't be set up may panic.

#[path = "../../ownership/tests/shared/hands.rs"]
mod hands;

use bytes::Bytes;
use clap::Parser;
use dedup_service::budget::Budget;
use dedup_service::retention::saved_voids;
use dedup_service::{Config, Owned, Owner, Parts, Retention, chain};
use hands::Hands;
use ledger::embedded::EmbeddedLedger;
use ledger::{Entry, LedgerError};
use schema::body::BodyPacker;
use schema::stored::StoredEvent;
use schema::v1::{Decision, DedupGenesis, Void, dedup_entry};
use schema::{ChainId, EventId, HashKey, HashRange, Kind, Position, ShardId, record};
use service::{Clock, Env, Rules, Stop};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use store::{Options, Store};
use stream::embedded::EmbeddedStream;
use stream::{NewRecord, ReadLimit, Shard, Stream};
use tempfile::TempDir;

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

#[derive(Parser)]
struct Only {
    #[command(flatten)]
    config: Config,
}

struct House {
    parts: Parts,
    raw: EmbeddedStream,
    clock: Arc<Hands>,
    _dir: TempDir,
}

async fn house(args: &[&str]) -> House {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(Hands::default()));
    let arrivals = clock.clone();
    let store = Store::open(dir.path(), Options::new(Arc::new(move || arrivals.now()), "a test")).unwrap();
    let store = Arc::new(store);
    let raw = EmbeddedStream::open(&store, "raw", NonZeroU32::MIN, "r1").await.unwrap();
    let clean = EmbeddedStream::open(&store, "clean", NonZeroU32::MIN, "c1").await.unwrap();
    let parts = Parts {
        raw: Arc::new(raw.clone()),
        clean: Arc::new(clean),
        ledger: Arc::new(EmbeddedLedger::new(store)),
        env: Env { clock: clock.clone(), ..Env::system() },
        config: Only::parse_from(["dedup", "--dedup-settle-after", "20ms"].iter().chain(args)).config,
        budget: Budget::new(1_000_000),
        rules: Rules::default(),
    };
    House { parts, raw, clock, _dir: dir }
}

fn raw_record(id: u128, received_at: i64) -> Bytes {
    let mut plain = Vec::new();
    StoredEvent { event_name: "a:b", ..Default::default() }.encode_delimited(&mut plain);
    let ids = EventId(id).to_bytes().to_vec();
    record::encode(&record::raw(Kind::Events, ids, received_at, BodyPacker::default().pack(&plain, 1)))
}

impl House {
    /// Moves the clock, puts an event, and has it decided.
    async fn decide(&self, now: i64, id: u128) {
        self.put(now, id, now).await;
        self.settle().await;
    }

    async fn put(&self, now: i64, id: u128, received_at: i64) {
        self.clock.0.store(now, SeqCst);
        let record = NewRecord { point: EventId(id).hash(), bytes: raw_record(id, received_at) };
        self.raw.append(vec![record]).await.remove(0).unwrap();
    }

    async fn settle(&self) {
        for shard in self.raw.shards().await.unwrap() {
            self.own(shard).await;
        }
    }

    async fn own(&self, shard: Shard) {
        let owner = Owner::open(self.parts.clone(), shard).await.unwrap();
        let stop = Stop::new();
        stop.cancel();
        owner.run(stop).await.unwrap();
    }

    async fn trim(&self, now: i64) -> u64 {
        self.trim_as(Owned::everything(), now).await
    }

    /// As a process that owns some shards.
    async fn trim_as(&self, owned: Owned, now: i64) -> u64 {
        self.clock.0.store(now, SeqCst);
        Retention::new(&self.parts, Duration::ZERO, owned).trim().await.unwrap()
    }

    async fn numbers(&self, chain: &ChainId) -> Vec<u64> {
        let slots = self.parts.ledger.load(chain, 0, 1000).await.unwrap();
        slots.into_iter().map(|slot| slot.number).collect()
    }

    /// The last entry that decided something.
    async fn last_decision(&self, chain: &ChainId) -> Decision {
        let slots = self.parts.ledger.load(chain, 1, 1000).await.unwrap().into_iter();
        let decisions = slots.map(|slot| chain::decision(chain, slot.number, slot.entry.bytes).unwrap());
        decisions.filter(|decision| decision.records > 0).last().unwrap()
    }

    /// Ids on the clean stream with their ordinals, by ordinal.
    async fn forwarded(&self) -> Vec<(u64, u128)> {
        let limit = ReadLimit { records_max: 1000, bytes_max: 1 << 20, wait: Duration::ZERO };
        let shard = self.parts.clean.shards().await.unwrap().remove(0);
        let page = self.parts.clean.read(&shard.id, &Position::start(), limit).await.unwrap();
        let clean = page.records.into_iter().map(|record| record::decode_clean(record.bytes).unwrap());
        let ids = |it: schema::v1::CleanRecord| {
            (it.first_ordinal..).zip(record::ids(&it.ids).map(|id| id.0).collect::<Vec<_>>())
        };
        let mut forwarded: Vec<_> = clean.flat_map(ids).collect();
        forwarded.sort_unstable();
        forwarded
    }

    async fn append(&self, chain: &ChainId, number: u64, entry: dedup_entry::Entry) {
        let entry = chain::encode(number.into(), entry);
        self.parts.ledger.append(chain, number, entry).await.unwrap();
    }
}

/// Of a shard that covers everything.
fn genesis() -> dedup_entry::Entry {
    let HashRange { low, high } = HashRange::ALL;
    let [hash_low, hash_high] = [low, high].map(|key: HashKey| Bytes::copy_from_slice(&key.to_bytes()));
    let point = hash_low.clone();
    dedup_entry::Entry::Genesis(DedupGenesis { hash_low, hash_high, point, ..DedupGenesis::default() })
}

fn first_chain() -> ChainId {
    ChainId::dedup("r1", &ShardId::new("raw-0000"), 0)
}

#[tokio::test]
async fn entries_older_than_a_week_go_younger_ones_stay_and_a_zombie_finds_their_slots_shut() {
    let (house, chain) = (house(&[]).await, first_chain());
    house.decide(0, 1).await;
    let old = house.numbers(&chain).await;
    house.decide(5 * DAY, 2).await;
    let young: Vec<u64> = house.numbers(&chain).await.split_off(old.len());
    assert_eq!(house.trim(6 * DAY).await, 0);
    assert_eq!(house.trim(8 * DAY).await, old.len() as u64 - 1);
    assert_eq!(house.numbers(&chain).await, [&[0], &young[..]].concat());
    let zombie = Entry { nonce: 99, bytes: Bytes::from_static(b"late") };
    let refused = house.parts.ledger.append(&chain, 1, zombie).await;
    assert_eq!(refused, Err(LedgerError::Taken { chain, number: 1 }));
    assert_eq!(house.trim(8 * DAY).await, 0);
}

#[tokio::test]
async fn the_head_stays_however_old_it_is() {
    let (house, chain) = (house(&[]).await, first_chain());
    house.decide(0, 1).await;
    let head = house.numbers(&chain).await.pop().unwrap();
    house.trim(400 * DAY).await;
    assert_eq!(house.numbers(&chain).await, [0, head]);
}

#[tokio::test]
async fn a_new_owner_goes_on_from_a_trimmed_chain_and_recognises_what_the_window_covers() {
    let house = house(&[]).await;
    house.decide(0, 1).await;
    house.decide(5 * DAY, 2).await;
    assert!(house.trim(8 * DAY).await > 0);
    house.put(8 * DAY, 2, 5 * DAY + 20 * HOUR).await;
    house.put(8 * DAY, 3, 8 * DAY).await;
    house.settle().await;
    assert_eq!(house.forwarded().await, [(0, 1), (1, 2), (2, 3)]);
}

#[tokio::test]
async fn what_waits_to_be_decided_keeps_what_it_may_be_a_copy_of() {
    let house = house(&[]).await;
    house.decide(0, 1).await;
    house.put(HOUR, 1, HOUR).await;
    assert_eq!(house.trim(40 * DAY).await, 0, "the stage was down for weeks");
    house.settle().await;
    assert_eq!(house.forwarded().await, [(0, 1)]);
    assert!(house.trim(60 * DAY).await > 0);
}

#[tokio::test]
async fn a_copy_from_before_what_is_kept_is_judged_by_the_window_that_is_left_and_that_is_written_down() {
    let (house, chain) = (house(&[]).await, first_chain());
    house.decide(0, 1).await;
    house.decide(5 * DAY, 2).await;
    assert_eq!(house.last_decision(&chain).await.window_seconds, 86_400);
    assert!(house.trim(8 * DAY).await > 0);
    house.put(8 * DAY, 1, HOUR).await;
    house.settle().await;
    assert_eq!(house.forwarded().await, [(0, 1), (1, 2), (2, 1)]);
    assert_eq!(house.last_decision(&chain).await.window_seconds, 0);
    house.decide(8 * DAY, 3).await;
    assert_eq!(house.last_decision(&chain).await.window_seconds, 86_400);
}

#[tokio::test]
async fn of_an_ended_ancestor_genesis_and_end_stay_and_its_children_go_on() {
    let (house, chain) = (house(&[]).await, first_chain());
    house.decide(0, 1).await;
    house.raw.reshard(NonZeroU32::new(2).unwrap()).await.unwrap();
    house.settle().await;
    let end = house.numbers(&chain).await.pop().unwrap();
    house.trim(8 * DAY).await;
    assert_eq!(house.numbers(&chain).await, [0, end]);
    for id in 2..10 {
        house.put(9 * DAY, id, 9 * DAY).await;
        house.put(9 * DAY, id, 9 * DAY).await;
    }
    house.settle().await;
    let mut ids: Vec<u128> = house.forwarded().await.into_iter().map(|(_, id)| id).collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(1..10));
}

#[tokio::test]
async fn a_chain_is_trimmed_by_whoever_owns_its_shard_and_an_ended_one_by_the_owner_of_where_it_began() {
    let (house, parent) = (house(&[]).await, first_chain());
    house.decide(0, 1).await;
    house.raw.reshard(NonZeroU32::new(2).unwrap()).await.unwrap();
    house.settle().await;
    let children: Vec<Shard> = house.raw.shards().await.unwrap().split_off(1);
    for id in 2..20 {
        house.decide(DAY, id).await;
    }
    let chains: Vec<ChainId> = children.iter().map(|child| chain::of_shard(&house.raw, &child.id)).collect();
    let count = async |chain: &ChainId| house.numbers(chain).await.len();
    assert_eq!(house.trim_as(Owned::default(), 20 * DAY).await, 0, "it owns nothing");

    let owned = Owned::default();
    let upper = owned.own(children[1].range);
    assert!(house.trim_as(owned.clone(), 20 * DAY).await > 0);
    assert!(count(&parent).await > 2 && count(&chains[0]).await > 2);
    assert_eq!(count(&chains[1]).await, 2, "a genesis and a head");
    drop(upper);

    let _lower = owned.own(children[0].range);
    assert!(house.trim_as(owned, 20 * DAY).await > 0);
    assert_eq!((count(&parent).await, count(&chains[0]).await), (2, 2));
}

#[tokio::test]
async fn what_is_not_forwarded_stays_and_voids_are_saved_before_they_go() {
    let (house, chain) = (house(&[]).await, first_chain());
    house.append(&chain, 0, genesis()).await;
    let void = |ordinal: u64| Void {
        kind: Kind::Events.into(),
        first_ordinal: ordinal,
        ids: EventId(ordinal.into()).to_bytes().to_vec().into(),
        reason: "too large".to_string(),
    };
    for number in 1..6 {
        let voids = vec![void(number)];
        let decision = Decision { voids, forwarded_through: number.min(4), ..Decision::default() };
        house.append(&chain, number, dedup_entry::Entry::Decision(decision)).await;
    }
    assert_eq!(house.trim(8 * DAY).await, 3);
    assert_eq!(house.numbers(&chain).await, [0, 4, 5]);
    let saved = saved_voids(&*house.parts.ledger, &chain).await.unwrap();
    assert_eq!(saved, [void(1), void(2), void(3)]);
}

#[tokio::test]
async fn decisions_are_kept_for_as_long_as_is_set() {
    let house = house(&["--keep-decisions", "30d"]).await;
    house.decide(0, 1).await;
    assert_eq!(house.trim(29 * DAY).await, 0);
    assert!(house.trim(31 * DAY).await > 0);
}

#[tokio::test]
async fn chains_of_another_incarnation_of_the_stream_are_left_alone() {
    let house = house(&[]).await;
    let chain = ChainId::dedup("r0", &ShardId::new("raw-0000"), 0);
    house.append(&chain, 0, genesis()).await;
    for number in 1..4 {
        let decision = Decision { forwarded_through: number, ..Decision::default() };
        house.append(&chain, number, dedup_entry::Entry::Decision(decision)).await;
    }
    assert_eq!(house.trim(8 * DAY).await, 0);
}
