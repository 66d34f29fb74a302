//! What the writer counts.

use prometheus::{GaugeVec, IntCounter, register_gauge_vec, register_int_counter};
use std::sync::LazyLock;

const ONCE: &str = "each metric is registered once, under a valid name";

pub(crate) static ROWS: LazyLock<IntCounter> =
    LazyLock::new(|| register_int_counter!("forebay_writer_rows_total", "Rows in live objects").expect(ONCE));
pub(crate) static OBJECTS: LazyLock<IntCounter> =
    LazyLock::new(|| register_int_counter!("forebay_writer_objects_total", "Live objects written").expect(ONCE));
pub(crate) static OBJECT_BYTES: LazyLock<IntCounter> =
    LazyLock::new(|| register_int_counter!("forebay_writer_object_bytes_total", "Bytes of live objects").expect(ONCE));
pub(crate) static EVICTED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!("forebay_writer_evicted_total", "Objects closed early for want of memory").expect(ONCE)
});
pub(crate) static UPLOAD_FAILURES: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!("forebay_writer_upload_failures_total", "Uploads that failed and are tried again")
        .expect(ONCE)
});
pub(crate) static HOLES: LazyLock<GaugeVec> = LazyLock::new(|| {
    register_gauge_vec!("forebay_writer_holes", "Origins with an ordinal missing for a minute", &["shard"]).expect(ONCE)
});
pub(crate) static LAG_SHARE: LazyLock<GaugeVec> = LazyLock::new(|| {
    let help = "Lag as a part of the clean stream's retention; at 1, records go unread";
    register_gauge_vec!("forebay_writer_lag_of_retention", help, &["shard"]).expect(ONCE)
});
pub(crate) static LAG: LazyLock<GaugeVec> = LazyLock::new(|| {
    register_gauge_vec!("forebay_writer_lag_seconds", "How far behind the clean shard's tip", &["shard"]).expect(ONCE)
});
pub(crate) static FORGOTTEN: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!("forebay_writer_forgotten_origins_total", "Origins that ended long ago, dropped").expect(ONCE)
});
