//! What stands behind the ports, chosen by settings: a data directory, or AWS.
//!
//! **Backend**: the kind of thing that is behind all ports of a process. A service asks for the ports that it needs, and
//! only those are opened.

pub mod embedded;
mod on_aws;
mod settings;
mod setup;

pub use on_aws::OnAws;
pub use settings::{Cloud, Kind, Names, Settings, place};
pub use setup::{SetUp, set_up};

use embedded::{CLEAN, Folder, RAW};
use lake::Lake;
use ledger::Ledger;
use ledger::keeper::Terms;
use queue::Queue;
use service::{Env, Tasks};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use stream::Stream;

/// The ports of one process. What was opened once is given again.
#[derive(Debug)]
pub enum Backend {
    Embedded(Folder),
    Aws(Box<OnAws>),
}

/// A queue, and how long it keeps what nobody takes.
#[derive(Clone, Debug)]
pub struct Kept {
    pub queue: Arc<dyn Queue>,
    pub retention: Option<Duration>,
}

/// Where a fleet's tasks wait, and where those go that nobody tries any more.
#[derive(Clone, Debug)]
pub struct TaskQueues {
    pub tasks: Arc<dyn Queue>,
    pub dead: Arc<dyn Queue>,
}

impl Backend {
    /// Opens what `settings` name for `holder`, who is told to others that find it held.
    ///
    /// # Errors
    /// Settings that contradict each other; a data directory that is held or can't be read. Nothing is asked of AWS yet.
    pub async fn open(settings: &Settings, holder: &str, env: &Env) -> anyhow::Result<Backend> {
        let Settings { backend, places, shards, cloud } = settings;
        Ok(match backend {
            Kind::Embedded => Backend::Embedded(Folder::open(places, *shards, holder, env).await?),
            Kind::Aws => Backend::Aws(Box::new(OnAws::open(cloud, env).await?)),
        })
    }

    /// The stream that gateways write.
    ///
    /// # Errors
    /// It is not there, can't be used as it is, or nobody answers.
    pub async fn raw(&self) -> anyhow::Result<Arc<dyn Stream>> {
        match self {
            Backend::Embedded(folder) => folder.stream(RAW).await,
            Backend::Aws(aws) => aws.raw().await,
        }
    }

    /// The stream that the dedup stage writes.
    ///
    /// # Errors
    /// As [`Backend::raw`].
    pub async fn clean(&self) -> anyhow::Result<Arc<dyn Stream>> {
        match self {
            Backend::Embedded(folder) => folder.stream(CLEAN).await,
            Backend::Aws(aws) => aws.clean().await,
        }
    }

    /// # Errors
    /// As [`Backend::raw`].
    pub async fn ledger(&self) -> anyhow::Result<Arc<dyn Ledger>> {
        match self {
            Backend::Embedded(folder) => Ok(folder.ledger()),
            Backend::Aws(aws) => aws.ledger().await,
        }
    }

    /// # Errors
    /// As [`Backend::raw`].
    pub async fn lake(&self) -> anyhow::Result<Arc<dyn Lake>> {
        match self {
            Backend::Embedded(folder) => folder.lake(),
            Backend::Aws(aws) => aws.lake().await,
        }
    }

    /// Where records wait while the raw stream refuses them; embedded, where a log refuses nothing, there is none.
    ///
    /// # Errors
    /// As [`Backend::raw`].
    pub async fn overflow(&self) -> anyhow::Result<Option<Kept>> {
        match self {
            Backend::Embedded(_) => Ok(None),
            Backend::Aws(aws) => aws.overflow().await,
        }
    }

    /// The queues of compaction tasks, for workers that try a task `attempts_max` times; `None` where settings name none.
    ///
    /// # Errors
    /// As [`Backend::raw`]; [`service::Misconfigured`] where the queue takes a task away before it was tried so often.
    pub async fn tasks(&self, attempts_max: NonZeroU32) -> anyhow::Result<Option<TaskQueues>> {
        match self {
            Backend::Embedded(folder) => Ok(Some(folder.tasks())),
            Backend::Aws(aws) => aws.tasks(attempts_max).await,
        }
    }

    /// Terms for a worker of a stage: a data directory has one process, AWS any number.
    pub fn terms(&self, stage: &str, env: &Env) -> Terms {
        let worker = format!("{stage}-{:032x}", env.nonce());
        match self {
            Backend::Embedded(_) => Terms::alone(worker),
            Backend::Aws(_) => Terms::shared(stage, worker),
        }
    }

    /// Ends the process where a stream that it works on is no longer what it was.
    pub fn watch(&self, tasks: &mut Tasks) {
        if let Backend::Aws(aws) = self {
            aws.watch(tasks);
        }
    }
}
