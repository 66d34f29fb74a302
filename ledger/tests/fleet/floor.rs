//! Where workers meet: pieces that do nothing, and an account of who works on them.

use crate::wire::{Trouble, Wire};
use async_trait::async_trait;
use ledger::Ledger;
use ledger::embedded::EmbeddedLedger;
use ledger::keeper::{Ending, Failure, Keeper, Terms, Work};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use store::{Options, Store};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Who works on what, and what went wrong.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Worker by piece.
    working: BTreeMap<String, String>,
    pub(crate) starts: u32,
    /// Pieces that came to their end by themselves.
    pub(crate) drained: u32,
    /// Pieces that somebody started while somebody else was at it.
    pub(crate) doubled: Vec<String>,
    /// Why a worker can't do its work, as it said last; `None` where it can.
    unable: BTreeMap<String, Option<String>>,
}

/// Some pieces and the ledger that their workers share.
pub(crate) struct Floor {
    pub(crate) ledger: Arc<dyn Ledger>,
    account: Arc<Mutex<Account>>,
    pieces: usize,
    drain: Duration,
    _dir: TempDir,
}

impl Floor {
    pub(crate) fn new(pieces: usize) -> Floor {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options::new(Arc::new(|| 0), "a test")).unwrap();
        let ledger = Arc::new(EmbeddedLedger::new(Arc::new(store)));
        Floor { ledger, account: Arc::default(), pieces, drain: Duration::from_secs(2), _dir: dir }
    }

    pub(crate) fn draining_for(self, drain: Duration) -> Floor {
        Floor { drain, ..self }
    }

    pub(crate) fn worker(&self, name: &str) -> Worker {
        self.worker_with(Terms::shared("stage", name.to_owned()))
    }

    pub(crate) fn worker_with(&self, terms: Terms) -> Worker {
        let account = self.account.clone();
        let crew = Crew { account, name: terms.worker.clone(), pieces: self.pieces, drain: self.drain };
        let (wire, stop) = (Arc::new(Wire::new(self.ledger.clone())), CancellationToken::new());
        let task = tokio::spawn(Keeper::new(wire.clone(), Arc::new(crew), terms).run(stop.clone()));
        Worker { wire, stop, task }
    }

    pub(crate) fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap()
    }

    pub(crate) fn working(&self, worker: &str) -> usize {
        self.account().working.values().filter(|at_it| *at_it == worker).count()
    }

    /// What a worker said last of why it can't do its work.
    pub(crate) fn unable(&self, worker: &str) -> Option<String> {
        self.account().unable.get(worker).expect("it has said something").clone()
    }

    pub(crate) fn working_in_all(&self) -> usize {
        self.account().working.len()
    }

    /// How many pieces each worker that has any works on, ascending.
    pub(crate) fn spread(&self) -> Vec<usize> {
        let mut pieces_of: BTreeMap<String, usize> = BTreeMap::new();
        for worker in self.account().working.values() {
            *pieces_of.entry(worker.clone()).or_default() += 1;
        }
        let mut spread: Vec<usize> = pieces_of.into_values().collect();
        spread.sort_unstable();
        spread
    }
}

/// One worker of the stage.
pub(crate) struct Worker {
    wire: Arc<Wire>,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Worker {
    pub(crate) fn meets(&self, trouble: Trouble) {
        self.wire.meets(trouble);
    }

    /// Asked to go.
    pub(crate) async fn leave(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Gone from one moment to the next.
    pub(crate) fn die(self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Crew {
    account: Arc<Mutex<Account>>,
    name: String,
    pieces: usize,
    drain: Duration,
}

/// Somebody works on a piece, until this is dropped.
struct AtIt<'a>(&'a Mutex<Account>, String);

impl Crew {
    fn start(&self, piece: &str) -> AtIt<'_> {
        let mut account = self.account.lock().unwrap();
        account.starts += 1;
        if let Some(other) = account.working.insert(piece.to_owned(), self.name.clone()) {
            account.doubled.push(format!("{piece}: {other} and {}", self.name));
        }
        AtIt(&self.account, piece.to_owned())
    }
}

impl Drop for AtIt<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap().working.remove(&self.1);
    }
}

#[async_trait]
impl Work for Crew {
    async fn pieces(&self) -> Result<Vec<String>, Failure> {
        Ok((0..self.pieces).map(|piece| format!("{piece:03}")).collect())
    }

    fn able(&self, able: Result<(), &str>) {
        let why_not = able.err().map(str::to_owned);
        self.account.lock().unwrap().unable.insert(self.name.clone(), why_not);
    }

    async fn run(&self, piece: &str, stop: CancellationToken) -> Result<Ending, Failure> {
        let _at_it = self.start(piece);
        stop.cancelled().await;
        tokio::time::sleep(self.drain).await;
        self.account.lock().unwrap().drained += 1;
        Ok(Ending::Stopped)
    }
}
