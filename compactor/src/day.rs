//! One day of one table, turn by turn: finish the plan that is open, else make the next one.

use crate::chain::{self, DayPlans, Findings};
use crate::compact::{Done, Work, completed_at, footer};
use crate::error::{CompactError, halt};
use crate::metrics::METRICS;
use crate::plan::{self, Announced, Contents, Cursors, Draft, Found};
use crate::{Parts, PlanPreview, Summary};
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use lake::layout::{LIVE, ObjectName, Role, day_prefix};
use lake::parquet_file::{Identity, ObjectError};
use lake::{Lake, LakeError};
use ledger::{Entry, LedgerError, Patience, append_until_decided};
use schema::v1::PlanEntry;
use schema::{ChainId, Day, Table, record};
use service::Rule;
use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

/// Most plans that one call makes or finishes; the next call goes on.
const PLANS_MAX: usize = 1000;

/// Footers that are read at the same time.
const FOOTERS_AT_ONCE: usize = 16;

const PATIENCE: Patience = Patience { pause: Duration::from_millis(100), attempts_max: 50 };

/// A day of a table, and what there is to plan it from.
#[derive(Debug)]
pub(crate) struct DayWork<'a> {
    parts: &'a Parts,
    lake: &'a dyn Lake,
    table: Table,
    day: Day,
    chain: ChainId,
    /// How far writer chains were settled when the work began, so that it ends although they go on.
    settled: Cursors,
    hints: Cursors,
}

/// What comes next on a day's chain.
#[derive(Debug)]
enum Next {
    /// The last plan, whose outputs do not all exist.
    Finish(PlanEntry),
    Append {
        entry: PlanEntry,
        /// Whether more is settled than it takes.
        more: bool,
    },
    /// Somebody else was faster: look again.
    Behind,
    Nothing,
}

/// A plan that is written down, and whose outputs do not all exist.
#[derive(Debug)]
pub(crate) struct OpenPlan {
    pub(crate) number: u64,
    pub(crate) plan: PlanEntry,
    /// Whether there may be more to plan once it is complete.
    pub(crate) more: bool,
    /// Whether it was appended just now, by this call.
    pub(crate) is_new: bool,
}

