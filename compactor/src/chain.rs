//! Reading the chains: what writers announced, and what was planned.

use crate::error::{CompactError, halt};
use crate::plan::{Announced, Cursors, Found, INPUTS_MAX};
use ledger::{Ledger, LedgerError, Walk};
use prost::Message;
use schema::v1::{Announcement, LakeObject, PlanEntry, WriterEntry, writer_entry};
use schema::{ChainId, Day, Table};
use std::collections::BTreeMap;
use std::ops::Range;

/// The chain of plans of a day.
pub(crate) fn of_day(table: Table, day: Day) -> ChainId {
    ChainId::plan(table.name(), &day.to_string())
}

/// The tables and days that have plans.
pub(crate) async fn planned_days(ledger: &dyn Ledger) -> Result<Vec<(Table, Day)>, CompactError> {
    let mut days = Vec::new();
    for chain in ledger.chains(ChainId::PLAN).await? {
        let named = chain.as_plan().and_then(|(table, day)| Some((Table::parse(table)?, Day::parse(day)?)));
        let Some(named) = named else { return halt(format_args!("chain {chain} is of no table and day")) };
        days.push(named);
    }
    Ok(days)
}

/// How far each writer chain is settled: all objects of entries below exist (PROTOCOL rule 26).
pub(crate) async fn settled(ledger: &dyn Ledger) -> Result<Cursors, CompactError> {
    ends(ledger, |_, announcement| announcement.done_through).await
}

/// How far each writer chain reaches, settled or not.
pub(crate) async fn reached(ledger: &dyn Ledger) -> Result<Cursors, CompactError> {
    ends(ledger, |number, _| number + 1).await
}

async fn ends(ledger: &dyn Ledger, end: fn(u64, &Announcement) -> u64) -> Result<Cursors, CompactError> {
    let mut ends = Cursors::new();
    for chain in ledger.chains(ChainId::WRITER).await? {
        if let Some(head) = ledger.head(&chain).await?.filter(|head| head.number > 0) {
            let announcement = announcement(&chain, head.number, head.entry.bytes)?;
            ends.insert(chain, end(head.number, &announcement));
        }
    }
    Ok(ends)
}

/// Shows the announcements `[from, through)` of a writer chain; gives the numbers of those that are gone.
pub(crate) async fn announcements(
    ledger: &dyn Ledger,
    chain: &ChainId,
    from: u64,
    through: u64,
    mut each: impl FnMut(u64, Announcement) -> Result<(), LedgerError>,
) -> Result<Vec<Range<u64>>, CompactError> {
    let mut expected = from.max(1);
    let (mut gone, mut walk) = (Vec::new(), Walk::new(ledger, chain, expected));
    while expected < through {
        let slot = walk.next().await?.filter(|slot| slot.number < through);
        let number = slot.as_ref().map_or(through, |slot| slot.number);
        if number > expected {
            gone.push(expected..number);
        }
        expected = number + 1;
        if let Some(slot) = slot {
            each(number, announcement(chain, number, slot.entry.bytes)?)?;
        }
    }
    Ok(gone)
}

pub(crate) fn announcement(chain: &ChainId, number: u64, bytes: bytes::Bytes) -> Result<Announcement, LedgerError> {
    match WriterEntry::decode(bytes).ok().and_then(|entry| entry.entry) {
        Some(writer_entry::Entry::Announcement(announcement)) => Ok(announcement),
        _ => Err(damaged(chain, number, "is no announcement that this release can read")),
    }
}

/// What writer chains say of a day.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) found: Vec<Found>,
    /// Entries that no plan of the day has and that are no longer there: they were trimmed, which they were only if they
    /// announced nothing of this day.
    pub(crate) gone: Vec<(ChainId, Range<u64>)>,
    /// Whether more may be settled than was found: looking ends where one plan surely has its fill.
    pub(crate) more: bool,
}

