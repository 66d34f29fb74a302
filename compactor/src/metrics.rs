//! What the compactor counts and shows.

use crate::config::Config;
use crate::held;
use prometheus::{IntCounter, IntCounterVec, IntGauge};
use service::files::free_bytes;
use service::metrics::{Bound, Level, Set, show_bound};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// All metrics of this crate.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) backlog_days: IntGauge,
    pub(crate) backlog_bytes: IntGauge,
    pub(crate) last_success_seconds: IntGauge,
    pub(crate) plans: IntCounter,
    pub(crate) rows: IntCounter,
    pub(crate) dropped: IntCounter,
    pub(crate) final_objects: IntCounter,
    pub(crate) final_rows: IntCounter,
    pub(crate) final_bytes: IntCounter,
    pub(crate) spilled_bytes: IntCounter,
    pub(crate) chain_appends: IntCounter,
    pub(crate) chain_conflicts: IntCounter,
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
        final_objects: set.counter("final_objects_total", "Final objects written"),
        final_rows: set.counter("final_rows_total", "Rows in those objects"),
        final_bytes: set.counter("final_bytes_total", "Bytes of those objects"),
        spilled_bytes: set.counter("spilled_bytes_total", "Bytes spilled to disk"),
        chain_appends: set.counter("chain_appends_total", "Plans appended to plan chains"),
        chain_conflicts: set.counter("chain_conflicts_total", "Appends that found another planner's plan"),
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

/// Shows how near compactions are to what they may hold, and what they spill to what the disk has for it.
pub(crate) fn show_bounds(config: &Config) {
    let used = |of: &AtomicUsize| of.load(Ordering::Relaxed) as f64;
    let bytes_max = config.memory_bytes_max as f64;
    show_bound(Bound::CompactorMemoryBytes, move || Level { used: used(&held::MEMORY), limit: bytes_max });
    let folder: PathBuf = config.spill_dir.clone().unwrap_or_else(std::env::temp_dir);
    show_bound(Bound::CompactorSpillBytes, move || {
        let spilled = used(&held::DISK);
        Level { used: spilled, limit: spilled + free_bytes(&folder) }
    });
}
