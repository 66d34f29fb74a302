//! Settings of the dedup stage.

use crate::dedup::WindowRule;
use crate::waits::Waits;
use anyhow::ensure;
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

    /// Pause between two reads where the first found little: fewer and larger decisions for some freshness. 10s on AWS,
    /// where each decision is paid for
    #[arg(id = "dedup-linger", long = "dedup-linger", env = "FOREBAY_DEDUP_LINGER", default_value = "100ms", default_value_if("backend", "aws", "10s"), value_parser = duration)]
    pub linger: Duration,

    /// How long decisions are kept in the ledger, counted back from the oldest record that is not decided: copies that
    /// come this late are recognised, and an audit can name what was decided. At least 7d, and at least --window plus
    /// --window-delay-max plus, in a data directory, 48h; on AWS, twice what the raw stream keeps, or may be raised to by
    /// --raise-retention, and what the overflow queue keeps [default: the longer of these]
    #[arg(long, env = "FOREBAY_KEEP_DECISIONS", value_parser = keep)]
    pub keep_decisions: Option<Duration>,
}

fn keep(text: &str) -> Result<Duration, String> {
    duration(text).and_then(ledger::kept_long_enough)
}

impl Config {
    /// # Errors
    /// Settings that contradict each other, or that are too short for copies that come so late.
    pub fn check(&self, waits: &Waits) -> anyhow::Result<()> {
        let (keep, needed) = (self.keep_decisions.unwrap_or(Duration::MAX), self.decisions_needed(waits));
        let shown = |duration| humantime::format_duration(duration).to_string();
        ensure!(
            keep >= needed,
            "--keep-decisions {} is too short: with --window {} and --window-delay-max {}, with {} in the raw stream, \
             which counts twice and as far as --raise-retention may raise it, and {} in the overflow queue, it takes {}",
            shown(keep),
            shown(self.window),
            shown(self.window_delay_max),
            shown(waits.raw),
            shown(waits.overflow),
            shown(needed)
        );
        Ok(())
    }

    /// How long decisions are kept; never for less than copies that come so late need, though settings were checked
    /// against a shorter retention of the raw stream.
    pub fn keep_decisions(&self, waits: &Waits) -> Duration {
        self.keep_decisions.unwrap_or_default().max(self.decisions_needed(waits))
    }

    fn decisions_needed(&self, waits: &Waits) -> Duration {
        let window = self.window.saturating_add(self.window_delay_max).saturating_add(waits.longest());
        window.max(ledger::KEPT_MIN)
    }

    pub fn window_rule(&self) -> WindowRule {
        WindowRule { width: self.window, delay_max: self.window_delay_max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        config: Config,
    }

    fn parse(args: &[&str]) -> Result<Config, String> {
        let args = ["dedup"].iter().chain(args);
        Only::try_parse_from(args).map(|only| only.config).map_err(|error| error.to_string())
    }

    const HOUR: Duration = Duration::from_secs(3600);

    /// As on AWS.
    const LONG: Waits = Waits { raw: Duration::from_secs(7 * 86_400), overflow: Duration::from_secs(12 * 3600) };

    #[test]
    fn decisions_are_kept_for_a_week_or_for_as_long_as_the_window_needs() {
        let keep = |args: &[&str]| parse(args).unwrap().keep_decisions(&Waits::SHORTEST).as_secs() / 3600;
        assert_eq!(keep(&[]), 7 * 24);
        assert_eq!(keep(&["--window", "10d", "--window-delay-max", "3h"]), 12 * 24 + 3);
        assert_eq!(keep(&["--window", "10d", "--keep-decisions", "30d"]), 30 * 24);
    }

    #[test]
    fn decisions_outlast_the_overflow_queue_and_the_raw_stream_twice() {
        let config = parse(&["--keep-decisions", "8d"]).unwrap();
        assert_eq!(parse(&[]).unwrap().keep_decisions(&LONG), (24 + 1 + 14 * 24 + 12) * HOUR);
        let raised = Waits { raw: 10 * 24 * HOUR, ..Waits::SHORTEST };
        assert_eq!(config.keep_decisions(&raised), (24 + 1 + 20 * 24) * HOUR, "it was raised since the start");
    }

    #[test]
    fn keeping_decisions_too_briefly_is_refused_by_name() {
        let short = parse(&["--keep-decisions", "6d"]).unwrap_err();
        assert!(short.contains("--keep-decisions") && short.contains("at least 7d"), "{short}");
        let config = parse(&["--window", "10d", "--keep-decisions", "8d"]).unwrap();
        let short = config.check(&Waits::SHORTEST).unwrap_err().to_string();
        assert!(short.contains("--keep-decisions 8days") && short.contains("--window"), "{short}");
        let enough = parse(&["--window", "10d", "--keep-decisions", "13d"]).unwrap();
        assert!(enough.check(&Waits::SHORTEST).is_ok());
        let short = enough.check(&LONG).unwrap_err().to_string();
        for named in ["--keep-decisions 13days", "7days in the raw stream", "--raise-retention", "12h in the overflow"]
        {
            assert!(short.contains(named), "{short}");
        }
        assert!(parse(&[]).unwrap().check(&LONG).is_ok());
    }
}
