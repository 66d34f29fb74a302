//! What the dedup chains gave up on: visibly, once, and never in the lake.

use super::Findings;
use super::chains::descends;
use crate::evidence::{Decided, DedupChain, Place, Voided, announcements};
use crate::ledger::SimLedger;
use schema::{ChainId, EventId};
use std::collections::{BTreeMap, BTreeSet};

/// What was decided and is not void: exactly that is in the lake.
pub(super) fn standing(decided: &[Decided], voided: &[Voided]) -> Vec<Decided> {
    let gone: BTreeSet<&Place> = voided.iter().map(|void| &void.place).collect();
    decided.iter().filter(|one| !gone.contains(&one.place)).cloned().collect()
}

/// Events of which nothing stands, each as it became void for the last time.
pub(super) fn last_of_each<'a>(
    chains: &BTreeMap<ChainId, DedupChain>,
    decided: &[Decided],
    voided: &'a [Voided],
) -> Vec<&'a Voided> {
    let there: BTreeSet<EventId> = standing(decided, voided).iter().map(|one| one.id).collect();
    let accepted_since = |void: &Voided| {
        decided.iter().filter(|one| one.id == void.id).any(|one| match one.chain == void.chain {
            true => one.entry > void.entry,
            false => descends(chains, &one.chain, &void.chain),
        })
    };
    voided.iter().filter(|void| !there.contains(&void.id) && !accepted_since(void)).collect()
}

/// What is void was decided, became void once, and the writers took a tombstone for each.
pub(super) fn audit_voids(decided: &[Decided], voided: &[Voided], ledger: &SimLedger) -> Findings {
    let mut findings = Findings::new();
    let ids: BTreeMap<&Place, EventId> = decided.iter().map(|one| (&one.place, one.id)).collect();
    let stray = voided.iter().find(|void| ids.get(&void.place) != Some(&void.id));
    findings.extend(stray.map(|void| format!("audit: {:?} is void and was never decided", void.place)));
    let places: BTreeSet<&Place> = voided.iter().map(|void| &void.place).collect();
    if places.len() != voided.len() {
        findings.insert("audit: an ordinal became void twice".to_string());
    }
    let tombstones: u64 = announcements(ledger).values().flatten().map(|entry| entry.tombstones).sum();
    if tombstones != voided.len() as u64 {
        findings.insert(format!("audit: {tombstones} tombstones were taken for {} voids", voided.len()));
    }
    findings
}
