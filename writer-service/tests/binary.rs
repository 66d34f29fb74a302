//! The `writer-service` binary on a data directory.

#![allow(clippy::unwrap_used)] // A test that can't be set up may panic.

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use schema::HashKey;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Options, Store};
use stream::embedded::EmbeddedStream;
use stream::{NewRecord, Stream};

/// Longest wait for the process to have written.
const PATIENCE: Duration = Duration::from_secs(60);

fn binary(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_writer-service"));
    command.env_clear().env("FOREBAY_SHARDS", "1").env("FOREBAY_FLUSH_INTERVAL", "100ms");
    command.arg("--data-dir").arg(data_dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

fn open(dir: &Path) -> Arc<Store> {
    Arc::new(Store::open(dir, Options::new(Arc::new(|| 0), "a test")).unwrap())
}

/// Parquet files below a folder.
fn objects(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { objects(&path) } else { vec![path] };
    entries.flat_map(below).filter(|path| path.extension().is_some_and(|name| name == "parquet")).collect()
}

#[tokio::test]
async fn it_writes_what_the_dedup_stage_left_and_stops_when_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let clean = EmbeddedStream::open(&store, "clean", NonZeroU32::MIN, "c1").await.unwrap();
    let record = NewRecord { point: HashKey(0), bytes: Bytes::from_static(b"no clean record, and kept all the same") };
    clean.append(vec![record]).await.remove(0).unwrap();
    store.close();

    let child = binary(dir.path()).spawn().unwrap();
    let start = Instant::now();
    while objects(&dir.path().join("lake/live/quarantine")).is_empty() {
        assert!(start.elapsed() < PATIENCE, "nothing was written");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn nonsense_is_refused_with_the_name_of_the_setting() {
    let dir = tempfile::tempdir().unwrap();
    for args in [["--flush-interval", "5"], ["--flush-rows", "0"], ["--writer-memory", "much"], ["--shards", "none"]] {
        let output = binary(dir.path()).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", said(&output));
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
    assert!(help.contains("while nothing else runs on it") && help.contains("--flush-interval"), "{help}");
}
