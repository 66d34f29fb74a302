//! Decides the raw records and puts what is new into the clean stream.

use backend::Backend;
use clap::Parser;
use dedup_service::{Config, Deduper, Waits};
use service::metrics::push::Pushing;
use service::{Env, Health, Misconfigured, Process, Tasks, process, tasks, traces};
use std::process::ExitCode;

const SERVICE: &str = "dedup-service";

/// Passes on the first copy of each event, numbered
///
/// With AWS behind it, any number of these share the shards of the raw stream. A data directory is held by one process at
/// a time: there it works through what the gateway has left while nothing else runs on it, and then waits; `forebay up`
/// runs all stages in one process.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    dedup: Config,

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
    let Arguments { dedup, backend, traces, process } = arguments;
    dedup.check(&Waits::SHORTEST).map_err(Misconfigured::because)?;
    let (env, health) = (Env::system().traced(&traces, SERVICE)?, Health::default());
    let (spans, pushing) = (env.traces.clone(), Pushing::start(&traces.otlp, SERVICE, &health, &env)?);
    let backend = Backend::open(&backend, SERVICE, &env).await?;
    let (raw, clean, ledger) = (backend.raw().await?, backend.clean().await?, backend.ledger().await?);
    let overflow = backend.overflow().await?.and_then(|overflow| overflow.retention).unwrap_or_default();
    let terms = backend.terms("dedup", &env);
    let deduper = Deduper::new(dedup, raw, clean, ledger, overflow, env, &health).map_err(Misconfigured::because)?;
    let mut tasks = Tasks::default();
    tasks.spawn("dedup", |stop| deduper.run(terms, stop));
    backend.watch(&mut tasks);
    let outcome = process.run(SERVICE, health, tasks, signal).await;
    tokio::join!(pushing.close(), spans.close());
    outcome
}
