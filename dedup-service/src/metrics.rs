//! What the dedup stage counts.

use prometheus::{
    GaugeVec, IntCounter, IntCounterVec, register_gauge_vec, register_int_counter, register_int_counter_vec,
};
use std::sync::LazyLock;

const ONCE: &str = "each metric is registered once, under a valid name";

pub(crate) static ACCEPTED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!("forebay_dedup_accepted_total", "Unique events by kind", &["kind"]).expect(ONCE)
});
pub(crate) static DUPLICATES: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!("forebay_dedup_duplicates_total", "Further copies of events, dropped").expect(ONCE)
});
pub(crate) static STRAYS: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!("forebay_dedup_strays_total", "Records of strays put into the raw stream again").expect(ONCE)
});
pub(crate) static FORWARD_FAILURES: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!("forebay_dedup_forward_failures_total", "Clean records refused, sent again").expect(ONCE)
});
pub(crate) static VOIDED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!("forebay_dedup_voided_total", "Events that could never be sent").expect(ONCE)
});
pub(crate) static EVICTED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!("forebay_dedup_window_evicted_total", "Ids that left a full window early").expect(ONCE)
});
pub(crate) static REACHED_BACK: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!("forebay_dedup_window_reloads_total", "Loads of older entries for late events").expect(ONCE)
});
pub(crate) static WINDOW_IDS: LazyLock<GaugeVec> = LazyLock::new(|| {
    register_gauge_vec!("forebay_dedup_window_ids", "Ids in memory by shard", &["shard"]).expect(ONCE)
});
pub(crate) static LAG_SHARE: LazyLock<GaugeVec> = LazyLock::new(|| {
    let help = "Lag as a part of the raw stream's retention; at 1, records go unread";
    register_gauge_vec!("forebay_dedup_lag_of_retention", help, &["shard"]).expect(ONCE)
});
pub(crate) static LAG: LazyLock<GaugeVec> = LazyLock::new(|| {
    register_gauge_vec!("forebay_dedup_lag_seconds", "How far behind the raw shard's tip", &["shard"]).expect(ONCE)
});
pub(crate) static TRIMMED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!("forebay_dedup_trimmed_entries_total", "Entries removed from dedup chains by age")
        .expect(ONCE)
});
