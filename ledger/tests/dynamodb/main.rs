//! The ledger in DynamoDB keeps the contract of ledgers, and what it promises beyond it; against DynamoDB Local.

#![allow(clippy::unwrap_used)] // A test that can't be set up may panic.

mod faults;
mod tables;

use aws::Aws;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use ledger::dynamodb::{DynamoLedger, TableOptions};
use ledger::{ENTRY_BYTES_MAX, Entry, Ledger, LedgerError, Walk, contract};
use schema::ChainId;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Nothing guards the tables of tests: they go with the server.
const UNGUARDED: TableOptions = TableOptions { point_in_time_recovery: false, deletion_protection: false };

/// A ledger in a table of its own.
struct Fresh {
    aws: Aws,
    table: String,
    ledger: DynamoLedger,
}

async fn fresh() -> Fresh {
    let aws = standins::connect(&standins::dynamodb().await);
    let table = standins::fresh_name("ledger");
    DynamoLedger::create_table(&aws, &table, UNGUARDED).await.unwrap();
    let ledger = DynamoLedger::open(&aws, &table).await.unwrap();
    Fresh { aws, table, ledger }
}

impl Fresh {
    /// The same table as another process sees it.
    async fn another(&self) -> DynamoLedger {
        DynamoLedger::open(&self.aws, &self.table).await.unwrap()
    }

    fn counted(&self, operation: &str, unit: &str) -> u64 {
        let counts = self.aws.meter.counts();
        let of = counts.iter().find(|count| count.operation == operation && count.unit == unit);
        of.map_or(0, |count| count.total)
    }

    /// Deletes a slot behind the ledger's back.
    async fn delete(&self, chain: &ChainId, number: u64) {
        let request = Client::new(&self.aws.config).delete_item().table_name(&self.table);
        let request = request.key("pk", AttributeValue::S(format!("chain/{chain}")));
        request.key("sk", AttributeValue::S(format!("{number:020}"))).send().await.unwrap();
    }
}

fn chain() -> ChainId {
    ChainId::new("dedup/a")
}

fn entry(nonce: u128) -> Entry {
    Entry { nonce, bytes: nonce.to_string().into() }
}

async fn fill(ledger: &DynamoLedger, chain: &ChainId, numbers: std::ops::Range<u64>) {
    for number in numbers {
        ledger.append(chain, number, entry(number.into())).await.unwrap();
    }
}

async fn numbers(ledger: &DynamoLedger, chain: &ChainId, from: u64) -> Vec<u64> {
    ledger.load(chain, from, 10_000).await.unwrap().iter().map(|slot| slot.number).collect()
}

macro_rules! keeps_the_contract {
    ($($name:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                contract::$name(&fresh().await.ledger, "fresh").await;
            }
        )*
    };
}

ledger::contract_checks!(keeps_the_contract);

