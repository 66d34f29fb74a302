//! Chains that are not what they were.
//!
//! Entries of a chain go from below only, a genesis and a head stay, and nothing is ever written over. A chain for which
//! that does not hold is of another ledger, or of an older one: whoever goes on with it gives numbers away that writers know
//! already, and they drop new events as if they were copies.

use schema::ChainId;
use std::collections::BTreeMap;
use std::fmt::Display;

/// Chains that are gone, end earlier, hold other entries than before, or are not right in themselves; each with what is wrong.
#[derive(Debug, Default)]
pub(super) struct Broken(BTreeMap<ChainId, String>);

impl Broken {
    /// Adds a chain. What was said of it first stays: the rest follows from that.
    pub(super) fn add(&mut self, chain: &ChainId, why: impl Display) {
        self.0.entry(chain.clone()).or_insert_with(|| why.to_string());
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// Says so, once for each chain.
    pub(super) fn report(&self) {
        for (chain, why) in &self.0 {
            tracing::error!(%chain, why, "the ledger is not what it was: stop dedup and writer");
        }
    }
}
