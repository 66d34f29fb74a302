//! What is counted of calls to AWS. One set for the process, since the registry is one for the process.

use prometheus::IntCounterVec;
use service::metrics::Set;
use std::sync::LazyLock;

#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) calls: IntCounterVec,
    pub(crate) units: IntCounterVec,
}

pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let set = Set::new("aws");
    let calls_help = "Calls to AWS: `ok`, `throttled`, `refused`, `failed`";
    Metrics {
        calls: set.counters("calls_total", &["service", "operation", "outcome"], calls_help),
        units: set.counters("units_total", &["service", "operation", "unit"], "Units that AWS bills"),
    }
});

/// Registers everything that is counted of calls to AWS.
pub fn register() {
    LazyLock::force(&METRICS);
}
