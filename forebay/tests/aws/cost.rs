//! What the base load costs, by what the processes count.
//!
//! At 300 events a second, in real time and with every setting at its default, so that flushes, decisions and objects are as
//! large as they would be. Each further minute counts the same; new in a million events, which take an hour, are larger
//! final objects. Old entries are deleted a week later, which is added here at what it will cost.
//!
//! `FOREBAY_COST_EVENTS`, `FOREBAY_COST_SHARDS` and `FOREBAY_COST_COMPACTION` measure another scale, and
//! `FOREBAY_COST_UNITS` names a file that keeps what was counted, for `forebay cost --units`. From some hundred thousand
//! events on set `FOREBAY_COST_FAST_KINESIS=true`: the stand-in that can reshard, and need not here, answers ever more slowly
//! with what it holds.

use crate::compaction::{NOTHING, Queues, plan_with};
use crate::fleet::{Fleet, free_address};
use crate::metrics;
use forebay::cost::{Counted, Run};
use std::net::SocketAddr;
use std::str::FromStr;

const RATE: u64 = 300;

/// Plannings after which nothing must be left: writers may settle their last objects during the first.
const PLANNINGS_MAX: u32 = 10;

/// How far over a target this machine may be: leases are renewed and streams read for as long as a busy one takes for the
/// rest. One conditional put for each event would be twenty times over.
const BUSY: f64 = 2.0;

/// What is measured.
#[derive(Debug)]
struct Scale {
    events: u64,
    /// Of each stream.
    shards: u64,
    compaction: bool,
    fast_kinesis: bool,
}

impl Scale {
    /// Unless told otherwise a minute and a half: every writer makes objects at least once on its own.
    fn from_environment() -> Scale {
        Scale {
            events: told("FOREBAY_COST_EVENTS", 27_000),
            shards: told("FOREBAY_COST_SHARDS", 2),
            compaction: told("FOREBAY_COST_COMPACTION", false),
            fast_kinesis: told("FOREBAY_COST_FAST_KINESIS", false),
        }
    }

    async fn set_up(&self) -> Fleet {
        let kinesis = if self.fast_kinesis { standins::kinesis_fast().await } else { standins::kinesis().await };
        Fleet::set_up_on("cost", self.shards, kinesis).await
    }

    fn how(&self) -> String {
        let Scale { events, shards, compaction, .. } = self;
        let compacted = if *compaction { "compacted and swept" } else { "without compaction" };
        format!("stand-ins in real time, defaults of AWS, {events} events, {shards} shards a stream, {compacted}")
    }
}

fn told<T: FromStr>(variable: &str, default: T) -> T {
    let read = |text: String| text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}"));
    std::env::var(variable).map_or(default, read)
}

#[tokio::test]
async fn the_base_load_stays_within_its_budget() {
    let scale = Scale::from_environment();
    let mut fleet = scale.set_up().await;
    let gateway = fleet.gateway();
    let (dedup, writer) = (free_address(), free_address());
    fleet.start("dedup-service", &["--admin-addr", &dedup.to_string()]);
    fleet.start("writer-service", &["--admin-addr", &writer.to_string()]);
    fleet.wait_until_ready(gateway).await;
    let (rate, total) = (format!("{RATE}/s"), scale.events.to_string());
    // A day that is over, so that it can be compacted.
    fleet.generate(gateway, &["--rate", &rate, "--total", &total, "--duplicates", "1%", "--ago", "24h"]);
    fleet.audit_is_clean();
    let mut counts: Vec<Counted> = [gateway, dedup, writer].into_iter().flat_map(counted).collect();
    if scale.compaction {
        counts.extend(compacted(&mut fleet).await);
    }
    counts.extend(deletions(&counts));
    let report = fleet.forebay(&["cost", "--units", &written(&fleet, &scale, counts)]);
    println!("{report}");
    assert!(!report.contains("no price known"), "{report}");
    let targets: Vec<(f64, f64)> = report.lines().filter_map(target).collect();
    assert!(!targets.is_empty(), "{report}");
    for (dollars, dollars_max) in targets {
        assert!(dollars <= BUSY * dollars_max, "{report}");
    }
    fleet.stop_all();
}

/// Units of planning the day, working it off and sweeping it, until nothing is left.
async fn compacted(fleet: &mut Fleet) -> Vec<Counted> {
    let (worker, queues) = (free_address(), Queues::of(fleet).await);
    fleet.start("compactor", &["work", "--admin-addr", &worker.to_string()]);
    let mut counts = Vec::new();
    for _ in 0..PLANNINGS_MAX {
        let planning = plan_with(fleet, &["--grace", "0s"]);
        counts.extend(spent(&planning.logged));
        if planning.printed == NOTHING {
            fleet.audit_is_clean();
            counts.extend(counted(worker));
            return counts;
        }
        queues.fewer_than(1).await;
    }
    panic!("there is no end of plans");
}

/// Units by the last words of a process, `… spent=$0.000012 at list prices of 2026-11: dynamodb PutItem 16 write_units
/// $0.000010, …`: all that are billed.
fn spent(logged: &str) -> Vec<Counted> {
    let (_, spent) = logged.rsplit_once("at list prices of ").expect("it calls AWS, and says so");
    let spent = spent.lines().next().unwrap();
    assert!(!spent.contains("no price"), "{spent}");
    let (_, units) = spent.split_once(": ").unwrap();
    units.split(", ").map(spent_unit).collect()
}

fn spent_unit(text: &str) -> Counted {
    let words: Vec<&str> = text.split(' ').collect();
    let [service, operation, total, unit, _dollars] = words[..] else { panic!("{text}") };
    let [service, operation, unit] = [service, operation, unit].map(str::to_owned);
    Counted { service, operation, unit, total: total.parse().unwrap() }
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

/// Each entry is deleted some time later, at the price of its writing. Leases are counted apart: they are overwritten.
fn deletions(counts: &[Counted]) -> Option<Counted> {
    let are_written = |count: &&Counted| count.operation == "PutItem" && count.unit == "write_units";
    let total = counts.iter().filter(are_written).map(|count| count.total).sum();
    let written = counts.iter().find(are_written)?;
    Some(Counted { operation: "BatchWriteItem".to_owned(), total, ..written.clone() })
}

/// The file that `forebay cost` reads.
fn written(fleet: &Fleet, scale: &Scale, counts: Vec<Counted>) -> String {
    let run = Run { how: scale.how(), events: scale.events, seconds: scale.events as f64 / RATE as f64, counts };
    let path = told("FOREBAY_COST_UNITS", format!("{}-units.json", fleet.receipts()));
    std::fs::write(&path, serde_json::to_vec(&run).unwrap()).unwrap();
    path
}
