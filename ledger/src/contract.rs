//! What every ledger does, whatever stands behind it: functions that panic where a backend does otherwise.
//!
//! Each takes a ledger and a prefix of names that nobody has used before.

use crate::{ENTRY_BYTES_MAX, Entry, LeaseError, Ledger, LedgerError, Slot, Walk, for_each_slot};
use bytes::Bytes;
use schema::ChainId;
use std::sync::Arc;

/// Names the checks that take a ledger and fresh names to a macro of the caller's, which makes tests of them: no backend can miss one.
#[macro_export]
macro_rules! contract_checks {
    ($tests:ident) => {
        $tests! {
            an_entry_is_given_back_as_it_was_appended,
            an_append_conflicts_when_the_slot_is_taken,
            the_same_nonce_again_is_reported_as_appended,
            the_largest_entry_fits_and_a_larger_one_is_refused,
            a_chain_loads_in_pages_from_any_number,
            a_whole_chain_is_walked_through,
            a_walk_goes_on_where_a_trim_has_overtaken_it,
            a_gap_that_no_trim_made_is_damage,
            the_head_is_the_highest_number_and_an_unwritten_chain_has_none,
            chains_are_apart_and_listed_by_prefix,
            a_trim_leaves_genesis_and_head_and_its_slots_stay_shut,
            a_lease_that_nobody_held_is_taken_once,
            a_renewal_raises_the_counter,
            a_lease_that_changed_hands_is_lost_to_its_former_owner,
            a_released_lease_is_nobodys_and_can_be_taken,
            a_retired_lease_is_off_the_list_and_one_that_changed_is_not,
            leases_are_listed_by_prefix,
        }
    };
}

fn chain(fresh: &str, name: &str) -> ChainId {
    ChainId::new(format!("{fresh}/{name}"))
}

fn entry(nonce: u128, bytes: impl Into<Bytes>) -> Entry {
    Entry { nonce, bytes: bytes.into() }
}

/// Fills slots 0 up to `count`; the bytes of each are its number.
async fn filled(ledger: &dyn Ledger, fresh: &str, count: u64) -> ChainId {
    let chain = chain(fresh, "filled");
    for number in 0..count {
        let appended = ledger.append(&chain, number, entry(number.into(), number.to_string())).await;
        appended.expect("an empty slot takes an entry");
    }
    chain
}

async fn load(ledger: &dyn Ledger, chain: &ChainId, from: u64, count_max: usize) -> Vec<u64> {
    let slots = ledger.load(chain, from, count_max).await.expect("a sound chain");
    slots.into_iter().map(|slot| slot.number).collect()
}

pub async fn an_entry_is_given_back_as_it_was_appended(ledger: &dyn Ledger, fresh: &str) {
    let chain = chain(fresh, "a");
    let (first, second) = (entry(u128::MAX, vec![0, 255, 10]), entry(7, ""));
    for (number, entry) in [&first, &second].into_iter().enumerate() {
        ledger.append(&chain, number as u64, entry.clone()).await.expect("an empty slot takes an entry");
    }
    let slots = ledger.load(&chain, 0, 10).await.expect("a sound chain");
    assert_eq!(slots, [Slot { number: 0, entry: first }, Slot { number: 1, entry: second }]);
}

pub async fn an_append_conflicts_when_the_slot_is_taken(ledger: &dyn Ledger, fresh: &str) {
    let chain = filled(ledger, fresh, 2).await;
    let second = ledger.append(&chain, 1, entry(99, "other")).await;
    assert_eq!(second, Err(LedgerError::Taken { chain: chain.clone(), number: 1 }));
    assert_eq!(ledger.load(&chain, 1, 1).await.expect("a sound chain")[0].entry, entry(1, "1"));
}

pub async fn the_same_nonce_again_is_reported_as_appended(ledger: &dyn Ledger, fresh: &str) {
    let chain = filled(ledger, fresh, 3).await;
    for number in 0..3 {
        let again = ledger.append(&chain, number, entry(number.into(), number.to_string())).await;
        assert_eq!(again, Ok(()));
    }
    assert_eq!(load(ledger, &chain, 0, 10).await, [0, 1, 2]);
}

