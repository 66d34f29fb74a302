//! What no process may go on with: it ends with a code that tells why, and says what there is to do.

use crate::fleet::{Fleet, Member};
use std::num::NonZeroU32;
use std::time::Duration;
use stream::kinesis::{Capacity, create};

/// Exit codes, as the architecture has them.
const MISCONFIGURED: Option<i32> = Some(2);
const LOST_DEPENDENCY: Option<i32> = Some(3);
const HALT: Option<i32> = Some(4);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The same events each time.
const LOAD: [&str; 7] = ["--total", "300", "--batch", "20", "--max", "--seed", "7"];

/// Others.
const MORE: [&str; 7] = ["--total", "300", "--batch", "20", "--max", "--seed", "8"];

pub(crate) const ACCEPT: &str = "--accept-made-again";

/// Deletes a stream and makes another one of its name.
async fn make_again(name: &str) {
    let aws = standins::connect(&standins::kinesis().await);
    let client = aws_sdk_kinesis::Client::new(&aws.config);
    client.delete_stream().stream_name(name).send().await.unwrap();
    while client.describe_stream_summary().stream_name(name).send().await.is_ok() {
        tokio::task::yield_now().await;
    }
    let shards = NonZeroU32::new(2).unwrap();
    create(&aws, name, Capacity::Provisioned { shards }, DAY).await.unwrap();
}

/// As [`make_again`], while those who use the stream sleep: who looked between one and the next would end for want of any.
async fn make_again_unseen(fleet: &Fleet, stream: &str, users: [Member; 2]) {
    users.iter().for_each(|user| fleet.pause(*user));
    make_again(fleet.name_of(stream)).await;
    users.iter().for_each(|user| fleet.resume(*user));
}

/// It has halted, and its last words have all of `told`.
pub(crate) async fn halts(fleet: &mut Fleet, member: Member, told: &[&str]) -> String {
    let (code, log) = fleet.ended(member).await;
    let last = log.lines().last().unwrap_or_default();
    assert!(code == HALT && told.iter().all(|words| last.contains(words)), "ended with {code:?}:\n{log}");
    last.to_owned()
}

/// What those are told that see it happen, and those that start later.
const MADE_AGAIN: [&str; 3] = ["halt: stream", "deleted and made again", ACCEPT];
const TOOK_ITS_PLACE: [&str; 4] = ["halt: stream", "has taken the place of", "made again, or another stream", ACCEPT];

/// It refuses to start; the incarnation that it wants to be told of.
pub(crate) async fn is_refused(fleet: &mut Fleet, member: Member) -> String {
    let last = halts(fleet, member, &TOOK_ITS_PLACE).await;
    let mut words = last.split(' ').skip_while(|word| *word != ACCEPT);
    words.nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn a_clean_stream_that_is_made_again_halts_who_writes_and_who_reads_it() {
    let mut fleet = Fleet::set_up("clean-again").await;
    let gateway = fleet.gateway();
    let [dedup, writer] = fleet.workers();
    fleet.wait_until_ready(gateway).await;
    fleet.generate(gateway, &LOAD);
    fleet.audit_is_clean();
    make_again_unseen(&fleet, "CLEAN_STREAM", [dedup, writer]).await;
    halts(&mut fleet, writer, &MADE_AGAIN).await;
    halts(&mut fleet, dedup, &MADE_AGAIN).await;
    fleet.generate(gateway, &MORE);
    let [_, writer] = fleet.workers();
    let before = is_refused(&mut fleet, writer).await;
    fleet.start("writer-service", &["--flush-interval", "1s", ACCEPT, &before]);
    fleet.audit_is_clean();
    fleet.stop_all();
}

#[tokio::test]
async fn a_raw_stream_that_is_made_again_halts_who_writes_and_who_reads_it() {
    let mut fleet = Fleet::set_up("raw-again").await;
    let gateway = fleet.gateway();
    let (gate, dedup) = (Member::FIRST, fleet.dedup());
    fleet.writer();
    fleet.wait_until_ready(gateway).await;
    fleet.generate(gateway, &LOAD);
    fleet.audit_is_clean();
    make_again_unseen(&fleet, "RAW_STREAM", [gate, dedup]).await;
    halts(&mut fleet, dedup, &MADE_AGAIN).await;
    halts(&mut fleet, gate, &MADE_AGAIN).await;
    let (gateway, dedup) = (fleet.gateway(), fleet.dedup());
    let before = is_refused(&mut fleet, dedup).await;
    fleet.start("dedup-service", &[ACCEPT, &before]);
    fleet.wait_until_ready(gateway).await;
    fleet.generate(gateway, &LOAD);
    let audited = fleet.audit_is_clean();
    let duplicates = audited.lines().find_map(|line| line.trim().strip_prefix("duplicates")).unwrap();
    let duplicates: u64 = duplicates.split_whitespace().next().unwrap().parse().unwrap();
    assert!(duplicates >= 300, "{audited}");
    fleet.stop_all();
}

#[tokio::test]
async fn streams_that_are_made_again_while_nobody_reads_them_are_not_taken_for_new_ones() {
    let mut fleet = Fleet::set_up("again").await;
    let gateway = fleet.gateway();
    fleet.workers();
    fleet.wait_until_ready(gateway).await;
    fleet.generate(gateway, &LOAD);
    fleet.audit_is_clean();
    fleet.stop_all();
    for stream in ["RAW_STREAM", "CLEAN_STREAM"] {
        make_again(fleet.name_of(stream)).await;
    }
    let gateway = fleet.gateway();
    let [dedup, writer] = fleet.workers();
    let before = [is_refused(&mut fleet, dedup).await, is_refused(&mut fleet, writer).await].join(",");
    fleet.start("dedup-service", &[ACCEPT, &before]);
    fleet.start("writer-service", &["--flush-interval", "1s", ACCEPT, &before]);
    fleet.wait_until_ready(gateway).await;
    fleet.generate(gateway, &MORE);
    fleet.audit_is_clean();
    fleet.stop_all();
    fleet.workers();
    let gateway = fleet.gateway();
    fleet.wait_until_ready(gateway).await;
    fleet.generate(gateway, &LOAD);
    fleet.audit_is_clean();
    fleet.stop_all();
}

#[tokio::test]
async fn bad_settings_and_a_lost_dependency_end_with_codes_of_their_own() {
    let mut fleet = Fleet::set_up("codes").await;
    for binary in ["ingest-gateway", "dedup-service", "writer-service"] {
        let bad = fleet.start(binary, &["--raw-stream", "a", "--clean-stream", "a"]);
        let (code, log) = fleet.ended(bad).await;
        assert!(code == MISCONFIGURED && log.contains("--raw-stream and --clean-stream"), "{code:?}: {log}");
        let lost = fleet.start(binary, &["--raw-stream", "nothing", "--clean-stream", "nowhere"]);
        let (code, log) = fleet.ended(lost).await;
        assert!(code == LOST_DEPENDENCY && log.contains("there is no stream no"), "{code:?}: {log}");
    }
}
