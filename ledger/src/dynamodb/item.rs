//! Items as the table holds them, and back.

use crate::{Entry, Lease, LedgerError, Slot};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use schema::ChainId;
use std::collections::HashMap;

pub(super) type Item = HashMap<String, AttributeValue>;

pub(super) const PK: &str = "pk";
pub(super) const SK: &str = "sk";

/// Partition of the registrations of chains.
pub(super) const CHAINS: &str = "chains";

/// Partition of the leases.
pub(super) const LEASES: &str = "leases";

/// Bytes that an item is billed for beyond names and values that are counted: an upper bound for the small ones here.
/// Source: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>
const OVERHEAD_BYTES: usize = 64;

/// Partition of a chain's slots.
pub(super) fn partition_of(chain: &ChainId) -> String {
    format!("chain/{chain}")
}

/// Numbers sort as text.
pub(super) fn sort_key_of(number: u64) -> String {
    format!("{number:020}")
}

pub(super) fn string(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(super) fn count(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(super) fn key(partition: &str, sort: &str) -> Item {
    HashMap::from([(PK.to_owned(), string(partition)), (SK.to_owned(), string(sort))])
}

/// An upper bound of what an item is billed for.
pub(super) fn bytes_of(item: &Item) -> usize {
    let value = |value: &AttributeValue| match value {
        AttributeValue::S(text) | AttributeValue::N(text) => text.len(),
        AttributeValue::B(blob) => blob.as_ref().len(),
        _ => 1,
    };
    OVERHEAD_BYTES + item.iter().map(|(name, held)| name.len() + value(held)).sum::<usize>()
}

pub(super) fn of_slot(chain: &ChainId, number: u64, entry: &Entry) -> Item {
    let mut item = key(&partition_of(chain), &sort_key_of(number));
    item.insert("nonce".to_owned(), AttributeValue::B(Blob::new(entry.nonce.to_be_bytes())));
    item.insert("entry".to_owned(), AttributeValue::B(Blob::new(entry.bytes.clone())));
    item
}

/// # Errors
/// [`LedgerError::Damaged`] where the item is none of ours.
pub(super) fn slot(chain: &ChainId, item: Item) -> Result<Slot, LedgerError> {
    let number = number_of(chain, &item)?;
    let damaged = |detail: &str| LedgerError::Damaged { chain: chain.clone(), number, detail: detail.to_owned() };
    let nonce = nonce_of(&item).ok_or_else(|| damaged("its nonce is missing or not 16 bytes"))?;
    let bytes = blob(item, "entry").ok_or_else(|| damaged("its entry is missing or not binary"))?;
    Ok(Slot { number, entry: Entry { nonce, bytes } })
}

/// # Errors
/// [`LedgerError::Damaged`] where the key is none of ours.
pub(super) fn number_of(chain: &ChainId, item: &Item) -> Result<u64, LedgerError> {
    let number = text(item, SK).and_then(|key| key.parse().ok());
    number.ok_or_else(|| {
        let detail = format!("an item of the chain has the sort key {:?}, which is no number", item.get(SK));
        LedgerError::Damaged { chain: chain.clone(), number: 0, detail }
    })
}

pub(super) fn nonce_of(item: &Item) -> Option<u128> {
    let blob = item.get("nonce")?.as_b().ok()?;
    Some(u128::from_be_bytes(blob.as_ref().try_into().ok()?))
}

fn blob(mut item: Item, name: &str) -> Option<Bytes> {
    match item.remove(name)? {
        AttributeValue::B(blob) => Some(blob.into_inner().into()),
        _ => None,
    }
}

pub(super) fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    Some(item.get(name)?.as_s().ok()?)
}

pub(super) fn counted(item: &Item, name: &str) -> Option<u64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// `change` tells this change of the lease from any other.
pub(super) fn of_lease(lease: &Lease, change: &str) -> Item {
    let mut item = key(LEASES, &lease.name);
    item.insert("counter".to_owned(), count(lease.counter));
    item.insert("change".to_owned(), string(change));
    if let Some(owner) = &lease.owner {
        item.insert("owner".to_owned(), string(owner));
    }
    item
}

pub(super) fn lease(item: &Item) -> Option<Lease> {
    let owner = text(item, "owner").map(str::to_owned);
    Some(Lease { name: text(item, SK)?.to_owned(), owner, counter: counted(item, "counter")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_slot_comes_back_from_its_item(number: u64, nonce: u128, bytes: Vec<u8>) {
            let chain = ChainId::new("dedup/a");
            let slot = Slot { number, entry: Entry { nonce, bytes: bytes.into() } };
            let item = of_slot(&chain, number, &slot.entry);
            prop_assert!(bytes_of(&item) > slot.entry.bytes.len());
            prop_assert_eq!(super::slot(&chain, item), Ok(slot));
        }

        #[test]
        fn keys_sort_as_their_numbers(a: u64, b: u64) {
            prop_assert_eq!(sort_key_of(a).cmp(&sort_key_of(b)), a.cmp(&b));
        }

        #[test]
        fn a_lease_comes_back_from_its_item(name: String, owner: Option<String>, counter: u64) {
            let lease = Lease { name, owner, counter };
            prop_assert_eq!(super::lease(&of_lease(&lease, "me 1")), Some(lease));
        }
    }

    #[test]
    fn an_item_that_is_no_slot_is_damage_and_never_skipped() {
        let chain = ChainId::new("dedup/a");
        let whole = of_slot(&chain, 7, &Entry { nonce: 1, bytes: Bytes::new() });
        for (broken, value) in [("nonce", string("text")), ("entry", string("text")), (SK, string("seven"))] {
            let mut item = whole.clone();
            item.insert(broken.to_owned(), value);
            assert!(matches!(slot(&chain, item), Err(LedgerError::Damaged { .. })), "{broken}");
        }
    }
}
