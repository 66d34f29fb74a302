//! Registrations: which chains there are, and how far each is trimmed.

use super::DynamoLedger;
use super::item::{self, CHAINS, Item, PK, count, counted, key, partition_of, sort_key_of};
use super::requests::{Condition, Selection, Sort, Write};
use super::units::{PUT, Unit, units_of};
use crate::LedgerError;
use aws::Failure;
use aws_sdk_dynamodb::types::ReturnConsumedCapacity::Total;
use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, WriteRequest};
use schema::ChainId;
use std::collections::HashMap;

/// Most items of a BatchWriteItem. Source:
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html>
const BATCH_ITEMS_MAX: usize = 25;

/// Slots that are deleted between two changes of a registration: few changes, and little to delete again where a trim
/// was cut short.
const STEP_SLOTS: u64 = 1000;

/// What is known of a chain besides its slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Registration {
    /// The genesis is there for sure. Where this is not set, it may be.
    begun: bool,
    /// No slot below is there for anybody, but for the genesis.
    pub(super) low: u64,
    /// All slots below are deleted, but for the genesis. Never above `low`.
    gone: u64,
}

impl Registration {
    const NEW: Registration = Registration { begun: false, low: 1, gone: 1 };

    fn of(item: &Item) -> Registration {
        let begun = item.get("begun").and_then(|begun| begun.as_bool().ok()).copied().unwrap_or_default();
        let or_one = |name| counted(item, name).unwrap_or(1);
        Registration { begun, low: or_one("low"), gone: or_one("gone") }
    }

    fn item(self, chain: &ChainId) -> Item {
        let mut item = key(CHAINS, chain.as_str());
        item.insert("begun".to_owned(), AttributeValue::Bool(self.begun));
        item.insert("low".to_owned(), count(self.low));
        item.insert("gone".to_owned(), count(self.gone));
        item
    }

    /// It still stands so, or is not there.
    fn unchanged(self) -> Condition {
        let expression = format!("attribute_not_exists({PK}) OR (begun = :begun AND low = :low AND gone = :gone)");
        let values = [
            (":begun".to_owned(), AttributeValue::Bool(self.begun)),
            (":low".to_owned(), count(self.low)),
            (":gone".to_owned(), count(self.gone)),
        ];
        Condition { expression, names: None, values: Some(HashMap::from(values)) }
    }

    /// What comes after the slots in `gone..low` are deleted, on the way to `below`.
    fn next(self, below: u64) -> Registration {
        Registration { low: below.min(self.low.saturating_add(STEP_SLOTS)).max(self.low), gone: self.low, ..self }
    }
}

impl DynamoLedger {
    /// Makes sure that a chain is listed once its genesis is there.
    pub(super) async fn register(&self, chain: &ChainId) -> Result<(), LedgerError> {
        self.put(PUT, Registration::NEW.item(chain), Condition::absent()).await?;
        Ok(())
    }

    /// Notes that the genesis is there. Without the note, a listing looks.
    pub(super) async fn begin(&self, chain: &ChainId) {
        let begun = Registration { begun: true, ..Registration::NEW };
        if let Err(failure) = self.put(PUT, begun.item(chain), Registration::NEW.unchanged()).await {
            tracing::debug!(%chain, %failure, "could not note that the chain has a genesis");
        }
    }

    pub(super) async fn registration(&self, chain: &ChainId) -> Result<Registration, LedgerError> {
        let items = self.query(CHAINS, &Selection::all(Sort::Is(chain.as_str().to_owned()))).await?;
        Ok(items.first().map_or(Registration::NEW, Registration::of))
    }

    pub(super) async fn begun_chains(&self, prefix: &str) -> Result<Vec<ChainId>, LedgerError> {
        let mut begun = Vec::new();
        for item in self.query(CHAINS, &Selection::all(Sort::starts_with(prefix))).await? {
            let Some(chain) = item::text(&item, item::SK).map(ChainId::new) else { continue };
            if Registration::of(&item).begun || self.has_genesis(&chain).await? {
                begun.push(chain);
            }
        }
        Ok(begun)
    }

