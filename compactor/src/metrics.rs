//! What the compactor counts and shows.

use prometheus::{IntCounter, IntCounterVec, IntGauge};
use service::metrics::Set;
use std::sync::LazyLock;

/// All metrics of this crate.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) backlog_days: IntGauge,
    pub(crate) backlog_bytes: IntGauge,
    pub(crate) last_success_seconds: IntGauge,
    pub(crate) plans: IntCounter,
    pub(crate) rows: IntCounter,
    pub(crate) dropped: IntCounter,
    pub(crate) spilled_bytes: IntCounter,
    pub(crate) tasks: IntCounterVec,
    pub(crate) dead_letters: IntGauge,
    pub(crate) swept: IntCounter,
    pub(crate) trimmed_entries: IntCounter,
}

pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let set = Set::new("compactor");
    Metrics {
        backlog_days: set.gauge("backlog_days", "Days that have rows in live objects to compact"),
        backlog_bytes: set.gauge("backlog_bytes", "Bytes of those live objects"),
        last_success_seconds: set
            .gauge("last_success_seconds", "Unix time at which everything that was to do had been done"),
        plans: set.counter("plans_total", "Plans carried out"),
        rows: set.counter("rows_total", "Rows read from live objects"),
        dropped: set.counter("dropped_total", "Rows whose id was in the day already"),
        spilled_bytes: set.counter("spilled_bytes_total", "Bytes spilled to disk"),
        tasks: set.counters("tasks_total", &["outcome"], "Tasks taken, by what became of them"),
        dead_letters: set.gauge("dead_letters", "Messages in the queue of dead letters, about"),
        swept: set.counter("swept_total", "Live objects removed after their grace"),
        trimmed_entries: set.counter("trimmed_entries_total", "Entries of writer chains removed, all in final objects"),
    }
});

/// Registers them, so that each is shown before anything has happened.
pub fn register() {
    LazyLock::force(&METRICS);
}