#[tokio::test(flavor = "multi_thread")]
async fn one_of_fifty_racing_owners_wins() {
    contract::one_of_fifty_racing_owners_wins(Arc::new(fresh().await.ledger), "fresh").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_hundred_puts_at_once_wins() {
    let fresh = fresh().await;
    fill(&fresh.ledger, &chain(), 0..1).await;
    let mut owners = JoinSet::new();
    for nonce in 0..200 {
        let ledger = fresh.ledger.clone();
        owners.spawn(async move { ledger.append(&chain(), 1, entry(nonce)).await.map(|()| nonce) });
    }
    let outcomes = owners.join_all().await;
    let winners: Vec<u128> = outcomes.iter().filter_map(|outcome| outcome.clone().ok()).collect();
    assert_eq!(winners.len(), 1);
    let taken = outcomes.iter().filter(|outcome| matches!(outcome, Err(LedgerError::Taken { .. }))).count();
    assert_eq!(taken, 199);
    assert_eq!(fresh.ledger.head(&chain()).await.unwrap().unwrap().entry.nonce, winners[0]);
}

#[tokio::test]
async fn large_entries_come_over_many_pages() {
    let fresh = fresh().await;
    for number in 0..10 {
        let bytes = vec![number as u8; ENTRY_BYTES_MAX].into();
        fresh.ledger.append(&chain(), number, Entry { nonce: 1, bytes }).await.unwrap();
    }
    let asked = fresh.counted("Query", "requests");
    let slots = fresh.ledger.load(&chain(), 0, 64).await.unwrap();
    assert!(slots.iter().map(|slot| slot.number).eq(0..10));
    assert!(slots.iter().all(|slot| slot.entry.bytes == vec![slot.number as u8; ENTRY_BYTES_MAX]));
    assert!(fresh.counted("Query", "requests") - asked >= 4, "a page holds 1 MB");
    assert_eq!(fresh.ledger.load(&chain(), 2, 5).await.unwrap().len(), 5);
}

#[tokio::test]
async fn an_append_in_order_is_one_put_of_its_kilobytes() {
    let fresh = fresh().await;
    fill(&fresh.ledger, &chain(), 0..2).await;
    let before = fresh.aws.meter.counts();
    for number in 2..12 {
        let bytes = vec![0; 2000].into();
        fresh.ledger.append(&chain(), number, Entry { nonce: 1, bytes }).await.unwrap();
    }
    let put = |unit| before.iter().find(|count| (count.operation, count.unit) == ("PutItem", unit)).unwrap().total;
    assert_eq!(fresh.counted("PutItem", "requests") - put("requests"), 10);
    // With its keys and names, each item is a little more than two kilobytes.
    assert_eq!(fresh.counted("PutItem", "write_units") - put("write_units"), 30);
    let queries = before.iter().find(|count| count.operation == "Query").map_or(0, |count| count.total);
    assert_eq!(fresh.counted("Query", "requests"), queries);
}

#[tokio::test]
async fn another_process_can_not_fill_a_trimmed_slot_either() {
    let fresh = fresh().await;
    fill(&fresh.ledger, &chain(), 0..8).await;
    fresh.ledger.trim(&chain(), 5).await.unwrap();
    let another = fresh.another().await;
    for number in 1..5 {
        let taken = Err(LedgerError::Taken { chain: chain(), number });
        assert_eq!(another.append(&chain(), number, entry(number.into())).await, taken);
    }
    assert_eq!(numbers(&another, &chain(), 0).await, [0, 5, 6, 7]);
    assert_eq!(another.append(&chain(), 8, entry(8)).await, Ok(()));
}

#[tokio::test]
async fn a_chain_is_listed_from_its_genesis_on_and_not_before() {
    let fresh = fresh().await;
    let register = |name: &'static str| {
        let request = Client::new(&fresh.aws.config).put_item().table_name(&fresh.table);
        request.item("pk", AttributeValue::S("chains".to_owned())).item("sk", AttributeValue::S(name.to_owned())).send()
    };
    register("dedup/died-before-its-genesis").await.unwrap();
    assert_eq!(fresh.ledger.chains("dedup/").await, Ok(vec![]));
    fill(&fresh.ledger, &ChainId::new("dedup/died-before-its-genesis"), 0..1).await;
    assert_eq!(fresh.ledger.chains("").await, Ok(vec![ChainId::new("dedup/died-before-its-genesis")]));
}

#[tokio::test]
async fn what_a_trim_left_behind_is_seen_by_nobody_and_deleted_by_the_next_one() {
    let fresh = fresh().await;
    fill(&fresh.ledger, &chain(), 0..40).await;
    // A batch was deleted in no order when its process died, before low had moved on.
    let request = Client::new(&fresh.aws.config).update_item().table_name(&fresh.table);
    let request = request.key("pk", AttributeValue::S("chains".to_owned()));
    let request = request.key("sk", AttributeValue::S(chain().to_string())).update_expression("SET low = :low");
    request.expression_attribute_values(":low", AttributeValue::N("30".to_owned())).send().await.unwrap();
    for number in [1, 2, 4, 7] {
        fresh.delete(&chain(), number).await;
    }
    let left: Vec<u64> = std::iter::once(0).chain(30..40).collect();
    assert_eq!(numbers(&fresh.ledger, &chain(), 0).await, left);
    let trimmed = chain();
    let mut walk = Walk::new(&fresh.ledger, &trimmed, 0);
    let mut walked = Vec::new();
    while let Some(slot) = walk.next().await.unwrap() {
        walked.push(slot.number);
    }
    assert_eq!(walked, left);
    fresh.ledger.trim(&chain(), 2).await.unwrap();
    assert_eq!(numbers(&fresh.ledger, &chain(), 3).await, left[1..]);
    assert_eq!(fresh.counted("BatchWriteItem", "requests"), 2, "slots 1 to 29 at 25 a batch");
}

#[tokio::test(flavor = "multi_thread")]
async fn trims_that_run_at_once_end_and_agree() {
    let fresh = fresh().await;
    fill(&fresh.ledger, &chain(), 0..120).await;
    let mut trims = JoinSet::new();
    for below in [30, 60, 90, 100, 100] {
        let ledger = fresh.ledger.clone();
        trims.spawn(async move { ledger.trim(&chain(), below).await });
    }
    assert!(trims.join_all().await.iter().all(Result::is_ok));
    assert!(numbers(&fresh.ledger, &chain(), 1).await.into_iter().eq(100..120));
}

#[tokio::test]
async fn leases_and_chains_are_apart() {
    let fresh = fresh().await;
    for name in ["leases", "chains", "dedup/a"] {
        fill(&fresh.ledger, &ChainId::new(name), 0..2).await;
        fresh.ledger.acquire(name, "me", None).await.unwrap();
    }
    assert_eq!(fresh.ledger.chains("").await.unwrap().len(), 3);
    assert_eq!(fresh.ledger.leases("").await.unwrap().len(), 3);
    for name in ["leases", "chains", "dedup/a"] {
        assert_eq!(fresh.ledger.head(&ChainId::new(name)).await.unwrap().unwrap().number, 1);
    }
}
