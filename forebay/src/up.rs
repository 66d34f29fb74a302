//! `forebay up`: the whole pipeline in one process.

use crate::audit::watch::{self, Watch};
use crate::background::Background;
use crate::control::{Desk, Hands};
use crate::embedded::{self, LogConfig, Places};
use crate::source::View;
use anyhow::Context;
use clap::Args;
use compactor::Compactor;
use dedup_service::Deduper;
use ingest_gateway::Gateway;
use ledger::keeper::Terms;
use service::metrics::{self, Bound, Level, show_bound};
use service::settings::duration;
use service::{Env, Health, Stop, Tasks};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::net::TcpListener;
use writer_service::Writer;

/// Pause between two passes of retention over the log.
const RETENTION_PAUSE: Duration = Duration::from_secs(60);

/// Pause between two looks at what the chains say of all events: a reader beside the stages, on the same disk.
const CONSERVATION_PAUSE: Duration = Duration::from_secs(15);

/// How long whoever sends is still told that nothing can be taken, once the log is lost.
const LAST_ANSWERS: Duration = Duration::from_secs(3);

/// Runs gateway, dedup, writer and compactor in this process, on a data directory
#[derive(Args, Clone, Debug)]
pub struct UpArgs {
    #[command(flatten)]
    pub places: Places,
    #[command(flatten)]
    pub log: LogConfig,

    /// How long draining may take once this process is asked to stop
    #[arg(long, env = "FOREBAY_SHUTDOWN_GRACE", default_value = "60s", value_parser = duration)]
    pub shutdown_grace: Duration,

    /// How long an event may be on its way, though what comes behind it is written, before forebay_missing_events counts it
    #[arg(long, env = "FOREBAY_MISSING_AFTER", default_value = "10m", value_parser = duration)]
    pub missing_after: Duration,

    #[command(flatten)]
    pub traces: service::traces::Settings,
    #[command(flatten)]
    pub gateway: ingest_gateway::Config,
    #[command(flatten)]
    pub dedup: dedup_service::Config,
    #[command(flatten)]
    pub writer: writer_service::Config,
    #[command(flatten)]
    pub compactor: compactor::Config,
}

/// Runs until `signal`, then drains stage by stage: nothing is left to redo.
pub async fn run(args: UpArgs, env: Env, signal: impl Future<Output = ()>) -> anyhow::Result<()> {
    let env = env.traced(&args.traces, "forebay-up")?;
    let http = bind(args.gateway.http_addr, "--http-addr").await?;
    let grpc = bind(args.gateway.grpc_addr, "--grpc-addr").await?;
    let (embedded, store) = embedded::open(&args.places, &args.log, &env).await?;
    let http_addr = http.local_addr()?;
    store.describe_holder(&format!("http://{http_addr}"))?;
    let desk = Desk::open(&args.places.data_dir);

    metrics::begin("forebay-up");
    watch::register();
    show_bounds(&store, &args);
    let health = Health::default();
    let overflow = None; // The embedded stream and an embedded queue would refuse for the same reasons.
    let gateway = Gateway::new(args.gateway.clone(), embedded.raw.clone(), overflow, env.clone(), health.clone())?;
    let deduper = Deduper::new(
        args.dedup.clone(),
        embedded.raw.clone(),
        embedded.clean.clone(),
        embedded.ledger.clone(),
        Duration::ZERO, // There is no overflow queue.
        env.clone(),
        &health,
    )?;
    let writer = Writer::new(
        args.writer.clone(),
        embedded.clean.clone(),
        embedded.ledger.clone(),
        embedded.lake.clone(),
        env.clone(),
        &health,
    );
    let compactor =
        Compactor::new(args.compactor.clone(), embedded.ledger.clone(), embedded.lake.clone(), env.clone(), &health);

    let hands = Hands { compactor: compactor.clone(), ports: embedded.clone(), env: env.clone() };
    let watch = Watch {
        view: View::of(embedded),
        env: env.clone(),
        every: CONSERVATION_PAUSE,
        missing_after: args.missing_after,
        ready: health.part("conservation"),
    };

    announce(&args, http_addr, grpc.local_addr()?);
    let terms = |stage: &str| Terms::alone(format!("{stage}-{}", env.nonce()));
    let mut tasks = Tasks::default();
    let background = Background::start()?;
    let threads = background.handle();
    // Each stage stops when the one before it has drained, so that the last event is in the lake in the end.
    let (after_gateway, after_dedup) = (Stop::new(), Stop::new());
    tasks.spawn("gateway", |stop| stage(gateway.run(http, grpc, stop), after_gateway.clone()));
    let dedup = deduper.run(terms("dedup"), after_gateway);
    tasks.spawn_on(threads, "dedup", |_| stage(dedup, after_dedup.clone()));
    tasks.spawn_on(threads, "writer", |_| writer.run(terms("writer"), after_dedup));
    tasks.spawn_on(threads, "control", |stop| desk.run(hands, stop));
    tasks.spawn_on(threads, "compactor", |stop| compactor.run(stop));
    tasks.spawn_on(threads, "conservation", |stop| async move {
        watch.run(stop).await;
        Ok(())
    });
    let traces = env.traces.clone();
    tasks.spawn("retention", |stop| retention(store.clone(), env.clone(), stop));
    let log = store.clone();
    tasks.spawn("log", |stop| async move {
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            error = lost(&log, LAST_ANSWERS) => Err(error),
        }
    });
    let outcome = tokio::select! {
        outcome = tasks.run_until(signal, args.shutdown_grace) => outcome,
        // The stages behind the gateway can't drain without the log.
        error = lost(&store, LAST_ANSWERS + args.gateway.drain_timeout) => Err(error),
    };
    tokio::task::spawn_blocking(move || store.close()).await?;
    traces.close().await;
    outcome
}

