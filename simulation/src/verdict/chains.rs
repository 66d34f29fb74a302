//! What the dedup chains decided.
//!
//! **Excused**: an id that was accepted twice because its copies lie further apart than the window.

use super::Findings;
use crate::evidence::{Decided, DedupChain};
use crate::scenario::{ENDLESS, HOUR, Windows};
use schema::{ChainId, EventId, record};
use std::collections::{BTreeMap, BTreeSet};

/// Ids that were accepted more than once, and whose windows say that this may be.
pub(super) fn excused(
    chains: &BTreeMap<ChainId, DedupChain>,
    decided: &[Decided],
    windows: Windows,
) -> BTreeSet<EventId> {
    let mut by_id: BTreeMap<EventId, Vec<&Decided>> = BTreeMap::new();
    decided.iter().for_each(|one| by_id.entry(one.id).or_default().push(one));
    let apart = |a: &Decided, b: &Decided| {
        let (earlier, later) = if precedes(chains, a, b) { (a, b) } else { (b, a) };
        let distance = (later.received_at - earlier.received_at).abs();
        let window = promised(windows).unwrap_or(later.window_micros);
        // A record that was put twice is one copy at no distance: an owner without any window can't tell.
        precedes(chains, earlier, later) && (distance > window || window == 0)
    };
    let all_apart =
        |them: &[&Decided]| (0..them.len()).all(|later| (0..later).all(|earlier| apart(them[earlier], them[later])));
    by_id.into_iter().filter(|(_, them)| them.len() > 1 && all_apart(them)).map(|(id, _)| id).collect()
}

/// The window that all owners of a world have, in microseconds; nothing where each has its own, or too little memory.
fn promised(windows: Windows) -> Option<i64> {
    match windows {
        Windows::Endless => Some(ENDLESS.as_micros() as i64),
        Windows::Hour => Some(HOUR.as_micros() as i64),
        Windows::Varied | Windows::Cramped => None,
    }
}

/// Whether whoever accepted `later` had to know of `earlier`.
fn precedes(chains: &BTreeMap<ChainId, DedupChain>, earlier: &Decided, later: &Decided) -> bool {
    if earlier.chain == later.chain {
        return earlier.entry < later.entry;
    }
    let mut next = vec![later.chain.as_str()];
    while let Some(chain) = next.pop() {
        if chain == earlier.chain.as_str() {
            return true;
        }
        let genesis = chains.get(&ChainId::new(chain)).map(|chain| &chain.genesis);
        next.extend(genesis.iter().flat_map(|genesis| &genesis.parent_chains).map(String::as_str));
    }
    false
}

/// Ordinals are dense, sums are right, and every id is at home.
pub(super) fn audit_chains(chains: &BTreeMap<ChainId, DedupChain>, decided: &[Decided]) -> Findings {
    let mut findings = Findings::new();
    let mut next: BTreeMap<&str, u64> = BTreeMap::new();
    for one in decided {
        let (origin, ordinal) = (one.place.0.as_str(), one.place.1);
        let expected = next.entry(origin).or_default();
        if *expected != ordinal {
            findings.insert(format!("audit: ordinals of {origin} are not dense"));
        }
        *expected = ordinal + 1;
        if !chains.get(&one.chain).is_some_and(|chain| chain.range.covers(one.id.hash())) {
            findings.insert(format!("audit: {} was decided away from home", one.id));
        }
    }
    let wrong = chains.iter().filter(|(_, chain)| !sums_are_right(chain));
    findings.extend(wrong.map(|(id, _)| format!("audit: a sum of chain {id} is wrong")));
    findings
}

fn sums_are_right(chain: &DedupChain) -> bool {
    let mut sums = [0u128; 2];
    chain.entries.iter().all(|(_, entry)| {
        [&entry.events, &entry.quarantine].into_iter().zip(&mut sums).all(|(lane, sum)| {
            let Some(lane) = lane else { return false };
            *sum = record::ids(&lane.ids).fold(*sum, |sum, id| sum.wrapping_add(id.hash().0));
            lane.sum_through.as_ref() == sum.to_be_bytes()
        })
    })
}
