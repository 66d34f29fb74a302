//! `quarantine ls`: how many, of which kinds, and some of each.

use super::excerpt;
use super::filter::{Where, all_hold};
use super::items::{Item, Items};
use crate::source::Source;
use anyhow::bail;
use clap::Args;
use schema::Day;
use service::{Env, Stop};
use std::collections::BTreeMap;
use std::fmt;

/// Most kinds that are counted apart: sources and reasons are few, days go by.
const KINDS_MAX: usize = 10_000;

/// Most reasons that examples are kept of, and most examples of each.
const EXAMPLE_REASONS_MAX: usize = 100;
const EXAMPLES_MAX: u64 = 1_000;

/// Counts what is in quarantine by reason, source and day, with examples
///
/// Shows what is settled in the lake: an event that was refused just now appears within the flush interval.
#[derive(Args, Clone, Debug)]
pub(super) struct LsArgs {
    #[command(flatten)]
    source: Source,

    /// Only items with KEY=VALUE: reason, field, stage, source, day (received, YYYY-MM-DD) or quarantine_id; of several
    /// all must hold
    #[arg(long = "where", value_name = "KEY=VALUE")]
    conditions: Vec<Where>,

    /// Examples of each reason
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u64).range(..=EXAMPLES_MAX))]
    examples: u64,
}

/// Lists, until `stop`.
pub(super) async fn run(args: &LsArgs, env: &Env, stop: &Stop) -> anyhow::Result<()> {
    let mut items = Items::open(&args.source, env).await?;
    let mut listing = Listing::new(args.examples as usize);
    while let Some(batch) = items.next_batch().await? {
        if stop.is_cancelled() {
            bail!("stopped before the end of quarantine");
        }
        batch.items()?.filter(|item| all_hold(&args.conditions, item)).for_each(|item| listing.add(&item));
    }
    print!("{listing}");
    Ok(())
}

/// Items are counted by what they have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    reason: String,
    field: String,
    source: String,
    day: Day,
}

#[derive(Debug)]
struct Listing {
    kinds: BTreeMap<Kind, u64>,
    /// Items of kinds beyond the bound.
    others: u64,
    examples: BTreeMap<String, Vec<String>>,
    examples_each: usize,
}

impl Listing {
    fn new(examples_each: usize) -> Listing {
        Listing { kinds: BTreeMap::new(), others: 0, examples: BTreeMap::new(), examples_each }
    }

    fn add(&mut self, item: &Item<'_>) {
        let Item { reason, field, source, .. } = *item;
        let source = source.unwrap_or("-").to_string();
        let kind = Kind { reason: reason.to_string(), field: field.to_string(), source, day: item.day() };
        let is_full = self.kinds.len() == KINDS_MAX;
        match self.kinds.get_mut(&kind) {
            Some(count) => *count += 1,
            None if is_full => self.others += 1,
            None => drop(self.kinds.insert(kind, 1)),
        }
        self.keep_example(item);
    }

    fn keep_example(&mut self, item: &Item<'_>) {
        let examples_each = self.examples_each;
        if self.examples.len() == EXAMPLE_REASONS_MAX && !self.examples.contains_key(item.reason) {
            return;
        }
        let examples = self.examples.entry(item.reason.to_string()).or_default();
        if examples.len() < examples_each {
            examples.push(example(item));
        }
    }

    fn total(&self) -> u64 {
        self.kinds.values().sum::<u64>() + self.others
    }
}

fn example(item: &Item<'_>) -> String {
    let Item { quarantine_id, field, value, message, original, .. } = *item;
    let (value, message) = (excerpt(value.as_bytes()), excerpt(message.as_bytes()));
    let field = if field.is_empty() { "-" } else { field };
    format!("  {quarantine_id}  {field} = {value:?}: {message}\n    {}\n", excerpt(original))
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.total() == 0 {
            return writeln!(f, "nothing in quarantine");
        }
        writeln!(f, "{:<16} {:<14} {:<20} {:<10} {:>12}", "reason", "field", "source", "day", "count")?;
        for (Kind { reason, field, source, day }, count) in &self.kinds {
            writeln!(f, "{reason:<16} {field:<14} {source:<20} {:<10} {count:>12}", day.to_string())?;
        }
        if self.others > 0 {
            writeln!(f, "{:<63} {:>12}", "(of other kinds)", self.others)?;
        }
        writeln!(f, "{:<63} {:>12}", "total", self.total())?;
        for (reason, examples) in self.examples.iter().filter(|(_, examples)| !examples.is_empty()) {
            write!(f, "\n{reason}\n{}", examples.concat())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item<'a>(reason: &'a str, source: Option<&'a str>) -> Item<'a> {
        Item { quarantine_id: "q", reason, field: "event_id", value: "x", source, original: b"{}", ..Item::default() }
    }

    #[test]
    fn a_listing_counts_kinds_and_shows_a_few_of_each_reason() {
        let mut listing = Listing::new(2);
        (0..5).for_each(|_| listing.add(&item("bad_uuid", None)));
        listing.add(&item("bad_uuid", Some("web")));
        listing.add(&item("too_old", None));
        let text = listing.to_string();
        let counts: Vec<&str> =
            text.lines().skip(1).take(4).filter_map(|line| line.split_whitespace().last()).collect();
        assert_eq!(counts, ["5", "1", "1", "7"], "{text}");
        assert_eq!(text.matches("q  event_id").count(), 3, "{text}");
    }

    #[test]
    fn kinds_beyond_the_bound_are_counted_together() {
        let mut listing = Listing::new(0);
        let sources: Vec<String> = (0..KINDS_MAX + 3).map(|k| k.to_string()).collect();
        sources.iter().for_each(|source| listing.add(&item("bad_uuid", Some(source))));
        listing.add(&item("bad_uuid", Some("0")));
        assert_eq!((listing.kinds.len(), listing.others, listing.total()), (KINDS_MAX, 3, KINDS_MAX as u64 + 4));
    }

    #[test]
    fn an_empty_quarantine_says_so() {
        assert_eq!(Listing::new(3).to_string(), "nothing in quarantine\n");
    }
}
