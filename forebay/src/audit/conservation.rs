//! What the chains say of all events, read again and again: no Parquet, and no counter of any process.
//!
//! Chains of the dedup stage are read on from where the last look came to; of a writer's chain, the head says everything.
//! **Numbered**: has an ordinal. **Taken**: a writer has announced its row. **Due**: numbered, acknowledged by the clean
//! stream, not void and not taken. What is due is either on its way or lost; time tells. **Hole**: due, though a higher
//! ordinal of its origin is taken. **Tail**: due, and nothing of its origin behind it is taken. **Missing**: a hole, or a
//! tail although writers have read everything that had arrived when it was first seen, that has been one for long.

use super::bitmap::{intersection, without};
use super::flow;
use super::numbering::{ChainSoFar, Numbering, for_each_decision};
use super::report::Findings;
use crate::embedded::Embedded;
use anyhow::Context;
use dedup_service::again::Ordinals;
use schema::{ChainId, IntervalSet, Kind, Origin};
use service::Env;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use writer_service::FORGET_AFTER;
use writer_service::chain::{LatestSets, latest_sets};
use writer_service::write::Sets;

/// How far the clocks of this process and of the clean stream may be apart.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(60);

/// Most examples of each kind of finding in a chain that a look keeps.
const EXAMPLES_MAX: usize = 3;

/// Where all events are, both kinds together: `numbered` is the sum of the others but `duplicate`.
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
    /// Further copies, as far back as the chains go.
    pub duplicate: u64,
}

/// What was due at some time.
#[derive(Debug)]
struct Dues {
    seen: Instant,
    /// The same by the wall clock, to compare with arrivals in the stream.
    seen_at: i64,
    holes: Ordinals,
    tails: Ordinals,
}

/// Reads the chains of all shards on and on. Holds a few numbers for each, and what is due.
#[derive(Debug)]
pub(super) struct Conservation {
    ports: Embedded,
    env: Env,
    missing_after: Duration,
    dedup: BTreeMap<ChainId, ChainSoFar>,
    /// Sets of writers' chains that have ended.
    ended_writers: BTreeMap<ChainId, Sets>,
    /// What was due at a look longer ago than `missing_after`, and at a later one.
    old: Option<Dues>,
    young: Option<Dues>,
}

impl Conservation {
    pub(super) fn new(ports: Embedded, env: Env, missing_after: Duration) -> Conservation {
        let (dedup, ended_writers) = (BTreeMap::new(), BTreeMap::new());
        Conservation { ports, env, missing_after, dedup, ended_writers, old: None, young: None }
    }

    /// Reads on, and says where all events are.
    ///
    /// # Errors
    /// Something can't be read; the next look goes on from there.
    pub(super) async fn look(&mut self) -> anyhow::Result<Conserved> {
        if self.young.as_ref().is_some_and(|young| young.seen.elapsed() >= self.missing_after) {
            self.old = self.young.take();
        }
        // In this order what is read later can only be further: what was unread, what is taken, what is numbered.
        let tails_are_read = self.tails_are_read().await?;
        let taken = self.taken().await?;
        self.read_on().await?;
        let (conserved, dues) = self.judge(&taken, tails_are_read);
        self.young.get_or_insert(dues);
        Ok(conserved)
    }

    /// Whether writers have read everything that had arrived when the old tails were seen.
    async fn tails_are_read(&self) -> anyhow::Result<bool> {
        let Some(old) = self.old.as_ref().filter(|old| !old.tails.is_empty()) else { return Ok(false) };
        let apart = i64::try_from(CLOCKS_APART_MAX.as_micros()).expect("it is a minute");
        let oldest = flow::oldest_unwritten(&self.ports).await?;
        Ok(oldest.is_none_or(|arrived_at| arrived_at > old.seen_at.saturating_add(apart)))
    }

    /// Ordinals that writers have announced.
    async fn taken(&mut self) -> anyhow::Result<Sets> {
        let ledger = &*self.ports.ledger;
        let mut taken = Sets::default();
        for chain in ledger.chains(ChainId::WRITER).await.context("list the writers' chains")? {
            if let Some(sets) = self.ended_writers.get(&chain) {
                taken.union(sets);
                continue;
            }
            let latest = latest_sets(ledger, &chain).await.with_context(|| format!("read chain {chain}"))?;
            let Some(LatestSets { sets, is_ended }) = latest else { continue };
            taken.union(&sets);
            if is_ended {
                self.ended_writers.insert(chain, sets);
            }
        }
        Ok(taken)
    }

