//! A data directory, held by this process alone.

use crate::Settings;
use anyhow::Context;
use lake::Lake;
use lake::local::LocalLake;
use ledger::Ledger;
use ledger::embedded::EmbeddedLedger;
use service::Env;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use store::{Options, Store};
use stream::Stream;
use stream::embedded::EmbeddedStream;

/// An open data directory.
#[derive(Debug)]
pub struct Folder {
    store: Arc<Store>,
    shards: NonZeroU32,
    lake_dir: PathBuf,
    env: Env,
}

impl Folder {
    pub(crate) async fn open(settings: &Settings, holder: &str, env: &Env) -> anyhow::Result<Folder> {
        let (clock, data_dir) = (env.clock.clone(), settings.data_dir.clone());
        let options = Options::new(Arc::new(move || clock.now()), format!("{holder}, process {}", std::process::id()));
        let opened = tokio::task::spawn_blocking(move || Store::open(&data_dir, options)).await?;
        let store = opened.with_context(|| format!("open data directory {}", settings.data_dir.display()))?;
        let (shards, lake_dir) = (settings.shards, settings.lake_dir());
        Ok(Folder { store: Arc::new(store), shards, lake_dir, env: env.clone() })
    }

    pub(crate) async fn stream(&self, name: &str) -> anyhow::Result<Arc<dyn Stream>> {
        let incarnation = format!("{:08x}", self.env.nonce() as u32);
        let stream = EmbeddedStream::open(&self.store, name, self.shards, &incarnation).await;
        Ok(Arc::new(stream.with_context(|| format!("open the {name} stream"))?))
    }

    pub(crate) fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::new(EmbeddedLedger::new(self.store.clone()))
    }

    pub(crate) fn lake(&self) -> anyhow::Result<Arc<dyn Lake>> {
        let dir = &self.lake_dir;
        Ok(Arc::new(LocalLake::open(dir).with_context(|| format!("open the lake in {}", dir.display()))?))
    }
}
