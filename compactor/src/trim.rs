//! Trims writer chains of what final objects hold.
//!
//! An announcement is needed until its objects are in final ones: it says which rows they must have, and whoever plans
//! or recovers reads it. **Whole**: a plan all of whose outputs are there, looked at one by one. What is trimmed can't be
//! looked up again.

use crate::Parts;
use crate::chain::{self, announcement};
use crate::compact::completed_at;
use crate::error::CompactError;
use crate::metrics::METRICS;
use crate::plan::Cursors;
use lake::layout::ObjectName;
use lake::{Lake, LakeError};
use ledger::{Ledger, Walk};
use schema::v1::{Announcement, LakeObject, PlanEntry};
use schema::{ChainId, Day, Table};
use std::collections::BTreeMap;

/// Removes announcements that are old, done, and in whole plans; how many.
pub(crate) async fn trim(parts: &Parts, lake: &dyn Lake) -> Result<u64, CompactError> {
    let keep = i64::try_from(parts.config.keep_announcements.as_micros()).unwrap_or(i64::MAX);
    let kept_from = parts.env.now().saturating_sub(keep);
    let mut trimming = Trimming { ledger: &*parts.ledger, lake, kept_from, planned: BTreeMap::new() };
    let mut trimmed = 0;
    for chain in parts.ledger.chains(ChainId::WRITER).await? {
        trimmed += trimming.chain(&chain).await?;
    }
    METRICS.trimmed_entries.inc_by(trimmed);
    Ok(trimmed)
}

struct Trimming<'a> {
    ledger: &'a dyn Ledger,
    lake: &'a dyn Lake,
    kept_from: i64,
    /// How far whole plans of a day cover the writer chains.
    planned: BTreeMap<(Table, Day), Cursors>,
}

impl Trimming<'_> {
    async fn chain(&mut self, chain: &ChainId) -> Result<u64, CompactError> {
        let Some(head) = self.ledger.head(chain).await?.filter(|head| head.number > 0) else { return Ok(0) };
        // A new owner derives again from the sets of the entry before `done_through` (PROTOCOL rule 19).
        let done = announcement(chain, head.number, head.entry.bytes)?.done_through;
        let through = done.saturating_sub(1).min(head.number);
        let mut walk = Walk::new(self.ledger, chain, 1);
        let (mut below, mut count) = (1, 0);
        while let Some(slot) = walk.next().await?
            && slot.number < through
            && self.may_go(chain, slot.number, &announcement(chain, slot.number, slot.entry.bytes)?).await?
        {
            (below, count) = (slot.number + 1, count + 1);
        }
        if count > 0 {
            self.ledger.trim(chain, below).await?;
        }
        Ok(count)
    }

    async fn may_go(&mut self, chain: &ChainId, number: u64, entry: &Announcement) -> Result<bool, CompactError> {
        if entry.appended_at >= self.kept_from {
            return Ok(false);
        }
        for object in &entry.objects {
            if !self.is_planned(chain, number, object).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn is_planned(&mut self, chain: &ChainId, number: u64, object: &LakeObject) -> Result<bool, CompactError> {
        let Some(ObjectName { table, day, .. }) = ObjectName::parse(&object.key) else { return Ok(false) };
        if !self.planned.contains_key(&(table, day)) {
            let cursors = self.whole_plans(table, day).await?;
            self.planned.insert((table, day), cursors);
        }
        Ok(self.planned[&(table, day)].get(chain).is_some_and(|&next| number < next))
    }

    /// The cursors of the last plan up to which all are whole.
    async fn whole_plans(&self, table: Table, day: Day) -> Result<Cursors, CompactError> {
        let days_chain = chain::of_day(table, day);
        let (mut cursors, mut number) = (Cursors::new(), 0);
        while let Some(plan) = chain::plan(self.ledger, &days_chain, number).await?
            && self.is_whole(&plan).await?
        {
            cursors = chain::cursors(&plan);
            number += 1;
        }
        Ok(cursors)
    }

    async fn is_whole(&self, plan: &PlanEntry) -> Result<bool, CompactError> {
        if completed_at(self.lake, plan).await?.is_none() {
            return Ok(false);
        }
        for output in &plan.outputs {
            match self.lake.head(&output.key).await {
                Ok(_) => {}
                Err(LakeError::NotFound(_)) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}
