//! Decides the raw records of a data directory and puts what is new into its clean stream.

use anyhow::Context;
use clap::Parser;
use dedup_service::{Config, Deduper};
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

/// Passes on the first copy of each event, numbered
///
/// A data directory is held by one process at a time: this one works through what the gateway has left there, while
/// nothing else runs on it, and then waits. `forebay up` runs all stages in one process.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    dedup: Config,

    /// Where streams and ledger are kept
    #[arg(long, env = "FOREBAY_DATA_DIR", default_value = "forebay-data")]
    data_dir: PathBuf,

    /// Shards of each stream; another number than before reshards them
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
        eprintln!("dedup-service: {error:#}");
    }
    tasks::exit_code(&outcome)
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    telemetry::init(arguments.log_format, "info")?;
    tracing::info!(?arguments, "starting");
    arguments.dedup.check()?;
    let env = Env::system();
    let store = Arc::new(open_store(&arguments, &env).await?);
    let open = async |name: &str| {
        let incarnation = format!("{:08x}", env.nonce() as u32);
        let opened = EmbeddedStream::open(&store, name, arguments.shards, &incarnation).await;
        opened.with_context(|| format!("open the {name} stream"))
    };
    let (raw, clean) = (Arc::new(open("raw").await?), Arc::new(open("clean").await?));
    let ledger = Arc::new(EmbeddedLedger::new(store.clone()));
    let terms = Terms::alone(format!("dedup-{}", env.nonce()));
    let deduper = Deduper::new(arguments.dedup, raw, clean, ledger, env, &Health::default())?;
    let mut tasks = Tasks::default();
    tasks.spawn("dedup", |stop| deduper.run(terms, stop));
    tasks.run_until(tasks::signal(), arguments.shutdown_grace).await
}

async fn open_store(arguments: &Arguments, env: &Env) -> anyhow::Result<Store> {
    let clock = env.clock.clone();
    let holder = format!("dedup-service, process {}", std::process::id());
    let options = Options::new(Arc::new(move || clock.now()), holder);
    let data_dir = arguments.data_dir.clone();
    let opened = tokio::task::spawn_blocking(move || Store::open(&data_dir, options)).await?;
    opened.with_context(|| format!("open data directory {}", arguments.data_dir.display()))
}
