//! What the chains say of all events, read again and again: no Parquet, and no counter of any process.
//!
//! Chains of the dedup stage are followed ([`super::following`]); of a writer's chain, the head says everything.
//! **Numbered**: has an ordinal. **Taken**: a writer has announced its row. **Due**: numbered, acknowledged by the clean
//! stream, not void and not taken. What is due is either on its way or lost; time tells. **Hole**: due, though a higher
//! ordinal of its origin is taken. **Tail**: due, and nothing of its origin behind it is taken. **Missing**: a hole, or a
//! tail although writers have read everything that had arrived when it was first seen, that has been one for long.
//! **Unknown**: of an origin that was in no set any more when it was first seen.

use super::bitmap::{intersection, without};
use super::broken::Broken;
use super::flow;
use super::following::Following;
use super::numbering::{ChainSoFar, Numbering};
use super::taken::{Taken, Writers};
use crate::embedded::Embedded;
use dedup_service::again::Ordinals;
use schema::{IntervalSet, Kind, Origin};
use service::Env;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How far the clocks of this process and of the clean stream may be apart.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(60);

/// Where all events are, both kinds together: `numbered` is the sum of the others but `duplicate` and `broken`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conserved {
    /// Accepted, each once.
    pub numbered: u64,
    /// Valid, and announced by a writer.
    pub live: u64,
    /// Invalid, and announced by a writer.
    pub quarantined: u64,
    /// Given up, with a reason on record.
    pub void: u64,
    pub in_flight: u64,
    pub missing: u64,
    /// Of origins that ended long ago and are in no writer's set: whether anybody took them is for the objects to say.
    pub unknown: u64,
    /// Further copies; of a chain whose entries don't count them, as far back as it goes.
    pub duplicate: u64,
    /// Chains that are not what they were.
    pub broken: u64,
}

/// What was due at some time.
#[derive(Debug)]
struct Dues {
    seen: Instant,
    /// The same by the wall clock, to compare with arrivals in the stream.
    seen_at: i64,
    holes: Ordinals,
    tails: Ordinals,
    /// Void ordinals whose tombstones no writer has taken: not due, and yet holes to a writer.
    untold: Ordinals,
}

/// Reads the chains of all shards on and on. Holds a few numbers for each, and what is due.
#[derive(Debug)]
pub(super) struct Conservation {
    ports: Embedded,
    env: Env,
    missing_after: Duration,
    writers: Writers,
    dedup: Following,
    /// All origins that were not forgotten when they were first seen, and whether writers have had all of them.
    had: BTreeMap<Origin, bool>,
    /// What was due at a look longer ago than `missing_after`, and at a later one.
    old: Option<Dues>,
    young: Option<Dues>,
    overtaken: flow::Overtaken,
}

impl Conservation {
    pub(super) fn new(ports: Embedded, env: Env, missing_after: Duration) -> Conservation {
        let (writers, dedup, had) = (Writers::default(), Following::default(), BTreeMap::new());
        let overtaken = flow::Overtaken::default();
        Conservation { ports, env, missing_after, writers, dedup, had, old: None, young: None, overtaken }
    }

    /// Reads on, and says where all events are.
    ///
    /// # Errors
    /// Something can't be read; the next look goes on from there.
    pub(super) async fn look(&mut self) -> anyhow::Result<Conserved> {
        if self.young.as_ref().is_some_and(|young| young.seen.elapsed() >= self.missing_after) {
            self.old = self.young.take();
        }
        let (ledger, mut broken) = (self.ports.ledger.clone(), Broken::default());
        // In this order what is read later can only be further: what was unread, what is taken, what is numbered.
        let tails_are_read = self.tails_are_read().await?;
        let taken = self.writers.read(&*ledger, self.env.now(), &mut broken).await?;
        self.dedup.read_on(&*ledger, &taken, &mut broken).await?;
        broken.report();
        let (conserved, dues) = self.judge(&taken, tails_are_read);
        self.young.get_or_insert(dues);
        Ok(Conserved { broken: broken.count(), ..conserved })
    }

