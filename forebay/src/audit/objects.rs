//! Which objects the chains name, and what each is to an exact reader (PROTOCOL rule 33).
//!
//! **Settled**: below the recorded `done_through` of its writer chain: the object exists. **Covered**: its rows are in the
//! outputs of a complete plan; it goes after a grace. **Stray**: in the lake, and no chain names it.

use super::lost::Known;
use super::report::Findings;
use anyhow::Context;
use lake::layout::{DROPPED, FINAL, LIVE, ObjectName, Role, table_prefix};
use lake::{Lake, LakeError};
use ledger::{Ledger, LedgerError, for_each_slot};
use prost::Message;
use schema::v1::{Announcement, LakeObject, PlanEntry};
use schema::{ChainId, Day, IntervalSet, Origin, Table};
use std::collections::{BTreeMap, BTreeSet};

/// What an object's rows count as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// Settled and not covered: rows of the exact view and of `live/`.
    Live,
    /// Settled and covered: rows of `live/` only.
    Covered,
    /// Output of a complete plan.
    Final,
    /// What a complete plan set apart.
    Dropped,
    /// Nobody has named it: any row is one too many.
    Stray,
}

/// What must be in an object, as its chain has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) rows: u64,
    pub(super) hash: u128,
}

/// An object to read.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) key: String,
    pub(super) table: Table,
    pub(super) view: View,
    /// The chain and entry that name it.
    pub(super) by: String,
    pub(super) content: Option<Content>,
}

/// A complete plan: what went in must come out.
#[derive(Debug)]
pub(super) struct Balance {
    pub(super) by: String,
    /// Keys of all outputs, the dropped object included.
    pub(super) outputs: Vec<String>,
    pub(super) input: Content,
}

/// What the chains say of the lake.
#[derive(Debug, Default)]
pub(super) struct Objects {
    pub(super) named: Vec<Named>,
    pub(super) balances: Vec<Balance>,
    /// Ordinals whose rows are in settled objects, by origin.
    pub(super) settled: BTreeMap<Origin, IntervalSet>,
}

/// Keys of all objects of all tables.
pub(super) async fn list(lake: &dyn Lake) -> anyhow::Result<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    for (root, table) in [LIVE, FINAL, DROPPED].into_iter().flat_map(|root| Table::ALL.map(|table| (root, table))) {
        let listed = lake.list(&table_prefix(root, table)).await.context("list the lake")?;
        keys.extend(listed.into_iter().map(|object| object.key));
    }
    Ok(keys)
}

impl Objects {
    /// Reads the chains of plans and of writers. `listed` are the objects that were there before.
    pub(super) async fn read(
        ledger: &dyn Ledger,
        lake: &dyn Lake,
        listed: BTreeSet<String>,
        findings: &mut Findings,
    ) -> anyhow::Result<Objects> {
        let mut reading = Reading {
            objects: Objects::default(),
            covered: BTreeMap::new(),
            planned: BTreeMap::new(),
            known: Known::default(),
            listed,
            findings,
        };
        for chain in ledger.chains(ChainId::PLAN).await.context("list the chains of plans")? {
            reading.plans(ledger, lake, &chain).await?;
        }
        for chain in ledger.chains(ChainId::WRITER).await.context("list the writers' chains")? {
            reading.announcements(ledger, &chain).await?;
        }
        std::mem::take(&mut reading.known).compare(ledger, reading.findings).await?;
        Ok(reading.finish())
    }
}

/// How far complete plans of a day cover each writer chain.
type Covered = BTreeMap<String, u64>;

struct Reading<'a> {
    objects: Objects,
    covered: BTreeMap<(Table, Day), Covered>,
    /// Listed inputs of plans, and who took them up: writers' chains are trimmed of what plans have.
    planned: BTreeMap<String, (Table, View, String)>,
    /// Dedup chains that writers know.
    known: Known,
    /// Objects that nobody has named so far.
    listed: BTreeSet<String>,
    findings: &'a mut Findings,
}