async fn bind(addr: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| format!("listen on {addr}; choose another address with {setting}"))
}

/// Runs one stage; the next one may drain when it is through.
async fn stage(work: impl Future<Output = anyhow::Result<()>>, next: Stop) -> anyhow::Result<()> {
    let _next_drains_now = next.drop_guard();
    work.await
}

/// Resolves some time after the log could not be written any more.
async fn lost(store: &Store, after: Duration) -> anyhow::Error {
    let error = store.stopped().await;
    tokio::time::sleep(after).await;
    anyhow::Error::new(error).context("the log is lost: start again once it can be written")
}

async fn retention(store: Arc<Store>, env: Env, stop: Stop) -> anyhow::Result<()> {
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(RETENTION_PAUSE) => {
                store.enforce_retention(env.now()).await.context("retention of the log")?;
            }
        }
    }
    Ok(())
}

/// Shows how full the log is, and whether the disk has room for what it may still take.
fn show_bounds(store: &Arc<Store>, args: &UpArgs) {
    let (view, bytes_max) = (store.view().clone(), args.log.log_bytes_max as f64);
    let log_bytes = move || view.log_size().0 as f64;
    let used = log_bytes.clone();
    show_bound(Bound::LogBytes, move || Level { used: used(), limit: bytes_max });
    let folder = args.places.data_dir.clone();
    show_bound(Bound::DiskFreeBytes, move || {
        let free = rustix::fs::statvfs(&folder).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        Level { used: free as f64, limit: (bytes_max - log_bytes()).max(0.0) }
    });
}

/// Says where everything is, and how to send a first event.
fn announce(args: &UpArgs, http: SocketAddr, grpc: SocketAddr) {
    let first =
        r#"{"event_id":"'$(cat /proc/sys/kernel/random/uuid)'","event_name":"page:view","created_at":'$(date +%s)'}"#;
    println!("forebay {} is up\n", env!("CARGO_PKG_VERSION"));
    println!("  HTTP     http://{http}/v1/events   (also /healthz /readyz /metrics)");
    println!("  gRPC     http://{grpc}   (forebay.v1.Ingest, grpc.health.v1)");
    println!("  data     {}", args.places.data_dir.display());
    println!("  lake     {}\n", args.places.lake_dir().display());
    println!("Send an event:\n\n  curl -sS http://{http}/v1/events -H 'Content-Type: application/json' -d '{first}'\n");
    println!("It is in the lake within {:?}. Ctrl-C drains and stops.", args.writer.flush_interval);
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Command, CommandFactory, Parser};

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        _args: UpArgs,
    }

    #[test]
    fn no_two_services_share_a_setting() {
        let command: Command = Only::command();
        command.debug_assert();
    }
}