    /// Whether writers have read everything that had arrived when the old tails were seen.
    async fn tails_are_read(&mut self) -> anyhow::Result<bool> {
        let Some(old) = self.old.as_ref().filter(|old| !old.tails.is_empty()) else { return Ok(false) };
        let apart = i64::try_from(CLOCKS_APART_MAX.as_micros()).expect("it is a minute");
        let oldest = flow::oldest_unwritten(&self.ports, self.env.now(), &mut self.overtaken).await?;
        Ok(oldest.is_none_or(|arrived_at| arrived_at > old.seen_at.saturating_add(apart)))
    }

    /// Everything that was due at the first look, and every tombstone that was: on its way, or lost.
    pub(super) fn due(&self) -> Ordinals {
        let mut due = Ordinals::default();
        let sent = self.young.iter().flat_map(|dues| [&dues.holes, &dues.tails, &dues.untold]);
        for (origin, ordinals) in sent.flatten() {
            due.entry(origin.clone()).or_default().union(ordinals);
        }
        due
    }

    fn judge(&mut self, taken: &Taken, tails_are_read: bool) -> (Conserved, Dues) {
        let mut conserved = Conserved::default();
        let (seen, seen_at) = (Instant::now(), self.env.now());
        let none = Ordinals::default;
        let mut dues = Dues { seen, seen_at, holes: none(), tails: none(), untold: none() };
        for chain in self.dedup.chains() {
            conserved.duplicate += chain.duplicates_through();
            for lane in chain.lanes() {
                let Some(taken) = taken_of(lane, chain, taken, &mut self.had) else {
                    conserved.add_unknown(lane);
                    continue;
                };
                let (holes, tails) = due(lane, &taken);
                let missing = missing(self.old.as_ref(), &lane.origin, &holes, &tails, tails_are_read);
                conserved.add(lane, &taken, &missing);
                let untold = untold(lane, &taken);
                for (due, of) in [(holes, &mut dues.holes), (tails, &mut dues.tails), (untold, &mut dues.untold)] {
                    if !due.is_empty() {
                        of.insert(lane.origin.clone(), due);
                    }
                }
            }
        }
        (conserved, dues)
    }
}

/// What has been due for too long.
fn missing(
    old: Option<&Dues>,
    origin: &Origin,
    holes: &IntervalSet,
    tails: &IntervalSet,
    tails_are_read: bool,
) -> IntervalSet {
    let Some(old) = old else { return IntervalSet::default() };
    let since = |old: &Ordinals, now: &IntervalSet| {
        old.get(origin).map_or_else(IntervalSet::default, |old| intersection(old, now))
    };
    let mut missing = since(&old.holes, holes);
    if tails_are_read {
        missing.union(&since(&old.tails, holes));
        missing.union(&since(&old.tails, tails));
    }
    if let Some(first) = missing.intervals().first() {
        tracing::error!(%origin, first = first.0, events = missing.len(), "events are in no object: forward them again");
    }
    missing
}

impl Conserved {
    fn add(&mut self, lane: &Numbering, taken: &IntervalSet, missing: &IntervalSet) {
        let void = lane.void_count();
        // Voids that were not read are all taken.
        let void_and_taken = void.saturating_sub(without(&lane.voids, taken).len());
        let written = taken.len().saturating_sub(void_and_taken);
        self.numbered += lane.end;
        self.void += void;
        self.missing += missing.len();
        self.in_flight += lane.end.saturating_sub(void + written + missing.len());
        match lane.origin.kind() {
            Kind::Events => self.live += written,
            Kind::Quarantine => self.quarantined += written,
        }
    }

    fn add_unknown(&mut self, lane: &Numbering) {
        let void = lane.void_count();
        self.numbered += lane.end;
        self.void += void;
        self.unknown += lane.end.saturating_sub(void);
    }

    /// Copies included.
    pub fn accepted(&self) -> u64 {
        self.numbered + self.duplicate
    }

    /// Whether nothing is missing, as far as the chains can tell, and they are what they were.
    pub fn is_right(&self) -> bool {
        self.missing == 0 && self.broken == 0
    }
}