/// The settled objects of a day that no plan below `cursors` has. `hints` says where each chain first mentions the day.
pub(crate) async fn found(
    ledger: &dyn Ledger,
    (table, day): (Table, Day),
    cursors: &Cursors,
    settled: &Cursors,
    hints: &Cursors,
) -> Result<Findings, CompactError> {
    let mut all = Findings::default();
    let mut room = INPUTS_MAX;
    for (chain, &through) in settled {
        if room == 0 {
            break;
        }
        let hint = hints.get(chain).copied().unwrap_or(0);
        let from = cursors.get(chain).copied().unwrap_or(0).max(hint);
        let mut found = Found { chain: chain.clone(), through, objects: Vec::new() };
        let gone = announcements(ledger, chain, from, through, |number, announcement| {
            if found.objects.len() >= room {
                found.through = found.through.min(number);
                return Ok(());
            }
            for object in announcement.objects.iter().filter(|object| is_of(object, table, day)) {
                found.objects.push(announced(chain, number, (table, day), object)?);
            }
            Ok(())
        })
        .await?;
        all.gone.extend(gone.into_iter().map(|numbers| (chain.clone(), numbers)));
        room = room.saturating_sub(found.objects.len());
        if !found.objects.is_empty() {
            all.found.push(found);
        }
    }
    all.more = room == 0;
    Ok(all)
}

fn is_of(object: &LakeObject, table: Table, day: Day) -> bool {
    object.table == table.name() && object.date == day.0
}

fn announced(
    chain: &ChainId,
    entry: u64,
    (table, day): (Table, Day),
    object: &LakeObject,
) -> Result<Announced, LedgerError> {
    let rows_hash: Option<[u8; 16]> = object.rows_hash.as_ref().try_into().ok();
    let part = Announced::part_of(&object.key, table, day, chain, entry);
    match (part, rows_hash) {
        (Some(part), Some(hash)) => {
            Ok(Announced { entry, part, rows: object.rows, rows_hash: u128::from_be_bytes(hash) })
        }
        _ => Err(damaged(chain, entry, &format!("announces {}, which can't be planned", object.key))),
    }
}

fn damaged(chain: &ChainId, number: u64, detail: &str) -> LedgerError {
    LedgerError::Damaged { chain: chain.clone(), number, detail: detail.to_string() }
}

/// Plan `number` of a chain; `None` past the last.
pub(crate) async fn plan(ledger: &dyn Ledger, chain: &ChainId, number: u64) -> Result<Option<PlanEntry>, CompactError> {
    let Some(slot) = ledger.load(chain, number, 1).await?.into_iter().next() else { return Ok(None) };
    if slot.number != number {
        return halt(format_args!("chain {chain} has lost plan {number}: restore the ledger"));
    }
    match PlanEntry::decode(slot.entry.bytes) {
        Ok(plan) => Ok(Some(plan)),
        Err(error) => halt(format_args!("chain {chain}, plan {number} can't be read: {error}")),
    }
}

/// All plans of a day.
#[derive(Debug, Default)]
pub(crate) struct DayPlans {
    /// In order; only the last keeps its inputs, which may be many.
    pub(crate) plans: Vec<PlanEntry>,
}

impl DayPlans {
    pub(crate) async fn load(ledger: &dyn Ledger, chain: &ChainId) -> Result<DayPlans, CompactError> {
        let mut plans: Vec<PlanEntry> = Vec::new();
        while let Some(plan) = plan(ledger, chain, plans.len() as u64).await? {
            if let Some(before) = plans.last_mut() {
                before.inputs = Vec::new();
            }
            plans.push(plan);
        }
        Ok(DayPlans { plans })
    }

    /// The number of the next plan.
    pub(crate) fn next(&self) -> u64 {
        self.plans.len() as u64
    }

    /// Where the next plan goes on.
    pub(crate) fn cursors(&self) -> Cursors {
        self.plans.last().map(cursors).unwrap_or_default()
    }
}

/// Where the plan after this one goes on.
pub(crate) fn cursors(plan: &PlanEntry) -> Cursors {
    plan.cursors.iter().map(|cursor| (ChainId::new(&cursor.chain), cursor.next)).collect::<BTreeMap<_, _>>()
}
