//! Merges the days of the lake, each night.

use backend::Backend;
use clap::Parser;
use compactor::{Compactor, Config};
use service::{Env, Health, Process, Tasks, process};
use std::process::ExitCode;

const SERVICE: &str = "compactor";

/// Merges each past day's live objects into final ones, at 00:10 UTC
///
/// `forebay compact` does it at once. With AWS behind it, several of these do no harm: the ledger decides who plans.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    compactor: Config,

    #[command(flatten)]
    backend: backend::Settings,

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
    let Arguments { compactor, backend, process } = arguments;
    let (env, health) = (Env::system(), Health::default());
    let backend = Backend::open(&backend, SERVICE, &env).await?;
    let (ledger, lake) = (backend.ledger().await?, backend.lake().await?);
    let compactor = Compactor::new(compactor, ledger, lake, env, &health);
    let mut tasks = Tasks::default();
    tasks.spawn("compactor", |stop| compactor.run(stop));
    process.run(SERVICE, health, tasks).await
}
