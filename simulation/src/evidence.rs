//! What streams, chains and lake hold, read without the services' own code.
//!
//! **Decided**: an event that a dedup chain accepted, under its ordinal. **Row**: what a Parquet object says of an event.

mod objects;

pub(crate) use objects::{Objects, Reader, Row, event_copy, quarantined_copy};

use crate::ledger::SimLedger;
use lake::layout::ObjectName;
use ledger::Slot;
use prost::Message;
use schema::v1::{
    Announcement, Decision, DedupEntry, DedupGenesis, Lane, PlanEntry, WriterEntry, dedup_entry, writer_entry,
};
use schema::{ChainId, Day, EventId, HashKey, HashRange, Kind, Origin, Table, record};
use std::collections::{BTreeMap, BTreeSet};

/// Who an event is in the lake.
pub(crate) type Place = (String, u64);

/// An event that a dedup chain accepted.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    pub(crate) place: Place,
    pub(crate) id: EventId,
    pub(crate) chain: ChainId,
    pub(crate) entry: u64,
    pub(crate) received_at: i64,
    /// The window that the entry says it applied, in microseconds.
    pub(crate) window_micros: i64,
    /// Nonce of the entry.
    pub(crate) nonce: u128,
}

/// An event that a dedup chain accepted and then gave up on (PROTOCOL rule 16).
#[derive(Clone, Debug)]
pub(crate) struct Voided {
    pub(crate) place: Place,
    pub(crate) id: EventId,
    pub(crate) chain: ChainId,
    pub(crate) entry: u64,
    /// Up to where the raw shard was decided by then.
    pub(crate) through: String,
}

/// A dedup chain.
#[derive(Clone, Debug)]
pub(crate) struct DedupChain {
    pub(crate) range: HashRange,
    pub(crate) genesis: DedupGenesis,
    pub(crate) entries: Vec<(u64, Decision)>,
    /// Nonces of the entries, in their order.
    pub(crate) nonces: Vec<u128>,
}

/// Reads all dedup chains; the second value says what is wrong with them.
pub(crate) fn dedup_chains(ledger: &SimLedger) -> (BTreeMap<ChainId, DedupChain>, BTreeSet<String>) {
    let (mut chains, mut findings) = (BTreeMap::new(), BTreeSet::new());
    for (id, slots) in ledger.witness("dedup/") {
        match dedup_chain(&slots) {
            Some(chain) => drop(chains.insert(id, chain)),
            None => drop(findings.insert(format!("audit: chain {id} is not one genesis and decisions without a gap"))),
        }
    }
    (chains, findings)
}

fn dedup_chain(slots: &[Slot]) -> Option<DedupChain> {
    let (mut entries, mut nonces) = (Vec::new(), Vec::new());
    let mut genesis = None;
    for (slot, number) in slots.iter().zip(0..) {
        match DedupEntry::decode(slot.entry.bytes.clone()).ok()?.entry? {
            dedup_entry::Entry::Genesis(first) if number == 0 => genesis = Some(first),
            dedup_entry::Entry::Decision(decision) if number > 0 && slot.number == number => {
                entries.push((number, decision));
                nonces.push(slot.entry.nonce);
            }
            _ => return None,
        }
    }
    let genesis = genesis?;
    let range =
        HashRange { low: HashKey::from_slice(&genesis.hash_low)?, high: HashKey::from_slice(&genesis.hash_high)? };
    Some(DedupChain { range, genesis, entries, nonces })
}

/// Everything that a chain accepted, in order.
pub(crate) fn decided(id: &ChainId, chain: &DedupChain) -> Vec<Decided> {
    let mut all = Vec::new();
    for ((number, decision), nonce) in chain.entries.iter().zip(&chain.nonces) {
        for (kind, lane) in [(Kind::Events, &decision.events), (Kind::Quarantine, &decision.quarantine)] {
            let Some(lane) = lane else { continue };
            let origin = Origin::of(id, kind).to_string();
            let times = received(lane);
            for ((event, ordinal), received_at) in record::ids(&lane.ids).zip(lane.first_ordinal..).zip(times) {
                all.push(Decided {
                    place: (origin.clone(), ordinal),
                    id: event,
                    chain: id.clone(),
                    entry: *number,
                    received_at,
                    window_micros: decision.window_seconds as i64 * 1_000_000,
                    nonce: *nonce,
                });
            }
        }
    }
    all
}

/// Everything that a chain gave up on, in order.
pub(crate) fn voided(id: &ChainId, chain: &DedupChain) -> Vec<Voided> {
    let mut all = Vec::new();
    for (number, decision) in &chain.entries {
        for void in &decision.voids {
            let origin = Origin::of(id, Kind::try_from(void.kind).unwrap_or(Kind::Events)).to_string();
            let ordinals = void.first_ordinal..;
            all.extend(record::ids(&void.ids).zip(ordinals).map(|(event, ordinal)| Voided {
                place: (origin.clone(), ordinal),
                id: event,
                chain: id.clone(),
                entry: *number,
                through: decision.to.clone(),
            }));
        }
    }
    all
}

fn received(lane: &Lane) -> impl Iterator<Item = i64> + '_ {
    lane.received.iter().flat_map(|run| std::iter::repeat_n(run.received_at, run.count as usize))
}

/// The announcements of all writer chains.
pub(crate) fn announcements(ledger: &SimLedger) -> BTreeMap<ChainId, Vec<Announcement>> {
    let read = |slot: &Slot| match WriterEntry::decode(slot.entry.bytes.clone()).ok()?.entry? {
        writer_entry::Entry::Announcement(announcement) => Some(announcement),
        writer_entry::Entry::Genesis(_) => None,
    };
    let chains = ledger.witness("writer/").into_iter();
    chains.map(|(id, slots)| (id, slots.iter().filter_map(read).collect())).collect()
}

/// What a plan takes up and what it makes.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) inputs: Vec<String>,
    /// The object of dropped rows included.
    pub(crate) outputs: Vec<String>,
}

/// The plans of all tables and days.
pub(crate) fn plans(ledger: &SimLedger) -> Vec<Plan> {
    let mut plans = Vec::new();
    for (id, slots) in ledger.witness("plan/") {
        let Some((table, day)) = id.as_plan().and_then(|(table, day)| Some((Table::parse(table)?, Day::parse(day)?)))
        else {
            continue;
        };
        let read = |slot: Slot| Some(plan(table, day, PlanEntry::decode(slot.entry.bytes).ok()?));
        plans.extend(slots.into_iter().filter_map(read));
    }
    plans
}

fn plan(table: Table, day: Day, entry: PlanEntry) -> Plan {
    let mut inputs = Vec::new();
    for planned in &entry.inputs {
        let chain = ChainId::new(&planned.chain);
        let mut number = 0;
        for (gap, &part) in planned.entries.iter().zip(&planned.parts) {
            number += gap;
            inputs.push(ObjectName::live(table, day, &chain, number, part).key());
        }
    }
    let outputs = entry.outputs.into_iter().map(|output| output.key).chain([entry.dropped_key]).collect();
    Plan { inputs, outputs }
}
