//! What the writer counts. One set for the process, since the registry is one for the process.

use crate::budget::Budget;
use crate::uncounted::{self, Uncounted};
use ownership::metrics::{ShownShard, StageMetrics, StageNames};
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGaugeVec};
use schema::ShardId;
use service::metrics::{Bound, Level, Set, show_bound};
use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};

/// Upper ends of the classes of time, in seconds: from a data directory at rest to a backlog of a day.
const SECONDS: [f64; 13] = [0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0];

/// Rows by the table that they are in, as their label has it.
pub(crate) const EVENT: &str = "event";
pub(crate) const QUARANTINE: &str = "quarantine";

#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) stage: StageMetrics,
    pub(crate) rows: IntCounterVec,
    uncounted: IntCounterVec,
    pub(crate) objects: IntCounter,
    pub(crate) object_bytes: IntCounter,
    pub(crate) freshness_seconds: HistogramVec,
    pub(crate) evicted: IntCounter,
    pub(crate) upload_failures: IntCounter,
    pub(crate) holes: IntGaugeVec,
    pub(crate) forgotten: IntCounter,
    /// Objects that are being gathered, by shard: each shard has a bound of its own.
    open_files: Mutex<BTreeMap<ShardId, usize>>,
}

pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::register);

/// Registers everything that the writer counts.
pub fn register() {
    ownership::metrics::register();
    LazyLock::force(&METRICS);
}

/// Shows how near the writer is to what it may hold.
pub(crate) fn show_bounds(budget: &Budget, open_files_max: usize) {
    let (budget, open_files_max) = (budget.clone(), open_files_max as f64);
    show_bound(Bound::WriterMemoryBytes, move || budget.level());
    let used = || METRICS.open_files.lock().expect("no holder panics").values().max().copied().unwrap_or(0);
    show_bound(Bound::WriterOpenFiles, move || Level { used: used() as f64, limit: open_files_max });
}

/// A shard that is owned by this process; what is shown of it goes when it is let go.
#[derive(Debug)]
pub(crate) struct Shown(ShownShard);

impl Shown {
    pub(crate) fn new(shard: &ShardId) -> Shown {
        METRICS.holes.with_label_values(&[shard.as_str()]).set(0);
        // A shard shows before its first event.
        let _ = METRICS.freshness_seconds.with_label_values(&[shard.as_str()]);
        Shown(METRICS.stage.own(shard))
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let shard = &self.0.shard;
        METRICS.open_files.lock().expect("no holder panics").remove(shard);
        // What was never set is not there.
        let _ = METRICS.holes.remove_label_values(&[shard.as_str()]);
        let _ = METRICS.freshness_seconds.remove_label_values(&[shard.as_str()]);
    }
}

impl Metrics {
    /// Says how many objects are being gathered for a shard by now.
    pub(crate) fn opened(&self, shard: &ShardId, files: usize) {
        self.open_files.lock().expect("no holder panics").insert(shard.clone(), files);
    }

    /// Counts rows that were announced and that no gateway has counted.
    pub(crate) fn count(&self, uncounted: &Uncounted) {
        for (reason, rows) in uncounted.iter() {
            self.uncounted.with_label_values(&[reason]).inc_by(rows);
        }
    }

    fn register() -> Metrics {
        let set = Set::new("writer");
        let rows = set.counters("rows_total", &["kind"], "Rows in live objects: `event`, `quarantine`");
        [EVENT, QUARANTINE].iter().for_each(|kind| drop(rows.with_label_values(&[kind])));
        let help = "Rows of quarantine that no gateway has counted: of other producers, or not to be read";
        let uncounted = set.counters("foreign_quarantined_total", &["reason"], help);
        uncounted::reasons().for_each(|reason| drop(uncounted.with_label_values(&[reason])));
        let names = StageNames { stage: "writer", stream: ["clean", "Clean"] };
        let freshness_help = "From the gateway's receipt of an event to its being readable in the lake";
        Metrics {
            stage: StageMetrics::register(set, names),
            rows,
            uncounted,
            objects: set.counter("objects_total", "Live objects written"),
            object_bytes: set.counter("object_bytes_total", "Bytes of live objects"),
            freshness_seconds: set.histograms("freshness_seconds", &["shard"], &SECONDS, freshness_help),
            evicted: set.counter("evicted_total", "Objects closed early for want of memory"),
            upload_failures: set.counter("upload_failures_total", "Uploads that failed and are tried again"),
            holes: set.gauges("holes", &["shard"], "Origins with an ordinal missing for a minute"),
            forgotten: set.counter("forgotten_origins_total", "Origins that ended long ago, dropped"),
            open_files: Mutex::default(),
        }
    }
}
