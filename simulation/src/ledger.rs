//! A ledger in memory, as unreliable as a real one may be.

use crate::network::Backend;
use crate::scenario::Off;
use crate::world::World;
use ::ledger::{ENTRY_BYTES_MAX, Entry, Lease, LeaseError, Ledger, LedgerError, Slot};
use async_trait::async_trait;
use schema::ChainId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// Most entries that one load gives while faults happen: fewer than anybody asks for.
const PAGE_ENTRIES_MAX: usize = 12;

/// A ledger of a simulated world.
#[derive(Clone, Debug)]
pub(crate) struct SimLedger {
    world: Arc<World>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    chains: BTreeMap<ChainId, Chain>,
    leases: BTreeMap<String, Lease>,
}

#[derive(Clone, Debug, Default)]
struct Chain {
    slots: BTreeMap<u64, Entry>,
    /// Slots from 1 on below this number are gone for ever.
    low: u64,
}

impl SimLedger {
    pub(crate) fn new(world: Arc<World>) -> SimLedger {
        SimLedger { world, state: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the chains")
    }

    /// Entries of the chains whose names start with `prefix`, as a witness that no fault can reach sees them.
    pub(crate) fn witness(&self, prefix: &str) -> BTreeMap<ChainId, Vec<Slot>> {
        let state = self.lock();
        let chains = state.chains.iter().filter(|(chain, _)| chain.as_str().starts_with(prefix));
        chains.map(|(chain, held)| (chain.clone(), held.slots.iter().map(slot).collect())).collect()
    }

    /// Entries of a chain, as such a witness sees them.
    pub(crate) fn witness_chain(&self, chain: &ChainId) -> Vec<Slot> {
        self.lock().chains.get(chain).map_or_else(Vec::new, |held| held.slots.iter().map(slot).collect())
    }

    /// The head of a chain, as such a witness sees it.
    pub(crate) fn witness_head(&self, chain: &ChainId) -> Option<Slot> {
        self.lock().chains.get(chain).and_then(|held| held.slots.last_key_value().map(slot))
    }

    /// Takes the last entries of every dedup chain away, as restoring a backup does.
    pub(crate) fn restore_a_backup(&self) {
        const LOST_ENTRIES: usize = 3;
        let mut state = self.lock();
        for (chain, held) in state.chains.iter_mut().filter(|(chain, _)| chain.is_dedup()) {
            for _ in 0..LOST_ENTRIES.min(held.slots.len().saturating_sub(1)) {
                held.slots.pop_last();
            }
            self.world.note(format_args!("chain {chain} goes back to {} entries", held.slots.len()));
        }
    }

    fn put(&self, chain: &ChainId, number: u64, entry: Entry) -> Result<(), LedgerError> {
        let mut state = self.lock();
        let held = state.chains.entry(chain.clone()).or_default();
        let overwrites = chain.is_dedup() && self.world.is_off(Off::DedupChainCas)
            || chain.as_plan().is_some() && self.world.is_off(Off::PlanChainCas);
        let taken = LedgerError::Taken { chain: chain.clone(), number };
        match held.slots.get(&number) {
            Some(there) if there.nonce == entry.nonce => return Ok(()),
            Some(_) if !overwrites => {
                self.world.count("lost races");
                return Err(taken);
            }
            None if number > 0 && number < held.low => return Err(taken),
            _ => {}
        }
        held.slots.insert(number, entry);
        self.world.changed();
        Ok(())
    }

    fn page(&self, chain: &ChainId, from: u64, count_max: usize) -> Vec<Slot> {
        let count = self.world.page_items(count_max, PAGE_ENTRIES_MAX);
        let state = self.lock();
        let held = state.chains.get(chain);
        held.map_or_else(Vec::new, |held| held.slots.range(from..).take(count).map(slot).collect())
    }
}

fn slot((number, entry): (&u64, &Entry)) -> Slot {
    Slot { number: *number, entry: entry.clone() }
}

fn no_answer<T>(_: T) -> LedgerError {
    LedgerError::Unavailable("no answer".to_string())
}

fn no_lease_answer<T>(_: T) -> LeaseError {
    LeaseError::Unavailable("no answer".to_string())
}

#[async_trait]
impl Ledger for SimLedger {
    async fn append(&self, chain: &ChainId, number: u64, entry: Entry) -> Result<(), LedgerError> {
        if entry.bytes.len() > ENTRY_BYTES_MAX {
            return Err(LedgerError::TooLarge { chain: chain.clone(), bytes: entry.bytes.len() });
        }
        let name = format!("append {chain} {number} {:08x}", entry.nonce as u32);
        let (ledger, chain) = (self.clone(), chain.clone());
        self.world.call(Backend::Ledger, name, move || ledger.put(&chain, number, entry)).await.map_err(no_answer)?
    }

