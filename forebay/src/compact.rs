//! `forebay compact`: compaction on demand.
//!
//! Where nobody holds the data directory, it is done here; where `up` does, `up` is asked to, over its control socket.

use crate::control::{self, Request};
use crate::embedded::{self, Embedded};
use crate::source::Source;
use anyhow::Context;
use backend::Kind;
use clap::Args;
use compactor::{Compactor, Selection};
use ledger::embedded::EmbeddedLedger;
use schema::Day;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use service::{Env, Health};
use std::sync::Arc;
use store::Options;

/// What is said of a holder's work.
const ITS_SETTINGS: &str = ", with its own settings";

/// Merges live objects into final ones; where `up` runs, it does so, with the settings it was started with
#[derive(Args, Clone, Debug)]
pub struct CompactArgs {
    #[command(flatten)]
    pub source: Source,

    #[command(flatten)]
    pub order: Order,

    /// Start in spite of damaged files: what can't be read is copied to `damaged/` in the data directory
    #[arg(long)]
    pub set_aside_damaged: bool,

    #[command(flatten)]
    pub compactor: compactor::Config,
}

/// What is to be compacted, as the command line has it and as it travels to the holder.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Only this day of events, as YYYY-MM-DD
    #[arg(long, value_parser = day, conflicts_with = "all")]
    #[serde(serialize_with = "write_day", deserialize_with = "read_day")]
    pub date: Option<Day>,

    /// Today and days to come as well; default: days that are over
    #[arg(long)]
    pub all: bool,

    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

fn day(text: &str) -> Result<Day, String> {
    Day::parse(text).ok_or_else(|| format!("`{text}` is no day as in 2026-11-22"))
}

fn write_day<S: Serializer>(day: &Option<Day>, to: S) -> Result<S::Ok, S::Error> {
    day.map(|day| day.to_string()).serialize(to)
}

fn read_day<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Day>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.map(|text| day(&text).map_err(D::Error::custom)).transpose()
}

impl Order {
    fn selection(&self) -> Selection {
        match (self.date, self.all) {
            (Some(day), _) => Selection::Day(day),
            (None, true) => Selection::All,
            (None, false) => Selection::Past,
        }
    }

    /// Does what was ordered; gives the lines to print.
    pub async fn carry_out(&self, compactor: &Compactor) -> anyhow::Result<Vec<String>> {
        if !self.dry_run {
            return Ok(vec![compactor.compact(self.selection()).await?.to_string()]);
        }
        let previews = compactor.dry_run(self.selection()).await?;
        let lines =
            previews.iter().flat_map(|preview| preview.to_string().lines().map(str::to_string).collect::<Vec<_>>());
        let lines: Vec<String> = lines.collect();
        Ok(if lines.is_empty() { vec!["nothing to compact".to_string()] } else { lines })
    }
}

/// Compacts, or says what there is to compact.
pub async fn run(args: CompactArgs, env: Env) -> anyhow::Result<()> {
    if args.source.backend == Kind::Aws {
        let view = args.source.on_aws(&env).await?;
        let Embedded { ledger, lake, .. } = view.ports.clone();
        let compactor = Compactor::new(args.compactor, ledger, lake, env, &Health::default());
        print(&args.order.carry_out(&compactor).await?);
        return Ok(());
    }
    embedded::refuse_missing(&args.source.places.data_dir)?;
    if args.order.dry_run { preview(args, env).await } else { compact(args, env).await }
}

/// Only looks: anyone may while somebody else writes, but the holder knows its own settings best.
async fn preview(args: CompactArgs, env: Env) -> anyhow::Result<()> {
    if let Some(holder) = control::reach(&args.source.places.data_dir).await? {
        return holder.do_it(&Request::Compact(args.order), ITS_SETTINGS).await;
    }
    let (embedded, _reader) = embedded::open_read_only(&args.source.places)?;
    let compactor = Compactor::new(args.compactor, embedded.ledger, embedded.lake, env, &Health::default());
    print(&args.order.carry_out(&compactor).await?);
    Ok(())
}

async fn compact(args: CompactArgs, env: Env) -> anyhow::Result<()> {
    const NO_DESK: &str = "another process is at work there and takes no calls: wait until it is through, or stop it";
    let CompactArgs { source: Source { places, .. }, order, set_aside_damaged, compactor } = args;
    let options = Options { set_aside_damaged, ..embedded::options("forebay compact", &env) };
    let store = match embedded::take(&places.data_dir, options).await {
        Err(error) if embedded::is_held(&error) => match control::reach(&places.data_dir).await? {
            Some(holder) => return holder.do_it(&Request::Compact(order), ITS_SETTINGS).await,
            None => return Err(error).context(NO_DESK),
        },
        taken => taken?,
    };
    let ledger = Arc::new(EmbeddedLedger::new(store.clone()));
    let compactor = Compactor::new(compactor, ledger, places.open_lake()?, env, &Health::default());
    let outcome = order.carry_out(&compactor).await;
    tokio::task::spawn_blocking(move || store.close()).await?;
    print(&outcome?);
    Ok(())
}

pub(crate) fn print(lines: &[String]) {
    lines.iter().for_each(|line| println!("{line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_travels_as_json_and_nothing_else_is_taken_for_one() {
        let order = Order { date: Day::parse("2026-11-22"), all: false, dry_run: true };
        let json = serde_json::to_string(&order).expect("an order is JSON");
        assert_eq!(json, r#"{"date":"2026-11-22","all":false,"dry_run":true}"#);
        assert_eq!(serde_json::from_str::<Order>(&json).expect("its own JSON"), order);
        for other in [
            r#"{"date":"soon","all":false,"dry_run":true}"#,
            r#"{"date":null,"all":false,"dry_run":true,"fast":true}"#,
            r#"{"date":null,"all":false}"#,
        ] {
            assert!(serde_json::from_str::<Order>(other).is_err(), "{other}");
        }
    }
}
