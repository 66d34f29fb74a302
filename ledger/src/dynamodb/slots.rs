//! Slots of chains.

use super::DynamoLedger;
use super::item::{self, Item, partition_of, sort_key_of};
use super::requests::{Condition, Selection, Sort, Write};
use super::units::PUT;
use crate::{Entry, LedgerError, Slot};
use schema::ChainId;

impl DynamoLedger {
    /// Puts an entry into its slot, or learns whose entry is there.
    pub(super) async fn fill(&self, chain: &ChainId, number: u64, entry: &Entry) -> Result<(), LedgerError> {
        match self.put(PUT, item::of_slot(chain, number, entry), Condition::absent()).await? {
            Write::Done => Ok(()),
            Write::Refused(Some(held)) if item::nonce_of(&held) == Some(entry.nonce) => Ok(()),
            Write::Refused(Some(_)) => Err(LedgerError::Taken { chain: chain.clone(), number }),
            Write::Refused(None) => Err(LedgerError::Unavailable(format!(
                "slot {number} of chain {chain} is filled, but not by whom it is"
            ))),
        }
    }

    /// Slots from `from` on, without the leftovers of a trim that was cut short.
    pub(super) async fn load_sound(
        &self,
        chain: &ChainId,
        from: u64,
        count_max: usize,
    ) -> Result<Vec<Slot>, LedgerError> {
        let mut slots = self.slots_from(chain, from, count_max).await?;
        if !has_gap(from, &slots) {
            return Ok(slots);
        }
        let low = self.registration(chain).await?.low;
        if slots.iter().any(|slot| slot.number > 0 && slot.number < low) {
            slots.retain(|slot| slot.number == 0);
            slots.extend(self.slots_from(chain, low, count_max - slots.len()).await?);
        }
        Ok(slots)
    }

    async fn slots_from(&self, chain: &ChainId, from: u64, count_max: usize) -> Result<Vec<Slot>, LedgerError> {
        if count_max == 0 {
            return Ok(Vec::new());
        }
        let selection = Selection { count_max, ..Selection::all(Sort::From(from)) };
        let items = self.query(&partition_of(chain), &selection).await?;
        items.into_iter().map(|item| item::slot(chain, item)).collect()
    }

    pub(super) async fn last_slot(&self, chain: &ChainId) -> Result<Option<Slot>, LedgerError> {
        self.last(chain, false).await?.map(|item| item::slot(chain, item)).transpose()
    }

    pub(super) async fn last_number(&self, chain: &ChainId) -> Result<Option<u64>, LedgerError> {
        self.last(chain, true).await?.map(|item| item::number_of(chain, &item)).transpose()
    }

    async fn last(&self, chain: &ChainId, keys_only: bool) -> Result<Option<Item>, LedgerError> {
        let selection = Selection { descending: true, keys_only, count_max: 1, ..Selection::all(Sort::Any) };
        Ok(self.query(&partition_of(chain), &selection).await?.pop())
    }

    pub(super) async fn has_genesis(&self, chain: &ChainId) -> Result<bool, LedgerError> {
        let genesis = Sort::Is(sort_key_of(0));
        let selection = Selection { keys_only: true, ..Selection::all(genesis) };
        Ok(!self.query(&partition_of(chain), &selection).await?.is_empty())
    }
}

/// Whether a slot from `from` up to the last of `slots` is missing.
fn has_gap(from: u64, slots: &[Slot]) -> bool {
    slots.iter().zip(from..).any(|(slot, number)| slot.number != number)
}
