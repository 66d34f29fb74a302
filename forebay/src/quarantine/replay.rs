//! `quarantine replay`: repairs originals and sends them through the gateway again.

use super::excerpt;
use super::filter::{Where, all_hold};
use super::items::{Item, Items};
use super::patch::Patch;
use super::repair::repaired;
use super::resend::{Resender, Sent};
use crate::generate::client::{Client, Key, Target, Url};
use crate::source::Source;
use anyhow::{Context, bail};
use clap::Args;
use service::{Env, Stop};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Most events that a dry run shows.
const EXAMPLES_MAX: u64 = 1_000;

/// Repairs quarantined events and sends them through the gateway again
///
/// A repaired event carries an id of its own, so replaying it twice is harmless. Its row of quarantine stays, as a record
/// of what was sent.
#[derive(Args, Clone, Debug)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    source: Source,

    /// Only items with KEY=VALUE: reason, field, stage, source, day (received, YYYY-MM-DD) or quarantine_id; of several
    /// all must hold
    #[arg(long = "where", value_name = "KEY=VALUE", required = true)]
    conditions: Vec<Where>,

    /// Set a top-level field: VALUE is taken as JSON if it is JSON, else as a text; nothing after `=` removes the field;
    /// `event_id=@new` gives each event an id of its own, the same one at every replay
    #[arg(long = "patch", value_name = "FIELD=VALUE")]
    patches: Vec<Patch>,

    /// Show some events before and after, and send nothing
    #[arg(long)]
    dry_run: bool,

    /// How many events a dry run shows
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u64).range(..=EXAMPLES_MAX))]
    examples: u64,

    /// Where to: http://HOST:PORT or https://HOST:PORT, or with the path as well
    #[arg(long, env = "FOREBAY_URL", default_value = "http://127.0.0.1:8080")]
    url: Url,

    /// Write key
    #[arg(long, env = "FOREBAY_KEY", hide_env_values = true)]
    key: Option<Key>,

    /// Believe a gateway's certificate by the issuers in this file, in PEM [default: those that the system believes]
    #[arg(long, env = "FOREBAY_CA_CERT", value_name = "FILE")]
    ca_cert: Option<PathBuf>,
}

impl ReplayArgs {
    fn check(&self) -> anyhow::Result<()> {
        let names_one = self.conditions.iter().any(|condition| matches!(condition, Where::QuarantineId(_)));
        if let Some(patch) = self.patches.iter().find(|patch| patch.makes_all_one_event() && !names_one) {
            bail!(
                "--patch {field}=… gives all events one id, and only one of them would get into the lake: \
                 give each its own with {field}=@new, or choose one with --where quarantine_id=…",
                field = patch.field
            );
        }
        Ok(())
    }
}

/// Replays until all is acknowledged, or until `stop`. True if every item that is meant was accepted.
pub(super) async fn run(args: &ReplayArgs, env: &Env, stop: &Stop) -> anyhow::Result<bool> {
    args.check()?;
    let items = Items::open(&args.source, env).await?;
    if args.dry_run {
        return dry_run(args, items, stop).await;
    }
    let target = Target::new(&args.url, args.key.as_ref(), args.ca_cert.as_deref())?;
    let mut resender = Resender::new(Client::new(Arc::new(target)), stop.clone());
    let mut count = Count::default();
    let outcome = replay(args, items, &mut resender, &mut count).await;
    let report = Report { count, sent: resender.sent };
    print!("{report}");
    outcome.with_context(|| format!("replay to {}; starting again is safe", args.url))?;
    Ok(report.is_clean())
}

async fn replay(args: &ReplayArgs, mut items: Items, resender: &mut Resender, count: &mut Count) -> anyhow::Result<()> {
    while let Some(batch) = items.next_batch().await? {
        for item in batch.items()?.filter(|item| all_hold(&args.conditions, item)) {
            match repaired(&item, &args.patches) {
                Ok(event) => resender.add(&event).await?,
                Err(_) => count.not_repairable += 1,
            }
            count.matched += 1;
        }
    }
    resender.flush().await
}

