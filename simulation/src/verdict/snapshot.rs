//! What must hold at any moment, however much is in flight.

use super::{Findings, dedup_chain_of, writer_chain_of};
use crate::backends::Backends;
use crate::evidence::{Objects, Place, Plan, announcements, dedup_chains, plans};
use crate::streams::SimShard;
use schema::Position;
use std::collections::BTreeSet;

/// An exact reader sees each settled event once (PROTOCOL rule 33): the outputs of complete plans, and the settled live
/// objects that no complete plan covers.
pub(super) fn audit_reader(backends: &Backends, objects: &Objects) -> Findings {
    let (lake, plans) = (&backends.lake, plans(&backends.ledger));
    let complete: Vec<&Plan> = plans.iter().filter(|plan| plan.outputs.iter().all(|key| lake.holds(key))).collect();
    let covered: BTreeSet<&str> = complete.iter().flat_map(|plan| &plan.inputs).map(String::as_str).collect();
    let settled = settled(backends);
    let settled: BTreeSet<&str> = settled.iter().map(String::as_str).collect();
    let outputs = complete.iter().flat_map(|plan| &plan.outputs).map(String::as_str);
    let live = settled.difference(&covered).copied().filter(|key| lake.holds(key));
    let mut findings = Findings::new();
    if places(objects, outputs.chain(live)) != places(objects, settled.union(&covered).copied()) {
        findings.insert("reader: a snapshot misses rows or has them twice".to_string());
    }
    if settled.union(&covered).any(|key| !objects.contains_key(*key)) {
        findings.insert("reader: a settled object was never there".to_string());
    }
    findings
}

/// Keys of the live objects of which the chains say that they exist.
fn settled(backends: &Backends) -> BTreeSet<String> {
    let mut settled = BTreeSet::new();
    for chain in announcements(&backends.ledger).into_values() {
        let done_through = chain.last().map_or(0, |head| head.done_through);
        let entries = chain.into_iter().zip(1..).filter(|(_, number)| *number < done_through);
        settled.extend(entries.flat_map(|(entry, _)| entry.objects).map(|object| object.key));
    }
    settled
}

/// Who the rows of some objects are, in order, each as often as it is there.
fn places<'a>(objects: &Objects, keys: impl Iterator<Item = &'a str>) -> Vec<Place> {
    let rows = keys.filter_map(|key| objects.get(key)).flat_map(|rows| rows.iter());
    let mut places: Vec<Place> = rows.map(|row| row.place.clone()).collect();
    places.sort_unstable();
    places
}

/// No stream was told to give up records that a chain still needs.
pub(super) fn audit_consumed(backends: &Backends) -> Findings {
    let (dedup, _) = dedup_chains(&backends.ledger);
    let writers = announcements(&backends.ledger);
    let mut findings = Findings::new();
    for shard in backends.raw.witness() {
        let entries = dedup.get(&dedup_chain_of(&shard)).map_or(&[][..], |chain| &chain.entries);
        let through = entries.last().map_or(0, |(_, head)| head.forwarded_through);
        let done = entries.iter().filter(|(number, entry)| *number < through || entry.end);
        findings.extend(given_up(&shard, done.last().map(|(_, entry)| entry.to.as_str())));
    }
    for shard in backends.clean.witness() {
        let entries = writers.get(&writer_chain_of(&shard)).map_or(&[][..], Vec::as_slice);
        let through = entries.last().map_or(0, |head| head.done_through);
        let done = entries.iter().zip(1..).filter(|(entry, number)| *number < through || entry.end);
        findings.extend(given_up(&shard, done.last().map(|(entry, _)| entry.to.as_str())));
    }
    findings
}

fn given_up(shard: &SimShard, done: Option<&str>) -> Option<String> {
    let done = done.and_then(Position::parse).unwrap_or_else(Position::start);
    let id = &shard.shard.id;
    (shard.consumed > done).then(|| format!("audit: shard {id} gave up records that its chain still needs"))
}
