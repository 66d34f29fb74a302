//! What the base load costs, by what the processes count.
//!
//! At 300 events a second, in real time and with every setting at its default, so that flushes, decisions and objects are as
//! large as they would be. A million events would take an hour and count the same units for each: from the second minute
//! on nothing is new but the deletion of old entries, which is added here at what it will cost.

use crate::fleet::{Fleet, free_address};
use crate::metrics;
use forebay::cost::{Counted, Run};
use std::net::SocketAddr;

/// A minute and a half: every writer makes objects at least once on its own.
const EVENTS: u64 = 27_000;
const RATE: u64 = 300;

/// How far over a target this machine may be: leases are renewed and streams read for as long as a busy one takes for the
/// rest. One conditional put for each event would be twenty times over.
const BUSY: f64 = 2.0;

#[tokio::test]
async fn the_base_load_stays_within_its_budget() {
    let mut fleet = Fleet::set_up("cost").await;
    let gateway = fleet.gateway();
    let (dedup, writer) = (free_address(), free_address());
    fleet.start("dedup-service", &["--admin-addr", &dedup.to_string()]);
    fleet.start("writer-service", &["--admin-addr", &writer.to_string()]);
    fleet.wait_until_ready(gateway).await;
    fleet.generate(gateway, &["--rate", &format!("{RATE}/s"), "--total", &EVENTS.to_string(), "--duplicates", "1%"]);
    fleet.audit_is_clean();
    let mut counts: Vec<Counted> = [gateway, dedup, writer].into_iter().flat_map(counted).collect();
    counts.extend(deletions(&counts));
    let report = fleet.forebay(&["cost", "--units", &written(&fleet, counts)]);
    println!("{report}");
    assert!(!report.contains("no price known"), "{report}");
    let targets: Vec<(f64, f64)> = report.lines().filter_map(target).collect();
    assert!(!targets.is_empty(), "{report}");
    for (dollars, dollars_max) in targets {
        assert!(dollars <= BUSY * dollars_max, "{report}");
    }
    fleet.stop_all();
}

/// Reads `target: dynamodb at most $0.03 per million events: $0.0284, met`.
fn target(line: &str) -> Option<(f64, f64)> {
    let mut dollars = line.strip_prefix("target: ")?.split('$').skip(1).map(|text| {
        let number = text.split([' ', ',']).next().unwrap();
        number.parse::<f64>().unwrap()
    });
    let (dollars_max, dollars) = (dollars.next()?, dollars.next()?);
    Some((dollars, dollars_max))
}

/// Units that a process has counted.
fn counted(address: SocketAddr) -> Vec<Counted> {
    let shown = metrics::shown(address);
    let lines = shown.lines().filter_map(|line| line.strip_prefix("forebay_aws_units_total{"));
    lines.map(count).collect()
}

/// Reads `operation="PutItem",service="dynamodb",unit="write_units"} 3`.
fn count(line: &str) -> Counted {
    let (labels, total) = line.split_once("} ").unwrap();
    let label = |name: &str| {
        let found = labels.split(',').find_map(|label| label.strip_prefix(name)?.strip_prefix('='));
        found.unwrap().trim_matches('"').to_owned()
    };
    let total = total.parse::<f64>().unwrap() as u64;
    Counted { service: label("service"), operation: label("operation"), unit: label("unit"), total }
}

/// Each entry is deleted a week later, at the price of its writing. Renewals of leases are counted with them.
fn deletions(counts: &[Counted]) -> Option<Counted> {
    let are_written = |count: &&Counted| count.operation == "PutItem" && count.unit == "write_units";
    let total = counts.iter().filter(are_written).map(|count| count.total).sum();
    let written = counts.iter().find(are_written)?;
    Some(Counted { operation: "BatchWriteItem".to_owned(), total, ..written.clone() })
}

/// The file that `forebay cost` reads.
fn written(fleet: &Fleet, counts: Vec<Counted>) -> String {
    let how = "stand-ins in real time, defaults of AWS, 2 shards a stream, without compaction".to_owned();
    let run = Run { how, events: EVENTS, seconds: EVENTS as f64 / RATE as f64, counts };
    let path = format!("{}-units.json", fleet.receipts());
    std::fs::write(&path, serde_json::to_vec(&run).unwrap()).unwrap();
    path
}