/// Who is told that the slot is taken finds the winner's entry there at once.
pub async fn one_of_fifty_racing_owners_wins(ledger: Arc<dyn Ledger>, fresh: &str) {
    let chain = chain(fresh, "race");
    for number in 0..5 {
        let mut owners = tokio::task::JoinSet::new();
        for nonce in 0..50 {
            let (ledger, chain) = (ledger.clone(), chain.clone());
            owners.spawn(async move {
                let appended = ledger.append(&chain, number, entry(nonce, nonce.to_string())).await;
                let head = ledger.head(&chain).await.expect("a sound chain").expect("it is filled");
                match appended {
                    Ok(()) => assert_eq!(head.entry.nonce, nonce),
                    Err(LedgerError::Taken { .. }) => assert_ne!(head.entry.nonce, nonce),
                    Err(error) => panic!("undecided: {error}"),
                }
                (appended.is_ok(), head.number)
            });
        }
        let outcomes = owners.join_all().await;
        assert_eq!(outcomes.iter().filter(|(won, _)| *won).count(), 1);
        assert!(outcomes.iter().all(|(_, head)| *head == number));
    }
}

pub async fn the_largest_entry_fits_and_a_larger_one_is_refused(ledger: &dyn Ledger, fresh: &str) {
    let chain = chain(fresh, "large");
    let largest = entry(1, vec![b'x'; ENTRY_BYTES_MAX]);
    ledger.append(&chain, 0, largest.clone()).await.expect("the largest entry fits");
    assert_eq!(ledger.head(&chain).await.expect("a sound chain").expect("it is filled").entry, largest);
    let larger = ledger.append(&chain, 1, entry(2, vec![b'x'; ENTRY_BYTES_MAX + 1])).await;
    assert_eq!(larger, Err(LedgerError::TooLarge { chain, bytes: ENTRY_BYTES_MAX + 1 }));
}

pub async fn a_chain_loads_in_pages_from_any_number(ledger: &dyn Ledger, fresh: &str) {
    let chain = filled(ledger, fresh, 10).await;
    assert_eq!(load(ledger, &chain, 0, 4).await, [0, 1, 2, 3]);
    assert_eq!(load(ledger, &chain, 4, 4).await, [4, 5, 6, 7]);
    assert_eq!(load(ledger, &chain, 8, 4).await, [8, 9]);
    assert!(load(ledger, &chain, 10, 4).await.is_empty());
}

pub async fn a_whole_chain_is_walked_through(ledger: &dyn Ledger, fresh: &str) {
    let chain = filled(ledger, fresh, 150).await;
    let mut numbers = Vec::new();
    let each = |slot: Slot| {
        numbers.push(slot.number);
        Ok(())
    };
    for_each_slot(ledger, &chain, 0, each).await.expect("a sound chain");
    assert!(numbers.into_iter().eq(0..150));
}

/// Whoever walks a chain while it is trimmed goes on with what is left.
pub async fn a_walk_goes_on_where_a_trim_has_overtaken_it(ledger: &dyn Ledger, fresh: &str) {
    let chain = filled(ledger, fresh, 150).await;
    let mut walk = Walk::new(ledger, &chain, 2);
    let first = walk.next().await.expect("a sound chain");
    assert_eq!(first.map(|slot| slot.number), Some(2));
    ledger.trim(&chain, 140).await.expect("a sound chain");
    let mut last = 2;
    while let Some(slot) = walk.next().await.expect("what is trimmed is not damaged") {
        assert!(slot.number > last && slot.entry.bytes == slot.number.to_string());
        last = slot.number;
    }
    assert_eq!(last, 149);
    for_each_slot(ledger, &chain, 0, |_| Ok(())).await.expect("a trimmed chain is sound");
}

/// A slot that is missing above others was lost: nobody may pass over it.
pub async fn a_gap_that_no_trim_made_is_damage(ledger: &dyn Ledger, fresh: &str) {
    let chain = filled(ledger, fresh, 5).await;
    ledger.append(&chain, 6, entry(6, "6")).await.expect("an empty slot takes an entry");
    let walked = for_each_slot(ledger, &chain, 0, |_| Ok(())).await;
    assert!(matches!(walked, Err(LedgerError::Damaged { number: 5, .. })), "{walked:?}");
}

pub async fn the_head_is_the_highest_number_and_an_unwritten_chain_has_none(ledger: &dyn Ledger, fresh: &str) {
    assert_eq!(ledger.head(&chain(fresh, "unwritten")).await, Ok(None));
    assert!(load(ledger, &chain(fresh, "unwritten"), 0, 10).await.is_empty());
    let chain = filled(ledger, fresh, 12).await;
    assert_eq!(ledger.head(&chain).await.expect("a sound chain").map(|slot| slot.number), Some(11));
}

pub async fn chains_are_apart_and_listed_by_prefix(ledger: &dyn Ledger, fresh: &str) {
    let names = ["b", "a/2", "a/10"].map(|name| chain(fresh, name));
    for name in &names {
        ledger.append(name, 0, entry(1, name.to_string())).await.expect("chains do not share slots");
    }
    let [b, a2, a10] = names;
    assert_eq!(ledger.chains(&format!("{fresh}/a/")).await, Ok(vec![a10.clone(), a2.clone()]));
    assert_eq!(ledger.chains(&format!("{fresh}/")).await, Ok(vec![a10, a2, b]));
}

