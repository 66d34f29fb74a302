//! Which days have something to do.
//!
//! Writer chains are read once, from where the last reading stopped. **Mentions**: the entries of a writer chain, first
//! to last, that announced objects of a day. Only a hint where to look: what is planned comes from the chains themselves.

use crate::chain;
use crate::error::CompactError;
use crate::plan::Cursors;
use ledger::Ledger;
use schema::{ChainId, Day, Table};
use std::collections::BTreeMap;

/// First and last entry.
type Mentions = BTreeMap<ChainId, (u64, u64)>;

/// What writer chains said of which day.
#[derive(Debug, Default)]
pub(crate) struct Discovery {
    read: Cursors,
    days: BTreeMap<(Table, Day), Mentions>,
}

impl Discovery {
    /// Reads on up to where each chain is settled, and up to what was appended at `before`, in Unix microseconds.
    pub(crate) async fn read_on(
        &mut self,
        ledger: &dyn Ledger,
        settled: &Cursors,
        before: i64,
    ) -> Result<(), CompactError> {
        for (chain, &through) in settled {
            let from = self.read.get(chain).copied().unwrap_or(0);
            let (days, mut end) = (&mut self.days, None);
            chain::announcements(ledger, chain, from, through, |number, announcement| {
                if end.is_some() || announcement.appended_at >= before {
                    end.get_or_insert(number);
                    return Ok(());
                }
                for object in &announcement.objects {
                    if let Some(table) = Table::parse(&object.table) {
                        let mentions = days.entry((table, Day(object.date))).or_default();
                        mentions.entry(chain.clone()).or_insert((number, number)).1 = number;
                    }
                }
                Ok(())
            })
            .await?;
            self.read.insert(chain.clone(), end.unwrap_or(through).max(from));
        }
        Ok(())
    }

    /// Days with objects that were not planned when last looked at.
    pub(crate) fn days(&self) -> Vec<(Table, Day)> {
        self.days.keys().copied().collect()
    }

    /// Whether anything of a day was not planned when last looked at.
    pub(crate) fn has(&self, day: (Table, Day)) -> bool {
        self.days.contains_key(&day)
    }

    /// Where each chain first mentions a day.
    pub(crate) fn firsts(&self, day: (Table, Day)) -> Cursors {
        let mentions = self.days.get(&day).into_iter().flatten();
        mentions.map(|(chain, &(first, _))| (chain.clone(), first)).collect()
    }

    /// Forgets a day of which everything below `planned` is in complete plans.
    pub(crate) fn done(&mut self, day: (Table, Day), planned: &Cursors) {
        let Some(mentions) = self.days.get_mut(&day) else { return };
        mentions.retain(|chain, (_, last)| planned.get(chain).is_none_or(|&through| *last >= through));
        if mentions.is_empty() {
            self.days.remove(&day);
        }
    }
}
