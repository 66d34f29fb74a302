//! A ledger in the store of a data directory: a chain there is a chain here.
//!
//! Leases are in memory: one process holds the directory, and what it held of leases ends with it.

use crate::ENTRY_BYTES_MAX;
use crate::{Entry, Lease, LeaseError, Ledger, LedgerError, Slot};
use async_trait::async_trait;
use schema::ChainId;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use store::{Append, Fetch, FetchError, Frame, Refusal, Store, StoreError, StoreReader, View};

/// A ledger that is embedded in this process. Clones share their leases: a process makes one and clones it.
#[derive(Clone)]
pub struct EmbeddedLedger {
    view: Arc<View>,
    /// Absent where the data directory is open read-only.
    store: Option<Arc<Store>>,
    leases: Arc<Mutex<BTreeMap<String, Lease>>>,
}

impl fmt::Debug for EmbeddedLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedLedger").field("read_only", &self.store.is_none()).finish_non_exhaustive()
    }
}

impl EmbeddedLedger {
    pub fn new(store: Arc<Store>) -> EmbeddedLedger {
        EmbeddedLedger { view: store.view().clone(), store: Some(store), leases: Arc::default() }
    }

    /// A ledger to read, while another process may write it.
    pub fn read_only(reader: &StoreReader) -> EmbeddedLedger {
        EmbeddedLedger { view: reader.view().clone(), store: None, leases: Arc::default() }
    }

    async fn append_one(&self, append: Append) -> Result<Result<u64, Refusal>, LedgerError> {
        let store = self.store.as_ref().ok_or_else(|| unavailable(&StoreError::ReadOnly))?;
        let mut answers = store.append(vec![append]).await.map_err(|error| unavailable(&error))?;
        Ok(answers.pop().expect("one answer for one append"))
    }

    fn leases(&self) -> MutexGuard<'_, BTreeMap<String, Lease>> {
        self.leases.lock().expect("nobody panics while holding it")
    }

    /// Puts `next` in place of `seen`, if the lease still stands so.
    fn swap(&self, name: &str, seen: Option<&Lease>, owner: Option<&str>) -> Result<Lease, LeaseError> {
        if self.store.is_none() {
            return Err(LeaseError::Unavailable(StoreError::ReadOnly.to_string()));
        }
        let mut leases = self.leases();
        if leases.get(name) != seen {
            return Err(LeaseError::Lost(name.to_owned()));
        }
        let counter = seen.map_or(0, |lease| lease.counter) + 1;
        let lease = Lease { name: name.to_owned(), owner: owner.map(str::to_owned), counter };
        leases.insert(name.to_owned(), lease.clone());
        Ok(lease)
    }
}

#[async_trait]
impl Ledger for EmbeddedLedger {
    async fn append(&self, chain: &ChainId, number: u64, entry: Entry) -> Result<(), LedgerError> {
        let Entry { nonce, bytes } = entry;
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(LedgerError::TooLarge { chain: chain.clone(), bytes: bytes.len() });
        }
        let slot = Append::Slot { chain: Arc::from(chain.as_str()), number, nonce, bytes };
        match self.append_one(slot).await? {
            Ok(_) => Ok(()),
            Err(Refusal::Damaged) => {
                let detail = "what it held may be lost to damage of the log".to_owned();
                Err(LedgerError::Damaged { chain: chain.clone(), number, detail })
            }
            Err(_) => Err(LedgerError::Taken { chain: chain.clone(), number }),
        }
    }

    async fn load(&self, chain: &ChainId, from: u64, count_max: usize) -> Result<Vec<Slot>, LedgerError> {
        slots(chain, self.view.slots(chain.as_str(), from, count_max)).await
    }

    async fn head(&self, chain: &ChainId) -> Result<Option<Slot>, LedgerError> {
        Ok(slots(chain, self.view.head(chain.as_str())).await?.pop())
    }

    async fn chains(&self, prefix: &str) -> Result<Vec<ChainId>, LedgerError> {
        Ok(self.view.chains(prefix).iter().map(ChainId::new).collect())
    }

    async fn trim(&self, chain: &ChainId, below: u64) -> Result<(), LedgerError> {
        let trim = Append::Trim { chain: Arc::from(chain.as_str()), below };
        self.append_one(trim).await.map(drop)
    }

    async fn acquire(&self, name: &str, owner: &str, seen: Option<&Lease>) -> Result<Lease, LeaseError> {
        self.swap(name, seen, Some(owner))
    }

    async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        self.swap(&lease.name, Some(lease), lease.owner.as_deref())
    }

    async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.swap(&lease.name, Some(lease), None).map(drop)
    }

    async fn retire(&self, lease: &Lease) -> Result<(), LeaseError> {
        let mut leases = self.leases();
        match leases.get(&lease.name) {
            None => {}
            Some(held) if held == lease => drop(leases.remove(&lease.name)),
            Some(_) => return Err(LeaseError::Lost(lease.name.clone())),
        }
        Ok(())
    }

    async fn leases(&self, prefix: &str) -> Result<Vec<Lease>, LedgerError> {
        let leases = self.leases();
        Ok(leases.values().filter(|lease| lease.name.starts_with(prefix)).cloned().collect())
    }
}

async fn slots(chain: &ChainId, fetch: Fetch) -> Result<Vec<Slot>, LedgerError> {
    let fetched = fetch.load().await;
    match fetched.stopped {
        None => Ok(fetched.frames.into_iter().map(slot).collect()),
        Some(FetchError::Damaged { number, detail }) => {
            Err(LedgerError::Damaged { chain: chain.clone(), number, detail })
        }
        Some(error) => Err(LedgerError::Unavailable(error.to_string())),
    }
}

fn slot(frame: Frame) -> Slot {
    Slot { number: frame.number, entry: Entry { nonce: frame.aux, bytes: frame.bytes } }
}

fn unavailable(error: &StoreError) -> LedgerError {
    LedgerError::Unavailable(error.to_string())
}
