//! `forebay audit`: the proof that each event is in the lake once (PROTOCOL rules 33–37, invariants I9 and I10).
//!
//! The dedup chains say which ordinals there are and which ids they stand for; the objects say what the lake holds. Both
//! are read, and compared. **Exact**: the view of an exact reader: final objects of complete plans, what they dropped, and
//! settled live objects that no complete plan covers. **In flight**: decided, and not in a settled object yet. **Missing**:
//! an ordinal that the exact view should have and has not. **Twice**: one that a view has more than once.

mod bitmap;
mod broken;
mod conservation;
mod deep;
mod explain;
mod flow;
mod following;
mod judge;
mod lost;
mod numbering;
mod objects;
mod receipts;
mod repeats;
mod report;
mod rows;
mod taken;
pub mod watch;

pub use conservation::Conserved;
pub use report::{Figures, Finding, Findings, Report};

use crate::acked::Ledger;
use crate::embedded::Embedded;
use crate::source::{Source, View};
use anyhow::{Context, bail};
use clap::Args;
use conservation::Conservation;
use dedup_service::again::Ordinals;
use deep::Depth;
use flow::Flow;
use judge::Evidence;
use ledger::LedgerError;
use ownership::OwnerError;
use queue::QueueError;
use receipts::Receipts;
use service::metrics::push::Pushing;
use service::settings::duration;
use service::{Env, Health, Stop, admin, metrics, otlp};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use stream::ReadError;
use tokio::net::TcpListener;
use tokio::time::Instant;
use watch::Watch;

/// Pause between two looks at a pipeline that has something in flight.
const WAIT_PAUSE: Duration = Duration::from_millis(200);

/// What the watch calls itself.
const WATCH: &str = "forebay-audit";

/// Most places that still have something in flight which a failure names.
const UNSETTLED_SHOWN_MAX: usize = 5;

/// Proves from the Parquet files that each event is in the lake once; exits with 1 if one is missing or there twice
#[derive(Args, Clone, Debug)]
pub struct AuditArgs {
    #[command(flatten)]
    pub source: Source,

    /// Check the ids in this file as well, which `generate --ledger` wrote
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,

    /// Let a running pipeline settle first, so that nothing is in flight; fail if it does not within this time
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "60s", value_parser = duration)]
    pub wait: Option<Duration>,

    /// Read every column of every object, and compare the rows with the hash that was announced
    #[arg(long)]
    pub deep: bool,

    /// Read only the chains, and go on doing so with this pause, until a signal: says in its log and as metrics how many
    /// events there are, where they are, whether any is missing, and whether the chains are what they were; exits with 1 if
    /// not at the end
    #[arg(long, value_name = "PAUSE", value_parser = duration, conflicts_with_all = ["ledger", "wait", "deep"])]
    pub watch: Option<Duration>,

    /// With --watch: how long an event may be on its way, though what comes behind it is written, before it is missing
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub missing_after: Duration,

    /// With --watch: where to serve /healthz, /readyz, /metrics and gRPC health [default: nowhere]
    #[arg(long, env = "FOREBAY_ADMIN_ADDR")]
    pub admin_addr: Option<SocketAddr>,

    /// Ask the watch that shows its health at this address whether it is ready, and end: with 0 if it is
    #[arg(long, value_name = "ADDR")]
    pub check_health: Option<SocketAddr>,

    #[command(flatten)]
    pub otlp: otlp::Settings,

    /// Most examples of each kind of finding, and of ids that remarks name
    #[arg(long, value_name = "N", default_value = "10")]
    pub examples: usize,
}

/// Audits a data directory, or what is on AWS; a pipeline may be running on it.
///
/// # Errors
/// The evidence can't be read, or the pipeline did not settle. What is wrong with events is in the report.
pub async fn run(args: AuditArgs, env: Env) -> anyhow::Result<Report> {
    let receipts = match args.ledger.clone() {
        Some(path) => Some(Receipts::new(tokio::task::spawn_blocking(move || crate::acked::read(&path)).await??)),
        None => None,
    };
    let view = args.source.look(&env).await?;
    if let Some(patience) = args.wait {
        settle(&view, &env, patience).await?;
    }
    // The lake first: whatever is there by now was announced before.
    let listed = objects::list(&*view.ports.lake).await?;
    let flow = look(&view, &env).await?;
    let depth = if args.deep { Depth::Deep } else { Depth::Plain };
    let evidence = Evidence::gather(view.ports.clone(), flow, listed, depth, args.examples).await?;
    let mut report = judge::judge(evidence, receipts).await?;
    report.remarks.push(depth.to_string());
    report.blame_damage(&view.damages());
    Ok(report)
}

