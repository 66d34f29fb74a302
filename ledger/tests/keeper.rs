//! The keeper of leases, on the embedded ledger.

#![allow(clippy::unwrap_used)] // A test that can't be set up may panic.

use async_trait::async_trait;
use ledger::Ledger;
use ledger::embedded::EmbeddedLedger;
use ledger::keeper::{Ending, Failure, Keeper, Terms, Work};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Options, Store};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const TERM: Duration = Duration::from_secs(9);
const POLL: Duration = Duration::from_secs(1);

/// Works on `a` and `b` until it is stopped; what it does besides is up to `end`.
#[derive(Debug, Default)]
struct Two {
    starts: Mutex<Vec<String>>,
    running: AtomicU32,
    end: Option<fn() -> Result<Ending, Failure>>,
}

struct Running<'a>(&'a AtomicU32);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Work for Two {
    async fn pieces(&self) -> Result<Vec<String>, Failure> {
        Ok(vec!["piece/a".to_string(), "piece/b".to_string()])
    }

    async fn run(&self, piece: &str, stop: CancellationToken) -> Result<Ending, Failure> {
        self.starts.lock().unwrap().push(piece.to_string());
        self.running.fetch_add(1, Ordering::Relaxed);
        let _running = Running(&self.running);
        if let Some(end) = self.end {
            return end();
        }
        stop.cancelled().await;
        Ok(Ending::Stopped)
    }
}

fn ledger() -> (Arc<dyn Ledger>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::new(Arc::new(|| 0), "a test")).unwrap();
    (Arc::new(EmbeddedLedger::new(Arc::new(store))), dir)
}

fn keeper(ledger: &Arc<dyn Ledger>, work: &Arc<Two>, worker: &str) -> Keeper {
    Keeper::new(ledger.clone(), work.clone(), Terms { term: TERM, poll: POLL, ..Terms::alone(worker.into()) })
}

/// Runs a keeper for some time, then stops it.
async fn run_for(keeper: Keeper, time: Duration) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let later = async {
        tokio::time::sleep(time).await;
        stop.cancel();
    };
    tokio::join!(keeper.run(stop.clone()), later).0
}

async fn owners(ledger: &Arc<dyn Ledger>) -> Vec<Option<String>> {
    ledger.leases("alone/pieces/").await.unwrap().into_iter().map(|lease| lease.owner).collect()
}

#[tokio::test(start_paused = true)]
async fn every_piece_is_worked_on_once_and_given_back_in_the_end() {
    let (ledger, _dir) = ledger();
    let work = Arc::new(Two::default());
    run_for(keeper(&ledger, &work, "me"), 5 * TERM).await.unwrap();
    assert_eq!(*work.starts.lock().unwrap(), ["piece/a", "piece/b"]);
    assert_eq!(owners(&ledger).await, [None, None]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_without_a_sign_of_life_is_taken_after_a_term_and_not_before() {
    let (ledger, _dir) = ledger();
    ledger.acquire("alone/pieces/piece/a", "somebody who died", None).await.unwrap();
    let work = Arc::new(Two::default());
    run_for(keeper(&ledger, &work, "me"), TERM / 2).await.unwrap();
    assert_eq!(*work.starts.lock().unwrap(), ["piece/b"]);
    run_for(keeper(&ledger, &work, "me"), 3 * TERM).await.unwrap();
    assert_eq!(*work.starts.lock().unwrap(), ["piece/b", "piece/b", "piece/a"]);
}

#[tokio::test(start_paused = true)]
async fn work_stops_where_its_lease_is_lost_and_only_there() {
    let (ledger, _dir) = ledger();
    let work = Arc::new(Two::default());
    let thief = async {
        tokio::time::sleep(TERM / 9).await;
        let seen = ledger.leases("alone/pieces/piece/a").await.unwrap().remove(0);
        ledger.acquire("alone/pieces/piece/a", "a thief", Some(&seen)).await.unwrap();
        tokio::time::sleep(TERM / 2).await;
        assert_eq!(work.running.load(Ordering::Relaxed), 1);
    };
    let (outcome, ()) = tokio::join!(run_for(keeper(&ledger, &work, "me"), TERM), thief);
    outcome.unwrap();
    assert_eq!(owners(&ledger).await, [Some("a thief".to_string()), None]);
}

#[tokio::test(start_paused = true)]
async fn what_is_done_is_not_taken_again_and_what_failed_is() {
    let (ledger, _dir) = ledger();
    let done = Arc::new(Two { end: Some(|| Ok(Ending::Done)), ..Two::default() });
    run_for(keeper(&ledger, &done, "me"), TERM).await.unwrap();
    assert_eq!(done.starts.lock().unwrap().len(), 2);
    assert_eq!(owners(&ledger).await, [], "nobody need look at their leases again");
    let failing = Arc::new(Two { end: Some(|| Err(Failure::Again("no answer".into()))), ..Two::default() });
    run_for(keeper(&ledger, &failing, "me"), TERM).await.unwrap();
    assert!(failing.starts.lock().unwrap().len() > 2);
}

#[tokio::test(start_paused = true)]
async fn a_fatal_failure_ends_the_keeper() {
    let (ledger, _dir) = ledger();
    let work = Arc::new(Two { end: Some(|| Err(Failure::Fatal(anyhow::anyhow!("halt")))), ..Two::default() });
    let error = run_for(keeper(&ledger, &work, "me"), TERM).await.expect_err("fatal");
    assert!(format!("{error:#}").contains("halt"));
}
