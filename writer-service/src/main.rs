//! Writes clean records into the lake.

use backend::Backend;
use clap::Parser;
use service::metrics::push::Pushing;
use service::{Env, Health, Process, Tasks, process, tasks, traces};
use std::process::ExitCode;
use writer_service::{Config, Writer};

const SERVICE: &str = "writer-service";

/// Writes each event once, as Parquet, into the lake
///
/// With AWS behind it, any number of these share the shards of the clean stream. A data directory is held by one process
/// at a time: there it works through what the dedup stage has left while nothing else runs on it, and then waits;
/// `forebay up` runs all stages in one process.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    writer: Config,

    #[command(flatten)]
    backend: backend::Settings,

    #[command(flatten)]
    traces: traces::Settings,

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
    let signal = tasks::signal();
    let Arguments { writer, backend, traces, process } = arguments;
    let (env, health) = (Env::system().traced(&traces, SERVICE)?, Health::default());
    let (spans, pushing) = (env.traces.clone(), Pushing::start(&traces.otlp, SERVICE, &health, &env)?);
    let backend = Backend::open(&backend, SERVICE, &env).await?;
    let (clean, ledger, lake) = (backend.clean().await?, backend.ledger().await?, backend.lake().await?);
    let terms = backend.terms("writer", &env);
    let writer = Writer::new(writer, clean, ledger, lake, env, &health);
    let mut tasks = Tasks::default();
    tasks.spawn("writer", |stop| writer.run(terms, stop));
    backend.watch(&mut tasks);
    let outcome = process.run(SERVICE, health, tasks, signal).await;
    tokio::join!(pushing.close(), spans.close());
    outcome
}
