//! Compacts past days of a data directory every night.

use anyhow::Context;
use clap::Parser;
use compactor::{Compactor, Config};
use lake::local::LocalLake;
use ledger::embedded::EmbeddedLedger;
use service::telemetry::{self, LogFormat};
use service::{Env, Health, Tasks, settings, tasks};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use store::{Options, Store};

/// Merges live objects into final ones, every night
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    compactor: Config,

    /// Where the ledger is kept
    #[arg(long, env = "FOREBAY_DATA_DIR", default_value = "forebay-data")]
    data_dir: PathBuf,

    /// Folder of the lake [default: lake in the data directory]
    #[arg(long, env = "FOREBAY_LAKE")]
    lake: Option<PathBuf>,

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
        eprintln!("compactor: {error:#}");
    }
    tasks::exit_code(&outcome)
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    telemetry::init(arguments.log_format, "info")?;
    tracing::info!(?arguments, "starting");
    let env = Env::system();
    let Arguments { compactor, data_dir, lake, shutdown_grace, .. } = arguments;
    let lake_dir = lake.unwrap_or_else(|| data_dir.join("lake"));
    let (ledger, lake) = tokio::task::spawn_blocking({
        let env = env.clone();
        move || anyhow::Ok((open_ledger(&data_dir, &env)?, LocalLake::open(lake_dir).context("open the lake")?))
    })
    .await??;
    let compactor = Compactor::new(compactor, Arc::new(ledger), Arc::new(lake), env, &Health::default());
    let mut tasks = Tasks::default();
    tasks.spawn("compactor", |stop| compactor.run(stop));
    tasks.run_until(tasks::signal(), shutdown_grace).await
}

fn open_ledger(data_dir: &std::path::Path, env: &Env) -> anyhow::Result<EmbeddedLedger> {
    let clock = env.clock.clone();
    let holder = format!("compactor, process {}", std::process::id());
    let options = Options::new(Arc::new(move || clock.now()), holder);
    let opened = Store::open(data_dir, options);
    let store = opened.with_context(|| format!("open data directory {}", data_dir.display()))?;
    Ok(EmbeddedLedger::new(Arc::new(store)))
}
