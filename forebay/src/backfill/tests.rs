use super::account::Account;
use super::batch::Counts;
use super::feed::{Feed, Span};
use super::*;
use bytes::Bytes;
use clap::Parser;
use schema::body::BodyPacker;
use schema::record::{self, RECORD_EVENTS_MAX};
use schema::stored::StoredEvent;
use schema::{EventId, Kind};
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use store::{Options, Store};
use stream::embedded::EmbeddedStream;
use stream::{NewRecord, ReadLimit, Record, Stream};
use tempfile::TempDir;

/// Between the arrivals of two records.
const STEP: i64 = 1_000_000;

const START: i64 = 1_790_000_000_000_000;

/// An earlier stream of two shards, one of three that has taken its place, and a clock that a test sets.
struct House {
    old: EmbeddedStream,
    new: EmbeddedStream,
    now: Arc<AtomicI64>,
    _dir: TempDir,
}

async fn house() -> House {
    let dir = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicI64::new(START));
    let clock = now.clone();
    let options = Options::new(Arc::new(move || clock.load(Ordering::Relaxed)), "a test");
    let store = Arc::new(Store::open(dir.path(), options).unwrap());
    let open =
        async |name, shards| EmbeddedStream::open(&store, name, NonZeroU32::new(shards).unwrap(), name).await.unwrap();
    House { old: open("old", 2).await, new: open("new", 3).await, now, _dir: dir }
}

impl House {
    /// Has a record arrive in the old stream, a step after the one before.
    async fn arrive(&self, point: u128, bytes: Bytes) {
        let point = EventId(point).hash();
        self.old.append(vec![NewRecord { point, bytes }]).await.remove(0).unwrap();
        self.now.fetch_add(STEP, Ordering::Relaxed);
    }

    /// A record of three events for each of these numbers.
    async fn events(&self, numbers: std::ops::Range<u128>) {
        for number in numbers {
            self.arrive(3 * number, events(number)).await;
        }
    }

