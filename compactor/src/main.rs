//! Merges the days of the lake: plans them, works for those who planned, or both.

use backend::Backend;
use clap::Parser;
use compactor::{Command, Compactor, Config, WorkerConfig, command};
use service::metrics::push::Pushing;
use service::{Env, Health, Process, Stop, Tasks, otlp, process, tasks};
use std::process::ExitCode;

const SERVICE: &str = "compactor";

/// Merges each past day's live objects into final ones, at 00:10 UTC
///
/// `forebay compact` does it at once. With AWS behind it any number of these share the work, and do no harm where they do
/// it twice: the ledger decides who plans, and tasks are hints.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// What to do
    #[arg(value_enum, default_value = "run")]
    command: Command,

    #[command(flatten)]
    compactor: Config,

    #[command(flatten)]
    worker: WorkerConfig,

    #[command(flatten)]
    backend: backend::Settings,

    #[command(flatten)]
    otlp: otlp::Settings,

    #[command(flatten)]
    process: Process,
}

#[tokio::main]
async fn main() -> ExitCode {
    process::end(SERVICE, &run(Arguments::parse()).await)
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    if !arguments.process.begin(&arguments)? {
        return Ok(());
    }
    let (env, health) = (Env::system(), Health::default());
    let pushing = Pushing::start(&arguments.otlp, SERVICE, &health, &env)?;
    let outcome = compact(arguments, env, health).await;
    pushing.close().await;
    outcome
}

async fn compact(arguments: Arguments, env: Env, health: Health) -> anyhow::Result<()> {
    let Arguments { command, compactor, worker, backend, process, .. } = arguments;
    let signal = tasks::signal();
    let backend = Backend::open(&backend, SERVICE, &env).await?;
    let queues = backend.tasks(worker.task_attempts_max).await?;
    let (ledger, lake) = (backend.ledger().await?, backend.lake().await?);
    let compactor = Compactor::new(compactor, ledger, lake, env, &health);
    if command == Command::Plan {
        let stop = Stop::new();
        let shown = process.show(SERVICE, health, stop.clone()).await?;
        let planned = command::plan(&compactor, queues, signal, &stop).await;
        shown.close().await;
        return planned;
    }
    let mut tasks = Tasks::default();
    command::spawn(command, compactor, worker, queues, &mut tasks)?;
    process.run(SERVICE, health, tasks, signal).await
}
