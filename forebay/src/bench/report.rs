//! What was measured, as a table or as JSON.

use serde::Serialize;
use std::fmt;

/// One thing measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    pub part: &'static str,
    pub what: String,
    pub events: u64,
    pub cpu_seconds_per_million: f64,
    pub events_per_second: f64,
    pub peak_rss_bytes: u64,
    /// In the lake.
    pub bytes_per_event: Option<f64>,
    pub note: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub version: &'static str,
    /// Whether the executable is built to be fast.
    pub optimized: bool,
    pub cpus: usize,
    pub input_bytes_per_event: Option<f64>,
    pub rows: Vec<Row>,
    /// Requests per second of `up` over those of the bare handler.
    pub single_ratio: Option<f64>,
}

impl Report {
    pub(super) fn new() -> Report {
        Report {
            version: env!("CARGO_PKG_VERSION"),
            optimized: !cfg!(debug_assertions),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            input_bytes_per_event: None,
            rows: Vec::new(),
            single_ratio: None,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let build = if self.optimized { "" } else { ", a debug build: only release builds are worth comparing" };
        writeln!(f, "forebay {} on {} CPUs{build}", self.version, self.cpus)?;
        if let Some(bytes) = self.input_bytes_per_event {
            writeln!(f, "input: {bytes:.0} bytes an event as JSON")?;
        }
        let titles = ("part", "events", "CPU-s/M", "events/s", "peak RSS", "bytes/event");
        let (part, events, cpu, rate, rss, bytes) = titles;
        writeln!(f, "\n{part:<41} {events:>12} {cpu:>9} {rate:>10} {rss:>10} {bytes:>12}")?;
        for row in &self.rows {
            write_row(f, row)?;
        }
        if let Some(ratio) = self.single_ratio {
            writeln!(f, "\nup takes {:.0} % of the bare handler's requests per second", ratio * 100.0)?;
        }
        Ok(())
    }
}

fn write_row(f: &mut fmt::Formatter<'_>, row: &Row) -> fmt::Result {
    let Row { part, what, events, cpu_seconds_per_million, events_per_second, .. } = row;
    let rss = format!("{:.0} MB", row.peak_rss_bytes as f64 / 1e6);
    let bytes = row.bytes_per_event.map_or("-".to_string(), |bytes| format!("{bytes:.1}"));
    let head = format!("({part}) {what}");
    write!(
        f,
        "{head:<41} {events:>12} {cpu_seconds_per_million:>9.2} {events_per_second:>10.0} {rss:>10} {bytes:>12}"
    )?;
    writeln!(f, "\n      {}", row.note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_row_and_the_ratio() {
        let row = Row {
            part: "a",
            what: "HTTP batches of 100 to live/".to_string(),
            events: 2_000_000,
            cpu_seconds_per_million: 6.123,
            events_per_second: 123_456.7,
            peak_rss_bytes: 412_000_000,
            bytes_per_event: Some(58.14),
            note: "acknowledged at 1/s".to_string(),
        };
        let report = Report { rows: vec![row], single_ratio: Some(0.684), ..Report::new() };
        let text = report.to_string();
        let line = text.lines().find(|line| line.starts_with("(a)")).expect("a row");
        let cells: Vec<&str> = line.split_whitespace().rev().take(6).collect();
        assert_eq!(cells, ["58.1", "MB", "412", "123457", "6.12", "2000000"]);
        assert!(text.contains("68 %"), "{text}");
    }
}
