//! A ledger that could not be got back as it was: streams of other names take over, and what only the old raw stream holds
//! is fed into the new one, as the runbook has it.

use crate::fleet::{Fleet, Member, SETTLE};
use crate::halt::{ACCEPT, is_refused};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use standins::Server;
use standins::proxy::{Fault, FaultProxy, Faults};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Events of each load; no two have the same.
const EVENTS: u64 = 300;

/// What an audit finds in objects whose announcements are gone: their rows, and themselves.
const STRAY: [&str; 2] = ["invented", "stray object"];

fn load(seed: &str) -> Vec<&str> {
    vec!["--total", "300", "--batch", "20", "--max", "--seed", seed]
}

/// A table as it is at one time.
struct Backup {
    client: Client,
    table: String,
    items: Vec<HashMap<String, AttributeValue>>,
}

impl Backup {
    async fn of(fleet: &Fleet) -> Backup {
        let client = Client::new(&standins::connect(&standins::dynamodb().await).config);
        let table = fleet.name_of("TABLE").to_owned();
        let items = items(&client, &table).await;
        Backup { client, table, items }
    }

    /// What was written since is gone.
    async fn restore(&self) {
        for mut item in items(&self.client, &self.table).await {
            let delete = self.client.delete_item().table_name(&self.table);
            let [pk, sk] = ["pk", "sk"].map(|key| item.remove(key).unwrap());
            delete.key("pk", pk).key("sk", sk).send().await.unwrap();
        }
        for item in &self.items {
            let put = self.client.put_item().table_name(&self.table);
            put.set_item(Some(item.clone())).send().await.unwrap();
        }
    }
}

async fn items(client: &Client, table: &str) -> Vec<HashMap<String, AttributeValue>> {
    let pages = client.scan().table_name(table).consistent_read(true).into_paginator().items().send();
    pages.collect::<Result<_, _>>().await.unwrap()
}

/// Runs a worker of each stage until everything acknowledged is in the lake.
async fn written(fleet: &mut Fleet) {
    let workers = fleet.workers();
    fleet.audit_is_clean();
    for worker in workers {
        fleet.stop(worker);
    }
}

/// A gateway and workers on streams that have taken the place of others, as somebody has accepted.
async fn start_anew(fleet: &mut Fleet, gateway: Member) -> SocketAddr {
    fleet.stop(gateway);
    let gateway = fleet.gateway();
    let [dedup, writer] = fleet.workers();
    let before = [is_refused(fleet, dedup).await, is_refused(fleet, writer).await];
    fleet.start("dedup-service", &[ACCEPT, &before[0]]);
    fleet.start("writer-service", &["--flush-interval", "1s", ACCEPT, &before[1]]);
    fleet.wait_until_ready(gateway).await;
    gateway
}

/// What an audit found, by kinds: each has a line with how many there are.
fn findings(audit: &str) -> Vec<&str> {
    let lines = audit.lines().filter_map(|line| line.split_once(": "));
    let is_count = |count: &str| count.bytes().all(|byte| byte.is_ascii_digit() || byte == b',');
    lines.filter(|(_, count)| is_count(count)).map(|(kind, _)| kind).collect()
}

/// A figure of an audit.
fn figure(name: &str, audit: &str) -> u64 {
    let line = audit.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}: {audit}"));
    line.split_whitespace().next().unwrap().replace(',', "").parse().unwrap()
}

/// Streams are older than what they keep: what they held before may be gone.
fn older() -> Fault {
    Fault::Older(Duration::from_secs(3 * 24 * 3600))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_an_earlier_raw_stream_holds_gets_into_the_lake_when_its_ledger_could_not_be_got_back() {
    let mut fleet = Fleet::set_up("backfill").await;
    let gateway = fleet.gateway();
    fleet.wait_until_ready(gateway).await;
    // In the lake, and in the backup of the ledger.
    fleet.generate(gateway, &load("1"));
    written(&mut fleet).await;
    let backup = Backup::of(&fleet).await;
    // In the lake, and not in the backup.
    fleet.generate(gateway, &load("2"));
    written(&mut fleet).await;
    // In the raw stream only, also such as another producer has put there.
    fleet.generate(gateway, &load("3"));
    let receipts = fleet.receipts();
    fleet.forebay(&[&["generate", "--to", "kinesis", "--ledger", &receipts], &load("4")[..]].concat());
    backup.restore().await;

    let old = fleet.change_streams(3);
    let gateway = start_anew(&mut fleet, Member::FIRST).await;
    fleet.generate(gateway, &load("5"));
    let older_streams = Faults::none().with("DescribeStreamSummary", older(), 1.0);
    let proxy = FaultProxy::start(&standins::kinesis().await, older_streams, 1).await;
    fleet.detour(Server::Kinesis, proxy.endpoint());
    let command = ["backfill", "--from-stream", &old, "--rate", "64MiB"];
    let rehearsal = fleet.forebay_by_detour(&[&command[..], &["--dry-run"]].concat());
    assert!(rehearsal.contains("would feed") && rehearsal.contains("1,200 events"), "{rehearsal}");
    let audit = fleet.forebay_fails(&["audit", "--wait", SETTLE, "--ledger", &receipts]);
    assert_eq!(findings(&audit), ["acknowledged, not there", STRAY[0], STRAY[1]], "{audit}");

    // Doing it twice does no harm.
    for copies in [EVENTS, 5 * EVENTS] {
        let fed = fleet.forebay_by_detour(&command);
        assert!(fed.contains("1,200 events") && fed.contains("complete: "), "{fed}");
        let audit = fleet.forebay_fails(&["audit", "--wait", SETTLE, "--ledger", &receipts]);
        assert_eq!(findings(&audit), STRAY, "{audit}");
        assert_eq!((figure("duplicates", &audit), figure("unique", &audit)), (copies, 5 * EVENTS), "{audit}");
    }
    assert!(proxy.counts().of("DescribeStreamSummary", older()) > 0);
    fleet.stop_all();
}
