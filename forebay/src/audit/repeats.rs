//! Ids that were accepted more than once: allowed only further apart than the window that was recorded (invariant I10).

use schema::{ChainId, EventId, Kind};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Most ids whose acceptances are compared.
pub(super) const REPEATS_MAX: usize = 100_000;

/// One acceptance of an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Acceptance {
    pub(super) chain: ChainId,
    pub(super) entry: u64,
    pub(super) ordinal: u64,
    pub(super) received_at: i64,
    /// The window that the entry applied.
    pub(super) window_micros: i64,
    /// Given up: whatever came after was right to be accepted.
    pub(super) is_void: bool,
}

/// The ids that are there more than once, at most [`REPEATS_MAX`]; whether those are all.
pub(super) fn repeated(mut ids: Vec<EventId>) -> (HashSet<EventId>, bool) {
    ids.sort_unstable();
    let mut repeated = HashSet::new();
    for pair in ids.windows(2).filter(|pair| pair[0] == pair[1]) {
        if repeated.len() >= REPEATS_MAX && !repeated.contains(&pair[0]) {
            return (repeated, false);
        }
        repeated.insert(pair[0]);
    }
    (repeated, true)
}

/// Acceptances of repeated ids.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    by_id: BTreeMap<(usize, EventId), Vec<Acceptance>>,
}

impl Repeats {
    pub(super) fn add(&mut self, kind: Kind, id: EventId, acceptance: Acceptance) {
        self.by_id.entry((kind as usize, id)).or_default().push(acceptance);
    }

    /// Shows each id with its acceptances, and whether they lie far enough apart.
    pub(super) fn judge(&self, lineage: &Lineage<'_>, mut each: impl FnMut(EventId, &[Acceptance], bool)) {
        for ((_, id), acceptances) in &self.by_id {
            let pairs = (0..acceptances.len()).flat_map(|later| (0..later).map(move |earlier| (earlier, later)));
            let all_apart = pairs.into_iter().all(|(a, b)| lineage.apart(&acceptances[a], &acceptances[b]));
            each(*id, acceptances, all_apart);
        }
    }
}

/// Which chain came from which.
#[derive(Debug)]
pub(super) struct Lineage<'a> {
    parents: BTreeMap<&'a ChainId, &'a [ChainId]>,
}

impl<'a> Lineage<'a> {
    pub(super) fn new(chains: &'a [ChainId], parents: &'a [Vec<ChainId>]) -> Lineage<'a> {
        Lineage { parents: chains.iter().zip(parents.iter().map(Vec::as_slice)).collect() }
    }

    /// Whether both acceptances were right, whichever came first.
    fn apart(&self, a: &Acceptance, b: &Acceptance) -> bool {
        let (earlier, later) = if self.precedes(a, b) { (a, b) } else { (b, a) };
        // Who knew nothing could not even tell a record that was put twice: its copies are at no distance.
        let far = later.window_micros == 0 || (later.received_at - earlier.received_at).abs() > later.window_micros;
        self.precedes(earlier, later) && (far || earlier.is_void)
    }

    /// Whether whoever accepted `later` had to know of `earlier`.
    fn precedes(&self, earlier: &Acceptance, later: &Acceptance) -> bool {
        if earlier.chain == later.chain {
            return earlier.entry < later.entry;
        }
        let (mut next, mut met) = (vec![&later.chain], BTreeSet::new());
        while let Some(chain) = next.pop() {
            if *chain == earlier.chain {
                return true;
            }
            if met.insert(chain) {
                next.extend(self.parents.get(chain).copied().unwrap_or_default());
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acceptance(chain: &str, entry: u64, received_at: i64) -> Acceptance {
        let chain = ChainId::new(chain);
        Acceptance { chain, entry, ordinal: 0, received_at, window_micros: 100, is_void: false }
    }

    #[test]
    fn only_ids_that_are_there_more_than_once_are_repeated() {
        let ids = [5, 3, 5, 1, 3, 5].map(EventId).to_vec();
        assert_eq!(repeated(ids), (HashSet::from([EventId(3), EventId(5)]), true));
    }

    #[test]
    fn copies_further_apart_than_the_window_are_right_and_closer_ones_are_not() {
        let chains = ["child", "parent", "stranger"].map(ChainId::new);
        let parents = [vec![ChainId::new("parent")], vec![], vec![]];
        let lineage = Lineage::new(&chains, &parents);
        let first = acceptance("parent", 3, 1000);
        assert!(lineage.apart(&first, &acceptance("parent", 4, 1101)));
        assert!(lineage.apart(&acceptance("child", 1, 1101), &first));
        assert!(!lineage.apart(&first, &acceptance("parent", 4, 1100)));
        assert!(!lineage.apart(&first, &acceptance("parent", 3, 2000)), "one entry knows its own ids");
        assert!(!lineage.apart(&first, &acceptance("stranger", 9, 2000)), "an id has one lineage");
        assert!(lineage.apart(&first, &Acceptance { window_micros: 0, ..acceptance("parent", 4, 1000) }));
        assert!(lineage.apart(&Acceptance { is_void: true, ..first }, &acceptance("parent", 4, 1001)));
    }
}
