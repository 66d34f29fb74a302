//! Keeps leases and runs the work behind them.
//!
//! **Piece**: something one worker at a time should do: own a shard. A lease only says who tries; what keeps two owners
//! apart is the chain. **Term**: how long a lease may go without a sign of life, by the watcher's monotonic clock.
//! **Look**: one list of all leases of the stage, by which a worker decides what to take and what to hand off. **Seat**:
//! the lease by which the others see a worker, also one that holds nothing. **Share**: how many pieces a worker should
//! hold. **Hand-off**: whoever holds more than its share lets a piece drain and gives its lease back; others take it at
//! their next look.

mod share;
mod tenure;
mod watch;

use crate::{Lease, LeaseError, Ledger};
use async_trait::async_trait;
use share::{pace, share};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;
use tenure::{RENEWALS_PER_TERM, Tenure};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use watch::Watch;

/// How long a lease may go without a sign of life. All that a call to AWS is repeated must fit in.
pub const LEASE_TERM: Duration = Duration::from_secs(30);

/// Pause between two looks of workers that share.
///
/// What leases cost (us-east-1, <https://aws.amazon.com/dynamodb/pricing/on-demand/>): each is renewed every 10 s, a write
/// unit; a look is a read unit for about 20 leases. Two stages of two workers and four pieces each: 12 renewals in 10 s
/// and 4 looks in 5 s are 3.2 million writes and 2.1 million reads a month, $2.23; at 300 events a second, $0.003 per
/// million events. With 600 pieces and 100 workers at 300,000 a second: $330 a month, $0.0004 per million.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Pause between two looks for new pieces in a data directory: they cost nothing there.
const LOOK_EVERY_ALONE: Duration = Duration::from_millis(500);

/// How long a piece that is handed off may drain: then its work is stopped where it is, which whoever comes next puts
/// right. A hand-off never gets stuck.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// Looks in a row that may fail before a worker counts as unable to do its work. One may fail by chance; three take less
/// than a minute even where nobody answers, and somebody should know by then.
pub const LOOKS_FAILED_MAX: u32 = 3;

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
    /// Names of the pieces that may be worked on now. Of all workers of a stage, the same names.
    async fn pieces(&self) -> Result<Vec<String>, Failure>;

    /// Works on one piece until it is done or `stop` is signalled. May be dropped at any await when the lease is lost.
    async fn run(&self, piece: &str, stop: CancellationToken) -> Result<Ending, Failure>;

    /// The lease of a piece is lost, and its work was stopped.
    fn lost(&self, _piece: &str) {}

    /// Told after a look whether this worker can do its work: it sees what there is, and has its share or nothing is free.
    /// If not, why; that is said after [`LOOKS_FAILED_MAX`] looks in a row that failed.
    fn able(&self, _able: Result<(), &str>) {}
}

/// How a worker takes and keeps leases.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Names this worker, unlike any other one that ever ran.
    pub worker: String,
    /// What the names of all its leases start with. Workers share with those of the same stage.
    pub stage: String,
    pub term: Duration,
    /// Pause between two looks.
    pub poll: Duration,
    pub sharing: Sharing,
}

/// How many pieces a worker takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// All of them, at once: there is nobody else.
    Alone,
    /// As many as the others, gradually.
    Evenly,
}

impl Terms {
    /// Terms for a data directory, where no other process can take a lease.
    pub fn alone(worker: String) -> Terms {
        Terms { worker, stage: "alone".to_owned(), term: LEASE_TERM, poll: LOOK_EVERY_ALONE, sharing: Sharing::Alone }
    }

    /// Terms for one of many processes that share the pieces of a stage.
    pub fn shared(stage: &str, worker: String) -> Terms {
        Terms { worker, stage: stage.to_owned(), term: LEASE_TERM, poll: LOOK_EVERY, sharing: Sharing::Evenly }
    }

    fn lease_of(&self, piece: &str) -> String {
        format!("{}/pieces/{piece}", self.stage)
    }

    fn seats(&self) -> String {
        format!("{}/seats/", self.stage)
    }
}

/// One worker's leases and the tasks behind them.
#[derive(Debug)]
pub struct Keeper {
    ledger: Arc<dyn Ledger>,
    work: Arc<dyn Work>,
    terms: Terms,
    watch: Watch,
    /// And when its renewal was last asked for.
    seat: Option<(Lease, Instant)>,
    held: BTreeMap<String, Held>,
    tasks: JoinSet<Result<Ending, Failure>>,
    pieces_of: BTreeMap<Id, String>,
    done: BTreeSet<String>,
    /// Looks in a row that failed.
    looks_failed: u32,
}

#[derive(Debug)]
struct Held {
    stop: CancellationToken,
    handed_off: CancellationToken,
}

