//! Where a command finds what it looks at: a data directory, or AWS.

use crate::embedded::{self, Embedded, Places};
use anyhow::Context;
use backend::{Cloud, Kind, OnAws};
use clap::Args;
use queue::Queue;
use service::Env;
use std::sync::Arc;
use store::{Damage, StoreReader};

/// Where a command looks.
#[derive(Args, Clone, Debug)]
#[group(id = "source")]
pub struct Source {
    #[command(flatten)]
    pub places: Places,

    /// What streams, ledger and lake are kept in
    #[arg(long, env = "FOREBAY_BACKEND", default_value = "embedded")]
    pub backend: Kind,

    #[command(flatten)]
    pub cloud: Cloud,
}

/// What a command looks at.
#[derive(Debug)]
pub struct View {
    pub ports: Embedded,
    /// What gateways have acknowledged and the raw stream has not taken yet waits here, on AWS.
    overflow: Option<Arc<dyn Queue>>,
    /// Where a data directory is read beside the process that writes it.
    reader: Option<Arc<StoreReader>>,
    /// Says what the calls have cost, once whoever looked is done.
    aws: Option<OnAws>,
}

impl Source {
    /// Opens everything for reading, while others may write.
    ///
    /// # Errors
    /// Something is not there, or can't be read.
    pub async fn look(&self, env: &Env) -> anyhow::Result<View> {
        if self.backend == Kind::Embedded {
            let (ports, reader) = embedded::open_read_only(&self.places)?;
            return Ok(View { reader: Some(Arc::new(reader)), ..View::of(ports) });
        }
        let view = self.on_aws(env).await?;
        let overflow = match &view.aws {
            Some(aws) => aws.overflow().await?.map(|overflow| overflow.queue),
            None => None,
        };
        Ok(View { overflow, ..view })
    }

    /// Everything on AWS but the overflow queue, to read and to write.
    pub(crate) async fn on_aws(&self, env: &Env) -> anyhow::Result<View> {
        let aws = OnAws::open(&self.cloud, env).await?;
        let ports = Embedded {
            raw: aws.raw().await?,
            clean: aws.clean().await?,
            ledger: aws.ledger().await?,
            lake: aws.lake().await?,
        };
        Ok(View { aws: Some(aws), ..View::of(ports) })
    }
}

impl View {
    /// What this process has open itself: nothing is to be caught up with.
    pub(crate) fn of(ports: Embedded) -> View {
        View { ports, overflow: None, reader: None, aws: None }
    }

    /// Messages in the overflow queue, those that somebody has just received included; as SQS counts them, approximate.
    pub async fn overflowed(&self) -> anyhow::Result<u64> {
        let Some(overflow) = &self.overflow else { return Ok(0) };
        overflow.depth().await.context("count the messages in the overflow queue")
    }

    /// Catches up with what has been written meanwhile.
    pub async fn refresh(&self) -> anyhow::Result<()> {
        let Some(reader) = self.reader.clone() else { return Ok(()) };
        tokio::task::spawn_blocking(move || reader.refresh()).await?.context("read the log")
    }

    /// What could not be read of a data directory.
    pub fn damages(&self) -> Vec<Damage> {
        self.reader.as_ref().map(|reader| reader.damages()).unwrap_or_default()
    }
}
