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

const LOAD: [&str; 5] = ["--total", "300", "--batch", "20", "--max"];

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

/// It has halted, and its last words have all of `told`.
pub(crate) async fn halts(fleet: &mut Fleet, member: Member, told: &[&str]) -> String {
    let (code, log) = fleet.ended(member).await;
    let last = log.lines().last().unwrap_or_default();
    assert!(code == HALT && told.iter().all(|words| last.contains(words)), "ended with {code:?}:\n{log}");
    last.to_owned()
}

const MADE_AGAIN: [&str; 3] = ["halt: stream", "deleted and made again", "start again to go on with the new one"];

#[tokio::test]
async fn a_clean_stream_that_is_made_again_halts_who_writes_and_who_reads_it() {
    let mut fleet = Fleet::set_up("clean-again").await;
    let gateway = fleet.gateway();
    let [dedup, writer] = fleet.workers();
    fleet.wait_until_ready(gateway).await;
    fleet.generate(gateway, &LOAD);
    fleet.audit_is_clean();
    make_again(fleet.name_of("CLEAN_STREAM")).await;
    halts(&mut fleet, writer, &MADE_AGAIN).await;
    halts(&mut fleet, dedup, &MADE_AGAIN).await;
    fleet.generate(gateway, &LOAD);
    fleet.workers();
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
    make_again(fleet.name_of("RAW_STREAM")).await;
    halts(&mut fleet, dedup, &MADE_AGAIN).await;
    halts(&mut fleet, gate, &MADE_AGAIN).await;
    let gateway = fleet.gateway();
    fleet.dedup();
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
