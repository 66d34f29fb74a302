//! What the compactor counts.

use prometheus::{IntCounter, IntCounterVec, register_int_counter, register_int_counter_vec};
use std::sync::LazyLock;

const ONCE: &str = "each metric is registered once, under a valid name";

pub(crate) static PLANS: LazyLock<IntCounter> =
    LazyLock::new(|| register_int_counter!("forebay_compactor_plans_total", "Plans carried out").expect(ONCE));
pub(crate) static ROWS: LazyLock<IntCounter> =
    LazyLock::new(|| register_int_counter!("forebay_compactor_rows_total", "Rows read from live objects").expect(ONCE));
pub(crate) static DROPPED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!("forebay_compactor_dropped_total", "Rows whose id was in the day already").expect(ONCE)
});
pub(crate) static SPILLED_BYTES: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!("forebay_compactor_spilled_bytes_total", "Bytes spilled to disk").expect(ONCE)
});
pub(crate) static TASKS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!("forebay_compactor_tasks_total", "Tasks taken, by what became of them", &["outcome"])
        .expect(ONCE)
});
pub(crate) static TRIMMED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "forebay_compactor_trimmed_entries_total",
        "Entries of writer chains removed, all in final objects"
    )
    .expect(ONCE)
});
pub(crate) static SWEPT: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!("forebay_compactor_swept_total", "Live objects removed after their grace").expect(ONCE)
});
