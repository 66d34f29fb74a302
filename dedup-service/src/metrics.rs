//! What the dedup stage counts. One set for the process, since the registry is one for the process.

use ownership::metrics::{ShownShard, StageMetrics, StageNames};
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use schema::ShardId;
use service::metrics::{Bound, Level, Set, show_bound};
use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};

/// Upper ends of the classes of time, in seconds: from a data directory at rest to a backlog of most of a day.
const SECONDS: [f64; 13] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0, 3600.0, 43_200.0];

/// What is accepted, as its label has it.
pub(crate) const KINDS: [&str; 2] = ["event", "quarantine"];

#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) stage: StageMetrics,
    pub(crate) accepted: IntCounterVec,
    pub(crate) duplicates: IntCounter,
    pub(crate) strays: IntCounter,
    pub(crate) stray_failures: IntCounter,
    pub(crate) forward_failures: IntCounter,
    pub(crate) voided: IntCounter,
    pub(crate) window_ids: IntGaugeVec,
    /// Of all shards.
    window_ids_in_all: IntGauge,
    pub(crate) evicted: IntCounter,
    pub(crate) reached_back: IntCounter,
    pub(crate) trimmed: IntCounter,
    pub(crate) decide_seconds: Histogram,
    /// Decisions whose records the clean stream has yet to take, by shard: each shard has a bound of its own.
    ahead: Mutex<BTreeMap<ShardId, u64>>,
}

pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::register);

/// Registers everything that the dedup stage counts.
pub fn register() {
    ownership::metrics::register();
    LazyLock::force(&METRICS);
}

/// Shows how full the windows of this process are, and how far it decides ahead of what is forwarded.
pub(crate) fn show_bounds(window_ids_max: usize, ahead_max: usize) {
    let (limit, ahead_max) = (window_ids_max as f64, ahead_max as f64);
    let ahead = || METRICS.ahead.lock().expect("no holder panics").values().max().copied().unwrap_or(0);
    show_bound(Bound::DedupAheadDecisions, move || Level { used: ahead() as f64, limit: ahead_max });
    show_bound(Bound::DedupWindowIds, move || Level { used: METRICS.window_ids_in_all.get() as f64, limit });
}

/// A shard that is owned by this process; what is shown of it goes when it is let go.
#[derive(Debug)]
pub(crate) struct Shown(ShownShard);

impl Shown {
    pub(crate) fn new(shard: &ShardId) -> Shown {
        METRICS.window_ids.with_label_values(&[shard.as_str()]).set(0);
        Shown(METRICS.stage.own(shard))
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let shard = &self.0.shard;
        METRICS.ahead.lock().expect("no holder panics").remove(shard);
        METRICS.window(shard, 0);
        // What was never set is not there.
        let _ = METRICS.window_ids.remove_label_values(&[shard.as_str()]);
    }
}

impl Metrics {
    /// Says how many ids the windows of a shard hold by now.
    pub(crate) fn window(&self, shard: &ShardId, ids: usize) {
        let (shown, ids) = (self.window_ids.with_label_values(&[shard.as_str()]), ids as i64);
        self.window_ids_in_all.add(ids - shown.get());
        shown.set(ids);
    }

    /// Says how many decisions of a shard wait by now for the clean stream to take their records.
    pub(crate) fn ahead(&self, shard: &ShardId, decisions: u64) {
        self.ahead.lock().expect("no holder panics").insert(shard.clone(), decisions);
    }

    fn register() -> Metrics {
        let set = Set::new("dedup");
        let accepted = set.counters("accepted_total", &["kind"], "Unique events: `event`, `quarantine`");
        KINDS.iter().for_each(|kind| drop(accepted.with_label_values(&[kind])));
        let names = StageNames { stage: "dedup", stream: ["raw", "Raw"] };
        Metrics {
            stage: StageMetrics::register(set, names),
            accepted,
            duplicates: set.counter("duplicates_total", "Further copies of events, dropped"),
            strays: set.counter("strays_total", "Records of strays put into the raw stream again"),
            stray_failures: set
                .counter("stray_failures_total", "Records of strays that the raw stream refused, sent again"),
            forward_failures: set.counter("forward_failures_total", "Clean records refused, sent again"),
            voided: set.counter("voided_total", "Events that could never be sent"),
            window_ids: set.gauges("window_ids", &["shard"], "Ids in memory"),
            window_ids_in_all: IntGauge::new("all", "not registered").expect("a valid name"),
            evicted: set.counter("window_evicted_total", "Ids that left a full window early"),
            reached_back: set.counter("window_reloads_total", "Loads of older entries for late events"),
            trimmed: set.counter("trimmed_entries_total", "Entries removed from dedup chains by age"),
            decide_seconds: set.histogram(
                "decide_seconds",
                &SECONDS,
                "From the gateway's receipt to the decision in the chain",
            ),
            ahead: Mutex::default(),
        }
    }
}