impl Held {
    /// Lets the work drain.
    fn hand_off(&self) {
        self.handed_off.cancel();
        self.stop.cancel();
    }
}

impl Keeper {
    pub fn new(ledger: Arc<dyn Ledger>, work: Arc<dyn Work>, terms: Terms) -> Keeper {
        Keeper {
            ledger,
            work,
            watch: Watch::new(terms.term),
            terms,
            seat: None,
            held: BTreeMap::new(),
            tasks: JoinSet::new(),
            pieces_of: BTreeMap::new(),
            done: BTreeSet::new(),
            looks_failed: 0,
        }
    }

    /// Runs until `stop`, then lets every piece drain and gives the leases back.
    ///
    /// # Errors
    /// The first [`Failure::Fatal`] of a piece.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut poll = tokio::time::interval(self.terms.poll);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = poll.tick() => self.look(&stop).await?,
                Some(ended) = self.tasks.join_next_with_id() => self.settle(ended)?,
            }
        }
        self.leave().await;
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.settle(ended)?;
        }
        Ok(())
    }

    /// Sees what there is, and acts on it.
    async fn look(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        if self.terms.sharing == Sharing::Evenly {
            self.sit().await;
        }
        let Some(seen) = stop.run_until_cancelled(self.see()).await else { return Ok(()) };
        let looked = match seen {
            Ok(pieces) => self.balance(pieces, stop).await,
            Err(Failure::Again(reason)) => Err(format!("can't see the work and its leases: {reason}")),
            Err(Failure::Fatal(error)) => return Err(error),
        };
        self.note(looked);
        Ok(())
    }

    /// Says how a look went.
    fn note(&mut self, looked: Result<(), String>) {
        let Err(reason) = looked else {
            self.looks_failed = 0;
            return self.work.able(Ok(()));
        };
        tracing::warn!(reason, "trying again");
        self.looks_failed += 1;
        if self.looks_failed >= LOOKS_FAILED_MAX {
            self.work.able(Err(&reason));
        }
    }

    /// Hands off what is too much, or takes what is too little.
    ///
    /// # Errors
    /// There is something free for this worker, and it can't be taken.
    async fn balance(&mut self, mut pieces: Vec<String>, stop: &CancellationToken) -> Result<(), String> {
        pieces.retain(|piece| !self.done.contains(piece));
        let (share, pace) = match self.terms.sharing {
            Sharing::Alone => (usize::MAX, usize::MAX),
            Sharing::Evenly => self.share_of(&pieces),
        };
        let staying: Vec<(&String, &Held)> = pieces.iter().filter_map(|piece| self.staying(piece)).collect();
        for (piece, held) in staying.iter().rev().take(staying.len().saturating_sub(share).min(pace)) {
            tracing::info!(piece, "handing off a piece: others have room for it");
            held.hand_off();
        }
        let count = share.saturating_sub(staying.len()).min(pace);
        let taken = self.take(&pieces, count, stop).await;
        self.clear_seats().await;
        taken
    }

    /// The pieces there are; the leases are seen after them, so that they are no older than need be.
    async fn see(&mut self) -> Result<Vec<String>, Failure> {
        let pieces = self.work.pieces().await?;
        let stage = format!("{}/", self.terms.stage);
        let leases = async {
            let leases = self.ledger.leases(&stage).await;
            leases.map_err(|error| LeaseError::Unavailable(error.to_string()))
        };
        let leases = self.in_time(leases).await.map_err(|error| Failure::Again(error.to_string()))?;
        self.watch.observe(leases);
        Ok(pieces)
    }

    /// How many pieces this worker should hold, and how many of them may change hands at this look.
    fn share_of(&self, pieces: &[String]) -> (usize, usize) {
        let mut held: BTreeMap<&str, usize> = BTreeMap::new();
        for seat in self.watch.names(&self.terms.seats()) {
            held.extend(self.watch.owner(seat).map(|worker| (worker, 0)));
        }
        for piece in pieces {
            if let Some(count) = self.watch.owner(&self.terms.lease_of(piece)).and_then(|owner| held.get_mut(owner)) {
                *count += 1;
            }
        }
        let share = share(pieces.len(), &held, &self.terms.worker);
        (share, pace(share))
    }

    /// A piece that is held, unless it is being handed off.
    fn staying<'a>(&'a self, piece: &'a String) -> Option<(&'a String, &'a Held)> {
        let held = self.held.get(piece)?;
        (!held.handed_off.is_cancelled()).then_some((piece, held))
    }

    /// Takes up to `count` pieces whose leases are free, each worker from another one on.
    async fn take(&mut self, pieces: &[String], count: usize, stop: &CancellationToken) -> Result<(), String> {
        let mut left = count;
        let first = hash_of(&self.terms.worker) as usize % pieces.len().max(1);
        for piece in pieces[first..].iter().chain(&pieces[..first]) {
            if left == 0 || stop.is_cancelled() {
                return Ok(());
            }
            if !self.is_free(piece) {
                continue;
            }
            match self.try_take(piece, stop).await {
                Ok(()) => left -= 1,
                Err(LeaseError::Lost(_)) => {}
                Err(error) => return Err(format!("can't take the lease of {piece}: {error}")),
            }
        }
        Ok(())
    }

    /// Nobody holds it, its holder shows no sign of life, or this worker was never told that it got it.
    fn is_free(&self, piece: &str) -> bool {
        let owner = self.watch.owner(&self.terms.lease_of(piece));
        !self.held.contains_key(piece) && owner.is_none_or(|owner| owner == self.terms.worker)
    }

    async fn try_take(&mut self, piece: &str, stop: &CancellationToken) -> Result<(), LeaseError> {
        let (name, asked) = (self.terms.lease_of(piece), Instant::now());
        let lease = self.in_time(self.ledger.acquire(&name, &self.terms.worker, self.watch.lease(&name))).await?;
        self.start(piece, Tenure::new(self.ledger.clone(), lease, asked, self.terms.term), stop);
        Ok(())
    }

    /// Waits a third of the term at most: a lease that is taken is then still good for the rest.
    async fn in_time<T>(&self, call: impl Future<Output = Result<T, LeaseError>>) -> Result<T, LeaseError> {
        let late = |_| LeaseError::Unavailable("no answer in a third of the term".to_owned());
        timeout(self.terms.term / RENEWALS_PER_TERM, call).await.map_err(late)?
    }

    fn start(&mut self, piece: &str, tenure: Tenure, stop: &CancellationToken) {
        let held = Held { stop: stop.child_token(), handed_off: CancellationToken::new() };
        let (work, name, stop) = (self.work.clone(), piece.to_owned(), held.stop.clone());
        let (told, of) = (work.clone(), name.clone());
        let run = async move { work.run(&name, stop).await };
        let overdue = tenure::overdue(held.handed_off.clone(), DRAIN_MAX);
        let task = self.tasks.spawn(tenure.serve(run, overdue, move || told.lost(&of)));
        self.pieces_of.insert(task.id(), piece.to_owned());
        self.held.insert(piece.to_owned(), held);
    }

    fn settle(&mut self, ended: Result<(Id, Result<Ending, Failure>), JoinError>) -> anyhow::Result<()> {
        let (id, outcome) = ended.map_err(|panic| anyhow::Error::new(panic).context("keeping a lease panicked"))?;
        let Some(piece) = self.pieces_of.remove(&id) else { return Ok(()) };
        self.held.remove(&piece);
        match outcome {
            Ok(Ending::Done) => {
                self.done.insert(piece);
            }
            Ok(Ending::Stopped) => {}
            Err(Failure::Again(reason)) => tracing::warn!(piece, reason, "starting the work anew"),
            Err(Failure::Fatal(error)) => return Err(error.context(format!("the work on {piece}"))),
        }
        Ok(())
    }

    /// Shows the others that this worker is there. Nothing that it holds hangs on this.
    async fn sit(&mut self) {
        let (name, asked) = (format!("{}{}", self.terms.seats(), self.terms.worker), Instant::now());
        let shown = match &self.seat {
            Some((_, renewed)) if renewed.elapsed() < self.terms.term / RENEWALS_PER_TERM => return,
            Some((seat, _)) => self.in_time(self.ledger.renew(seat)).await,
            None => {
                let seat = self.ledger.acquire(&name, &self.terms.worker, self.watch.lease(&name));
                self.in_time(seat).await
            }
        };
        // One that was lost, or is in doubt, is taken anew as the next look finds it.
        self.seat = shown.ok().map(|seat| (seat, asked));
    }

    /// Leaves first and drains then, so that the others make room for what this worker holds.
    async fn leave(&mut self) {
        if let Some((seat, _)) = self.seat.take() {
            let left = self.in_time(self.ledger.retire(&seat)).await;
            tracing::debug!(?left, "left the stage");
        }
    }

    /// Takes the seats of workers that are gone off the list.
    async fn clear_seats(&self) {
        let seats = self.terms.seats();
        let gone = self.watch.names(&seats).filter(|seat| self.watch.owner(seat).is_none());
        for seat in gone.filter_map(|seat| self.watch.lease(seat)) {
            match self.in_time(self.ledger.retire(seat)).await {
                Ok(()) | Err(LeaseError::Lost(_)) => tracing::info!(seat = seat.name, "a worker is gone"),
                Err(error) => return tracing::debug!(%error, "can't clear the seats of workers that are gone"),
            }
        }
    }
}

/// Spreads the workers over the pieces, so that not all try for the same ones.
fn hash_of(worker: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    worker.hash(&mut hasher);
    hasher.finish()
}
