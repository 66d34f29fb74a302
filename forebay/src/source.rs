//! Where a command finds what it looks at: a data directory, or AWS.

use crate::embedded::{self, Embedded, Places};
use anyhow::Context;
use backend::{Backend, Kind, Names};
use clap::Args;
use service::{Env, Misconfigured};
use std::num::NonZeroU32;
use std::sync::Arc;
use store::{Damage, StoreReader};

/// Who is told to hold something while a command is at work.
const HOLDER: &str = "forebay";

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
    pub names: Names,

    #[command(flatten)]
    pub aws: aws::Settings,
}

/// What a command looks at.
#[derive(Debug)]
pub struct View {
    pub ports: Embedded,
    /// Where a data directory is read beside the process that writes it.
    reader: Option<Arc<StoreReader>>,
}

impl Source {
    /// Opens everything for reading, while others may write.
    ///
    /// # Errors
    /// Something is not there, or can't be read.
    pub async fn look(&self, env: &Env) -> anyhow::Result<View> {
        if self.backend == Kind::Embedded {
            let (ports, reader) = embedded::open_read_only(&self.places)?;
            return Ok(View { ports, reader: Some(Arc::new(reader)) });
        }
        Ok(View { ports: self.on_aws(env).await?, reader: None })
    }

    /// All ports to AWS.
    pub(crate) async fn on_aws(&self, env: &Env) -> anyhow::Result<Embedded> {
        let settings = self.settings();
        settings.check().map_err(Misconfigured::because)?;
        let backend = Backend::open(&settings, HOLDER, env).await?;
        Ok(Embedded {
            raw: backend.raw().await?,
            clean: backend.clean().await?,
            ledger: backend.ledger().await?,
            lake: backend.lake().await?,
        })
    }

    pub(crate) fn settings(&self) -> backend::Settings {
        let Source { places, backend, names, aws } = self.clone();
        let Places { data_dir, lake } = places;
        backend::Settings { backend, data_dir, lake, shards: NonZeroU32::MIN, names, aws }
    }
}

impl View {
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
