//! The page of metrics and the code say the same.

use crate::pipeline::Pipeline;
use service::metrics::{self, Bound, Row};
use std::collections::BTreeSet;
use std::time::Duration;

const PAGE: &str = include_str!("../../../docs/metrics.md");

/// The rows of all tables of the page.
fn documented() -> BTreeSet<Row> {
    PAGE.lines().filter(|line| line.starts_with("| `forebay_")).map(row).collect()
}

fn row(line: &str) -> Row {
    let columns: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [name, kind, labels, help] = columns[..] else { panic!("not four columns: {line}") };
    let kinds = ["counter", "gauge", "histogram"];
    let kind = *kinds.iter().find(|known| **known == kind).unwrap_or_else(|| panic!("a type that is none: {line}"));
    let plain = |text: &str| text.trim().trim_matches('`').to_string();
    let labels = labels.split(',').map(plain).filter(|label| !label.is_empty()).collect();
    Row { name: plain(name), kind, labels, help: help.to_string() }
}

/// What all services register, and what the others do.
fn registered() -> BTreeSet<Row> {
    metrics::begin("a-test");
    service::traces::register();
    metrics::push::register();
    ingest_gateway::metrics::register();
    dedup_service::metrics::register();
    writer_service::metrics::register();
    compactor::metrics::register();
    aws::metrics::register();
    forebay::audit::watch::register();
    metrics::registered().into_iter().collect()
}

#[test]
fn the_page_has_every_metric_of_the_code_with_its_type_labels_and_meaning_and_no_other() {
    let (documented, registered) = (documented(), registered());
    let only_documented: Vec<&Row> = documented.difference(&registered).collect();
    let only_registered: Vec<&Row> = registered.difference(&documented).collect();
    assert!(only_documented.is_empty(), "docs/metrics.md has rows that the code does not: {only_documented:#?}");
    assert!(only_registered.is_empty(), "docs/metrics.md lacks rows that the code has: {only_registered:#?}");
}

#[test]
fn the_page_names_every_bound_that_may_be_shown() {
    let (_, list) = PAGE.split_once("`bound` is one of").expect("a list of bounds");
    let list = list.split_once("\n\n").map_or(list, |(list, _)| list);
    let missing: Vec<&str> =
        Bound::ALL.map(Bound::name).into_iter().filter(|name| !list.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/metrics.md does not name the bounds {missing:?}");
}

#[test]
fn each_stage_shows_how_far_its_shards_were_behind() {
    let pipeline = Pipeline::new();
    let up = pipeline.up(&[]);
    for stage in ["dedup", "writer"] {
        let counted = format!("\nforebay_{stage}_read_lag_seconds_count{{shard=\"");
        while !pipeline.get("/metrics").expect("it answers").contains(&counted) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    assert!(up.stop().success(), "{}", pipeline.log("up"));
}