    async fn feed(&self, change: impl FnOnce(&mut Feed<'_>)) -> (anyhow::Result<bool>, Account) {
        let (account, stop) = (Account::default(), Stop::new());
        let outcome = self.feed_on(&account, &stop, change).await;
        (outcome, account)
    }

    async fn feed_on<'a>(
        &'a self,
        account: &'a Account,
        stop: &'a Stop,
        change: impl FnOnce(&mut Feed<'a>),
    ) -> anyhow::Result<bool> {
        let (from, to): (&dyn Stream, &dyn Stream) = (&self.old, &self.new);
        let (span, rate) = (Span::default(), pace::rate("1GiB").unwrap());
        let mut feed = Feed { from, to, span, rate, is_rehearsal: false, account, stop };
        change(&mut feed);
        feed.shards(&self.old.shards().await.unwrap()).await
    }

    /// Records of a stream, with their shards.
    async fn records(&self, stream: &EmbeddedStream) -> Vec<(Shard, Record)> {
        const ALL: ReadLimit = ReadLimit { records_max: 1_000, bytes_max: 1 << 20, wait: Duration::ZERO };
        let mut records = Vec::new();
        for shard in stream.shards().await.unwrap() {
            let page = stream.read(&shard.id, &Position::start(), ALL).await.unwrap();
            records.extend(page.records.into_iter().map(|record| (shard.clone(), record)));
        }
        records
    }

    /// What the new stream has, in any order.
    async fn fed(&self) -> BTreeSet<Bytes> {
        let records = self.records(&self.new).await;
        let fed: BTreeSet<Bytes> = records.iter().map(|(_, record)| record.bytes.clone()).collect();
        assert_eq!(fed.len(), records.len(), "nothing is there twice");
        fed
    }
}

/// As a gateway writes them.
fn events(number: u128) -> Bytes {
    let ids: Vec<u8> = (3 * number..3 * number + 3).flat_map(|id| EventId(id).to_bytes()).collect();
    let mut plain = Vec::new();
    let event = StoredEvent { event_name: "page:view", created_at: START, ..StoredEvent::default() };
    (0..3).for_each(|_| event.encode_delimited(&mut plain));
    record::encode(&record::raw(Kind::Events, ids, START - number as i64, BodyPacker::default().pack(&plain, 3)))
}

fn all(numbers: std::ops::Range<u128>) -> BTreeSet<Bytes> {
    numbers.map(events).collect()
}

#[tokio::test]
async fn records_keep_their_bytes_and_lie_where_their_first_event_belongs() {
    let house = house().await;
    house.events(0..40).await;
    let (outcome, account) = house.feed(|_| {}).await;
    assert!(outcome.unwrap());
    assert_eq!(house.fed().await, all(0..40));
    for (shard, record) in house.records(&house.new).await {
        let raw = record::decode_raw(record.bytes).unwrap();
        assert!(shard.range.covers(record::ids(&raw.ids).next().unwrap().hash()));
    }
    let bytes = all(0..40).iter().map(|bytes| bytes.len() as u64).sum();
    let expected = Counts { read: 40, fed: 40, events: 120, bytes, oldest: Some(START - 39), ..Counts::default() };
    assert_eq!(account.counts(), expected);
    let report = account.report(&house.old, &house.new, true, false, START + 3_600_000_000);
    assert!(report.contains("40 records with 120 events") && report.contains("complete: "), "{report}");
    assert!(report.contains("2026-09-21T14:13:19Z, 1h ago"), "{report}");
}

#[tokio::test]
async fn shards_that_are_closed_are_fed_as_well() {
    let house = house().await;
    house.events(0..20).await;
    house.old.reshard(NonZeroU32::new(3).unwrap()).await.unwrap();
    house.events(20..40).await;
    assert!(house.feed(|_| {}).await.0.unwrap());
    assert_eq!(house.fed().await, all(0..40));
}

/// Told by when it arrived in the old stream, it is no copy of itself in the new one a week later.
#[tokio::test]
async fn events_of_another_producer_stay_as_old_as_they_are() {
    const EVENT: &str = r#"{"event_id":"0192f0c1-7b6d-7e1a-8a3b-1234567890ab","event_name":"a:b","created_at":1}"#;
    let house = house().await;
    house.arrive(1, Bytes::from(format!("[{EVENT}]"))).await;
    house.arrive(2, Bytes::from_static(b"rubbish")).await;
    let (outcome, account) = house.feed(|_| {}).await;
    assert!(outcome.unwrap());
    let counts = account.counts();
    assert_eq!((counts.read, counts.foreign, counts.fed, counts.events), (2, 2, 2, 2));
    let received = house.records(&house.new).await.into_iter().map(|(_, record)| {
        let raw = record::decode_raw(record.bytes).unwrap();
        raw.received_at
    });
    assert_eq!(received.collect::<BTreeSet<_>>(), BTreeSet::from([START, START + STEP]));
}

#[tokio::test]
async fn only_what_arrived_in_the_span_is_fed() {
    let house = house().await;
    house.events(0..30).await;
    let since = Some(START + 10 * STEP);
    assert!(house.feed(|feed| feed.span = Span { since, until: Some(START + 20 * STEP) }).await.0.unwrap());
    assert_eq!(house.fed().await, all(10..20));
}

#[tokio::test]
async fn a_run_goes_on_where_another_one_says_that_it_has_ended() {
    let house = house().await;
    house.events(0..10).await;
    let first = house.feed(|feed| feed.span.until = Some(START + 7 * STEP)).await.1;
    assert_eq!(house.fed().await, all(0..7));
    let report = first.report(&house.old, &house.new, false, false, START);
    let (_, places) = report.trim_end().split_once("--after ").unwrap();
    let places = places.split(',').map(|text| place(text).unwrap()).collect();
    let second = Account::new(known(places, &house.old.shards().await.unwrap()).unwrap());
    assert!(house.feed_on(&second, &Stop::new(), |_| {}).await.unwrap());
    assert_eq!((house.fed().await, second.counts().read), (all(0..10), 3));
}

#[tokio::test]
async fn a_run_that_is_stopped_is_not_complete() {
    let house = house().await;
    house.events(0..3).await;
    let (account, stop) = (Account::default(), Stop::new());
    stop.cancel();
    assert!(!house.feed_on(&account, &stop, |_| {}).await.unwrap());
    let report = account.report(&house.old, &house.new, false, false, START);
    assert!(report.ends_with("NOT complete: start again\n"), "{report}");
}

#[tokio::test]
async fn a_rehearsal_counts_the_same_and_feeds_nothing() {
    let house = house().await;
    house.events(0..10).await;
    let rehearsed = house.feed(|feed| feed.is_rehearsal = true).await.1;
    assert!(house.fed().await.is_empty());
    let done = house.feed(|_| {}).await.1;
    assert_eq!(rehearsed.counts(), done.counts());
}

#[tokio::test]
async fn a_clean_record_and_one_of_a_newer_release_are_refused_by_their_place() {
    let raw = record::decode_raw(events(1)).unwrap();
    let origin = schema::Origin::of(&schema::ChainId::dedup("old", &ShardId::new("s"), 0), Kind::Events);
    let clean = record::encode(&record::clean_of(&raw, &[0, 1, 2], &origin, 0));
    let newer = record::encode(&schema::v1::RawRecord { version: 2, ..raw });
    for (bytes, told) in [(clean, "clean record at"), (newer, "newer release")] {
        let house = house().await;
        house.arrive(1, bytes).await;
        let refused = format!("{:#}", house.feed(|_| {}).await.0.unwrap_err());
        assert!(refused.contains("shard old-") && refused.contains(told), "{refused}");
        assert!(house.fed().await.is_empty());
    }
}

/// What a raw record of another producer may carry fits where it goes, whatever it is packed into.
#[tokio::test]
async fn a_large_record_of_another_producer_is_fed_whole() {
    let house = house().await;
    let many = vec!["{}"; RECORD_EVENTS_MAX].join(",");
    house.arrive(1, Bytes::from(format!("[{many}]"))).await;
    let (outcome, account) = house.feed(|_| {}).await;
    assert!(outcome.unwrap());
    assert_eq!(account.counts().events, RECORD_EVENTS_MAX as u64);
}

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    args: BackfillArgs,
}

