//! Removes live objects whose rows are in final ones (PROTOCOL rule 31).
//!
//! A listing says what there is to remove; whether it may go, the plans say. The sweep is repeated for as long as plans
//! live: a writer that was paused for long may create an object again that is long gone.

use crate::chain;
use crate::compact::completed_at;
use crate::error::CompactError;
use crate::metrics::METRICS;
use crate::{Parts, plan};
use lake::Lake;
use lake::layout::{LIVE, ObjectName, table_prefix};
use schema::{Day, Table};
use std::collections::{BTreeMap, BTreeSet};

/// Removes the inputs of plans that have been complete for the grace; how many.
pub(crate) async fn sweep(parts: &Parts, lake: &dyn Lake) -> Result<u64, CompactError> {
    let mut swept = 0;
    for table in Table::ALL {
        for (day, listed) in listed(lake, table).await? {
            swept += sweep_day(parts, lake, (table, day), listed).await?;
        }
    }
    METRICS.swept.inc_by(swept);
    Ok(swept)
}

/// Live objects by day.
async fn listed(lake: &dyn Lake, table: Table) -> Result<BTreeMap<Day, BTreeSet<String>>, CompactError> {
    let mut days: BTreeMap<Day, BTreeSet<String>> = BTreeMap::new();
    for object in lake.list(&table_prefix(LIVE, table)).await? {
        if let Some(name) = ObjectName::parse(&object.key) {
            days.entry(name.day).or_default().insert(object.key);
        }
    }
    Ok(days)
}

async fn sweep_day(
    parts: &Parts,
    lake: &dyn Lake,
    (table, day): (Table, Day),
    mut listed: BTreeSet<String>,
) -> Result<u64, CompactError> {
    let chain = chain::of_day(table, day);
    let grace = i64::try_from(parts.config.grace.as_micros()).unwrap_or(i64::MAX);
    let (mut number, mut swept) = (0, 0);
    while !listed.is_empty()
        && let Some(plan) = chain::plan(&*parts.ledger, &chain, number).await?
    {
        // Plans are completed and age in order: what is after one that is too young is younger.
        let Some(completed_at) = completed_at(lake, &plan).await? else { break };
        if parts.env.now().saturating_sub(completed_at) < grace {
            break;
        }
        for input in plan::inputs(&plan)? {
            if listed.remove(&input.key) {
                lake.delete(&input.key).await?;
                swept += 1;
            }
        }
        number += 1;
    }
    Ok(swept)
}