impl<'a> DayWork<'a> {
    pub(crate) fn new(
        parts: &'a Parts,
        lake: &'a dyn Lake,
        (table, day): (Table, Day),
        settled: Cursors,
        hints: Cursors,
    ) -> DayWork<'a> {
        DayWork { parts, lake, table, day, chain: chain::of_day(table, day), settled, hints }
    }

    /// Works until everything settled is in complete plans; the cursors of the last.
    pub(crate) async fn run(&self) -> Result<(Summary, Cursors), CompactError> {
        let mut summary = Summary::default();
        for _ in 0..PLANS_MAX {
            let plans = DayPlans::load(&*self.parts.ledger, &self.chain).await?;
            match self.next(&plans).await? {
                Next::Nothing => return Ok((summary, self.settled.clone())),
                Next::Behind => {}
                Next::Append { entry, .. } => {
                    self.append(plans.next(), &entry).await?;
                }
                Next::Finish(plan) => {
                    let earlier = &plans.plans[..plans.plans.len() - 1];
                    if let Some(done) = self.work(&plan, earlier).carry_out().await? {
                        self.log(plans.next() - 1, &done);
                        summary.add(&done);
                    }
                }
            }
        }
        Ok((summary, Cursors::new()))
    }

    /// The plan that is open, or the next one, appended. `None` where everything settled is in complete plans.
    pub(crate) async fn open_plan(&self) -> Result<Option<OpenPlan>, CompactError> {
        for _ in 0..PLANS_MAX {
            let plans = DayPlans::load(&*self.parts.ledger, &self.chain).await?;
            match self.next(&plans).await? {
                Next::Nothing => return Ok(None),
                Next::Behind => {}
                Next::Finish(plan) => {
                    return Ok(Some(OpenPlan { number: plans.next() - 1, plan, more: true, is_new: false }));
                }
                Next::Append { entry, more } => {
                    if self.append(plans.next(), &entry).await? {
                        return Ok(Some(OpenPlan { number: plans.next(), plan: entry, more, is_new: true }));
                    }
                }
            }
        }
        Ok(None)
    }

    /// What the next turn would do, for people to read.
    pub(crate) async fn preview(&self) -> Result<Option<PlanPreview>, CompactError> {
        let plans = DayPlans::load(&*self.parts.ledger, &self.chain).await?;
        let (number, plan, is_open) = match self.next(&plans).await? {
            Next::Finish(plan) => (plans.next() - 1, plan, true),
            Next::Append { entry, .. } => (plans.next(), entry, false),
            Next::Behind | Next::Nothing => return Ok(None),
        };
        Ok(Some(PlanPreview { table: self.table, day: self.day, number, is_open, plan }))
    }

    fn work<'b>(&'b self, plan: &'b PlanEntry, earlier: &'b [PlanEntry]) -> Work<'b> {
        Work { lake: self.lake, config: &self.parts.config, table: self.table, plan, earlier }
    }

    fn log(&self, number: u64, done: &Done) {
        let Done { inputs, rows, dropped, objects } = done;
        tracing::info!(table = %self.table, day = %self.day, number, inputs, rows, dropped, objects, "plan is complete");
    }

    async fn next(&self, plans: &DayPlans) -> Result<Next, CompactError> {
        if let Some(last) = plans.plans.last()
            && completed_at(self.lake, last).await?.is_none()
        {
            return Ok(Next::Finish(last.clone()));
        }
        let Findings { found, gone, more } = self.found(&plans.cursors()).await?;
        if let Some(key) = self.unplanned(&gone).await? {
            // Unless somebody planned it since, and trimmed.
            if chain::plan(&*self.parts.ledger, &self.chain, plans.next()).await?.is_some() {
                return Ok(Next::Behind);
            }
            return halt(format_args!("{key} is in no plan, and the entry that announced it is gone"));
        }
        if found.is_empty() {
            return Ok(Next::Nothing);
        }
        let Some(contents) = self.contents(plans.next(), &found).await? else { return Ok(Next::Behind) };
        let draft = Draft {
            table: self.table,
            day: self.day,
            number: plans.next(),
            cursors: plans.cursors(),
            found: &found,
            contents: &contents,
            partitions: plan::partitions(&plans.plans),
            object_bytes: self.parts.config.object_bytes as u64,
            appended_at: self.parts.env.now(),
        };
        Ok(Next::Append { entry: draft.entry(), more })
    }

    async fn found(&self, cursors: &Cursors) -> Result<Findings, CompactError> {
        let ledger = &*self.parts.ledger;
        let day = (self.table, self.day);
        if !self.parts.rules.keeps(Rule::PlanFromChains) {
            let reached = chain::reached(ledger).await?;
            let findings = chain::found(ledger, day, cursors, &reached, &self.hints).await?;
            let found = plan::cut(self.only_listed(findings.found).await?);
            return Ok(Findings { found, ..findings });
        }
        let findings = chain::found(ledger, day, cursors, &self.settled, &self.hints).await?;
        let objects = objects(&findings.found);
        let found = plan::cut(findings.found);
        let more = findings.more || self::objects(&found) < objects;
        Ok(Findings { found, more, ..findings })
    }

    /// A live object of the day whose entry is gone, if there is one: entries go only when all their objects are planned.
    async fn unplanned(&self, gone: &[(ChainId, Range<u64>)]) -> Result<Option<String>, CompactError> {
        if gone.is_empty() {
            return Ok(None);
        }
        let gone: Vec<_> = gone.iter().map(|(chain, numbers)| (chain.file_token(), numbers)).collect();
        let was_announced = |key: &str| match ObjectName::parse(key).map(|name| name.role) {
            Some(Role::Live { writer, entry, .. }) => {
                gone.iter().any(|(chain, numbers)| *chain == writer && numbers.contains(&entry))
            }
            _ => false,
        };
        let listed = self.lake.list(&day_prefix(LIVE, self.table, self.day)).await?;
        Ok(listed.into_iter().map(|object| object.key).find(|key| was_announced(key)))
    }

    /// What a compactor that trusts a listing would plan. For the test that shows why not.
    async fn only_listed(&self, mut found: Vec<Found>) -> Result<Vec<Found>, CompactError> {
        let listed = self.lake.list(&day_prefix(LIVE, self.table, self.day)).await?;
        let listed: BTreeSet<String> = listed.into_iter().map(|object| object.key).collect();
        for Found { chain, objects, .. } in &mut found {
            objects.retain(|object| listed.contains(&self.key(chain, object)));
        }
        found.retain(|found| !found.objects.is_empty());
        Ok(found)
    }

    fn key(&self, chain: &ChainId, object: &Announced) -> String {
        ObjectName::live(self.table, self.day, chain, object.entry, object.part).key()
    }

    /// What the inputs' footers say; `None` where one is gone because plan `number` exists already.
    async fn contents(&self, number: u64, found: &[Found]) -> Result<Option<Contents>, CompactError> {
        match self.add_up(found).await {
            Ok(contents) => Ok(Some(contents)),
            Err(ObjectError::Lake(LakeError::NotFound(key))) => {
                if chain::plan(&*self.parts.ledger, &self.chain, number).await?.is_some() {
                    return Ok(None);
                }
                halt(format_args!("{key} is settled in its writer's chain, and is not there"))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn add_up(&self, found: &[Found]) -> Result<Contents, ObjectError> {
        let (mut contents, mut footers) = (Contents::default(), FuturesOrdered::new());
        for Found { chain, objects, .. } in found {
            for object in objects {
                if footers.len() == FOOTERS_AT_ONCE
                    && let Some(footer) = footers.next().await
                {
                    let (identity, bytes) = footer?;
                    contents.add(&identity, bytes);
                }
                footers.push_back(self.checked_footer(self.key(chain, object), object));
            }
        }
        while let Some(footer) = footers.next().await {
            let (identity, bytes) = footer?;
            contents.add(&identity, bytes);
        }
        Ok(contents)
    }

    async fn checked_footer(&self, key: String, announced: &Announced) -> Result<(Identity, u64), ObjectError> {
        let (identity, bytes) = footer(self.lake, self.table, &key).await?;
        if (identity.rows, identity.rows_hash) != (announced.rows, announced.rows_hash) {
            let Announced { rows, rows_hash, .. } = announced;
            let detail = format!("it has {identity}, while {rows} rows of hash {rows_hash:032x} were announced");
            return Err(ObjectError::Damaged { key, detail });
        }
        Ok((identity, bytes))
    }

    /// Appends a plan; where somebody else's has taken the slot, that one counts. Whether it is ours.
    async fn append(&self, number: u64, plan: &PlanEntry) -> Result<bool, CompactError> {
        let entry = Entry { nonce: self.parts.env.nonce(), bytes: record::encode(plan) };
        match append_until_decided(&*self.parts.ledger, &self.chain, number, entry, PATIENCE).await {
            Ok(()) => {
                METRICS.chain_appends.inc();
                Ok(true)
            }
            Err(LedgerError::Taken { .. }) => {
                METRICS.chain_conflicts.inc();
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn objects(found: &[Found]) -> usize {
    found.iter().map(|found| found.objects.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Labour};
    use lake::local::LocalLake;
    use ledger::embedded::EmbeddedLedger;
    use service::{Env, Rules};
    use std::sync::Arc;
    use store::{Options, Store};

    #[tokio::test]
    async fn of_two_planners_one_is_counted_as_an_append_and_the_other_as_a_conflict() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("log"), Options::new(Arc::new(|| 0), "a test")).unwrap();
        let parts = Parts {
            ledger: Arc::new(EmbeddedLedger::new(Arc::new(store))),
            lake: Arc::new(LocalLake::open(dir.path().join("lake")).unwrap()),
            env: Env::system(),
            config: Config {
                object_bytes: 1 << 20,
                memory_bytes_max: 1 << 20,
                spill_dir: None,
                grace: Duration::ZERO,
                keep_announcements: Duration::ZERO,
            },
            labour: Labour::Inline,
            rules: Rules::default(),
        };
        let counted = || (METRICS.chain_appends.get(), METRICS.chain_conflicts.get());
        let planner =
            || DayWork::new(&parts, &*parts.lake, (Table::Events, Day(1)), Cursors::default(), Cursors::default());
        assert!(planner().append(0, &PlanEntry::default()).await.unwrap());
        assert_eq!(counted(), (1, 0));
        assert!(!planner().append(0, &PlanEntry::default()).await.unwrap());
        assert_eq!(counted(), (1, 1));
    }
}
