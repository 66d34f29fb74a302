//! Takes events over HTTP and gRPC into the raw stream.

use anyhow::Context;
use backend::{Backend, Kept};
use clap::Parser;
use ingest_gateway::{Config, FILES_RESERVED, Gateway, Overflow};
use service::metrics::push::Pushing;
use service::{Env, Health, Misconfigured, Process, Tasks, process, tasks, traces};
use std::net::SocketAddr;
use std::process::ExitCode;
use tokio::net::TcpListener;

const SERVICE: &str = "ingest-gateway";

/// Takes events over HTTP and gRPC, and answers when they are durable
///
/// With AWS behind it, any number of these may run. A data directory is held by one process at a time: there it takes
/// events while nothing else runs on it; `forebay up` runs all stages in one process.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    gateway: Config,

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
    let Arguments { gateway, backend, traces, process } = arguments;
    gateway.check(process.shutdown_grace).map_err(Misconfigured::because)?;
    let (env, health) = (Env::system().traced(&traces, SERVICE)?, Health::default());
    let (spans, pushing) = (env.traces.clone(), Pushing::start(&traces.otlp, SERVICE, &health, &env)?);
    let backend = Backend::open(&backend, SERVICE, &env).await?;
    let (http, grpc) = (bind(gateway.http_addr).await?, bind(gateway.grpc_addr).await?);
    let overflow = backend.overflow().await?.map(|Kept { queue, retention }| Overflow { queue, retention });
    let raw = backend.raw().await?;
    let gateway = gateway.leaving_files(FILES_RESERVED);
    let gateway = Gateway::new(gateway, raw, overflow, env, health.clone()).map_err(Misconfigured::because)?;
    let gateway = gateway.with_admin_elsewhere(process.admin_addr.is_some());
    let mut tasks = Tasks::default();
    tasks.spawn("gateway", |stop| gateway.run(http, grpc, stop));
    backend.watch(&mut tasks);
    let outcome = process.run(SERVICE, health, tasks, signal).await;
    tokio::join!(pushing.close(), spans.close());
    outcome
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("bind {address}"))
}
