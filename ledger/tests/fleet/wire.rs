//! The way to a ledger, with trouble on it.

use async_trait::async_trait;
use ledger::{Entry, Lease, LeaseError, Ledger, LedgerError, Slot};
use schema::ChainId;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Trouble {
    #[default]
    None,
    /// No call is ever answered.
    Silence,
    /// What is there can be read, and every change of a lease is refused.
    NoChanges,
    /// Two calls of three are refused, with no effect.
    Throttling,
    /// Half of the changes of leases take effect and look as if they had not been answered.
    LostAnswers,
}

/// A backend repeats an append by itself before it gives up.
const PATIENCE_OF_A_BACKEND: Duration = Duration::from_secs(10);

/// One worker's way to the ledger.
#[derive(Debug)]
pub(crate) struct Wire {
    ledger: Arc<dyn Ledger>,
    trouble: Mutex<Trouble>,
    calls: AtomicU32,
}

impl Wire {
    pub(crate) fn new(ledger: Arc<dyn Ledger>) -> Wire {
        Wire { ledger, trouble: Mutex::default(), calls: AtomicU32::new(0) }
    }

    pub(crate) fn meets(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap() = trouble;
    }

    async fn change<T: Send>(&self, call: impl Future<Output = Result<T, LeaseError>> + Send) -> Result<T, LeaseError> {
        let (trouble, number) = (*self.trouble.lock().unwrap(), self.calls.fetch_add(1, Ordering::Relaxed));
        match trouble {
            Trouble::Silence => std::future::pending().await,
            Trouble::NoChanges => Err(LeaseError::Unavailable("it may be read only".to_owned())),
            Trouble::Throttling if !number.is_multiple_of(3) => Err(LeaseError::Unavailable("slow down".to_owned())),
            // Fibonacci hashing: a pattern that goes with no rhythm of the caller.
            Trouble::LostAnswers if number.wrapping_mul(2_654_435_769) >> 31 == 1 => {
                call.await?;
                Err(LeaseError::Unavailable("the answer was lost".to_owned()))
            }
            _ => call.await,
        }
    }
}

#[async_trait]
impl Ledger for Wire {
    async fn append(&self, chain: &ChainId, number: u64, entry: Entry) -> Result<(), LedgerError> {
        if *self.trouble.lock().unwrap() == Trouble::Silence {
            tokio::time::sleep(PATIENCE_OF_A_BACKEND).await;
            return Err(LedgerError::Unavailable("no answer".to_owned()));
        }
        self.ledger.append(chain, number, entry).await
    }

    async fn load(&self, chain: &ChainId, from: u64, count_max: usize) -> Result<Vec<Slot>, LedgerError> {
        self.ledger.load(chain, from, count_max).await
    }

    async fn head(&self, chain: &ChainId) -> Result<Option<Slot>, LedgerError> {
        self.ledger.head(chain).await
    }

    async fn chains(&self, prefix: &str) -> Result<Vec<ChainId>, LedgerError> {
        self.ledger.chains(prefix).await
    }

    async fn trim(&self, chain: &ChainId, below: u64) -> Result<(), LedgerError> {
        self.ledger.trim(chain, below).await
    }

    async fn acquire(&self, name: &str, owner: &str, seen: Option<&Lease>) -> Result<Lease, LeaseError> {
        self.change(self.ledger.acquire(name, owner, seen)).await
    }

    async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        self.change(self.ledger.renew(lease)).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.change(self.ledger.release(lease)).await
    }

    async fn retire(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.change(self.ledger.retire(lease)).await
    }

    async fn leases(&self, prefix: &str) -> Result<Vec<Lease>, LedgerError> {
        let trouble = *self.trouble.lock().unwrap();
        match trouble {
            Trouble::Silence => std::future::pending().await,
            Trouble::Throttling if !self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) => {
                Err(LedgerError::Unavailable("slow down".to_owned()))
            }
            _ => self.ledger.leases(prefix).await,
        }
    }
}
