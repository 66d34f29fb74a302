//! Settings of the compactor.

use clap::Args;
use service::settings::{bytes, duration};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

/// Smallest memory that can be set: below it more time goes into tiny files than into rows.
const MEMORY_BYTES_MIN: usize = 64 << 20;

/// Smallest size of final objects that can be set: smaller ones are all footer.
const OBJECT_BYTES_MIN: usize = 64 << 10;

/// Shortest visibility that can be set: a worker prolongs it at a third, and a call may take several seconds.
const VISIBILITY_MIN: Duration = Duration::from_secs(30);

/// Settings of the compactor.
#[derive(Args, Clone, Debug)]
#[group(id = "compactor")]
#[command(next_help_heading = "Compactor")]
pub struct Config {
    /// Size of a final object, about
    #[arg(long, env = "FOREBAY_OBJECT_BYTES", default_value = "256MiB", value_parser = object_bytes)]
    pub object_bytes: usize,

    /// Memory for a compaction; rows beyond it are spilled to disk
    #[arg(id = "compactor-memory", long = "memory", env = "FOREBAY_COMPACTOR_MEMORY", default_value = "512MiB", value_parser = memory_bytes)]
    pub memory_bytes_max: usize,

    /// Folder for spilled rows and for objects on their way [default: the system's folder of temporary files]
    #[arg(long, env = "FOREBAY_SPILL_DIR")]
    pub spill_dir: Option<PathBuf>,

    /// How long live objects stay after their plan is complete; keep it far above 1h
    #[arg(long, env = "FOREBAY_GRACE", default_value = "24h", value_parser = duration)]
    pub grace: Duration,

    /// How long writers' announcements are kept in the ledger; they go once their rows are in final objects. At least 7d
    #[arg(long, env = "FOREBAY_KEEP_ANNOUNCEMENTS", default_value = "7d", value_parser = keep)]
    pub keep_announcements: Duration,
}

/// Settings of a worker of the fleet.
#[derive(Args, Clone, Copy, Debug)]
#[group(id = "compaction-worker")]
#[command(next_help_heading = "Compaction worker")]
pub struct WorkerConfig {
    /// How long a task is hidden from other workers; prolonged for as long as its worker lives
    #[arg(long, env = "FOREBAY_TASK_VISIBILITY", default_value = "5min", value_parser = visibility)]
    pub task_visibility: Duration,

    /// How long a task that failed rests
    #[arg(long, env = "FOREBAY_TASK_RETRY_AFTER", default_value = "1min", value_parser = duration)]
    pub task_retry_after: Duration,

    /// How often a task is tried before it goes to the dead letters with its reason; the queue must hand it out more often
    #[arg(long = "task-attempts", env = "FOREBAY_TASK_ATTEMPTS", default_value = "5")]
    pub task_attempts_max: NonZeroU32,
}

fn visibility(text: &str) -> Result<Duration, String> {
    let value = duration(text)?;
    if value < VISIBILITY_MIN {
        return Err("it takes at least 30s".to_string());
    }
    Ok(value)
}

fn keep(text: &str) -> Result<Duration, String> {
    duration(text).and_then(ledger::kept_long_enough)
}

fn memory_bytes(text: &str) -> Result<usize, String> {
    at_least(MEMORY_BYTES_MIN, "64MiB", text)
}

fn object_bytes(text: &str) -> Result<usize, String> {
    at_least(OBJECT_BYTES_MIN, "64KiB", text)
}

fn at_least(min: usize, shown: &str, text: &str) -> Result<usize, String> {
    let value = bytes(text)?;
    if value < min {
        return Err(format!("it takes at least {shown}"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, FromArgMatches, Parser};

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        config: Config,
        #[command(flatten)]
        worker: WorkerConfig,
    }

    #[test]
    fn defaults_are_as_documented_and_small_values_are_refused() {
        let matches = Cli::command().get_matches_from(["compactor"]);
        let Cli { config, worker } = Cli::from_arg_matches(&matches).unwrap();
        assert_eq!((worker.task_visibility, worker.task_attempts_max.get()), (Duration::from_secs(300), 5));
        assert_eq!((config.object_bytes, config.memory_bytes_max), (256 << 20, 512 << 20));
        assert_eq!(config.grace, Duration::from_secs(86_400));
        assert_eq!(config.keep_announcements, Duration::from_secs(7 * 86_400));
        let too_small = [
            ["--memory", "1MiB"],
            ["--keep-announcements", "167h"],
            ["--task-visibility", "29s"],
            ["--task-attempts", "0"],
        ];
        for small in too_small {
            let refused = Cli::command().try_get_matches_from(["compactor"].iter().chain(&small)).unwrap_err();
            assert!(refused.to_string().contains(small[0]), "{refused}");
        }
    }
}
