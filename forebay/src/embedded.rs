//! A data directory: streams, ledger and lake in one place.
//!
//! `log/` holds what is embedded; `lake/` the lake, unless it is elsewhere. One process writes; others may read meanwhile.

use anyhow::Context;
use backend::embedded::open_stream;
use clap::Args;
use lake::Lake;
use ledger::Ledger;
use ledger::embedded::EmbeddedLedger;
use service::Env;
use service::settings::{bytes, duration};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store::{Options, Store, StoreError, StoreReader};
use stream::Stream;
use stream::embedded::EmbeddedStream;

pub use backend::embedded::{CLEAN, Places, RAW, options, take};

/// How the log in the data directory is kept.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Log")]
pub struct LogConfig {
    /// Shards of each stream; another number than before reshards them
    #[arg(long, env = "FOREBAY_SHARDS", default_value = "4")]
    pub shards: NonZeroU32,

    /// Bytes above which consumed records go before --log-retention is over
    #[arg(long, env = "FOREBAY_LOG_BYTES_MAX", default_value = "2GiB", value_parser = bytes)]
    pub log_bytes_max: usize,

    /// How long consumed records are kept
    #[arg(long, env = "FOREBAY_LOG_RETENTION", default_value = "24h", value_parser = duration)]
    pub log_retention: Duration,

    /// Start in spite of damaged files: what can't be read is copied to `damaged/` in the data directory, and reading
    /// passes over damaged records
    #[arg(long)]
    pub set_aside_damaged: bool,
}

/// An open data directory.
#[derive(Clone, Debug)]
pub struct Embedded {
    pub raw: Arc<dyn Stream>,
    pub clean: Arc<dyn Stream>,
    pub ledger: Arc<dyn Ledger>,
    pub lake: Arc<dyn Lake>,
}

/// Whether a data directory could not be taken because another process holds it.
pub fn is_held(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| matches!(cause.downcast_ref(), Some(StoreError::Held { .. })))
}

/// Opens a data directory for `up` in this process alone.
pub async fn open(places: &Places, log: &LogConfig, env: &Env) -> anyhow::Result<(Embedded, Arc<Store>)> {
    let options = Options {
        retain_for: log.log_retention,
        log_bytes_max: log.log_bytes_max as u64,
        set_aside_damaged: log.set_aside_damaged,
        ..options("forebay up", env)
    };
    let store = take(&places.data_dir, options).await?;
    let embedded = Embedded {
        raw: open_stream(&store, RAW, log.shards, env).await?,
        clean: open_stream(&store, CLEAN, log.shards, env).await?,
        ledger: Arc::new(EmbeddedLedger::new(store.clone())),
        lake: places.open_lake()?,
    };
    Ok((embedded, store))
}

/// Opens a data directory to look at, while another process may write it. [`StoreReader::refresh`] catches up.
pub fn open_read_only(places: &Places) -> anyhow::Result<(Embedded, StoreReader)> {
    refuse_missing(&places.data_dir)?;
    let reader = StoreReader::open(&places.data_dir).context("read the data directory")?;
    let embedded = Embedded {
        raw: Arc::new(EmbeddedStream::open_read_only(&reader, RAW).context("read the raw stream")?),
        clean: Arc::new(EmbeddedStream::open_read_only(&reader, CLEAN).context("read the clean stream")?),
        ledger: Arc::new(EmbeddedLedger::read_only(&reader)),
        lake: places.open_lake()?,
    };
    Ok((embedded, reader))
}

/// Refuses a folder that no `up` has ever made a data directory.
pub(crate) fn refuse_missing(data_dir: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(
        data_dir.join("log").is_dir(),
        "{} is no data directory of Forebay: start `forebay up` there first, or name another with --data-dir",
        data_dir.display()
    );
    Ok(())
}
