//! Readers that come too late for what retention removes, or nearly.
//!
//! The stand-in keeps everything, so a proxy answers as Kinesis does: that a reader is far behind, and, once the record at a
//! position is gone, with what follows it.

use crate::fleet::{Fleet, Member, SETTLE, eventually};
use crate::halt::halts;
use ledger::dynamodb::DynamoLedger;
use ledger::{Entry, Ledger};
use schema::v1::StreamEntry;
use schema::{ChainId, record};
use service::Env;
use standins::Server;
use standins::proxy::{Fault, FaultProxy, Faults};
use std::time::Duration;
use stream::Stream;
use stream::kinesis::{KinesisOptions, KinesisStream};

const LOAD: [&str; 5] = ["--total", "300", "--batch", "20", "--max"];

const HOUR: Duration = Duration::from_secs(3600);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Readers say that they are behind: nobody has seen that nothing follows. Less than half of a day, which none is told of.
fn behind() -> Faults {
    Faults::none().with("GetRecords", Fault::Behind(11 * HOUR), 1.0)
}

/// The records at all positions are gone.
fn gone() -> Faults {
    Faults::none().with("GetShardIterator", Fault::Trim, 1.0)
}

/// A fleet whose workers read through a proxy, have written 300 events, and stop before 300 more.
async fn late(name: &str) -> (Fleet, FaultProxy) {
    let mut fleet = Fleet::set_up(name).await;
    let proxy = FaultProxy::start(&standins::kinesis().await, behind(), 1).await;
    fleet.detour(Server::Kinesis, proxy.endpoint());
    let gateway = fleet.gateway();
    let first = fleet.workers();
    fleet.wait_until_ready(gateway).await;
    fleet.generate(gateway, &LOAD);
    fleet.audit_is_clean();
    for member in first {
        fleet.stop(member);
    }
    fleet.generate(gateway, &LOAD);
    (fleet, proxy)
}

const TOLD: [&str; 3] = ["retention has removed it", "forebay audit", "--accept-trimmed shardId-"];

