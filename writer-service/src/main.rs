//! Writes the clean records of a data directory into its lake.

use anyhow::Context;
use clap::Parser;
use lake::local::LocalLake;
use ledger::embedded::EmbeddedLedger;
use ledger::keeper::Terms;
use service::telemetry::{self, LogFormat};
use service::{Env, Health, Tasks, settings, tasks};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use store::{Options, Store};
use stream::embedded::EmbeddedStream;
use writer_service::{Config, Writer};

/// Writes each event once, as Parquet
///
/// A data directory is held by one process at a time: this one works through what the dedup stage has left there, while
/// nothing else runs on it, and then waits. `forebay up` runs all stages in one process.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    writer: Config,

    /// Where the clean stream and the ledger are kept
    #[arg(long, env = "FOREBAY_DATA_DIR", default_value = "forebay-data")]
    data_dir: PathBuf,

    /// Folder of the lake [default: lake in the data directory]
    #[arg(long, env = "FOREBAY_LAKE")]
    lake: Option<PathBuf>,

    /// Shards of the clean stream; another number than before reshards it
    #[arg(long, env = "FOREBAY_SHARDS", default_value = "4")]
    shards: NonZeroU32,

    /// How long draining may take; shorter than the orchestrator's own patience
    #[arg(long, env = "FOREBAY_SHUTDOWN_GRACE", default_value = "25s", value_parser = settings::duration)]
    shutdown_grace: Duration,

    /// How log lines look
    #[arg(long, env = "FOREBAY_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = run(Arguments::parse()).await;
    if let Err(error) = &outcome {
        eprintln!("writer-service: {error:#}");
    }
    tasks::exit_code(&outcome)
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    telemetry::init(arguments.log_format, "info")?;
    tracing::info!(?arguments, "starting");
    let env = Env::system();
    let Arguments { writer, data_dir, lake, shards, shutdown_grace, .. } = arguments;
    let lake_dir = lake.unwrap_or_else(|| data_dir.join("lake"));
    let (store, lake) = tokio::task::spawn_blocking({
        let env = env.clone();
        move || anyhow::Ok((open_store(&data_dir, &env)?, LocalLake::open(lake_dir).context("open the lake")?))
    })
    .await??;
    let incarnation = format!("{:08x}", env.nonce() as u32);
    let clean = EmbeddedStream::open(&store, "clean", shards, &incarnation).await.context("open the clean stream")?;
    let ledger = Arc::new(EmbeddedLedger::new(store));
    let terms = Terms::alone(format!("writer-{}", env.nonce()));
    let writer = Writer::new(writer, Arc::new(clean), ledger, Arc::new(lake), env, &Health::default());
    let mut tasks = Tasks::default();
    tasks.spawn("writer", |stop| writer.run(terms, stop));
    tasks.run_until(tasks::signal(), shutdown_grace).await
}

fn open_store(data_dir: &std::path::Path, env: &Env) -> anyhow::Result<Arc<Store>> {
    let clock = env.clock.clone();
    let holder = format!("writer-service, process {}", std::process::id());
    let options = Options::new(Arc::new(move || clock.now()), holder);
    let opened = Store::open(data_dir, options);
    Ok(Arc::new(opened.with_context(|| format!("open data directory {}", data_dir.display()))?))
}
