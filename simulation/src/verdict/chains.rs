//! What the dedup chains decided.
//!
//! **Excused**: an id that was accepted twice because its copies lie further apart than the window.

use super::Findings;
use crate::evidence::{Decided, DedupChain};
use crate::owners::{Memory, ROOM};
use schema::{ChainId, EventId, record};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Ids that were accepted more than once, and whose windows say that this may be: the windows that owners were told to
/// keep, not those that entries say were applied.
pub(super) fn excused(
    chains: &BTreeMap<ChainId, DedupChain>,
    standing: &[Decided],
    memory_of: impl Fn(u128) -> Memory,
) -> BTreeSet<EventId> {
    let mut by_id: BTreeMap<EventId, Vec<&Decided>> = BTreeMap::new();
    standing.iter().for_each(|one| by_id.entry(one.id).or_default().push(one));
    let apart = |a: &Decided, b: &Decided| {
        let (earlier, later) = if precedes(chains, a, b) { (a, b) } else { (b, a) };
        let distance = (later.received_at - earlier.received_at).abs();
        let memory = memory_of(later.nonce);
        // A record that was put twice is one copy at no distance: an owner without any window can't tell.
        let beyond = |window: i64| distance > window || window == 0;
        let far = beyond(micros(memory.width));
        let forgotten = beyond(later.window_micros) && was_short(chains, later, memory);
        precedes(chains, earlier, later) && (far || forgotten)
    };
    let all_apart =
        |them: &[&Decided]| (0..them.len()).all(|later| (0..later).all(|earlier| apart(them[earlier], them[later])));
    by_id.into_iter().filter(|(_, them)| them.len() > 1 && all_apart(them)).map(|(id, _)| id).collect()
}

fn micros(width: Duration) -> i64 {
    width.as_micros() as i64
}

/// Whether whoever decided `later` may have had to forget ids: as many were to be known as there was room for.
fn was_short(chains: &BTreeMap<ChainId, DedupChain>, later: &Decided, memory: Memory) -> bool {
    let Some(own) = chains.get(&later.chain) else { return false };
    let known = |(id, _): &(&ChainId, &DedupChain)| **id == later.chain || descends(chains, &later.chain, id);
    let mut lanes = [BTreeSet::new(), BTreeSet::new()];
    for (id, chain) in chains.iter().filter(known) {
        for (number, entry) in &chain.entries {
            let before = *id != later.chain || *number < later.entry;
            for (lane, ids) in [&entry.events, &entry.quarantine].into_iter().zip(&mut lanes) {
                let here = lane.iter().flat_map(|lane| record::ids(&lane.ids));
                ids.extend(here.filter(|event| before && own.range.covers(event.hash())));
            }
        }
    }
    lanes.iter().map(BTreeSet::len).sum::<usize>() >= memory.ids_max
}

/// Whether whoever accepted `later` had to know of `earlier`.
fn precedes(chains: &BTreeMap<ChainId, DedupChain>, earlier: &Decided, later: &Decided) -> bool {
    match earlier.chain == later.chain {
        true => earlier.entry < later.entry,
        false => descends(chains, &later.chain, &earlier.chain),
    }
}

/// Whether one chain is an ancestor of another, as their geneses have it.
pub(super) fn descends(chains: &BTreeMap<ChainId, DedupChain>, chain: &ChainId, ancestor: &ChainId) -> bool {
    let parents = |chain: &ChainId| chains.get(chain).map_or(&[][..], |chain| &chain.genesis.parent_chains);
    let mut next: Vec<&str> = parents(chain).iter().map(String::as_str).collect();
    while let Some(chain) = next.pop() {
        if chain == ancestor.as_str() {
            return true;
        }
        next.extend(parents(&ChainId::new(chain)).iter().map(String::as_str));
    }
    false
}

/// Where there was room for all ids, each entry applied the window that its owner was told to keep.
pub(super) fn audit_windows(chains: &BTreeMap<ChainId, DedupChain>, memory_of: impl Fn(u128) -> Memory) -> Findings {
    let mut findings = Findings::new();
    for (id, chain) in chains {
        for ((number, entry), nonce) in chain.entries.iter().zip(&chain.nonces) {
            let Memory { width, ids_max } = memory_of(*nonce);
            if entry.records > 0 && ids_max >= ROOM && entry.window_seconds != width.as_secs() {
                let applied = entry.window_seconds;
                findings.insert(format!(
                    "audit: chain {id}, entry {number} applied a window of {applied} s, not {width:?}"
                ));
            }
        }
    }
    findings
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

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use schema::v1::{Decision, DedupGenesis, Lane};
    use schema::{HashRange, ShardId};

    const HOUR: Duration = Duration::from_secs(3600);

    fn chain_id() -> ChainId {
        ChainId::dedup("raw", &ShardId::new("s"), 0)
    }

    /// Event 7, accepted at minute 0 and again some minutes later by an owner that says it applied `window`.
    fn accepted_twice(minutes: i64, window: Duration) -> Vec<Decided> {
        let one = |entry: u64, received_at: i64| Decided {
            place: ("raw/s/0".to_string(), entry),
            id: EventId(7),
            chain: chain_id(),
            entry,
            received_at,
            window_micros: micros(window),
            nonce: 0,
        };
        vec![one(1, 0), one(2, minutes * 60_000_000)]
    }

    /// A chain whose first entry accepted `ids` events.
    fn chain_of(ids: u128) -> BTreeMap<ChainId, DedupChain> {
        let ids = (0..ids).flat_map(|id| EventId(id).to_bytes()).collect::<Vec<_>>();
        let entry = Decision { events: Some(Lane { ids: Bytes::from(ids), ..Lane::default() }), ..Decision::default() };
        let genesis = DedupGenesis::default();
        let chain = DedupChain { range: HashRange::ALL, genesis, entries: vec![(1, entry)], nonces: vec![0] };
        BTreeMap::from([(chain_id(), chain)])
    }

    fn is_excused(minutes: i64, said: Duration, room: usize) -> bool {
        let memory = Memory { width: HOUR, ids_max: room };
        !excused(&chain_of(10), &accepted_twice(minutes, said), |_| memory).is_empty()
    }

    #[test]
    fn copies_further_apart_than_the_window_are_excused() {
        assert!(is_excused(61, HOUR, 100));
        assert!(!is_excused(60, HOUR, 100));
    }

    #[test]
    fn an_entry_that_says_it_applied_no_window_excuses_nothing_where_there_was_room() {
        assert!(!is_excused(5, Duration::ZERO, 100));
        assert!(!is_excused(5, Duration::from_secs(60), 11));
    }

    #[test]
    fn a_shorter_window_is_excused_where_there_was_no_room() {
        assert!(is_excused(5, Duration::ZERO, 10));
        assert!(is_excused(5, Duration::from_secs(60), 10));
        assert!(!is_excused(5, Duration::from_secs(600), 10));
    }
}