/// Runs a worker until it halts at one shard after the other, each time with what it said accepted.
async fn accept_all(fleet: &mut Fleet, start: impl Fn(&mut Fleet, &[&str]) -> Member) -> Vec<String> {
    const SHARDS: usize = 2;
    let mut accepted: Vec<String> = Vec::new();
    for _ in 0..SHARDS {
        let given: Vec<&str> = accepted.iter().map(String::as_str).collect();
        let late = start(fleet, &given);
        let said = halts(fleet, late, &TOLD).await;
        let (_, named) = said.split_once("--accept-trimmed ").unwrap();
        accepted.extend(["--accept-trimmed", named.split(' ').next().unwrap()].map(str::to_owned));
    }
    accepted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_that_is_older_than_retention_halts_the_dedup_stage_and_says_what_to_do() {
    let (mut fleet, proxy) = late("overrun").await;
    proxy.set(gone());
    let late = fleet.dedup();
    halts(&mut fleet, late, &TOLD).await;
    assert!(proxy.counts().of("GetShardIterator", Fault::Trim) > 0);
    proxy.set(Faults::none());
    fleet.workers();
    fleet.audit_is_clean();
    fleet.stop_all();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_whose_positions_are_gone_halts_and_goes_on_once_a_person_accepts_it() {
    let (mut fleet, proxy) = late("accepted").await;
    fleet.detour(Server::Kinesis, standins::kinesis().await);
    fleet.dedup();
    fleet.detour(Server::Kinesis, proxy.endpoint());
    proxy.set(gone());
    let writer = |fleet: &mut Fleet, accepted: &[&str]| {
        fleet.start("writer-service", &[&["--flush-interval", "1s"], accepted].concat())
    };
    let accepted = accept_all(&mut fleet, writer).await;
    let accepted: Vec<&str> = accepted.iter().map(String::as_str).collect();
    writer(&mut fleet, &accepted);
    fleet.audit_is_clean();
    fleet.stop_all();
}

/// Readers began two days ago, a note says, and have not read a record yet, of streams that keep them for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_that_nobody_has_read_for_longer_than_retention_halt_their_readers_and_a_first_reader_goes_on() {
    let mut fleet = Fleet::set_up("unread").await;
    let faults = Faults::none().with("DescribeStreamSummary", Fault::Older(DAY * 3), 1.0);
    let proxy = FaultProxy::start(&standins::kinesis().await, faults, 1).await;
    fleet.detour(Server::Kinesis, proxy.endpoint());
    let gateway = fleet.gateway();
    fleet.wait_until_ready(gateway).await;
    fleet.generate(gateway, &LOAD);
    began(&fleet, &proxy, "RAW_STREAM", "raw/").await;
    let found = fleet.service("forebay").arg("audit").output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(found.contains("gone by retention") && found.contains("what followed position start"), "{found}");
    let accepted = accept_all(&mut fleet, |fleet, accepted| fleet.start("dedup-service", accepted)).await;
    assert!(accepted.iter().any(|accepted| accepted.ends_with(":start")), "{accepted:?}");
    fleet.start("dedup-service", &accepted.iter().map(String::as_str).collect::<Vec<_>>());
    // Of the clean stream nobody has noted anything: what it held before is nobody's.
    fleet.writer();
    fleet.forebay_by_detour(&["audit", "--wait", SETTLE, "--ledger", &fleet.receipts()]);
    fleet.stop_all();
}

/// Writes down that readers of a stream began two days ago.
async fn began(fleet: &Fleet, proxy: &FaultProxy, stream: &str, notes: &str) {
    let stream = KinesisOptions::new(fleet.name_of(stream));
    let stream = KinesisStream::open(&standins::connect(&proxy.endpoint()), stream).await.unwrap();
    let ledger = DynamoLedger::open(&standins::connect(&standins::dynamodb().await), fleet.name_of("TABLE")).await;
    let described = stream.describe().await.unwrap().unwrap();
    let (retention_hours, capacity_mode) = (described.retention_hours(), described.capacity_mode);
    let appended_at = Env::system().now() - i64::try_from((DAY * 2).as_micros()).unwrap();
    let stream_name = stream.name().to_owned();
    let note = StreamEntry { stream: stream_name, capacity_mode, retention_hours, appended_at, refused: false };
    let entry = Entry { nonce: 1, bytes: record::encode(&note) };
    ledger.unwrap().append(&ChainId::new(format!("{notes}{}", stream.incarnation())), 0, entry).await.unwrap();
}

/// Nothing followed a moment ago, an entry says: what has come since can't be gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_whose_last_record_is_gone_are_read_on_where_their_tip_was_seen_and_written_down() {
    let (mut fleet, proxy) = late("quiet").await;
    proxy.set(Faults::none());
    let seen = fleet.workers();
    fleet.audit_is_clean();
    for member in seen {
        fleet.stop(member);
    }
    let gateway = fleet.gateway();
    fleet.wait_until_ready(gateway).await;
    fleet.generate(gateway, &LOAD);
    proxy.set(gone());
    fleet.workers();
    fleet.audit_is_clean();
    fleet.stop_all();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_is_far_behind_warns_at_half_of_the_retention_and_raises_it_later() {
    let mut fleet = Fleet::set_up("behind").await;
    let half = Faults::none().with("GetRecords", Fault::Behind(13 * HOUR), 1.0);
    let proxy = FaultProxy::start(&standins::kinesis().await, half, 1).await;
    fleet.detour(Server::Kinesis, proxy.endpoint());
    let dedup = fleet.dedup();
    eventually("it warns", || fleet.log(dedup).contains("reading is far behind")).await;
    assert!(!fleet.log(dedup).contains("retention was raised"));
    proxy.set(Faults::none().with("GetRecords", Fault::Behind(20 * HOUR), 1.0));
    eventually("it raises", || fleet.log(dedup).contains("retention was raised")).await;
    let aws = standins::connect(&standins::kinesis().await);
    let client = aws_sdk_kinesis::Client::new(&aws.config);
    let stream = client.describe_stream_summary().stream_name(fleet.name_of("RAW_STREAM")).send().await.unwrap();
    assert_eq!(stream.stream_description_summary.unwrap().retention_period_hours, 48);
    fleet.stop_all();
}