impl Reading<'_> {
    async fn plans(&mut self, ledger: &dyn Ledger, lake: &dyn Lake, chain: &ChainId) -> anyhow::Result<()> {
        let named = chain.as_plan().and_then(|(table, day)| Some((Table::parse(table)?, Day::parse(day)?)));
        let day = named.with_context(|| format!("chain {chain} is of no table and day"))?;
        let mut entries: Vec<PlanEntry> = Vec::new();
        for_each_slot(ledger, chain, 0, |slot| {
            let plan = PlanEntry::decode(slot.entry.bytes);
            let plan = plan.ok().filter(|_| slot.number == entries.len() as u64);
            let detail = "is no plan that this release can read".to_string();
            entries.push(plan.ok_or_else(|| LedgerError::Damaged {
                chain: chain.clone(),
                number: slot.number,
                detail,
            })?);
            Ok(())
        })
        .await
        .with_context(|| format!("read chain {chain}"))?;
        let last = entries.len().saturating_sub(1);
        for (number, plan) in entries.into_iter().enumerate() {
            let (is_complete, by) = (exists(lake, &plan.dropped_key).await?, format!("chain {chain}, plan {number}"));
            if is_complete || number < last {
                // A plan that another one follows is complete (PROTOCOL rule 27): if an object is gone, that is found.
                self.inputs(day.0, View::Covered, &by, &plan)?;
                self.complete(day, by, plan)?;
            } else {
                self.inputs(day.0, View::Live, &by, &plan)?;
                self.open(&plan);
            }
        }
        Ok(())
    }

    /// Notes the inputs of a plan that are still there.
    fn inputs(&mut self, table: Table, view: View, by: &str, plan: &PlanEntry) -> anyhow::Result<()> {
        for input in compactor::plan::inputs(plan)?.into_iter().filter(|input| self.listed.contains(&input.key)) {
            self.planned.insert(input.key, (table, view, by.to_string()));
        }
        Ok(())
    }

    fn complete(&mut self, day: (Table, Day), by: String, plan: PlanEntry) -> anyhow::Result<()> {
        let PlanEntry { cursors, outputs, dropped_key, input_rows, input_hash, .. } = plan;
        let hash: Option<[u8; 16]> = input_hash.as_ref().try_into().ok();
        let hash = u128::from_be_bytes(hash.with_context(|| format!("{by} has no hash of its inputs"))?);
        self.covered.insert(day, cursors.into_iter().map(|cursor| (cursor.chain, cursor.next)).collect());
        let finals = outputs.into_iter().map(|output| (output.key, View::Final));
        let mut keys = Vec::new();
        for (key, view) in finals.chain([(dropped_key, View::Dropped)]) {
            self.listed.remove(&key);
            keys.push(key.clone());
            self.objects.named.push(Named { key, table: day.0, view, by: by.clone(), content: None });
        }
        self.objects.balances.push(Balance { by, outputs: keys, input: Content { rows: input_rows, hash } });
        Ok(())
    }

    /// Outputs of a plan that is being carried out: nobody reads them yet.
    fn open(&mut self, plan: &PlanEntry) {
        for key in plan.outputs.iter().map(|output| &output.key).chain([&plan.dropped_key]) {
            self.listed.remove(key);
        }
    }

    async fn announcements(&mut self, ledger: &dyn Ledger, chain: &ChainId) -> anyhow::Result<()> {
        let context = || format!("read chain {chain}");
        let Some((_, head)) = writer_service::chain::head(ledger, chain).await.with_context(context)? else {
            return Ok(());
        };
        self.known.writer(chain, &writer_service::chain::sets(chain, &head.sets_after).with_context(context)?);
        let through = head.done_through;
        for_each_slot(ledger, chain, 1, |slot| {
            let announcement = writer_service::chain::announcement(chain, slot.number, slot.entry.bytes);
            let damaged = |halt: service::Halt| LedgerError::Damaged {
                chain: chain.clone(),
                number: slot.number,
                detail: halt.0,
            };
            self.announcement(chain, slot.number, announcement.map_err(damaged)?, slot.number < through);
            Ok(())
        })
        .await
        .with_context(context)?;
        let sets =
            writer_service::chain::sets_after(ledger, chain, through.saturating_sub(1)).await.with_context(context)?;
        for (origin, set) in sets.iter() {
            self.objects.settled.entry(origin.clone()).or_default().union(set);
        }
        Ok(())
    }

    fn announcement(&mut self, chain: &ChainId, number: u64, announcement: Announcement, is_settled: bool) {
        for LakeObject { key, rows, rows_hash, .. } in announcement.objects {
            let by = || format!("chain {chain}, entry {number}");
            let hash: Option<[u8; 16]> = rows_hash.as_ref().try_into().ok();
            let name = ObjectName::parse(&key).filter(|name| matches!(name.role, Role::Live { .. }));
            let (Some(ObjectName { table, day, .. }), Some(hash)) = (name, hash) else {
                self.findings.add("chain", format_args!("{} announces {key}, which can't be", by()));
                continue;
            };
            let is_there = self.listed.remove(&key);
            let planned = self.covered.get(&(table, day)).and_then(|covered| covered.get(chain.as_str())).copied();
            let is_covered = number < planned.unwrap_or(0);
            // What is on its way is not there yet; what is covered may be gone.
            if is_settled && (is_there || !is_covered) {
                let view = if is_covered { View::Covered } else { View::Live };
                let content = Some(Content { rows, hash: u128::from_be_bytes(hash) });
                self.objects.named.push(Named { key, table, view, by: by(), content });
            }
        }
    }

    fn finish(self) -> Objects {
        let Reading { mut objects, mut planned, listed, findings, .. } = self;
        for key in listed {
            if let Some((table, view, by)) = planned.remove(&key) {
                objects.named.push(Named { key, table, view, by, content: None });
                continue;
            }
            findings.add("stray object", format_args!("{key}: no chain names it"));
            if let Some(ObjectName { table, .. }) = ObjectName::parse(&key) {
                let by = "nobody".to_string();
                objects.named.push(Named { key, table, view: View::Stray, by, content: None });
            }
        }
        objects
    }
}

async fn exists(lake: &dyn Lake, key: &str) -> anyhow::Result<bool> {
    match lake.head(key).await {
        Ok(_) => Ok(true),
        Err(LakeError::NotFound(_)) => Ok(false),
        Err(error) => Err(error).context("look at the lake"),
    }
}
