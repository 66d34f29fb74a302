//! The exact reader: which objects, together, hold each row once (PROTOCOL rule 33).

use crate::chain::{self, cursors};
use crate::compact::completed_at;
use crate::error::CompactError;
use crate::plan::Cursors;
use lake::Lake;
use lake::layout::{ObjectName, Role};
use ledger::Ledger;
use schema::v1::PlanEntry;
use schema::{ChainId, Day, Table};
use std::collections::BTreeMap;

/// Objects of one moment. Those of `finals` and `live` together hold each row once, but for further copies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Outputs of complete plans.
    pub finals: Vec<String>,
    /// Settled objects that no complete plan covers.
    pub live: Vec<String>,
    /// Where complete plans put further copies.
    pub dropped: Vec<String>,
}

impl Snapshot {
    /// The objects that hold each row once.
    pub fn objects(&self) -> impl Iterator<Item = &str> {
        self.finals.iter().chain(&self.live).map(String::as_str)
    }
}

/// A live object, by writer chain.
#[derive(Clone, Copy, Debug)]
struct Settled {
    day: (Table, Day),
    chain: usize,
    entry: u64,
    part: u32,
}

/// Looks at the chains, writers' first: what is planned meanwhile is covered then, and never missing.
///
/// The objects stay for the grace of the sweep.
pub async fn snapshot(ledger: &dyn Ledger, lake: &dyn Lake) -> Result<Snapshot, CompactError> {
    let (chains, settled) = settled(ledger).await?;
    let (mut snapshot, covered) = planned(ledger, lake).await?;
    for Settled { day, chain, entry, part } in settled {
        let chain = &chains[chain];
        let planned = covered.get(&day).and_then(|cursors| cursors.get(chain)).copied().unwrap_or(0);
        if entry >= planned {
            snapshot.live.push(ObjectName::live(day.0, day.1, chain, entry, part).key());
        }
    }
    Ok(snapshot)
}

async fn settled(ledger: &dyn Ledger) -> Result<(Vec<ChainId>, Vec<Settled>), CompactError> {
    let (mut chains, mut objects) = (Vec::new(), Vec::new());
    for (chain, through) in chain::settled(ledger).await? {
        let number = chains.len();
        chain::announcements(ledger, &chain, 0, through, |entry, announcement| {
            for object in &announcement.objects {
                let named = ObjectName::parse(&object.key);
                if let Some(ObjectName { table, day, role: Role::Live { part, .. } }) = named {
                    objects.push(Settled { day: (table, day), chain: number, entry, part });
                }
            }
            Ok(())
        })
        .await?;
        chains.push(chain);
    }
    Ok((chains, objects))
}

/// What complete plans made, and how far they cover the writer chains of each day.
async fn planned(
    ledger: &dyn Ledger,
    lake: &dyn Lake,
) -> Result<(Snapshot, BTreeMap<(Table, Day), Cursors>), CompactError> {
    let (mut snapshot, mut covered) = (Snapshot::default(), BTreeMap::new());
    for (table, day) in chain::planned_days(ledger).await? {
        let chain = chain::of_day(table, day);
        let mut next = chain::plan(ledger, &chain, 0).await?;
        let mut number = 0;
        while let Some(plan) = next {
            number += 1;
            next = chain::plan(ledger, &chain, number).await?;
            // Only the last plan of a day can be open (PROTOCOL rule 27).
            if next.is_some() || completed_at(lake, &plan).await?.is_some() {
                covered.insert((table, day), cursors(&plan));
                add(&mut snapshot, plan);
            }
        }
    }
    Ok((snapshot, covered))
}

fn add(snapshot: &mut Snapshot, plan: PlanEntry) {
    snapshot.finals.extend(plan.outputs.into_iter().map(|output| output.key));
    snapshot.dropped.push(plan.dropped_key);
}
