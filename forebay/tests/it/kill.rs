//! The real pipeline under load, killed again and again.

use crate::pipeline::{Pipeline, Running, said};
use service::Env;
use std::time::Duration;

const KILLS: u64 = 15;

/// Variable with the number that makes the moments of the kills, as a run before has printed it; drawn anew without it.
const SEED: &str = "FOREBAY_TEST_KILL_SEED";

/// From when `up` says that it is up to its end.
const LIFE_MS: std::ops::Range<u64> = 100..2200;

/// From the start of the process to its end, where nobody waits for it to be up.
const SHORT_LIFE_MS: std::ops::Range<u64> = 0..150;

/// The generator's load: more than a killed pipeline keeps up with in its short lives is of no use.
const LOAD: [&str; 14] = [
    "--rate",
    "2000/s",
    "--batch",
    "25",
    "--connections",
    "6",
    "--duplicates",
    "5%",
    "--invalid",
    "2%",
    "--late",
    "2%",
    "--seed",
    "7",
];

fn seed() -> u64 {
    let given = std::env::var(SEED).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{SEED}: not a number")));
    given.unwrap_or_else(|| Env::system().nonce() as u64)
}

/// SplitMix64, <https://prng.di.unimi.it/splitmix64.c>
fn drawn(seed: u64, number: u64, range: std::ops::Range<u64>) -> u64 {
    let mut z = seed.wrapping_add((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    range.start + (z ^ z >> 31) % (range.end - range.start)
}

/// Shards from life to life: reshards happen amid unfinished business.
fn shards(life: u64) -> &'static str {
    ["2", "2", "2", "3", "3", "3", "3", "1", "1", "4"].get(life as usize).copied().unwrap_or("4")
}

/// Every third life, the first one too, ends while it begins. In every third, a compaction on demand dies with it.
fn live_and_die(pipeline: &Pipeline, seed: u64, life: u64) {
    if life.is_multiple_of(3) {
        let up = pipeline.begin_up(&["--shards", shards(life)]);
        std::thread::sleep(Duration::from_millis(drawn(seed, life, SHORT_LIFE_MS)));
        return up.kill();
    }
    let up = pipeline.up(&["--shards", shards(life)]);
    let demand = (life % 3 == 2).then(|| pipeline.spawn("compact", &["--all"]));
    std::thread::sleep(Duration::from_millis(drawn(seed, life, LIFE_MS)));
    up.kill();
    if let Some(demand) = demand {
        // Whether it was through by then does not matter: the audit tells what does.
        let _ = demand.wait();
    }
}

/// Starts a compaction between two lives; every other one is killed in the middle.
fn compact(pipeline: &Pipeline, seed: u64, life: u64) {
    let compaction: Running = pipeline.spawn("compact", &["--all"]);
    match life % 4 {
        1 => {
            std::thread::sleep(Duration::from_millis(drawn(seed, 100 + life, 50..400)));
            compaction.kill();
        }
        _ => assert!(compaction.wait().success(), "{}", pipeline.log("compact")),
    }
}

#[test]
fn a_pipeline_that_is_killed_again_and_again_loses_nothing_and_doubles_nothing() {
    let (pipeline, seed) = (Pipeline::new(), seed());
    println!("{SEED}={seed}");
    let generator = pipeline.generate(&LOAD);
    for life in 0..KILLS {
        live_and_die(&pipeline, seed, life);
        if life % 2 == 1 && life > 2 {
            compact(&pipeline, seed, life);
        }
    }
    let up = pipeline.up(&["--shards", shards(KILLS)]);
    std::thread::sleep(Duration::from_secs(3));
    assert!(generator.stop().success(), "{}", pipeline.log("generate"));
    pipeline.audit_acked(&["--wait", "40s"]).assert_clean();
    assert!(up.stop().success(), "{}", pipeline.log("up"));

    let drained = pipeline.audit_acked(&[]);
    drained.assert_clean();
    assert_eq!(drained.figure("in flight"), 0, "{}", drained.text);
    assert!(drained.figure("accepted") > 3000, "hardly any load:\n{}", drained.text);
    assert!(drained.figure("duplicates") > 0 && drained.figure("quarantined") > 0, "{}", drained.text);
    assert!(drained.figure("final") > 0, "no compaction in between:\n{}", drained.text);

    let compacted = pipeline.run("compact", &["--all"]);
    assert!(compacted.status.success(), "{}", said(&compacted.stderr));
    let audit = pipeline.audit_acked(&[]);
    audit.assert_clean();
    assert_eq!(audit.figure("live"), 0, "{}", audit.text);
    assert_eq!(audit.figure("final"), audit.figure("unique") + audit.figure("quarantined"), "{}", audit.text);
}
