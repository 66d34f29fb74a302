//! What writers have taken of each origin, by the heads of their chains.
//!
//! **Forgotten**: in no set any more. Writers forget an origin that ended long ago once they have all of it; whoever has
//! never seen the whole set can't tell it from one of which nobody ever took anything.

use super::broken::Broken;
use anyhow::Context;
use ledger::Ledger;
use schema::{ChainId, IntervalSet, Origin};
use std::collections::{BTreeMap, BTreeSet};
use writer_service::FORGET_AFTER;
use writer_service::chain::{LatestSets, latest_sets};
use writer_service::write::Sets;

/// The chains of all writers, read again and again.
#[derive(Debug, Default)]
pub(super) struct Writers {
    /// Number of the last entry of each chain when it was read.
    heads: BTreeMap<ChainId, u64>,
    /// Sets of chains that have ended.
    ended: BTreeMap<ChainId, Sets>,
}

/// Ordinals that some writer has announced.
#[derive(Debug)]
pub(super) struct Taken {
    sets: Sets,
    /// By the wall clock, microseconds.
    now: i64,
}

impl Writers {
    /// Reads what has been taken by now. A chain that is not what it was is read all the same: the sets are what it says.
    pub(super) async fn read(&mut self, ledger: &dyn Ledger, now: i64, broken: &mut Broken) -> anyhow::Result<Taken> {
        let listed = ledger.chains(ChainId::WRITER).await.context("list the writers' chains")?;
        let listed: BTreeSet<ChainId> = listed.into_iter().collect();
        for chain in self.heads.keys().filter(|chain| !listed.contains(chain)) {
            broken.add(chain, "it was there, and is gone");
        }
        let mut sets = Sets::default();
        for chain in listed {
            if !self.ended.contains_key(&chain) {
                self.read_head(ledger, &chain, &mut sets, broken).await?;
            }
        }
        self.ended.values().for_each(|ended| sets.union(ended));
        Ok(Taken { sets, now })
    }

    async fn read_head(
        &mut self,
        ledger: &dyn Ledger,
        chain: &ChainId,
        taken: &mut Sets,
        broken: &mut Broken,
    ) -> anyhow::Result<()> {
        let latest = latest_sets(ledger, chain).await.with_context(|| format!("read chain {chain}"))?;
        let seen = self.heads.get(chain).copied();
        let Some(LatestSets { number, sets, is_ended }) = latest else {
            if let Some(seen) = seen {
                broken.add(chain, format_args!("it had entry {seen}, and ends with nothing"));
            }
            return Ok(());
        };
        if let Some(seen) = seen.filter(|&seen| seen > number) {
            broken.add(chain, format_args!("it had entry {seen}, and ends with entry {number}"));
        }
        self.heads.insert(chain.clone(), number.max(seen.unwrap_or_default()));
        if is_ended {
            self.ended.insert(chain.clone(), sets);
        } else {
            taken.union(&sets);
        }
        Ok(())
    }
}

impl Taken {
    pub(super) fn get(&self, origin: &Origin) -> Option<&IntervalSet> {
        self.sets.get(origin)
    }

    /// All origins of which something is taken.
    pub(super) fn origins(&self) -> impl Iterator<Item = &Origin> {
        self.sets.iter().filter(|(_, set)| !set.is_empty()).map(|(origin, _)| origin)
    }

    /// Whether an origin whose chain ended then may have left the sets.
    pub(super) fn may_be_forgotten(&self, ended_at: Option<i64>) -> bool {
        let forget_after = i64::try_from(FORGET_AFTER.as_micros()).expect("it is a constant of some days");
        ended_at.is_some_and(|ended_at| ended_at.saturating_add(forget_after) <= self.now)
    }
}
