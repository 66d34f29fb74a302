//! Readers that come too late for what retention removes, or nearly.
//!
//! The stand-in keeps everything, so a proxy answers as Kinesis does: that a reader is far behind, and, once the record at a
//! position is gone, with what follows it.

use crate::fleet::{Fleet, Member, eventually};
use crate::halt::halts;
use standins::Server;
use standins::proxy::{Fault, FaultProxy, Faults};
use std::time::Duration;

const LOAD: [&str; 5] = ["--total", "300", "--batch", "20", "--max"];

const HOUR: Duration = Duration::from_secs(3600);

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
