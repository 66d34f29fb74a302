//! `forebay up`: the whole pipeline in one process.

mod greeting;
mod retention;
mod room;

use crate::audit::watch::{self, Watch};
use crate::background::Background;
use crate::control::{Desk, Hands};
use crate::embedded::{self, LogConfig, Places};
use crate::source::View;
use anyhow::Context;
use clap::Args;
use compactor::Compactor;
use dedup_service::{Deduper, Waits};
use greeting::Greeting;
use ingest_gateway::{FILES_RESERVED, Gateway};
use ledger::keeper::Terms;
use service::metrics;
use service::metrics::push::Pushing;
use service::settings::duration;
use service::{Env, Health, Misconfigured, Stop, Tasks};
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use store::{SEGMENT_BYTES, Store};
use tokio::net::TcpListener;
use writer_service::Writer;

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

/// Runs until a signal, for which `listen` listens from before anybody is told that the pipeline is up; then drains stage by
/// stage: nothing is left to redo.
pub async fn run<S: Future<Output = ()>>(args: UpArgs, env: Env, listen: impl FnOnce() -> S) -> anyhow::Result<()> {
    args.gateway.check(args.shutdown_grace).map_err(Misconfigured::because)?;
    args.dedup.check(&Waits::SHORTEST).map_err(Misconfigured::because)?;
    let env = env.traced(&args.traces, "forebay-up")?;
    let http = bind(args.gateway.http_addr, "--http-addr").await?;
    let grpc = bind(args.gateway.grpc_addr, "--grpc-addr").await?;
    let (embedded, store) = embedded::open(&args.places, &args.log, &env).await?;
    let greeting = Greeting { args: &args, http: http.local_addr()?, grpc: grpc.local_addr()? };
    store.describe_holder(&greeting.http_url())?;
    let desk = Desk::open(&args.places.data_dir);

    metrics::begin("forebay-up");
    watch::register();
    room::show(&store, &args);
    let health = Health::default();
    let pushing = Pushing::start(&args.traces.otlp, "forebay-up", &health, &env)?;
    let overflow = None; // The embedded stream and an embedded queue would refuse for the same reasons.
    let gateway = args.gateway.clone().leaving_files(FILES_RESERVED + segments_max(&args.log));
    let gateway = Gateway::new(gateway, embedded.raw.clone(), overflow, env.clone(), health.clone())?;
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

    let signal = listen();
    print!("{greeting}");
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
        watch.run(stop, |_| ()).await;
        Ok(())
    });
    let traces = env.traces.clone();
    tasks.spawn("retention", |stop| retention::run(store.clone(), env.clone(), stop));
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
        error = lost(&store, LAST_ANSWERS + args.gateway.drain_notice + args.gateway.drain_timeout) => Err(error),
    };
    tokio::task::spawn_blocking(move || store.close()).await?;
    tokio::join!(pushing.close(), traces.close());
    outcome
}

/// Files of a log that readers are behind with: twice of what it is let grow to.
fn segments_max(log: &LogConfig) -> u64 {
    2 * (log.log_bytes_max as u64).div_ceil(SEGMENT_BYTES.into())
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
