//! What the last night should have compacted, and has not.
//!
//! **Due**: announced before the night began, of a day that was over by then, and in no complete plan. Nothing becomes due
//! until the next night; so once nothing is, nobody looks again before.

use crate::chain::{self, DayPlans};
use crate::compact::completed_at;
use crate::discover::Discovery;
use crate::error::CompactError;
use crate::metrics::METRICS;
use crate::plan::Cursors;
use crate::{Compactor, nightly};
use lake::Lake;
use lake::layout::{LIVE, ObjectName, Role, day_prefix};
use ledger::Ledger;
use schema::{Day, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How often it is looked at while something is due. Each look lists the live objects of the days that are.
const LOOK_EVERY: Duration = Duration::from_secs(10 * 60);

const MICROS_PER_SECOND: i64 = 1_000_000;

/// What is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Days with live objects that are in no complete plan.
    pub days: u64,
    /// Bytes of those objects.
    pub bytes: u64,
}

/// Shows the backlog, and when there was none, until there is a halt.
pub(crate) async fn watch(compactor: &Compactor) -> anyhow::Result<()> {
    let (mut discovery, mut done) = (Discovery::default(), None);
    loop {
        let now = compactor.parts.env.now();
        let night = nightly::last(now);
        if done != Some(night) {
            match look(compactor, &mut discovery, night).await {
                Ok(backlog) => {
                    backlog.show(now);
                    done = (backlog.days == 0).then_some(night);
                }
                Err(error) => nightly::judge(error.into(), "looking at the backlog")?,
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Backlog {
    fn show(&self, now: i64) {
        let shown = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        METRICS.backlog_days.set(shown(self.days));
        METRICS.backlog_bytes.set(shown(self.bytes));
        if self.days == 0 {
            METRICS.last_success_seconds.set(now.div_euclid(MICROS_PER_SECOND));
        }
    }
}

/// What is due of the night that began at `night`; `discovery` is that of the look before.
pub(crate) async fn look(
    compactor: &Compactor,
    discovery: &mut Discovery,
    night: i64,
) -> Result<Backlog, CompactError> {
    let (ledger, lake) = (&*compactor.parts.ledger, &compactor.lake);
    discovery.read_on(ledger, &chain::settled(ledger).await?, night).await?;
    let (mut days, mut bytes) = (BTreeSet::new(), 0);
    for (table, day) in discovery.days().into_iter().filter(|&(_, day)| day < Day::of(night)) {
        let planned = planned(ledger, lake, (table, day)).await?;
        discovery.done((table, day), &planned);
        if discovery.has((table, day)) {
            days.insert(day);
            bytes += bytes_beyond(lake, (table, day), &planned).await?;
        }
    }
    Ok(Backlog { days: days.len() as u64, bytes })
}

/// How far complete plans of a day cover the writer chains. All but the last are complete (PROTOCOL rule 27).
async fn planned(ledger: &dyn Ledger, lake: &dyn Lake, day: (Table, Day)) -> Result<Cursors, CompactError> {
    let plans = DayPlans::load(ledger, &chain::of_day(day.0, day.1)).await?.plans;
    let Some((last, earlier)) = plans.split_last() else { return Ok(Cursors::new()) };
    let complete = completed_at(lake, last).await?.map(|_| last).or(earlier.last());
    Ok(complete.map(chain::cursors).unwrap_or_default())
}

/// Bytes of the live objects of a day that complete plans do not cover.
async fn bytes_beyond(lake: &dyn Lake, (table, day): (Table, Day), planned: &Cursors) -> Result<u64, CompactError> {
    let planned: BTreeMap<String, u64> = planned.iter().map(|(chain, next)| (chain.file_token(), *next)).collect();
    let is_beyond = |key: &str| match ObjectName::parse(key).map(|name| name.role) {
        Some(Role::Live { writer, entry, .. }) => planned.get(&writer).is_none_or(|&next| entry >= next),
        _ => false,
    };
    let listed = lake.list(&day_prefix(LIVE, table, day)).await?;
    Ok(listed.into_iter().filter(|object| is_beyond(&object.key)).map(|object| object.bytes).sum())
}
