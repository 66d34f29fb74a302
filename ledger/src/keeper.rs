//! Keeps leases and runs the work behind them.
//!
//! **Piece**: something one worker at a time should do: own a shard. A lease only says who tries; what keeps two owners
//! apart is the chain. **Term**: how long a lease may go without a sign of life, by the watcher's monotonic clock.

use crate::{Lease, LeaseError, Ledger, LedgerError};
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How a piece of work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// For good: nobody need take it again.
    Done,
    /// Asked to stop.
    Stopped,
}

/// Why a piece of work failed.
#[derive(Debug)]
pub enum Failure {
    /// Starting it anew, here or elsewhere, puts it right.
    Again(String),
    /// The whole process must stop.
    Fatal(anyhow::Error),
}

/// What leases are kept for.
#[async_trait]
pub trait Work: Send + Sync + fmt::Debug + 'static {
    /// Names of the leases of pieces that may be worked on now.
    async fn pieces(&self) -> Result<Vec<String>, Failure>;

    /// Works on one piece until it is done or `stop` is signalled. May be dropped at any await when the lease is lost.
    async fn run(&self, piece: &str, stop: CancellationToken) -> Result<Ending, Failure>;
}

/// How a worker takes and keeps leases.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Names this worker, unlike any other one that ever ran.
    pub worker: String,
    pub term: Duration,
    /// Pause between two looks for pieces to take.
    pub poll: Duration,
}

impl Terms {
    /// Terms for a data directory, where no other process can take a lease.
    pub fn alone(worker: String) -> Terms {
        Terms { worker, term: Duration::from_secs(30), poll: Duration::from_millis(500) }
    }
}

/// One worker's leases and the tasks behind them.
#[derive(Debug)]
pub struct Keeper {
    ledger: Arc<dyn Ledger>,
    work: Arc<dyn Work>,
    terms: Terms,
    /// What each lease of somebody else looked like when it last changed, and when that was seen.
    watched: BTreeMap<String, (Lease, Instant)>,
    held: BTreeMap<String, Held>,
    tasks: JoinSet<Result<Ending, Failure>>,
    pieces_of: BTreeMap<Id, String>,
    done: BTreeSet<String>,
}

#[derive(Debug)]
struct Held {
    lease: Lease,
    renewed: Instant,
    abort: AbortHandle,
}

impl Keeper {
    pub fn new(ledger: Arc<dyn Ledger>, work: Arc<dyn Work>, terms: Terms) -> Keeper {
        Keeper {
            ledger,
            work,
            terms,
            watched: BTreeMap::new(),
            held: BTreeMap::new(),
            tasks: JoinSet::new(),
            pieces_of: BTreeMap::new(),
            done: BTreeSet::new(),
        }
    }

    /// Runs until `stop`, then lets every piece drain and gives the leases back.
    ///
    /// # Errors
    /// The first [`Failure::Fatal`] of a piece.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let pieces_stop = stop.child_token();
        let mut poll = tokio::time::interval(self.terms.poll);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = poll.tick() => {
                    self.renew().await;
                    self.take(&pieces_stop).await?;
                }
                Some(ended) = self.tasks.join_next_with_id() => self.settle(ended).await?,
            }
        }
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.settle(ended).await?;
        }
        Ok(())
    }

    async fn renew(&mut self) {
        let due: Vec<String> = self
            .held
            .iter()
            .filter(|(_, held)| held.renewed.elapsed() >= self.terms.term / 3)
            .map(|(piece, _)| piece.clone())
            .collect();
        for piece in due {
            let Some(held) = self.held.get_mut(&piece) else { continue };
            let asked = Instant::now();
            match self.ledger.renew(&held.lease).await {
                Ok(lease) => (held.lease, held.renewed) = (lease, asked),
                Err(LeaseError::Unavailable(_)) if held.renewed.elapsed() < self.terms.term => {}
                Err(error) => {
                    tracing::warn!(piece, %error, "the lease is lost: its work stops here");
                    held.abort.abort();
                }
            }
        }
    }

    async fn take(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        let pieces = match self.work.pieces().await {
            Ok(pieces) => pieces,
            Err(Failure::Again(reason)) => {
                tracing::warn!(reason, "can't list the work, trying again");
                return Ok(());
            }
            Err(Failure::Fatal(error)) => return Err(error),
        };
        for piece in pieces {
            if self.held.contains_key(&piece) || self.done.contains(&piece) {
                continue;
            }
            match self.try_take(&piece).await {
                Ok(Some(lease)) => self.start(piece, lease, stop),
                Ok(None) | Err(LeaseError::Lost(_)) => {}
                Err(error) => tracing::warn!(piece, %error, "can't take the lease, trying again"),
            }
        }
        Ok(())
    }

    /// Takes a lease that is free, or whose holder has shown no sign of life for a term.
    async fn try_take(&mut self, piece: &str) -> Result<Option<Lease>, LeaseError> {
        let leases =
            self.ledger.leases(piece).await.map_err(|error: LedgerError| LeaseError::Unavailable(error.to_string()))?;
        let seen = leases.into_iter().find(|lease| lease.name == piece);
        if let Some(lease) = seen.as_ref().filter(|lease| lease.owner.is_some()) {
            let now = Instant::now();
            let (last, since) = self.watched.entry(piece.to_string()).or_insert_with(|| (lease.clone(), now));
            if last != lease {
                (*last, *since) = (lease.clone(), now);
            }
            if since.elapsed() < self.terms.term {
                return Ok(None);
            }
        }
        let lease = self.ledger.acquire(piece, &self.terms.worker, seen.as_ref()).await?;
        self.watched.remove(piece);
        Ok(Some(lease))
    }

    fn start(&mut self, piece: String, lease: Lease, stop: &CancellationToken) {
        let (work, name, stop) = (self.work.clone(), piece.clone(), stop.clone());
        let abort = self.tasks.spawn(async move { work.run(&name, stop).await });
        self.pieces_of.insert(abort.id(), piece.clone());
        self.held.insert(piece, Held { lease, renewed: Instant::now(), abort });
    }

    async fn settle(
        &mut self,
        ended: Result<(Id, Result<Ending, Failure>), tokio::task::JoinError>,
    ) -> anyhow::Result<()> {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, Some(outcome)),
            Err(error) if error.is_cancelled() => (error.id(), None),
            Err(panic) => return Err(anyhow::Error::new(panic).context("the work on a piece panicked")),
        };
        let Some(piece) = self.pieces_of.remove(&id) else { return Ok(()) };
        let Some(held) = self.held.remove(&piece) else { return Ok(()) };
        if let Err(error) = self.ledger.release(&held.lease).await {
            tracing::debug!(piece, %error, "could not give the lease back: it runs out by itself");
        }
        match outcome {
            Some(Ok(Ending::Done)) => {
                self.done.insert(piece);
            }
            Some(Err(Failure::Again(reason))) => tracing::warn!(piece, reason, "starting the work anew"),
            Some(Err(Failure::Fatal(error))) => return Err(error.context(format!("the work on {piece}"))),
            Some(Ok(Ending::Stopped)) | None => {}
        }
        Ok(())
    }
}
