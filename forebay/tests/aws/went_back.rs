//! A table that goes back under a watch, as one does that is restored or that somebody has put his hands on.

use crate::fleet::{Fleet, eventually, free_address};
use crate::metrics::total;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use std::net::SocketAddr;

const LOAD: [&str; 5] = ["--total", "300", "--batch", "20", "--max"];

/// The newest entry of the first dedup chain that has any, as the key of its item.
async fn newest_entry(client: &Client, table: &str) -> (String, String) {
    let items = client.scan().table_name(table).projection_expression("pk, sk").send().await.unwrap().items.unwrap();
    let key = |name: &str, item: &std::collections::HashMap<String, AttributeValue>| item[name].as_s().unwrap().clone();
    let keys = items.iter().map(|item| (key("pk", item), key("sk", item)));
    let chain = |(pk, sk): &(String, String)| pk.starts_with("chain/dedup/") && sk.parse::<u64>().unwrap() > 0;
    keys.filter(chain).max_by_key(|(_, sk)| sk.clone()).unwrap()
}

async fn delete(client: &Client, table: &str, (pk, sk): (String, String)) {
    let request = client.delete_item().table_name(table);
    request.key("pk", AttributeValue::S(pk)).key("sk", AttributeValue::S(sk)).send().await.unwrap();
}

fn broken(address: SocketAddr) -> f64 {
    total(address, "forebay_ledger_broken_chains")
}

#[tokio::test]
async fn a_watch_sees_that_the_newest_entry_of_a_chain_is_gone() {
    let mut fleet = Fleet::set_up("back").await;
    let gateway = fleet.gateway();
    let [dedup, writer] = fleet.workers();
    fleet.wait_until_ready(gateway).await;
    fleet.generate(gateway, &LOAD);
    fleet.audit_is_clean();
    fleet.stop(dedup);
    fleet.stop(writer);

    let address = free_address();
    let watch = fleet.start("forebay", &["audit", "--watch", "200ms", "--admin-addr", &address.to_string()]);
    fleet.wait_until_ready(address).await;
    eventually("the chains were read", || total(address, "forebay_conservation_looks_total") > 1.0).await;
    let log = fleet.log(watch);
    let line = log.lines().find(|line| line.contains("the chains were read")).unwrap_or_default();
    let figures = ["accepted=300", "live=300", "in_flight=0", "missing=0", "broken=0"];
    assert!(broken(address) == 0.0 && figures.iter().all(|figure| line.contains(figure)), "{log}");

    let client = Client::new(&standins::connect(&standins::dynamodb().await).config);
    let table = fleet.name_of("TABLE").to_owned();
    delete(&client, &table, newest_entry(&client, &table).await).await;
    eventually("the watch sees it", || broken(address) > 0.0).await;
    let log = fleet.log(watch);
    assert!(log.contains("the ledger is not what it was: stop dedup and writer") && log.contains("ends with"), "{log}");
    let (code, log) = fleet.interrupted(watch).await;
    assert!(code == Some(1) && log.lines().last().unwrap_or_default().contains("calls to AWS"), "{code:?}: {log}");
}
