//! `forebay forward-again`: closes holes, from what the raw stream still has.
//!
//! The chains say which events are numbered and in no live object, although their clean records were acknowledged. Most of
//! them are merely on their way; forwarding these again is harmless (PROTOCOL rule 25).

use crate::audit;
use crate::compact::print;
use crate::control::{self, Request};
use crate::embedded::{self, Embedded};
use crate::source::Source;
use anyhow::{Context, bail};
use backend::Kind;
use clap::Args;
use dedup_service::again::{Again, Ordinals, Outcome};
use serde::{Deserialize, Serialize};
use service::Env;

/// Origins that a message names at most.
const ORIGINS_SHOWN_MAX: usize = 5;

/// Puts clean records whose events never reached the lake into the clean stream again; exits with 1 if the raw stream no
/// longer has some
#[derive(Args, Clone, Debug)]
pub struct ForwardArgs {
    #[command(flatten)]
    pub source: Source,

    #[command(flatten)]
    pub order: Order,
}

/// What is to be done, as the command line has it and as it travels to the holder.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[group(id = "forward-again")]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Say what would be forwarded, and forward nothing
    #[arg(id = "forward-dry-run", long = "dry-run")]
    pub dry_run: bool,
}

impl Order {
    /// Does what was ordered; gives the lines to print.
    ///
    /// # Errors
    /// Events are gone from the raw stream as well, after everything else was forwarded; or something can't be read.
    pub async fn carry_out(self, ports: &Embedded, env: &Env) -> anyhow::Result<Vec<String>> {
        let wanted = audit::due(ports, env).await?;
        let Embedded { raw, clean, ledger, .. } = ports;
        let again = Again { raw: &**raw, clean: &**clean, ledger: &**ledger, is_rehearsal: self.dry_run };
        let outcome = again.forward(&wanted).await.context("forward again")?;
        refuse_gone(&outcome)?;
        Ok(vec![told(&outcome, self.dry_run)])
    }
}

fn told(outcome: &Outcome, is_rehearsal: bool) -> String {
    let Outcome { records, events, .. } = outcome;
    match (records, is_rehearsal) {
        (0, _) => "nothing to forward: all numbered events are in the lake".to_owned(),
        (_, true) => format!("would forward {records} records with {events} events again"),
        (_, false) => format!("forwarded {records} records with {events} events again"),
    }
}

/// What is gone can't be mended by anybody: it is an error, whatever else was done.
fn refuse_gone(outcome: &Outcome) -> anyhow::Result<()> {
    if outcome.gone.is_empty() {
        return Ok(());
    }
    let events: u64 = outcome.gone.values().map(schema::IntervalSet::len).sum();
    bail!(
        "{events} events are in no object, and the raw stream no longer has them: {}; {} other records were forwarded",
        examples(&outcome.gone),
        outcome.records
    )
}

fn examples(gone: &Ordinals) -> String {
    let mut shown: Vec<String> = Vec::new();
    for (origin, ordinals) in gone.iter().take(ORIGINS_SHOWN_MAX) {
        let (first, last) = (ordinals.intervals().first().map_or(0, |range| range.0), ordinals.end().saturating_sub(1));
        shown.push(format!("{} of origin {origin} from {first} to {last}", ordinals.len()));
    }
    let more = gone.len().saturating_sub(ORIGINS_SHOWN_MAX);
    if more > 0 {
        shown.push(format!("and of {more} origins more"));
    }
    shown.join(", ")
}

/// Forwards again, or has it done by `up`.
///
/// # Errors
/// As [`Order::carry_out`], and a data directory where nobody would write what is forwarded.
pub async fn run(args: ForwardArgs, env: Env) -> anyhow::Result<()> {
    let ForwardArgs { source, order } = args;
    if source.backend == Kind::Aws {
        let view = source.on_aws(&env).await?;
        print(&order.carry_out(&view.ports, &env).await?);
        return Ok(());
    }
    embedded::refuse_missing(&source.places.data_dir)?;
    match control::reach(&source.places.data_dir).await? {
        Some(holder) => holder.do_it(&Request::ForwardAgain(order), "").await,
        None if order.dry_run => {
            print(&order.carry_out(&source.look(&env).await?.ports, &env).await?);
            Ok(())
        }
        None => bail!("no `forebay up` is at work on this data directory: start it, then ask again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::{ChainId, IntervalSet, Kind, Origin, ShardId};

    #[test]
    fn what_is_gone_is_an_error_that_names_it() {
        let origin = Origin::of(&ChainId::dedup("r1", &ShardId::new("raw-0000"), 0), Kind::Events);
        let mut ordinals = IntervalSet::default();
        ordinals.insert(3, 5);
        ordinals.insert(9, 10);
        let outcome = Outcome { records: 2, events: 7, gone: Ordinals::from([(origin.clone(), ordinals)]) };
        let error = refuse_gone(&outcome).expect_err("events are gone").to_string();
        assert!(error.contains(&format!("3 of origin {origin} from 3 to 9")), "{error}");
    }
}