pub async fn a_trim_leaves_genesis_and_head_and_its_slots_stay_shut(ledger: &dyn Ledger, fresh: &str) {
    let chain = filled(ledger, fresh, 6).await;
    ledger.trim(&chain, 4).await.expect("a sound chain");
    assert_eq!(load(ledger, &chain, 0, 10).await, [0, 4, 5]);
    assert_eq!(load(ledger, &chain, 2, 10).await, [4, 5]);
    for number in 1..4 {
        let refill = ledger.append(&chain, number, entry(77, "again")).await;
        assert_eq!(refill, Err(LedgerError::Taken { chain: chain.clone(), number }));
    }
    ledger.trim(&chain, 2).await.expect("a lower trim changes nothing");
    ledger.trim(&chain, 1_000).await.expect("a trim beyond the head is cut to it");
    assert_eq!(load(ledger, &chain, 0, 10).await, [0, 5]);
    ledger.append(&chain, 6, entry(6, "6")).await.expect("the chain goes on");
}

pub async fn a_lease_that_nobody_held_is_taken_once(ledger: &dyn Ledger, fresh: &str) {
    let name = format!("{fresh}/lease");
    let lease = ledger.acquire(&name, "one", None).await.expect("nobody holds it");
    assert_eq!(lease.owner.as_deref(), Some("one"));
    assert_eq!(ledger.acquire(&name, "two", None).await, Err(LeaseError::Lost(name.clone())));
    assert_eq!(ledger.leases(&name).await, Ok(vec![lease]));
}

pub async fn a_renewal_raises_the_counter(ledger: &dyn Ledger, fresh: &str) {
    let name = format!("{fresh}/lease");
    let taken = ledger.acquire(&name, "one", None).await.expect("nobody holds it");
    let renewed = ledger.renew(&taken).await.expect("nobody took it");
    assert!(renewed.counter > taken.counter);
    assert_eq!(ledger.renew(&taken).await, Err(LeaseError::Lost(name)));
}

pub async fn a_lease_that_changed_hands_is_lost_to_its_former_owner(ledger: &dyn Ledger, fresh: &str) {
    let name = format!("{fresh}/lease");
    let first = ledger.acquire(&name, "one", None).await.expect("nobody holds it");
    let second = ledger.acquire(&name, "two", Some(&first)).await.expect("it stands as it was seen");
    assert_eq!(ledger.renew(&first).await, Err(LeaseError::Lost(name.clone())));
    assert_eq!(ledger.release(&first).await, Err(LeaseError::Lost(name.clone())));
    assert_eq!(ledger.acquire(&name, "three", Some(&first)).await, Err(LeaseError::Lost(name)));
    ledger.renew(&second).await.expect("the new owner holds it");
}

pub async fn a_released_lease_is_nobodys_and_can_be_taken(ledger: &dyn Ledger, fresh: &str) {
    let name = format!("{fresh}/lease");
    let taken = ledger.acquire(&name, "one", None).await.expect("nobody holds it");
    ledger.release(&taken).await.expect("its owner gives it back");
    let seen = ledger.leases(&name).await.expect("leases are listed").remove(0);
    assert_eq!(seen.owner, None);
    assert_eq!(ledger.renew(&taken).await, Err(LeaseError::Lost(name.clone())));
    ledger.acquire(&name, "two", Some(&seen)).await.expect("it stands as it was seen");
}

pub async fn a_retired_lease_is_off_the_list_and_one_that_changed_is_not(ledger: &dyn Ledger, fresh: &str) {
    let name = format!("{fresh}/lease");
    let taken = ledger.acquire(&name, "one", None).await.expect("nobody holds it");
    let renewed = ledger.renew(&taken).await.expect("nobody took it");
    assert_eq!(ledger.retire(&taken).await, Err(LeaseError::Lost(name.clone())));
    assert_eq!(ledger.leases(&name).await, Ok(vec![renewed.clone()]));
    ledger.retire(&renewed).await.expect("it stands as it was seen");
    assert_eq!(ledger.leases(&name).await, Ok(vec![]));
    ledger.retire(&renewed).await.expect("retired is retired");
    ledger.acquire(&name, "two", None).await.expect("nobody holds it");
}

pub async fn leases_are_listed_by_prefix(ledger: &dyn Ledger, fresh: &str) {
    for name in ["dedup/1", "dedup/2", "writer/1"] {
        ledger.acquire(&format!("{fresh}/{name}"), "one", None).await.expect("nobody holds it");
    }
    let leases = ledger.leases(&format!("{fresh}/dedup/")).await.expect("leases are listed");
    assert_eq!(leases.len(), 2);
}