    /// Removes the slots in `[1, below)`, and finishes what an earlier trim left. Any number of trims may run at once:
    /// one that was overtaken goes on from where the other is.
    pub(super) async fn remove_below(&self, chain: &ChainId, below: u64) -> Result<(), LedgerError> {
        let mut seen = self.registration(chain).await?;
        while seen.gone < seen.low || seen.low < below {
            self.delete(chain, seen.gone, seen.low).await?;
            let next = seen.next(below);
            seen = match self.put(PUT, next.item(chain), seen.unchanged()).await? {
                Write::Refused(Some(now)) if Registration::of(&now) != seen => Registration::of(&now),
                Write::Refused(Some(_)) => return Err(not_ours(chain)),
                Write::Done | Write::Refused(None) => next,
            };
        }
        Ok(())
    }

    async fn delete(&self, chain: &ChainId, from: u64, below: u64) -> Result<(), LedgerError> {
        let numbers: Vec<u64> = (from..below).collect();
        for batch in numbers.chunks(BATCH_ITEMS_MAX) {
            let partition = partition_of(chain);
            let mut left: Vec<Item> = batch.iter().map(|&number| key(&partition, &sort_key_of(number))).collect();
            while !left.is_empty() {
                left = self.calls.repeat(async || self.delete_once(&left).await).await?;
            }
        }
        Ok(())
    }

    /// Deletes some items, at least one; gives those back that were not reached.
    async fn delete_once(&self, keys: &[Item]) -> Result<Vec<Item>, Failure> {
        const OPERATION: &str = "BatchWriteItem";
        self.count_request(OPERATION);
        let request = |key: &Item| {
            let delete = DeleteRequest::builder().set_key(Some(key.clone())).build().expect("it has a key");
            WriteRequest::builder().delete_request(delete).build()
        };
        let deleted = self
            .client
            .batch_write_item()
            .request_items(&self.table, keys.iter().map(request).collect())
            .return_consumed_capacity(Total)
            .send()
            .await
            .map_err(|error| self.failed_write(OPERATION, keys.len() as u64, &error))?;
        let units = deleted.consumed_capacity().iter().map(|capacity| units_of(Some(capacity))).sum();
        self.count_units(OPERATION, Unit::Write, units);
        let unprocessed = deleted.unprocessed_items.unwrap_or_default().into_values().flatten();
        let left: Vec<Item> = unprocessed.filter_map(|request| Some(request.delete_request?.key)).collect();
        if left.len() < keys.len() {
            Ok(left)
        } else {
            Err(Failure::Throttled("no item of a batch was reached".to_owned()))
        }
    }
}

/// It was not written here: what it lacks can't be compared.
fn not_ours(chain: &ChainId) -> LedgerError {
    LedgerError::Unavailable(format!("the registration of chain {chain} lacks attributes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trim_goes_in_steps_and_low_is_ahead_of_gone() {
        let mut registration = Registration::NEW;
        let mut steps = Vec::new();
        while registration.gone < registration.low || registration.low < 2500 {
            registration = registration.next(2500);
            steps.push((registration.gone, registration.low));
        }
        assert_eq!(steps, [(1, 1001), (1001, 2001), (2001, 2500), (2500, 2500)]);
    }

    #[test]
    fn a_lower_trim_moves_nothing_back() {
        let trimmed = Registration { begun: true, low: 100, gone: 90 };
        assert_eq!(trimmed.next(10), Registration { begun: true, low: 100, gone: 100 });
    }

    #[test]
    fn a_registration_comes_back_from_its_item() {
        let chain = ChainId::new("dedup/a");
        for registration in [Registration::NEW, Registration { begun: true, low: 7, gone: 3 }] {
            assert_eq!(Registration::of(&registration.item(&chain)), registration);
        }
    }
}
