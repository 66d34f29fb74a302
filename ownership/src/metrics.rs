//! What the owners of both stages count.

use prometheus::IntGauge;
use service::metrics::Set;
use std::sync::LazyLock;

pub(crate) static WITHOUT_PARENT: LazyLock<IntGauge> = LazyLock::new(|| {
    Set::new("")
        .gauge("shards_without_parent", "Shards that wait for a parent which is gone and has not ended: for a person")
});

/// Registers it, so that it is shown before anything waits.
pub fn register() {
    LazyLock::force(&WITHOUT_PARENT);
}
