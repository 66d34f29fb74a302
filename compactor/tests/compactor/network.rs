//! A lake and a ledger behind calls that can be stopped.

use async_trait::async_trait;
use bytes::Bytes;
use lake::{Created, Lake, LakeError, ObjectMeta};
use ledger::{Entry, Lease, LeaseError, Ledger, LedgerError, Slot};
use schema::ChainId;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use tokio::sync::Notify;

/// Stops the caller before or after one of its calls.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    moments: AtomicU64,
    stop_at: u64,
    pub(crate) stopped: Notify,
    pub(crate) go_on: Notify,
}

impl Gate {
    /// Stops at the moment of that number; there are two for each call, from 0.
    pub(crate) fn at(stop_at: u64) -> Arc<Gate> {
        Arc::new(Gate { stop_at, ..Gate::default() })
    }

    pub(crate) fn moments(&self) -> u64 {
        self.moments.load(SeqCst)
    }

    async fn moment(&self) {
        if self.moments.fetch_add(1, SeqCst) == self.stop_at {
            self.stopped.notify_one();
            self.go_on.notified().await;
        }
    }

    async fn call<T>(&self, call: impl Future<Output = T>) -> T {
        self.moment().await;
        let answer = call.await;
        self.moment().await;
        answer
    }
}

#[derive(Debug)]
pub(crate) struct GatedLake(pub(crate) Arc<dyn Lake>, pub(crate) Arc<Gate>);

#[async_trait]
impl Lake for GatedLake {
    async fn create(&self, key: &str, bytes: Bytes) -> Result<Created, LakeError> {
        self.1.call(self.0.create(key, bytes)).await
    }
    async fn create_from_file(&self, key: &str, file: &Path) -> Result<Created, LakeError> {
        self.1.call(self.0.create_from_file(key, file)).await
    }
    async fn get(&self, key: &str) -> Result<Bytes, LakeError> {
        self.1.call(self.0.get(key)).await
    }
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, LakeError> {
        self.1.call(self.0.get_range(key, range)).await
    }
    async fn head(&self, key: &str) -> Result<ObjectMeta, LakeError> {
        self.1.call(self.0.head(key)).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, LakeError> {
        self.1.call(self.0.list(prefix)).await
    }
    async fn delete(&self, key: &str) -> Result<(), LakeError> {
        self.1.call(self.0.delete(key)).await
    }
}

#[derive(Debug)]
pub(crate) struct GatedLedger(pub(crate) Arc<dyn Ledger>, pub(crate) Arc<Gate>);

#[async_trait]
impl Ledger for GatedLedger {
    async fn append(&self, chain: &ChainId, number: u64, entry: Entry) -> Result<(), LedgerError> {
        self.1.call(self.0.append(chain, number, entry)).await
    }
    async fn load(&self, chain: &ChainId, from: u64, count_max: usize) -> Result<Vec<Slot>, LedgerError> {
        self.1.call(self.0.load(chain, from, count_max)).await
    }
    async fn head(&self, chain: &ChainId) -> Result<Option<Slot>, LedgerError> {
        self.1.call(self.0.head(chain)).await
    }
    async fn chains(&self, prefix: &str) -> Result<Vec<ChainId>, LedgerError> {
        self.1.call(self.0.chains(prefix)).await
    }
    async fn trim(&self, chain: &ChainId, below: u64) -> Result<(), LedgerError> {
        self.0.trim(chain, below).await
    }
    async fn acquire(&self, name: &str, owner: &str, seen: Option<&Lease>) -> Result<Lease, LeaseError> {
        self.0.acquire(name, owner, seen).await
    }
    async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        self.0.renew(lease).await
    }
    async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.0.release(lease).await
    }
    async fn leases(&self, prefix: &str) -> Result<Vec<Lease>, LedgerError> {
        self.0.leases(prefix).await
    }
}
