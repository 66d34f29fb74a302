//! The `dedup-service` binary on a data directory.

#![allow(clippy::unwrap_used)] // A test that can't be set up may panic.

use bytes::Bytes;
use ledger::Ledger;
use ledger::embedded::EmbeddedLedger;
use rustix::process::{Pid, Signal, kill_process};
use schema::{ChainId, HashKey, ShardId};
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Options, Store, StoreReader};
use stream::embedded::EmbeddedStream;
use stream::{NewRecord, Stream};

/// Longest wait for the process to have decided.
const PATIENCE: Duration = Duration::from_secs(60);

fn binary(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dedup-service"));
    command.env_clear().env("FOREBAY_SHARDS", "1").arg("--data-dir").arg(data_dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

fn open(dir: &Path) -> Arc<Store> {
    Arc::new(Store::open(dir, Options::new(Arc::new(|| 0), "a test")).unwrap())
}

#[tokio::test]
async fn it_decides_what_a_gateway_left_and_stops_when_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let raw = EmbeddedStream::open(&store, "raw", NonZeroU32::MIN, "r1").await.unwrap();
    let record = NewRecord { point: HashKey(0), bytes: Bytes::from_static(b"not an event, and kept all the same") };
    raw.append(vec![record]).await.remove(0).unwrap();
    store.close();

    let child = binary(dir.path()).spawn().unwrap();
    let chain = ChainId::dedup("r1", &ShardId::new("raw-0000"), 0);
    let start = Instant::now();
    while !has_decided(dir.path(), &chain).await {
        assert!(start.elapsed() < PATIENCE, "nothing was decided");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

/// Reads beside the process that holds the directory.
async fn has_decided(dir: &Path, chain: &ChainId) -> bool {
    let reader = StoreReader::open(dir).unwrap();
    let head = EmbeddedLedger::read_only(&reader).head(chain).await.unwrap();
    head.is_some_and(|head| head.number > 0)
}

#[test]
fn nonsense_is_refused_with_the_name_of_the_setting() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        (["--window", "long"], 2),
        (["--keep-decisions", "1d"], 2),
        (["--dedup-ahead-max", "0"], 2),
        // Only together do these two make no sense.
        (["--window", "30d"], 2),
    ];
    for (args, code) in cases {
        let output = binary(dir.path()).args(args).env("FOREBAY_KEEP_DECISIONS", "8d").output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", said(&output));
        assert!(said(&output).contains(args[0]), "{args:?}: {}", said(&output));
    }
}

#[test]
fn a_directory_that_is_held_is_refused_with_its_holder() {
    let dir = tempfile::tempdir().unwrap();
    let _store = open(dir.path());
    let output = binary(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("a test"), "{}", said(&output));
}

#[test]
fn its_help_says_that_nothing_else_may_run_on_the_directory() {
    let output = binary(Path::new("nowhere")).arg("--help").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let help = said(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("while nothing else runs on it") && help.contains("--keep-decisions"), "{help}");
}
