//! The ledger port: chains of decisions, and leases on who tries to make them.
//!
//! **Chain**: numbered slots; each takes one **entry**, once and for ever. **Nonce**: tells an owner's own entry from
//! another owner's. **Lease**: who tries; only the chain decides who is right.

use async_trait::async_trait;
use bytes::Bytes;
use schema::ChainId;
use std::fmt;
use std::time::Duration;
use thiserror::Error;
use tokio::time::Instant;

pub mod contract;
pub mod dynamodb;
pub mod embedded;
pub mod keeper;
mod walk;

pub use walk::{KEPT_MIN, Walk, for_each_slot, kept_long_enough};

/// Most bytes of an entry. Source: DynamoDB's item size limit, less room for keys and attributes,
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>
pub const ENTRY_BYTES_MAX: usize = 390 << 10;

/// What stands in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Drawn anew for each entry.
    pub nonce: u128,
    pub bytes: Bytes,
}

/// An entry and its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub number: u64,
    pub entry: Entry,
}

#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum LedgerError {
    /// Another owner is ahead: drop what you hold in memory and load the chain again.
    #[error("slot {number} of chain {chain} holds another owner's entry")]
    Taken { chain: ChainId, number: u64 },
    /// Undecided: repeat with the same arguments.
    #[error("the ledger did not answer: {0}")]
    Unavailable(String),
    /// A slot is missing or unreadable where one must be: a person must look. Never start the chain anew.
    #[error("chain {chain} is damaged at slot {number}: {detail}")]
    Damaged { chain: ChainId, number: u64, detail: String },
    #[error("an entry of {bytes} bytes for chain {chain}; at most {ENTRY_BYTES_MAX} fit")]
    TooLarge { chain: ChainId, bytes: usize },
}

/// A lease as it stands in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub name: String,
    /// Nobody where released.
    pub owner: Option<String>,
    /// Goes up with every change. An expiry is «unchanged for the term on my own monotonic clock».
    pub counter: u64,
}

/// Chains and leases.
#[async_trait]
pub trait Ledger: Send + Sync + fmt::Debug {
    /// Appends `entry` as number `number` of `chain`, if nobody has filled that slot yet.
    ///
    /// Atomic across processes. Safe to repeat: an entry whose nonce is already in the slot is reported as appended.
    /// Slots are filled by the caller in order; the ledger itself accepts any empty slot that was never trimmed.
    ///
    /// # Errors
    /// [`LedgerError::Taken`]: another owner is ahead; reload the chain.
    /// [`LedgerError::Unavailable`]: undecided; repeat with the same arguments.
    async fn append(&self, chain: &ChainId, number: u64, entry: Entry) -> Result<(), LedgerError>;

    /// The entries from number `from` on, ascending, at most `count_max` of them; empty past the head.
    ///
    /// Strongly consistent: an append that was reported before the call is seen. Trimmed entries are absent.
    async fn load(&self, chain: &ChainId, from: u64, count_max: usize) -> Result<Vec<Slot>, LedgerError>;

    /// The entry with the highest number; `None` for a chain nobody has written.
    async fn head(&self, chain: &ChainId) -> Result<Option<Slot>, LedgerError>;

    /// Names of all chains that start with `prefix`, ascending.
    async fn chains(&self, prefix: &str) -> Result<Vec<ChainId>, LedgerError>;

    /// Removes the entries in `[1, below)`; never slot 0 nor the head. A trimmed slot can't be filled again.
    async fn trim(&self, chain: &ChainId, below: u64) -> Result<(), LedgerError>;

    /// Takes lease `name` for `owner` if it still stands as `seen` (`None`: nobody has ever held it).
    ///
    /// # Errors
    /// [`LeaseError::Lost`]: it has changed since; look again.
    async fn acquire(&self, name: &str, owner: &str, seen: Option<&Lease>) -> Result<Lease, LeaseError>;

    /// Shows that the owner lives: raises the counter.
    ///
    /// # Errors
    /// [`LeaseError::Lost`]: somebody else holds it; stop that shard's work.
    async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError>;

    /// Gives it back, so that another worker need not wait for the term.
    async fn release(&self, lease: &Lease) -> Result<(), LeaseError>;

    /// Takes a lease off the list for good, if it still stands as given: what it was for is over.
    ///
    /// Anybody may, not only its owner. A ledger whose leases end with its process need only give it back.
    ///
    /// # Errors
    /// [`LeaseError::Lost`]: it has changed since.
    async fn retire(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.release(lease).await
    }

    /// All leases whose name starts with `prefix`.
    async fn leases(&self, prefix: &str) -> Result<Vec<Lease>, LedgerError>;
}

#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum LeaseError {
    #[error("lease {0} has changed hands")]
    Lost(String),
    #[error("the ledger did not answer: {0}")]
    Unavailable(String),
}

/// How long and how often an append is repeated while the ledger does not answer.
///
/// A backend that repeats by itself takes longer over each attempt, not more attempts over the whole: no attempt begins
/// later than `attempts_max` pauses after the first.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub pause: Duration,
    pub attempts_max: u32,
}

/// How an owner waits for the ledger: five seconds of silence are an outage, and whoever comes next goes on.
pub const PATIENCE: Patience = Patience { pause: Duration::from_millis(100), attempts_max: 50 };

impl Patience {
    /// How long after the first attempt the last one begins at most.
    pub fn longest(&self) -> Duration {
        self.pause * self.attempts_max
    }
}

/// Appends until it is decided: done, taken, or out of patience (PROTOCOL rule 2).
///
/// # Errors
/// As [`Ledger::append`]; [`LedgerError::Unavailable`] after the last attempt leaves the slot undecided: the caller must
/// stop and load the chain again before it does anything else.
pub async fn append_until_decided(
    ledger: &dyn Ledger,
    chain: &ChainId,
    number: u64,
    entry: Entry,
    patience: Patience,
) -> Result<(), LedgerError> {
    let until = Instant::now() + patience.longest();
    let mut attempt = 1;
    loop {
        match ledger.append(chain, number, entry.clone()).await {
            Err(LedgerError::Unavailable(_)) if attempt < patience.attempts_max && Instant::now() < until => {
                attempt += 1;
                tokio::time::sleep(patience.pause).await;
            }
            decided => return decided,
        }
    }
}