async fn dry_run(args: &ReplayArgs, mut items: Items, stop: &Stop) -> anyhow::Result<bool> {
    let mut count = Count::default();
    while let Some(batch) = items.next_batch().await? {
        if stop.is_cancelled() {
            bail!("stopped before the end of quarantine");
        }
        for item in batch.items()?.filter(|item| all_hold(&args.conditions, item)) {
            let repaired = repaired(&item, &args.patches);
            count.not_repairable += u64::from(repaired.is_err());
            if count.matched < args.examples {
                show(&item, repaired.map_err(|error| error.to_string()));
            }
            count.matched += 1;
        }
    }
    println!("dry run: {count}; nothing was sent");
    Ok(true)
}

fn show(item: &Item<'_>, repaired: Result<Vec<u8>, String>) {
    println!("{}  {} {}", item.quarantine_id, item.reason, item.field);
    println!("  before  {}", excerpt(item.original));
    match repaired {
        Ok(event) => println!("  after   {}\n", excerpt(&event)),
        Err(error) => println!("  not repairable: {error}\n"),
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Count {
    matched: u64,
    not_repairable: u64,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events meant, {} not repairable (not a JSON object)", self.matched, self.not_repairable)
    }
}

#[derive(Debug)]
struct Report {
    count: Count,
    sent: Sent,
}

impl Report {
    fn is_clean(&self) -> bool {
        self.sent.accepted == self.count.matched
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { count: Count { matched, not_repairable }, sent } = self;
        writeln!(f, "meant              {matched:>12}")?;
        writeln!(f, "accepted           {:>12}", sent.accepted)?;
        writeln!(f, "quarantined again  {:>12}", sent.still_invalid())?;
        for (reason, count) in &sent.quarantined {
            writeln!(f, "  {reason:<16} {count:>12}")?;
        }
        if sent.unlisted > 0 {
            writeln!(f, "  {:<16} {:>12}", "(not listed)", sent.unlisted)?;
        }
        writeln!(f, "not repairable     {not_repairable:>12}")?;
        if sent.accepted > 0 {
            writeln!(f, "Each accepted event carries its own id: replaying it again is harmless.")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: ReplayArgs,
    }

    fn check(flags: &[&str]) -> Result<(), String> {
        let args = ["replay"].iter().chain(flags);
        let cli = Cli::try_parse_from(args).map_err(|error| error.to_string())?;
        cli.args.check().map_err(|error| error.to_string())
    }

    #[test]
    fn a_patch_that_makes_all_one_event_is_refused() {
        let id = "event_id=019b76da-a800-7c3e-9d5f-0d6f5b1d4c11";
        let error = check(&["--where", "reason=bad_uuid", "--patch", id]).expect_err("one id for all");
        assert!(error.contains("@new"), "{error}");
        assert_eq!(check(&["--where", "reason=bad_uuid", "--patch", "event_id=@new"]), Ok(()));
        let one = "quarantine_id=5f0c2a77-1d3b-8e21-a6a0-2f9f6f1f7d10";
        assert_eq!(check(&["--where", one, "--patch", id]), Ok(()));
    }

    #[test]
    fn nothing_is_replayed_unless_it_is_said_what() {
        assert!(check(&[]).is_err());
        assert!(check(&["--where", "color=red"]).is_err());
    }

    #[test]
    fn a_report_is_clean_when_all_that_is_meant_was_accepted() {
        let sent = Sent { accepted: 2, ..Sent::default() };
        let report = |matched| Report { count: Count { matched, not_repairable: 0 }, sent: sent.clone() };
        assert!(report(2).is_clean() && !report(3).is_clean());
        assert!(report(2).to_string().contains("harmless"));
    }
}
