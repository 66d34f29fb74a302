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

ledger::contract_checks!(keeps_the_contract);

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
