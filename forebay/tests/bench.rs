//! Keeps the benchmark alive: all parts, small. What they measure here means nothing.

use serde_json::Value;
use std::process::Command;

const FOREBAY: &str = env!("CARGO_BIN_EXE_forebay");

#[test]
fn every_part_reports_what_it_cost() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(FOREBAY);
    command
        .args(["bench", "--events", "5k", "--rounds", "1", "--round-time", "300ms", "--json", "--dir"])
        .arg(dir.path());
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = report["rows"].as_array().expect("rows");
    let parts: Vec<&Value> = rows.iter().map(|row| &row["part"]).collect();
    assert_eq!(parts, ["a", "b", "c", "c"]);
    for row in rows {
        for number in ["events", "cpu_seconds_per_million", "events_per_second", "peak_rss_bytes"] {
            assert!(row[number].as_f64().is_some_and(|number| number > 0.0), "{number} of {row}");
        }
    }
    assert!(report["single_ratio"].as_f64().is_some_and(|ratio| ratio > 0.0));
    assert_eq!(dir.path().read_dir().expect("a folder").count(), 0, "nothing is left behind");
}
