//! A ledger in one DynamoDB table.
//!
//! The table has two string keys, `pk` and `sk`, so that three kinds of items share it:
//!
//! | what | `pk` | `sk` | attributes |
//! |---|---|---|---|
//! | a **slot** of a chain | `chain/` and the chain's name | its number, 20 digits | `nonce`, `entry` |
//! | the **registration** of a chain | `chains` | the chain's name | `begun`, `low`, `gone` |
//! | a lease | `leases` | its name | `owner`, `counter`, `change` |
//!
//! The slots of a chain lie apart from those of others, so that no chain takes from another's throughput. Registrations
//! and leases lie side by side, so that a prefix of names is one strongly consistent query: one partition takes 1,000
//! write units a second, which is the renewals of 10,000 leases.
//!
//! **Append**: one conditional put, one write unit for each KB that was begun. A registration is written before a
//! genesis, so that every chain with a genesis is listed; one without is not reported. The same put again is the
//! strongly consistent read that follows an ambiguous answer: where the slot is filled, its condition fails and the
//! answer has what stands there, where it is empty the entry goes in.
//!
//! **Trim**: **low** is the number below which no slot but the genesis is there for anybody, **gone** the one below which
//! they are deleted. Low is raised first, then slots are deleted in steps, then gone follows: a trim that is cut short is
//! finished by the next one, and a load that meets its leftovers leaves them out. A delete is billed like the put.
//!
//! **A trimmed slot stays shut** without a second item in each append (a transaction is billed twice): low is read only
//! where it could matter. Who was told within [`HEAD_TRUSTED`] that slot n − 1 is the head fills slot n without a look:
//! what another owner may have put there meanwhile is far too young to be trimmed (PROTOCOL rule 4). Any other append
//! compares its number with low first. Between that look and the put lies one bounded call, between an entry and its
//! trim lie seven days.

mod heads;
mod item;
mod leases;
mod refusals;
mod registry;
mod requests;
mod slots;
mod table;
mod units;

pub use table::{TableError, TableOptions};

use crate::{ENTRY_BYTES_MAX, Entry, Lease, LeaseError, Ledger, LedgerError, Slot};
use async_trait::async_trait;
use aws::{Aws, Calls, Failure, Meter};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;
use heads::Heads;
use refusals::Refusals;
use schema::ChainId;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// How long it is trusted that a slot was the head: as long as an owner trusts its memory (PROTOCOL rule 4).
const HEAD_TRUSTED: Duration = Duration::from_secs(3600);

/// A ledger in a DynamoDB table. Clones share what they know.
#[derive(Clone)]
pub struct DynamoLedger {
    client: Client,
    table: String,
    calls: Calls,
    meter: Meter,
    heads: Heads,
    refusals: Refusals,
    /// Numbers the changes of leases that are made here.
    changes: Arc<AtomicU64>,
}

impl fmt::Debug for DynamoLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoLedger").field("table", &self.table).finish_non_exhaustive()
    }
}

impl DynamoLedger {
    fn new(aws: &Aws, table: &str) -> DynamoLedger {
        DynamoLedger {
            client: Client::from_conf(Builder::from(&aws.config).interceptor(aws::Outcomes).build()),
            table: table.to_owned(),
            calls: aws.calls.clone(),
            meter: aws.meter.clone(),
            heads: Heads::default(),
            refusals: Refusals::default(),
            changes: Arc::default(),
        }
    }
}

impl DynamoLedger {
    /// Fills a slot that was never trimmed. A chain is registered before its genesis is there.
    async fn append_in_order(&self, chain: &ChainId, number: u64, entry: &Entry) -> Result<(), LedgerError> {
        if number == 0 {
            self.register(chain).await?;
        } else if !self.heads.precedes(chain, number) && number < self.registration(chain).await?.low {
            return Err(LedgerError::Taken { chain: chain.clone(), number });
        }
        self.fill(chain, number, entry).await?;
        self.heads.remember(chain, number);
        if number == 0 {
            self.begin(chain).await;
        }
        Ok(())
    }
}

#[async_trait]
impl Ledger for DynamoLedger {
    async fn append(&self, chain: &ChainId, number: u64, entry: Entry) -> Result<(), LedgerError> {
        if entry.bytes.len() > ENTRY_BYTES_MAX {
            return Err(LedgerError::TooLarge { chain: chain.clone(), bytes: entry.bytes.len() });
        }
        // Two or three calls; an owner that waited for each of them as long as for one would outlive its lease.
        self.calls.within(self.append_in_order(chain, number, &entry)).await
    }

    async fn load(&self, chain: &ChainId, from: u64, count_max: usize) -> Result<Vec<Slot>, LedgerError> {
        let slots = self.load_sound(chain, from, count_max).await?;
        if let Some(last) = slots.last()
            && slots.len() < count_max
        {
            self.heads.remember(chain, last.number);
        }
        Ok(slots)
    }

    async fn head(&self, chain: &ChainId) -> Result<Option<Slot>, LedgerError> {
        let head = self.last_slot(chain).await?;
        if let Some(head) = &head {
            self.heads.remember(chain, head.number);
        }
        Ok(head)
    }

    async fn chains(&self, prefix: &str) -> Result<Vec<ChainId>, LedgerError> {
        self.begun_chains(prefix).await
    }

    async fn trim(&self, chain: &ChainId, below: u64) -> Result<(), LedgerError> {
        match self.last_number(chain).await? {
            Some(head) => self.remove_below(chain, below.min(head)).await,
            None => Ok(()),
        }
    }

    async fn acquire(&self, name: &str, owner: &str, seen: Option<&Lease>) -> Result<Lease, LeaseError> {
        self.swap(name, seen, owner, Some(owner)).await
    }

    async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        let owner = lease.owner.as_deref();
        self.swap(&lease.name, Some(lease), owner.unwrap_or_default(), owner).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        let owner = lease.owner.as_deref().unwrap_or_default();
        self.swap(&lease.name, Some(lease), owner, None).await.map(drop)
    }

    async fn retire(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.remove(lease).await
    }

    async fn leases(&self, prefix: &str) -> Result<Vec<Lease>, LedgerError> {
        self.listed_leases(prefix).await
    }
}

impl From<Failure> for LedgerError {
    fn from(failure: Failure) -> LedgerError {
        LedgerError::Unavailable(failure.to_string())
    }
}

impl From<Failure> for LeaseError {
    fn from(failure: Failure) -> LeaseError {
        LeaseError::Unavailable(failure.to_string())
    }
}
