//! One lease from when it is taken until it is given back or lost.
//!
//! Each tenure renews by itself, so that neither a slow look for pieces nor the trouble of another lease keeps it from
//! showing a sign of life.

use super::{Ending, Failure};
use crate::{Lease, LeaseError, Ledger};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// A lease is renewed this many times in a term.
pub(super) const RENEWALS_PER_TERM: u32 = 3;

/// Part of the term that is left for the work to end in, once the lease could not be renewed: 5 of 30 s.
const MARGIN_OF_TERM: u32 = 6;

/// Part of the term after which a renewal that got no answer is tried again: one second of 30.
const PAUSE_OF_TERM: u32 = 30;

/// A lease that is held.
#[derive(Debug)]
pub(super) struct Tenure {
    ledger: Arc<dyn Ledger>,
    lease: Lease,
    /// When the last renewal that succeeded was asked for: others may take the lease a term after that at the earliest.
    renewed: Instant,
    term: Duration,
}

impl Tenure {
    /// `asked` is when the lease was asked for.
    pub(super) fn new(ledger: Arc<dyn Ledger>, lease: Lease, asked: Instant, term: Duration) -> Tenure {
        Tenure { ledger, lease, renewed: asked, term }
    }

    /// Works until it is done, the lease is lost, which `lost` is told, or `overdue`; then gives the lease back, if it is still held.
    pub(super) async fn serve(
        mut self,
        work: impl Future<Output = Result<Ending, Failure>> + Send + 'static,
        overdue: impl Future<Output = ()>,
        lost: impl FnOnce(),
    ) -> Result<Ending, Failure> {
        let mut task = AbortOnDropHandle::new(tokio::spawn(work));
        let (ended, held) = tokio::select! {
            ended = &mut task => (ended, true),
            () = self.keep() => {
                lost();
                (ended_by_force(task).await, false)
            }
            () = overdue => (ended_by_force(task).await, true),
        };
        let outcome = match ended {
            Ok(outcome) => outcome,
            Err(error) if error.is_cancelled() => Ok(Ending::Stopped),
            Err(panic) => Err(Failure::Fatal(anyhow::Error::new(panic).context("it panicked"))),
        };
        if held {
            self.give_back(matches!(outcome, Ok(Ending::Done))).await;
        }
        outcome
    }

    /// Renews the lease until it is lost.
    async fn keep(&mut self) {
        loop {
            sleep_until(self.renewed + self.term / RENEWALS_PER_TERM).await;
            if !self.renew().await {
                tracing::warn!(lease = self.lease.name, "the lease is lost: its work stops here");
                return;
            }
        }
    }

    /// Renews once, trying again as long as the work may go on without.
    async fn renew(&mut self) -> bool {
        let until = self.renewed + self.term - self.term / MARGIN_OF_TERM;
        while Instant::now() < until {
            let asked = Instant::now();
            match timeout_at(until, self.ledger.renew(&self.lease)).await {
                Ok(Ok(lease)) => {
                    (self.lease, self.renewed) = (lease, asked);
                    return true;
                }
                Ok(Err(LeaseError::Lost(_))) => return false,
                Ok(Err(LeaseError::Unavailable(error))) => {
                    tracing::warn!(lease = self.lease.name, error, "can't renew the lease, trying again");
                }
                Err(_) => break,
            }
            let pause = Instant::now() + self.term / PAUSE_OF_TERM;
            sleep_until(pause.min(until)).await;
            let _ = timeout_at(until, self.look_again()).await;
        }
        false
    }

    /// A renewal whose answer was lost may have taken effect: then the lease stands one further, with the same owner.
    async fn look_again(&mut self) {
        let Ok(leases) = self.ledger.leases(&self.lease.name).await else { return };
        let now = leases.into_iter().find(|lease| lease.name == self.lease.name);
        if let Some(lease) = now.filter(|lease| lease.owner == self.lease.owner) {
            self.lease = lease;
        }
    }

    /// Tells the others that the lease is free, or that nobody need hold it again.
    async fn give_back(&mut self, for_good: bool) {
        let patience = self.term / MARGIN_OF_TERM;
        let given = async {
            if let Err(LeaseError::Lost(_)) = self.give_back_once(for_good).await {
                // The end of the work may have cut a renewal short.
                self.look_again().await;
                return self.give_back_once(for_good).await;
            }
            Ok(())
        };
        let given = timeout(patience, given).await;
        if !matches!(given, Ok(Ok(()))) {
            tracing::debug!(?given, "could not give a lease back: it runs out by itself");
        }
    }

    async fn give_back_once(&self, for_good: bool) -> Result<(), LeaseError> {
        if for_good { self.ledger.retire(&self.lease).await } else { self.ledger.release(&self.lease).await }
    }
}

/// Resolves when a hand-off has taken too long.
pub(super) async fn overdue(handed_off: CancellationToken, drain_max: Duration) {
    handed_off.cancelled().await;
    sleep(drain_max).await;
    tracing::warn!("a piece that is handed off does not drain: its work stops here");
}

/// Stops work at its next await, and waits until it is gone.
async fn ended_by_force(
    task: AbortOnDropHandle<Result<Ending, Failure>>,
) -> Result<Result<Ending, Failure>, tokio::task::JoinError> {
    task.abort();
    task.await
}