fn check(flags: &[&str]) -> Result<(), String> {
    let args = ["backfill", "--from-stream", "old"].iter().chain(flags);
    let cli = Cli::try_parse_from(args).map_err(|error| error.to_string())?;
    cli.args.check(START).map_err(|error| error.to_string())
}

#[test]
fn what_can_not_be_meant_is_refused_by_name() {
    assert_eq!(check(&["--since", "2026-01-02T00:00:00Z", "--until", "2026-01-02T00:00:01Z"]), Ok(()));
    assert_eq!(check(&["--after", "s-1:5,s-2:6", "--after", "s-3:"]), Ok(()));
    let refused = [
        (&["--raw-stream", "old"][..], "--from-stream and --raw-stream are both old"),
        (&["--clean-stream", "old"], "--from-stream and --clean-stream are both old"),
        (&["--since", "2036-01-02T00:00:00Z"], "--since"),
        (&["--since", "yesterday"], "--since"),
        (&["--since", "2026-01-02T00:00:00Z", "--until", "2026-01-02T00:00:00Z"], "--until"),
        (&["--after", "s-1"], "--after"),
        (&["--rate", "0"], "--rate"),
    ];
    for (flags, named) in refused {
        let error = check(flags).unwrap_err();
        assert!(error.contains(named), "{flags:?}: {error}");
    }
    let unknown = known(vec![(ShardId::new("s-1"), Position::start())], &[]).unwrap_err();
    assert!(unknown.to_string().contains("--after names s-1"), "{unknown}");
}