/// Audits ports that this process has open itself, and reads every column of every object.
///
/// `acknowledged` is what must be there, and `examples_max` the most examples of each kind of finding.
///
/// # Errors
/// The evidence can't be read. What is wrong with events is in the report.
pub async fn of_ports(
    ports: &Embedded,
    acknowledged: Ledger,
    examples_max: usize,
    env: &Env,
) -> anyhow::Result<Report> {
    let listed = objects::list(&*ports.lake).await?;
    let flow = Flow::look(ports, env).await?;
    let evidence = Evidence::gather(ports.clone(), flow, listed, Depth::Deep, examples_max).await?;
    judge::judge(evidence, Some(Receipts::new(acknowledged))).await
}

/// Reads the chains again and again until `stop`, and shows what they say of all events; gives the last figures.
///
/// # Errors
/// There are no chains to read, or the address can't be had. Chains that can't be read for a while are read again later.
pub async fn watch(args: AuditArgs, every: Duration, env: Env, stop: Stop) -> anyhow::Result<Conserved> {
    metrics::begin(WATCH);
    watch::register();
    let health = Health::default();
    let pushing = Pushing::start(&args.otlp, WATCH, &health, &env)?;
    let outcome = show(args, every, env, health, stop).await;
    pushing.close().await;
    outcome
}

async fn show(args: AuditArgs, every: Duration, env: Env, health: Health, stop: Stop) -> anyhow::Result<Conserved> {
    let ready = health.part("conservation");
    let view = args.source.look(&env).await?;
    let watch = Watch { view, env, every, missing_after: args.missing_after, ready }.run(stop.clone(), watch::log);
    let Some(addr) = args.admin_addr else { return Ok(watch.await) };
    let listener = TcpListener::bind(addr).await.with_context(|| format!("listen on --admin-addr {addr}"))?;
    println!("showing metrics on http://{}/metrics", listener.local_addr()?);
    tokio::select! {
        conserved = watch => Ok(conserved),
        served = admin::serve(listener, health, WATCH, stop, Stop::new()) => {
            served?;
            bail!("metrics are no longer shown")
        }
    }
}

/// Ordinals that the clean stream has acknowledged and no writer has announced: on their way, or lost.
pub(crate) async fn due(ports: &Embedded, env: &Env) -> anyhow::Result<Ordinals> {
    let mut conservation = Conservation::new(ports.clone(), env.clone(), Duration::ZERO);
    conservation.look().await?;
    Ok(conservation.due())
}

/// Waits until nothing is in flight.
async fn settle(view: &View, env: &Env, patience: Duration) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let is_late = start.elapsed() >= patience;
        match look(view, env).await {
            // What is gone stays so, unless a reader that is about to go on all the same has still to say so.
            Ok(flow) if flow.is_settled() && (is_late || flow.gone().is_empty()) => return Ok(()),
            Ok(flow) if is_late => {
                let shown: Vec<&str> = flow.unsettled().take(UNSETTLED_SHOWN_MAX).collect();
                bail!("not settled within {patience:?}: {}", shown.join("; "));
            }
            Ok(_) => {}
            Err(error) if is_late || !passes(&error) => return Err(error),
            Err(error) => tracing::warn!("looking again: {error:#}"),
        }
        tokio::time::sleep(WAIT_PAUSE).await;
    }
}

/// Whether nobody has answered, so that another look may find more.
fn passes(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        matches!(cause.downcast_ref(), Some(ReadError::Unavailable(_)))
            || matches!(cause.downcast_ref(), Some(LedgerError::Unavailable(_)))
            || matches!(cause.downcast_ref(), Some(QueueError::Unavailable(_)))
            || matches!(cause.downcast_ref(), Some(OwnerError::Stream(_) | OwnerError::Ledger(_)))
    })
}

/// What is on its way. The queue first: what leaves it is in the stream by then.
async fn look(view: &View, env: &Env) -> anyhow::Result<Flow> {
    let overflowed = view.overflowed().await?;
    view.refresh().await?;
    Ok(Flow::look(&view.ports, env).await?.with_overflow(overflowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_has_answered_is_looked_at_again_and_what_is_refused_is_not() {
        let silent = || "timeout".to_string();
        let passing = [
            anyhow::Error::from(ReadError::Unavailable(silent())),
            LedgerError::Unavailable(silent()).into(),
            OwnerError::Ledger(LedgerError::Unavailable(silent())).into(),
            QueueError::Unavailable(silent()).into(),
        ];
        for error in passing {
            assert!(passes(&error.context("look")));
        }
        for error in [anyhow::Error::from(QueueError::Refused(silent())), anyhow::anyhow!("no data directory")] {
            assert!(!passes(&error.context("look")));
        }
    }
}
