//! `forebay audit`: the proof that each event is in the lake once (PROTOCOL rules 33–37, invariants I9 and I10).
//!
//! The dedup chains say which ordinals there are and which ids they stand for; the objects say what the lake holds. Both
//! are read, and compared. **Exact**: the view of an exact reader: final objects of complete plans, what they dropped, and
//! settled live objects that no complete plan covers. **In flight**: decided, and not in a settled object yet. **Missing**:
//! an ordinal that the exact view should have and has not. **Twice**: one that a view has more than once.

mod bitmap;
mod deep;
mod explain;
mod flow;
mod judge;
mod lost;
mod numbering;
mod objects;
mod receipts;
mod repeats;
mod report;
mod rows;

pub use report::{Figures, Finding, Findings, Report};

use crate::source::{Source, View};
use anyhow::bail;
use clap::Args;
use deep::Depth;
use flow::Flow;
use judge::Evidence;
use receipts::Receipts;
use service::Env;
use service::settings::duration;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// Pause between two looks at a pipeline that has something in flight.
const WAIT_PAUSE: Duration = Duration::from_millis(200);

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

    /// Most examples of each kind of finding
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
        settle(&view, patience).await?;
    }
    // The lake first: whatever is there by now was announced before.
    let listed = objects::list(&*view.ports.lake).await?;
    view.refresh().await?;
    let depth = if args.deep { Depth::Deep } else { Depth::Plain };
    let evidence = Evidence::gather(view.ports.clone(), listed, depth, args.examples).await?;
    let mut report = judge::judge(evidence, receipts).await?;
    report.remarks.push(depth.to_string());
    report.blame_damage(&view.damages());
    Ok(report)
}

/// Waits until nothing is in flight.
async fn settle(view: &View, patience: Duration) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        view.refresh().await?;
        let flow = Flow::look(&view.ports).await?;
        if flow.is_settled() {
            return Ok(());
        }
        if start.elapsed() >= patience {
            let shown: Vec<&str> = flow.unsettled().take(UNSETTLED_SHOWN_MAX).collect();
            bail!("not settled within {patience:?}: {}", shown.join("; "));
        }
        tokio::time::sleep(WAIT_PAUSE).await;
    }
}
