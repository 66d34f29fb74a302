//! Takes events and makes them durable in the raw stream of a data directory.

use anyhow::Context;
use clap::Parser;
use ingest_gateway::{Config, Gateway};
use service::telemetry::{self, LogFormat};
use service::{Env, Health, Tasks, settings, tasks};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use store::{Options, Store};
use stream::embedded::EmbeddedStream;
use tokio::net::TcpListener;

/// Takes events over HTTP and gRPC
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    gateway: Config,

    /// Where the raw stream is kept
    #[arg(long, env = "FOREBAY_DATA_DIR", default_value = "forebay-data")]
    data_dir: PathBuf,

    /// Shards of the raw stream; another number than before reshards it
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
        eprintln!("ingest-gateway: {error:#}");
    }
    tasks::exit_code(&outcome)
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    telemetry::init(arguments.log_format, "info")?;
    tracing::info!(?arguments, "starting");
    let env = Env::system();
    let raw = open_raw(&arguments, &env).await?;
    let http = bind(arguments.gateway.http_addr).await?;
    let grpc = bind(arguments.gateway.grpc_addr).await?;
    let gateway = Gateway::new(arguments.gateway, Arc::new(raw), None, env, Health::default())?;
    let mut tasks = Tasks::default();
    tasks.spawn("gateway", |stop| gateway.run(http, grpc, stop));
    tasks.run_until(tasks::signal(), arguments.shutdown_grace).await
}

async fn open_raw(arguments: &Arguments, env: &Env) -> anyhow::Result<EmbeddedStream> {
    let clock = env.clock.clone();
    let holder = format!("ingest-gateway, process {}", std::process::id());
    let options = Options::new(Arc::new(move || clock.now()), holder);
    let data_dir = arguments.data_dir.clone();
    let opened = tokio::task::spawn_blocking(move || Store::open(&data_dir, options)).await?;
    let store = opened.with_context(|| format!("open data directory {}", arguments.data_dir.display()))?;
    let incarnation = format!("{:08x}", env.nonce() as u32);
    EmbeddedStream::open(&Arc::new(store), "raw", arguments.shards, &incarnation).await.context("open the raw stream")
}

async fn bind(address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("bind {address}"))
}
