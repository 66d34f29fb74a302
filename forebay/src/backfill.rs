//! `forebay backfill`: feeds what another raw stream holds into the one that is in use.
//!
//! For streams that have taken the place of others whose ledger could not be got back: what only the old raw stream holds
//! gets into the lake. **Source**: the stream that is read. **Through**: the position up to which a shard was fed. Feeding
//! something twice does no harm: events keep their ids and the times at which they were received, by which the dedup stage
//! tells copies.

mod account;
mod batch;
mod feed;
mod pace;

#[cfg(test)]
mod tests;

use account::Account;
use anyhow::{Context, ensure};
use backend::{Cloud, OnAws};
use clap::Args;
use feed::{Feed, Span};
use pace::Pace;
use schema::{Position, ShardId, timestamp};
use service::{Env, Misconfigured, Stop};
use std::collections::BTreeMap;
use stream::Shard;

/// Feeds the records of another raw stream on AWS, an earlier one, into that of --raw-stream; exits with 1 if it was
/// stopped before all were
///
/// Records keep their bytes. One that another producer wrote becomes one of a gateway that took it when it arrived there,
/// so that its events are as old as they are. Doing it twice does no harm: copies are dropped as ever, as far as
/// --window of the dedup service reaches around the time at which an event was received and the ledger has the decisions
/// of that time.
#[derive(Args, Clone, Debug)]
pub struct BackfillArgs {
    /// Raw stream whose records are fed
    #[arg(long, value_name = "STREAM")]
    from_stream: String,

    /// Only records that arrived at this time or later, as in 2026-11-20T08:30:00Z [default: from the oldest on]
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<i64>,

    /// Only records that arrived before this time [default: all that there are]
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<i64>,

    /// Go on after these positions, as a run that ended early named them. May be given several times
    #[arg(long, value_name = "SHARD:POSITION", value_delimiter = ',', value_parser = place)]
    after: Vec<(ShardId, Position)>,

    /// Bytes a second at most, each record counted as 1KiB at least: gateways need what is left of what the stream takes,
    /// which is 1MB and 1,000 records a second for each provisioned shard
    #[arg(long, value_name = "BYTES", default_value = "512KiB", value_parser = pace::rate)]
    rate: Pace,

    /// Count what would be fed, and feed nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    cloud: Cloud,
}

fn time(text: &str) -> Result<i64, String> {
    timestamp::parse_text(text).ok_or_else(|| "it is no time as in 2026-11-20T08:30:00Z".to_string())
}

fn place(text: &str) -> Result<(ShardId, Position), String> {
    backend::place(text).ok_or_else(|| "it is not SHARD:POSITION, as a run that ended early names it".to_string())
}

impl BackfillArgs {
    /// # Errors
    /// Settings that can't be meant.
    fn check(&self, now: i64) -> anyhow::Result<()> {
        let BackfillArgs { from_stream, since, until, cloud, .. } = self;
        ensure!(
            *from_stream != cloud.names.raw_stream,
            "--from-stream and --raw-stream are both {from_stream}: its records are where they would be fed"
        );
        ensure!(
            *from_stream != cloud.names.clean_stream,
            "--from-stream and --clean-stream are both {from_stream}: what is decided would be decided again"
        );
        ensure!(since.is_none_or(|since| since < now), "--since has not come yet: nothing would be fed");
        let is_span = since.zip(*until).is_none_or(|(since, until)| since < until);
        ensure!(is_span, "--until is not after --since: nothing would be fed");
        Ok(())
    }
}

/// Feeds all that is meant, or until `stop`. True if all of it was.
///
/// # Errors
/// Settings that can't be meant; a stream that can't be read or written. What was fed until then is told.
pub async fn run(args: BackfillArgs, env: Env, stop: Stop) -> anyhow::Result<bool> {
    args.check(env.now()).map_err(Misconfigured::because)?;
    let aws = OnAws::open(&args.cloud, &env).await?;
    let BackfillArgs { from_stream, since, until, after, rate, dry_run, .. } = args;
    let from = aws.other_stream(&from_stream, since).await.context("open --from-stream")?;
    let to = aws.raw().await.context("open --raw-stream")?;
    let shards = from.shards().await.with_context(|| format!("list the shards of {from_stream}"))?;
    let account = Account::new(known(after, &shards)?);
    let span = Span { since, until };
    let feed = Feed { from: &*from, to: &*to, span, rate, is_rehearsal: dry_run, account: &account, stop: &stop };
    let outcome = tokio::select! {
        () = account.show() => unreachable!("it is shown until dropped"),
        outcome = feed.shards(&shards) => outcome,
    };
    let is_complete = matches!(outcome, Ok(true));
    print!("{}", account.report(&*from, &*to, is_complete, dry_run, env.now()));
    outcome.with_context(|| format!("feed {from_stream} into {}; starting again does no harm", to.name()))
}

/// The positions by shard, each of which the source has to have.
fn known(after: Vec<(ShardId, Position)>, shards: &[Shard]) -> Result<BTreeMap<ShardId, Position>, Misconfigured> {
    let is_unknown = |(shard, _): &&(ShardId, Position)| shards.iter().all(|listed| listed.id != *shard);
    match after.iter().find(is_unknown) {
        Some((shard, _)) => {
            Err(Misconfigured::because(format_args!("--after names {shard}, no shard of --from-stream")))
        }
        None => Ok(after.into_iter().collect()),
    }
}
