//! A data directory, held by one process.

use crate::TaskQueues;
use anyhow::Context;
use clap::Args;
use lake::Lake;
use lake::local::LocalLake;
use ledger::Ledger;
use ledger::embedded::EmbeddedLedger;
use queue::embedded::{EmbeddedQueue, QueueBounds};
use service::Env;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use store::{Options, Store};
use stream::Stream;
use stream::embedded::EmbeddedStream;

pub const RAW: &str = "raw";
pub const CLEAN: &str = "clean";

const TASKS: &str = "tasks";
const DEAD_TASKS: &str = "tasks-dead";

/// What each queue of tasks takes: those of years of days. What does not fit is planned for again later.
const TASKS_MAX: QueueBounds = QueueBounds { messages_max: 100_000, bytes_max: 64 << 20 };

/// Where things are.
#[derive(Args, Clone, Debug)]
#[group(id = "places")]
#[command(next_help_heading = "Data")]
pub struct Places {
    /// Where streams and ledger are kept
    #[arg(long, env = "FOREBAY_DATA_DIR", default_value = "forebay-data")]
    pub data_dir: PathBuf,

    /// Where the lake is; default: `lake` in the data directory
    #[arg(long, env = "FOREBAY_LAKE")]
    pub lake: Option<PathBuf>,
}

impl Places {
    pub fn lake_dir(&self) -> PathBuf {
        self.lake.clone().unwrap_or_else(|| self.data_dir.join("lake"))
    }

    /// # Errors
    /// The folder can't be made.
    pub fn open_lake(&self) -> anyhow::Result<Arc<dyn Lake>> {
        let dir = self.lake_dir();
        let lake = LocalLake::open(&dir).with_context(|| format!("open the lake in {}", dir.display()))?;
        Ok(Arc::new(lake))
    }
}

/// How `holder` opens a log, unless told otherwise; whoever is refused meanwhile is told of `holder`.
pub fn options(holder: &str, env: &Env) -> Options {
    let clock = env.clock.clone();
    Options::new(Arc::new(move || clock.now()), holder)
}

/// Takes the log of a data directory for this process alone.
///
/// # Errors
/// Another process holds it, or it can't be read.
pub async fn take(data_dir: &Path, options: Options) -> anyhow::Result<Arc<Store>> {
    let folder = data_dir.to_owned();
    let store = tokio::task::spawn_blocking(move || Store::open(&folder, options)).await?;
    Ok(Arc::new(store.with_context(|| format!("open data directory {}", data_dir.display()))?))
}

/// Opens a stream in a log that this process holds; another number of shards than before reshards it.
///
/// # Errors
/// It can't be read, or the log takes nothing.
pub async fn open_stream(
    store: &Arc<Store>,
    name: &str,
    shards: NonZeroU32,
    env: &Env,
) -> anyhow::Result<Arc<dyn Stream>> {
    let incarnation = format!("{:08x}", env.nonce() as u32);
    let stream = EmbeddedStream::open(store, name, shards, &incarnation).await;
    Ok(Arc::new(stream.with_context(|| format!("open the {name} stream"))?))
}

/// An open data directory.
#[derive(Debug)]
pub struct Folder {
    store: Arc<Store>,
    places: Places,
    shards: NonZeroU32,
    env: Env,
    /// Opened once: who holds which task is known to the queue alone.
    tasks: OnceLock<TaskQueues>,
}

impl Folder {
    pub(crate) async fn open(places: &Places, shards: NonZeroU32, holder: &str, env: &Env) -> anyhow::Result<Folder> {
        let options = options(&format!("{holder}, process {}", std::process::id()), env);
        let store = take(&places.data_dir, options).await?;
        Ok(Folder { store, places: places.clone(), shards, env: env.clone(), tasks: OnceLock::new() })
    }

    pub(crate) async fn stream(&self, name: &str) -> anyhow::Result<Arc<dyn Stream>> {
        open_stream(&self.store, name, self.shards, &self.env).await
    }

    pub(crate) fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::new(EmbeddedLedger::new(self.store.clone()))
    }

    pub(crate) fn tasks(&self) -> TaskQueues {
        let open = |name| Arc::new(EmbeddedQueue::open(self.store.clone(), name, TASKS_MAX));
        self.tasks.get_or_init(|| TaskQueues { tasks: open(TASKS), dead: open(DEAD_TASKS) }).clone()
    }

    pub(crate) fn lake(&self) -> anyhow::Result<Arc<dyn Lake>> {
        self.places.open_lake()
    }
}