    /// Reads what the dedup stage has decided since the last look.
    async fn read_on(&mut self) -> anyhow::Result<()> {
        let ledger = &*self.ports.ledger;
        let mut findings = Findings::new(EXAMPLES_MAX);
        for chain in ledger.chains(ChainId::DEDUP).await.context("list the dedup chains")? {
            let so_far = self.dedup.entry(chain.clone()).or_insert_with(|| ChainSoFar::new(chain.clone()));
            if so_far.ended_at.is_some() {
                continue;
            }
            let is_first_look = so_far.next == 1;
            let next = so_far.next;
            for_each_decision(ledger, &chain, next, |number, decision| so_far.take(number, &decision, &mut findings))
                .await?;
            if is_first_look {
                so_far.recall_voids(ledger).await?;
            }
        }
        if let Some(finding) = findings.get("chain") {
            tracing::error!(count = finding.count, examples = ?finding.examples, "dedup chains are not right in themselves");
        }
        Ok(())
    }

    /// Everything that was due at the first look: on its way, or lost.
    pub(super) fn due(&self) -> Ordinals {
        let mut due = Ordinals::default();
        for (origin, ordinals) in self.young.iter().flat_map(|dues| dues.holes.iter().chain(&dues.tails)) {
            due.entry(origin.clone()).or_default().union(ordinals);
        }
        due
    }

    fn judge(&self, taken: &Sets, tails_are_read: bool) -> (Conserved, Dues) {
        let (now, mut conserved) = (self.env.now(), Conserved::default());
        let mut dues =
            Dues { seen: Instant::now(), seen_at: now, holes: Ordinals::default(), tails: Ordinals::default() };
        for chain in self.dedup.values() {
            conserved.duplicate += chain.duplicates;
            for lane in chain.lanes() {
                let taken = taken_of(lane, taken, chain.ended_at, now);
                let (holes, tails) = due(lane, &taken);
                let missing = self.missing(&lane.origin, &holes, &tails, tails_are_read);
                conserved.add(lane, &taken, &missing);
                for (due, of) in [(holes, &mut dues.holes), (tails, &mut dues.tails)] {
                    if !due.is_empty() {
                        of.insert(lane.origin.clone(), due);
                    }
                }
            }
        }
        (conserved, dues)
    }

    /// What has been due for too long.
    fn missing(&self, origin: &Origin, holes: &IntervalSet, tails: &IntervalSet, tails_are_read: bool) -> IntervalSet {
        let Some(old) = &self.old else { return IntervalSet::default() };
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
}

impl Conserved {
    fn add(&mut self, lane: &Numbering, taken: &IntervalSet, missing: &IntervalSet) {
        let void = lane.voids.len();
        let written = without(taken, &lane.voids).len();
        self.numbered += lane.end;
        self.void += void;
        self.missing += missing.len();
        self.in_flight += lane.end.saturating_sub(void + written + missing.len());
        match lane.origin.kind() {
            Kind::Events => self.live += written,
            Kind::Quarantine => self.quarantined += written,
        }
    }
}

/// What writers have taken of an origin. One that ended long ago and is in no set has been forgotten: they do that once
/// they have all of it.
fn taken_of(lane: &Numbering, taken: &Sets, ended_at: Option<i64>, now: i64) -> IntervalSet {
    if let Some((_, set)) = taken.iter().find(|(origin, _)| **origin == lane.origin) {
        return set.clone();
    }
    let forget_after = i64::try_from(FORGET_AFTER.as_micros()).expect("it is a constant of some days");
    let mut all = IntervalSet::default();
    if ended_at.is_some_and(|ended_at| ended_at.saturating_add(forget_after) <= now) {
        all.insert(0, lane.end);
    }
    all
}

/// Holes and tail of an origin.
fn due(lane: &Numbering, taken: &IntervalSet) -> (IntervalSet, IntervalSet) {
    let (mut below, mut behind) = (IntervalSet::default(), IntervalSet::default());
    let reached = taken.end().min(lane.forwarded);
    taken.missing(0, reached).into_iter().for_each(|(start, end)| below.insert(start, end));
    behind.insert(reached.max(taken.end()), lane.forwarded);
    (without(&below, &lane.voids), without(&behind, &lane.voids))
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::ShardId;

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
