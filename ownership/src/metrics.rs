//! What the owners of both stages count.

use ledger::LedgerError;
use prometheus::{GaugeVec, HistogramVec, IntCounter, IntGauge};
use schema::ShardId;
use service::metrics::Set;
use std::sync::LazyLock;
use std::time::Duration;

/// Upper ends of the classes of lag, in seconds: from a reader at the tip to half of a stream's week.
const LAG_SECONDS: [f64; 12] = [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0, 302_400.0];

pub(crate) static WITHOUT_PARENT: LazyLock<IntGauge> = LazyLock::new(|| {
    Set::new("")
        .gauge("shards_without_parent", "Shards that wait for a parent which is gone and has not ended: for a person")
});

/// Registers what is counted of both stages together, so that it is shown before anything waits.
pub fn register() {
    LazyLock::force(&WITHOUT_PARENT);
}

/// What either stage counts of its owners.
#[derive(Debug)]
pub struct StageMetrics {
    shards_owned: IntGauge,
    lag: GaugeVec,
    lag_of_retention: GaugeVec,
    read_lag: HistogramVec,
    chain_appends: IntCounter,
    chain_conflicts: IntCounter,
    leases_lost: IntCounter,
}

/// How a stage and its stream are called where its metrics are explained.
#[derive(Clone, Copy, Debug)]
pub struct StageNames {
    /// As in *dedup chains*.
    pub stage: &'static str,
    /// As in *raw shard*, and as in *Raw shards*.
    pub stream: [&'static str; 2],
}

impl StageMetrics {
    /// Registers them among the metrics of a stage.
    pub fn register(set: Set, names: StageNames) -> StageMetrics {
        let StageNames { stage, stream: [stream, capital] } = names;
        let owned = format!("{capital} shards that this process owns");
        let lag = format!("How far behind the {stream} shard's tip");
        let lag_of_retention = format!("Lag as a part of the {stream} stream's retention; at 1, records go unread");
        let read_lag = format!("How far behind the {stream} shard's tip, at each read");
        StageMetrics {
            shards_owned: set.gauge("shards_owned", &owned),
            lag: set.levels("lag_seconds", &["shard"], &lag),
            lag_of_retention: set.levels("lag_of_retention", &["shard"], &lag_of_retention),
            read_lag: set.histograms("read_lag_seconds", &["shard"], &LAG_SECONDS, &read_lag),
            chain_appends: set.counter("chain_appends_total", &format!("Entries appended to {stage} chains")),
            chain_conflicts: set.counter("chain_conflicts_total", "Appends that found another owner's entry"),
            leases_lost: set.counter("leases_lost_total", "Leases that another worker took"),
        }
    }

    /// A shard is owned from now on, until what this gives is dropped.
    #[must_use]
    pub fn own(&'static self, shard: &ShardId) -> ShownShard {
        self.shards_owned.inc();
        ShownShard { metrics: self, shard: shard.clone() }
    }

    /// How far behind the reader of a shard is, and what part of the retention that is.
    pub fn read(&self, shard: &ShardId, lag: Duration, of_retention: f64) {
        self.read_lag.with_label_values(&[shard.as_str()]).observe(lag.as_secs_f64());
        self.lag.with_label_values(&[shard.as_str()]).set(lag.as_secs_f64());
        self.lag_of_retention.with_label_values(&[shard.as_str()]).set(of_retention);
    }

    /// What an append to a chain came to.
    pub fn appended(&self, outcome: &Result<(), LedgerError>) {
        match outcome {
            Ok(()) => self.chain_appends.inc(),
            Err(LedgerError::Taken { .. }) => self.chain_conflicts.inc(),
            Err(_) => {}
        }
    }

    pub fn lease_lost(&self) {
        self.leases_lost.inc();
    }
}

/// A shard that is owned by this process; what is shown of it goes when it is let go.
#[derive(Debug)]
pub struct ShownShard {
    metrics: &'static StageMetrics,
    pub shard: ShardId,
}

impl Drop for ShownShard {
    fn drop(&mut self) {
        self.metrics.shards_owned.dec();
        let shard = [self.shard.as_str()];
        // What was never set is not there.
        let _ = self.metrics.lag.remove_label_values(&shard);
        let _ = self.metrics.read_lag.remove_label_values(&shard);
        let _ = self.metrics.lag_of_retention.remove_label_values(&shard);
    }
}
