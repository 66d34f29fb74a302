//! What this process was told of the heads of chains.

use super::HEAD_TRUSTED;
use schema::ChainId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::time::Instant;

/// Most chains that are remembered: more than one process owns. Who is forgotten costs one read.
const CHAINS_MAX: usize = 4096;

/// The highest number of each chain that this process appended to or read to its end, and when it was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Heads(Arc<Mutex<BTreeMap<ChainId, (u64, Instant)>>>);

impl Heads {
    pub(super) fn remember(&self, chain: &ChainId, number: u64) {
        let mut heads = self.0.lock().expect("nobody panics while holding it");
        if heads.len() >= CHAINS_MAX && !heads.contains_key(chain) {
            heads.clear();
        }
        heads.insert(chain.clone(), (number, Instant::now()));
    }

    /// Whether slot `number` − 1 was the head a short time ago.
    pub(super) fn precedes(&self, chain: &ChainId, number: u64) -> bool {
        let heads = self.0.lock().expect("nobody panics while holding it");
        heads
            .get(chain)
            .is_some_and(|(head, told)| head.checked_add(1) == Some(number) && told.elapsed() < HEAD_TRUSTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_head_is_trusted_for_an_hour_and_only_for_the_slot_after_it() {
        let (heads, chain) = (Heads::default(), ChainId::new("dedup/a"));
        assert!(!heads.precedes(&chain, 1));
        heads.remember(&chain, 6);
        assert!(heads.precedes(&chain, 7));
        assert!(!heads.precedes(&chain, 6) && !heads.precedes(&chain, 8));
        assert!(!heads.precedes(&ChainId::new("dedup/b"), 7));
        tokio::time::advance(HEAD_TRUSTED).await;
        assert!(!heads.precedes(&chain, 7));
    }

    #[tokio::test]
    async fn a_bounded_number_of_chains_is_remembered() {
        let heads = Heads::default();
        for chain in 0..=CHAINS_MAX {
            heads.remember(&ChainId::new(chain.to_string()), 0);
        }
        assert!(heads.0.lock().unwrap().len() <= CHAINS_MAX);
        assert!(heads.precedes(&ChainId::new(CHAINS_MAX.to_string()), 1));
    }
}
