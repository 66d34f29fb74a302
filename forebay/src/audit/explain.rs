//! The second look at the chains: who it is that is missing, on its way, or accepted twice.
//!
//! Only where there is something to explain: the first look keeps no positions.

use super::numbering::{Decided, KINDS, Mark, Numbering, each_id, for_each_decision, lane_of};
use super::repeats::{Acceptance, Repeats};
use super::report::Findings;
use ledger::Ledger;
use schema::{ChainId, EventId, IntervalSet, Kind};
use std::collections::{HashMap, HashSet};

/// Ordinals of an origin that have no row in the exact view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Absent {
    pub(super) all: IntervalSet,
    pub(super) void: IntervalSet,
    pub(super) missing: IntervalSet,
}

/// What became of an acknowledged id that is not in the lake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nobody has decided it.
    Unknown,
    InFlight,
    /// Decided, and its ordinal is missing or void.
    Lost(String),
}

/// What needs explaining, and what is known of it.
pub(super) struct Explanation<'a> {
    /// As the decided lanes, by place.
    pub(super) absent: &'a [Absent],
    /// Ids accepted more than once, by kind.
    pub(super) repeated: &'a [HashSet<EventId>; 2],
    /// Acknowledged ids that are not in the lake, by kind.
    pub(super) fates: &'a mut [HashMap<EventId, Fate>; 2],
    pub(super) findings: &'a mut Findings,
    /// Sums of H(id) over absent ordinals, by lane.
    pub(super) absent_sums: Vec<u128>,
    /// How many absent ordinals were met, by lane.
    pub(super) absent_met: Vec<u64>,
    pub(super) repeats: Repeats,
}

/// One decided id.
struct One<'a> {
    chain: &'a ChainId,
    /// Unknown where it was trimmed.
    entry: Option<u64>,
    lane: usize,
    kind: Kind,
    ordinal: u64,
    id: EventId,
}

impl Explanation<'_> {
    /// Walks the chains that may explain something.
    pub(super) async fn walk(&mut self, ledger: &dyn Ledger, decided: &Decided) -> anyhow::Result<()> {
        let everywhere =
            self.repeated.iter().any(|ids| !ids.is_empty()) || self.fates.iter().any(|ids| !ids.is_empty());
        for (number, chain) in decided.chains.iter().enumerate() {
            let lanes = number * KINDS.len()..(number + 1) * KINDS.len();
            if everywhere || self.absent[lanes].iter().any(|absent| !absent.all.is_empty()) {
                self.chain(ledger, decided, number, chain).await?;
                self.trimmed_voids(decided, number, chain);
            }
        }
        Ok(())
    }

    /// Voids are all that is left of trimmed entries.
    fn trimmed_voids(&mut self, decided: &Decided, number: usize, chain: &ChainId) {
        for (k, kind) in KINDS.into_iter().enumerate() {
            let lane = number * KINDS.len() + k;
            let numbering = &decided.lanes[lane];
            for (&ordinal, &id) in &numbering.trimmed_voids {
                self.look(&One { chain, entry: None, lane, kind, ordinal, id }, numbering);
            }
        }
    }

    async fn chain(
        &mut self,
        ledger: &dyn Ledger,
        decided: &Decided,
        number: usize,
        chain: &ChainId,
    ) -> anyhow::Result<()> {
        for_each_decision(ledger, chain, 1, |Mark { number: entry, .. }, decision| {
            let window_micros = i64::try_from(decision.window_seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
            for (k, kind) in KINDS.into_iter().enumerate() {
                let lane = number * KINDS.len() + k;
                let numbering = &decided.lanes[lane];
                for (ordinal, id, received_at) in each_id(lane_of(&decision, kind)) {
                    let one = One { chain, entry: Some(entry), lane, kind, ordinal, id };
                    self.look(&one, numbering);
                    if self.repeated[k].contains(&id) {
                        let is_void = numbering.voids.contains(ordinal);
                        let chain = chain.clone();
                        let acceptance = Acceptance { chain, entry, ordinal, received_at, window_micros, is_void };
                        self.repeats.add(kind, id, acceptance);
                    }
                }
            }
        })
        .await
    }

    fn look(&mut self, one: &One<'_>, numbering: &Numbering) {
        let &One { chain, entry, lane, kind, ordinal, id } = one;
        let absent = &self.absent[lane];
        if absent.all.is_empty() || !absent.all.contains(ordinal) {
            return;
        }
        self.absent_sums[lane] = self.absent_sums[lane].wrapping_add(id.hash().0);
        self.absent_met[lane] += 1;
        let position = || {
            let entry = entry.map_or_else(|| "an entry that is gone".to_string(), |entry| format!("entry {entry}"));
            format!("ordinal {ordinal} of {}, decided by chain {chain}, {entry}", numbering.origin)
        };
        let is_missing = absent.missing.contains(ordinal);
        if is_missing && self.findings.has_room("missing") {
            self.findings.add_many("missing", 0, format_args!("{id}: {}", position()));
        }
        if let Some(fate) = self.fates[kind as usize].get_mut(&id) {
            *fate = match is_missing || absent.void.contains(ordinal) {
                true => Fate::Lost(position()),
                false => Fate::InFlight,
            };
        }
    }
}
