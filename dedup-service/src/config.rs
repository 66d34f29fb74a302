//! Settings of the dedup stage.

use crate::dedup::WindowRule;
use clap::Args;
use service::settings::duration;
use std::num::NonZeroUsize;
use std::time::Duration;

/// Settings of the dedup stage.
#[derive(Args, Clone, Debug)]
#[group(id = "dedup-service")]
#[command(next_help_heading = "Dedup")]
pub struct Config {
    /// Copies of an event that are received closer together than this are recognised as duplicates
    #[arg(id = "window", long = "window", env = "FOREBAY_WINDOW", default_value = "24h", value_parser = duration)]
    pub window: Duration,

    /// Longest time by which a copy may reach the dedup stage later than newer events
    #[arg(long, env = "FOREBAY_WINDOW_DELAY_MAX", default_value = "1h", value_parser = duration)]
    pub window_delay_max: Duration,

    /// Most ids in memory over all shards, about 34 bytes each; beyond it the oldest leave first, which shortens the
    /// window, is counted in forebay_dedup_window_evicted_total, and is warned of
    #[arg(long, env = "FOREBAY_WINDOW_IDS_MAX", default_value = "40000000")]
    pub window_ids_max: NonZeroUsize,

    /// Quiet time after which what was forwarded is written down
    #[arg(id = "dedup-settle-after", long = "dedup-settle-after", env = "FOREBAY_DEDUP_SETTLE_AFTER", default_value = "500ms", value_parser = duration)]
    pub settle_after: Duration,

    /// Most decisions that may wait for their records to be taken by the clean stream
    #[arg(id = "dedup-ahead-max", long = "dedup-ahead-max", env = "FOREBAY_DEDUP_AHEAD_MAX", default_value = "8")]
    pub ahead_max: NonZeroUsize,

    /// Most bytes of raw records in one decision
    #[arg(id = "dedup-batch-bytes", long = "dedup-batch-bytes", env = "FOREBAY_DEDUP_BATCH_BYTES", default_value = "8MiB", value_parser = service::settings::bytes)]
    pub batch_bytes_max: usize,

    /// Pause between two reads where the first found little: fewer and larger decisions for some freshness
    #[arg(id = "dedup-linger", long = "dedup-linger", env = "FOREBAY_DEDUP_LINGER", default_value = "100ms", value_parser = duration)]
    pub linger: Duration,
}

impl Config {
    pub fn window_rule(&self) -> WindowRule {
        WindowRule { width: self.window, delay_max: self.window_delay_max }
    }
}
