//! The embedded ledger keeps the contract of ledgers, and what it promises beyond it.

use ledger::embedded::EmbeddedLedger;
use ledger::{Entry, Ledger, LedgerError, contract};
use schema::ChainId;
use std::path::Path;
use std::sync::Arc;
use store::{Options, Store, StoreReader};
use tempfile::tempdir;

fn options() -> Options {
    Options::new(Arc::new(|| 0), "a test")
}

fn open(dir: &Path) -> EmbeddedLedger {
    EmbeddedLedger::new(Arc::new(Store::open(dir, options()).expect("a sound directory")))
}

fn entry(nonce: u128) -> Entry {
    Entry { nonce, bytes: nonce.to_string().into() }
}

macro_rules! keeps_the_contract {
    ($($name:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                let dir = tempdir().unwrap();
                contract::$name(&open(dir.path()), "fresh").await;
            }
        )*
    };
}

keeps_the_contract!(
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
);

#[tokio::test(flavor = "multi_thread")]
async fn one_of_fifty_racing_owners_wins() {
    let dir = tempdir().unwrap();
    contract::one_of_fifty_racing_owners_wins(Arc::new(open(dir.path())), "fresh").await;
}

#[tokio::test]
async fn a_chain_is_the_same_after_a_reopen() {
    let dir = tempdir().unwrap();
    let chain = ChainId::new("dedup/a");
    let ledger = open(dir.path());
    for number in 0..5 {
        ledger.append(&chain, number, entry(number.into())).await.unwrap();
    }
    ledger.trim(&chain, 3).await.unwrap();
    let before = ledger.load(&chain, 0, 10).await;
    drop(ledger);
    let ledger = open(dir.path());
    assert_eq!(ledger.load(&chain, 0, 10).await, before);
    assert_eq!(ledger.append(&chain, 4, entry(4)).await, Ok(()), "the same nonce again");
    let taken = Err(LedgerError::Taken { chain: chain.clone(), number: 2 });
    assert_eq!(ledger.append(&chain, 2, entry(2)).await, taken);
}

#[tokio::test]
async fn a_reader_beside_the_writer_reads_and_never_writes() {
    let dir = tempdir().unwrap();
    let chain = ChainId::new("dedup/a");
    let ledger = open(dir.path());
    ledger.append(&chain, 0, entry(1)).await.unwrap();
    let reader = StoreReader::open(dir.path()).unwrap();
    let beside = EmbeddedLedger::read_only(&reader);
    assert_eq!(beside.load(&chain, 0, 10).await, ledger.load(&chain, 0, 10).await);
    assert_eq!(beside.chains("dedup/").await, Ok(vec![chain.clone()]));
    let refused = beside.append(&chain, 1, entry(2)).await.unwrap_err().to_string();
    assert!(refused.contains("read-only"), "{refused}");
    ledger.append(&chain, 1, entry(2)).await.unwrap();
    reader.refresh().unwrap();
    assert_eq!(beside.head(&chain).await, ledger.head(&chain).await);
}

#[tokio::test]
async fn a_damaged_slot_is_named() {
    let dir = tempdir().unwrap();
    let chain = ChainId::new("dedup/a");
    let ledger = open(dir.path());
    for number in 0..2 {
        ledger.append(&chain, number, entry(number.into())).await.unwrap();
    }
    drop(ledger);
    let path = dir.path().join("log/00000001.log");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[48 + 7] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let store = Store::open(dir.path(), Options { set_aside_damaged: true, ..options() }).unwrap();
    let ledger = EmbeddedLedger::new(Arc::new(store));
    let loaded = ledger.load(&chain, 0, 10).await;
    assert!(matches!(loaded, Err(LedgerError::Damaged { number: 0, .. })), "{loaded:?}");
}