    async fn load(&self, chain: &ChainId, from: u64, count_max: usize) -> Result<Vec<Slot>, LedgerError> {
        let name = format!("load {chain} from {from}");
        self.world.ask(Backend::Ledger, name, || self.page(chain, from, count_max)).await.map_err(no_answer)
    }

    async fn head(&self, chain: &ChainId) -> Result<Option<Slot>, LedgerError> {
        let last = || self.lock().chains.get(chain).and_then(|held| held.slots.last_key_value().map(slot));
        self.world.ask(Backend::Ledger, format!("head of {chain}"), last).await.map_err(no_answer)
    }

    async fn chains(&self, prefix: &str) -> Result<Vec<ChainId>, LedgerError> {
        let names = || {
            let state = self.lock();
            state.chains.keys().filter(|chain| chain.as_str().starts_with(prefix)).cloned().collect()
        };
        self.world.ask(Backend::Ledger, format!("list the chains {prefix}"), names).await.map_err(no_answer)
    }

    async fn trim(&self, chain: &ChainId, below: u64) -> Result<(), LedgerError> {
        let (ledger, named) = (self.clone(), chain.clone());
        let trim = move || {
            let mut state = ledger.lock();
            let Some(held) = state.chains.get_mut(&named) else { return };
            let head = held.slots.last_key_value().map_or(0, |(number, _)| *number);
            held.low = held.low.max(below.min(head));
            held.slots.retain(|&number, _| number == 0 || number >= held.low);
        };
        self.world.call(Backend::Ledger, format!("trim {chain} below {below}"), trim).await.map_err(no_answer)
    }

    async fn acquire(&self, name: &str, owner: &str, seen: Option<&Lease>) -> Result<Lease, LeaseError> {
        let (ledger, seen) = (self.clone(), seen.cloned());
        let (lease, owner) = (name.to_string(), owner.to_string());
        let acquire = move || ledger.change_lease(&lease, seen.as_ref(), Some(owner));
        self.world.call(Backend::Ledger, format!("acquire {name}"), acquire).await.map_err(no_lease_answer)?
    }

    async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        let (ledger, held) = (self.clone(), lease.clone());
        let renew = move || ledger.change_lease(&held.name, Some(&held), held.owner.clone());
        self.world.call(Backend::Ledger, format!("renew {}", lease.name), renew).await.map_err(no_lease_answer)?
    }

    async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        let (ledger, held) = (self.clone(), lease.clone());
        let release = move || ledger.change_lease(&held.name, Some(&held), None).map(drop);
        self.world.call(Backend::Ledger, format!("release {}", lease.name), release).await.map_err(no_lease_answer)?
    }

    async fn retire(&self, lease: &Lease) -> Result<(), LeaseError> {
        let (ledger, held) = (self.clone(), lease.clone());
        let retire = move || ledger.remove_lease(&held);
        self.world.call(Backend::Ledger, format!("retire {}", lease.name), retire).await.map_err(no_lease_answer)?
    }

    async fn leases(&self, prefix: &str) -> Result<Vec<Lease>, LedgerError> {
        let leases = || {
            let state = self.lock();
            state.leases.values().filter(|lease| lease.name.starts_with(prefix)).cloned().collect()
        };
        self.world.ask(Backend::Ledger, format!("list the leases {prefix}"), leases).await.map_err(no_answer)
    }
}

impl SimLedger {
    fn change_lease(&self, name: &str, seen: Option<&Lease>, owner: Option<String>) -> Result<Lease, LeaseError> {
        let mut state = self.lock();
        if state.leases.get(name) != seen {
            return Err(LeaseError::Lost(name.to_string()));
        }
        let counter = seen.map_or(1, |lease| lease.counter + 1);
        let lease = Lease { name: name.to_string(), owner, counter };
        state.leases.insert(name.to_string(), lease.clone());
        Ok(lease)
    }

    /// One that is off the list already is as it should be.
    fn remove_lease(&self, held: &Lease) -> Result<(), LeaseError> {
        let mut state = self.lock();
        match state.leases.get(&held.name) {
            Some(there) if there != held => Err(LeaseError::Lost(held.name.clone())),
            _ => {
                state.leases.remove(&held.name);
                Ok(())
            }
        }
    }
}