/// What writers have taken of an origin; `None` where they may have forgotten it before it was first seen.
fn taken_of(
    lane: &Numbering,
    chain: &ChainSoFar,
    taken: &Taken,
    had: &mut BTreeMap<Origin, bool>,
) -> Option<IntervalSet> {
    if let Some(set) = taken.get(&lane.origin) {
        had.insert(lane.origin.clone(), chain.ended_at.is_some() && set.len() == lane.end);
        return Some(set.clone());
    }
    let mut all = IntervalSet::default();
    match had.get(&lane.origin) {
        Some(true) => all.insert(0, lane.end),
        Some(false) => {}
        None if lane.end > 0 && taken.may_be_forgotten(chain.ended_at) => return None,
        None => drop(had.insert(lane.origin.clone(), false)),
    }
    Some(all)
}

/// Holes and tail of an origin.
fn due(lane: &Numbering, taken: &IntervalSet) -> (IntervalSet, IntervalSet) {
    let (mut below, mut behind) = (IntervalSet::default(), IntervalSet::default());
    let reached = taken.end().min(lane.forwarded);
    taken.missing(0, reached).into_iter().for_each(|(start, end)| below.insert(start, end));
    behind.insert(reached.max(taken.end()), lane.forwarded);
    (without(&below, &lane.voids), without(&behind, &lane.voids))
}

/// Void ordinals of which the clean stream has acknowledged a tombstone and no writer has taken it.
fn untold(lane: &Numbering, taken: &IntervalSet) -> IntervalSet {
    let mut forwarded = IntervalSet::default();
    forwarded.insert(0, lane.forwarded);
    without(&intersection(&lane.voids, &forwarded), taken)
}

#[cfg(test)]
mod worlds;

#[cfg(test)]
mod tests {
    use super::*;
    use schema::{ChainId, ShardId};

    fn set(ranges: &[(u64, u64)]) -> IntervalSet {
        let mut set = IntervalSet::default();
        ranges.iter().for_each(|&(start, end)| set.insert(start, end));
        set
    }

    fn lane(end: u64, forwarded: u64, voids: &[(u64, u64)]) -> Numbering {
        let origin = Origin::of(&ChainId::dedup("r1", &ShardId::new("raw-0000"), 0), Kind::Events);
        Numbering { end, forwarded, voids: set(voids), ..Numbering::new(origin) }
    }

    #[test]
    fn a_tombstone_that_was_sent_and_not_taken_is_untold() {
        let lane = lane(10, 8, &[(1, 3), (5, 6), (7, 9)]);
        assert_eq!(untold(&lane, &set(&[(0, 2), (5, 6)])), set(&[(2, 3), (7, 8)]));
    }

    #[test]
    fn what_is_due_lies_below_what_is_taken_or_behind_it_and_is_not_void() {
        let due_of = |lane: &Numbering, taken: &[(u64, u64)]| due(lane, &set(taken));
        assert_eq!(due_of(&lane(10, 9, &[]), &[(0, 3), (5, 6)]), (set(&[(3, 5)]), set(&[(6, 9)])));
        assert_eq!(due_of(&lane(10, 9, &[(3, 5), (8, 9)]), &[(0, 3), (5, 6)]), (set(&[]), set(&[(6, 8)])));
        assert_eq!(due_of(&lane(10, 4, &[]), &[(0, 3), (5, 6)]), (set(&[(3, 4)]), set(&[])), "the rest was not sent");
        assert_eq!(due_of(&lane(10, 0, &[]), &[]), (set(&[]), set(&[])));
    }

    #[test]
    fn every_number_is_in_one_state() {
        let mut conserved = Conserved::default();
        conserved.add(&lane(20, 20, &[(2, 4)]), &set(&[(0, 3), (5, 12)]), &set(&[(4, 5)]));
        let Conserved { numbered, live, quarantined, void, in_flight, missing, .. } = conserved;
        assert_eq!((numbered, live, quarantined, void, missing), (20, 9, 0, 2, 1));
        assert_eq!(numbered, live + quarantined + void + in_flight + missing);
    }
}
