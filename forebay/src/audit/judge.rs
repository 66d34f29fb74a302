//! The comparison: what was decided against what is held.

use super::bitmap::{intersection, without};
use super::deep::Depth;
use super::explain::{Absent, Explanation, Fate};
use super::flow::{self, Flow};
use super::numbering::{Decided, KINDS, Numbering};
use super::objects::Objects;
use super::receipts::Receipts;
use super::repeats::{Acceptance, Lineage, Repeats, repeated};
use super::report::{Figures, Findings, Report};
use super::rows::{Held, Reading, Rows};
use crate::embedded::Embedded;
use schema::{EventId, IntervalSet, Kind, Origin};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Most places that still have something in flight which a remark names.
const UNSETTLED_SHOWN_MAX: usize = 3;

/// Everything that is read but the rows.
#[derive(Debug)]
pub(super) struct Evidence {
    embedded: Embedded,
    flow: Flow,
    decided: Decided,
    objects: Objects,
    depth: Depth,
    findings: Findings,
}

impl Evidence {
    /// Reads chains as they stand. `flow` is what was on its way just before, and `listed` are the objects that were in the
    /// lake before that.
    pub(super) async fn gather(
        embedded: Embedded,
        flow: Flow,
        listed: BTreeSet<String>,
        depth: Depth,
        examples_max: usize,
    ) -> anyhow::Result<Evidence> {
        let mut findings = Findings::new(examples_max);
        // The writers' chains first: what they have was numbered before.
        let objects = Objects::read(&*embedded.ledger, &*embedded.lake, listed, &mut findings).await?;
        let decided = Decided::read(&*embedded.ledger, &mut findings).await?;
        Ok(Evidence { embedded, flow, decided, objects, depth, findings })
    }
}

/// Reads the rows and compares.
pub(super) async fn judge(evidence: Evidence, mut receipts: Option<Receipts>) -> anyhow::Result<Report> {
    let Evidence { embedded, flow, mut decided, objects, depth, mut findings } = evidence;
    let lanes = &decided.lanes;
    let reading = Reading { lake: &*embedded.lake, lanes, receipts: receipts.as_mut(), depth, findings: &mut findings };
    let rows = reading.read(objects.named, &objects.balances).await?;

    let absent = absent(&decided.lanes, &rows.held, &objects.settled, &flow);
    let repeated = repeated_ids(&mut decided, &mut findings);
    let mut fates = fates(receipts.as_ref());
    // Counted before it is explained, so that the examples find their kind.
    let missing = absent.iter().map(|absent| absent.missing.len()).sum::<u64>();
    let mut explanation = Explanation {
        absent: &absent,
        repeated: &repeated,
        fates: &mut fates,
        findings: &mut findings,
        absent_sums: vec![0; decided.lanes.len()],
        absent_met: vec![0; decided.lanes.len()],
        repeats: Repeats::default(),
    };
    explanation.walk(&*embedded.ledger, &decided).await?;
    let Explanation { absent_sums, absent_met, repeats, .. } = explanation;

    let mut judgement = Judgement { decided: &decided, rows: &rows, absent: &absent, findings, remarks: Vec::new() };
    judgement.missing(missing);
    judgement.sums(&absent_sums, &absent_met);
    let close = judgement.repeats(&repeats);
    judgement.dropped(&repeated);
    let lost = judgement.receipts(&embedded, &flow, receipts.as_ref(), fates, &repeated).await?;
    flow.gone().iter().for_each(|gone| judgement.findings.add("gone by retention", gone));
    judgement.asides(&flow);

    let mut figures = judgement.figures();
    figures.missing = missing + lost;
    figures.twice = rows.counts.twice + close;
    let Judgement { findings, remarks, .. } = judgement;
    Ok(Report { figures, remarks, findings })
}

/// The ordinals that have no row in the exact view, and why.
fn absent(lanes: &[Numbering], held: &[Held], settled: &BTreeMap<Origin, IntervalSet>, flow: &Flow) -> Vec<Absent> {
    let none = IntervalSet::default();
    let one = |(lane, held): (&Numbering, &Held)| {
        let all = held.exact.absent();
        let void = intersection(&all, &lane.voids);
        // What writers have taken must be there, and once they have taken everything, all that was forwarded to them.
        let mut due = settled.get(&lane.origin).unwrap_or(&none).clone();
        if flow.is_written(&lane.origin.chain(), lane.last) {
            due.insert(0, lane.forwarded);
        }
        // Writers have had rows of it, and forgot it: they do once they have them all.
        if lane.is_ended && held.exact.len() > 0 && !settled.contains_key(&lane.origin) {
            due.insert(0, lane.end);
        }
        let missing = intersection(&without(&all, &void), &due);
        Absent { all, void, missing }
    };
    lanes.iter().zip(held).map(one).collect()
}

fn repeated_ids(decided: &mut Decided, findings: &mut Findings) -> [HashSet<EventId>; 2] {
    std::mem::take(&mut decided.ids).map(|ids| {
        let (ids, are_all) = repeated(ids);
        if !are_all {
            findings.add("accepted twice", format_args!("more than {} ids: the others were not looked at", ids.len()));
        }
        ids
    })
}

fn fates(receipts: Option<&Receipts>) -> [HashMap<EventId, Fate>; 2] {
    KINDS.map(|kind| {
        let absent = receipts.into_iter().flat_map(|receipts| receipts.of(kind).absent());
        absent.map(|id| (id, Fate::Unknown)).collect()
    })
}

struct Judgement<'a> {
    decided: &'a Decided,
    rows: &'a Rows,
    absent: &'a [Absent],
    findings: Findings,
    remarks: Vec<String>,
}

impl Judgement<'_> {
    /// The examples are there already; where the chains were trimmed, there are none.
    fn missing(&mut self, missing: u64) {
        if missing > 0 {
            let untold = self.absent.iter().zip(&self.decided.lanes).find(|(absent, _)| !absent.missing.is_empty());
            let example = untold
                .map(|(absent, lane)| format!("ordinals {:?} of {}", absent.missing.intervals().first(), lane.origin));
            self.findings.count_many("missing", missing, example.unwrap_or_default());
        }
    }

    /// The ids that are there are those that were decided: their hashes add up.
    fn sums(&mut self, absent_sums: &[u128], absent_met: &[u64]) {
        for (place, (lane, held)) in self.decided.lanes.iter().zip(&self.rows.held).enumerate() {
            let origin = &lane.origin;
            if absent_met[place] != self.absent[place].all.len() {
                self.remarks
                    .push(format!("{origin}: its chain was trimmed, so the ids of absent ordinals are not known"));
                continue;
            }
            if held.exact_sum != lane.sum.wrapping_sub(absent_sums[place]) {
                self.findings
                    .add("wrong ids", format_args!("{origin}: the ids in the lake are not those that were decided"));
            } else if held.live.len() == held.exact.len() && held.live_sum != held.exact_sum {
                self.findings
                    .add("wrong ids", format_args!("{origin}: the ids under live/ are not those that were decided"));
            }
        }
    }

    /// Ids that were accepted twice though they should not have been; how many.
    fn repeats(&mut self, repeats: &Repeats) -> u64 {
        let lineage = Lineage::new(&self.decided.chains, &self.decided.parents);
        let (mut close, mut far, mut shown) = (0, 0u64, Vec::new());
        let findings = &mut self.findings;
        let examples_max = findings.examples_max();
        repeats.judge(&lineage, |id, acceptances, is_right| {
            let told = told(id, acceptances);
            if is_right {
                far += 1;
                shown.extend((shown.len() < examples_max).then_some(told));
            } else {
                close += acceptances.len() as u64 - 1;
                findings.add("accepted twice", format_args!("within the window: {told}"));
            }
        });
        if far > 0 {
            let shown = shown.join("\n  ");
            self.remarks
                .push(format!("{far} ids were accepted more than once, further apart than the window:\n  {shown}"));
        }
        close
    }

    /// Only further copies of an id may be dropped.
    fn dropped(&mut self, repeated: &[HashSet<EventId>; 2]) {
        let dropped = self.rows.dropped.iter().filter(|id| repeated.iter().all(|ids| !ids.contains(id)));
        if self.trimmed() > 0 {
            let ids: Vec<String> = dropped.map(ToString::to_string).collect();
            return self.unknown(&ids, "were dropped by compaction as further copies");
        }
        for id in dropped {
            self.findings.add("dropped without need", format_args!("{id}: it was accepted once"));
        }
    }

    /// How many ordinals were decided by entries that are gone.
    fn trimmed(&self) -> u64 {
        self.decided.lanes.iter().map(|lane| lane.trimmed).sum()
    }

    /// Says what the chains could tell only if they were not trimmed.
    fn unknown(&mut self, ids: &[String], what: &str) {
        if !ids.is_empty() {
            let (count, shown) = (ids.len(), ids[..ids.len().min(self.findings.examples_max())].join("\n  "));
            self.remarks.push(format!(
                "{count} ids {what}; the chains were trimmed, so whether that is right is not known:\n  {shown}"
            ));
        }
    }

    /// Holds what was acknowledged against what is there; how many ids nobody has ever decided.
    async fn receipts(
        &mut self,
        embedded: &Embedded,
        flow: &Flow,
        receipts: Option<&Receipts>,
        mut fates: [HashMap<EventId, Fate>; 2],
        repeated: &[HashSet<EventId>; 2],
    ) -> anyhow::Result<u64> {
        let Some(receipts) = receipts else { return Ok(0) };
        if fates.iter().any(|fates| fates.values().any(|fate| *fate == Fate::Unknown)) {
            flow::for_each_undecided(embedded, |id| {
                let known = fates.iter_mut().filter_map(|fates| fates.get_mut(&id));
                known.filter(|fate| **fate == Fate::Unknown).for_each(|fate| *fate = Fate::InFlight);
            })
            .await?;
        }
        let (mut lost, mut on_their_way) = (0, 0u64);
        for (id, fate) in fates.iter().flatten().collect::<BTreeMap<_, _>>() {
            match fate {
                Fate::InFlight => on_their_way += 1,
                Fate::Lost(position) => self.findings.add("acknowledged, not there", format_args!("{id}: {position}")),
                Fate::Unknown => {
                    lost += 1;
                    let so_far = if self.trimmed() > 0 { ", as far back as the chains go" } else { "" };
                    let may_come = if flow.is_overflowing() { "; it may wait in the overflow queue" } else { "" };
                    let told = format_args!("{id}: it was never decided{so_far}{may_come}");
                    self.findings.add("acknowledged, not there", told);
                }
            }
        }
        for kind in KINDS {
            let unexcused = |(id, _): &(EventId, u8)| !repeated[kind as usize].contains(id);
            let times = |(id, times): (EventId, u8)| format!("{id}: {times} times");
            let told: Vec<String> = receipts.of(kind).repeated().filter(unexcused).map(times).collect();
            if self.trimmed() > 0 {
                self.unknown(&told, "of the ledger file are there more than once");
            } else {
                told.iter().for_each(|told| self.findings.add("acknowledged, there more than once", told));
            }
        }
        let [accepted, quarantined] = KINDS.map(|kind| receipts.of(kind).len());
        self.remarks.push(format!(
            "ledger file: {accepted} accepted and {quarantined} quarantined ids, {on_their_way} of them on their way; {} quarantined without an id",
            receipts.unlisted
        ));
        Ok(lost)
    }

    fn asides(&mut self, flow: &Flow) {
        if self.trimmed() > 0 {
            let count = self.trimmed();
            self.remarks.push(format!(
                "chains were trimmed: of the first {count} ordinals, numbers and sums are checked, and not which copies were \
                 met or accepted again; duplicates are those met since"
            ));
        }
        let counts = &self.rows.counts;
        if counts.unregistered > 0 {
            let count = counts.unregistered;
            self.remarks.push(format!(
                "{count} rows in quarantine are of origins that no dedup chain has registered, or that ended long ago"
            ));
        }
        if counts.unreadable > 0 {
            let count = counts.unreadable;
            self.remarks.push(format!(
                "{count} events could not be read by the writer and are in quarantine under their ordinals"
            ));
        }
        if !flow.is_settled() {
            let shown: Vec<&str> = flow.unsettled().take(UNSETTLED_SHOWN_MAX).collect();
            self.remarks.push(format!("something is on its way:\n  {}", shown.join("\n  ")));
        }
    }

    fn figures(&self) -> Figures {
        let ends = |kind: Kind| {
            let lanes = self.decided.lanes.iter().filter(move |lane| lane.origin.kind() == kind);
            lanes.map(|lane| lane.end).sum::<u64>()
        };
        let counts = &self.rows.counts;
        let in_flight = |absent: &Absent| absent.all.len() - absent.void.len() - absent.missing.len();
        Figures {
            accepted: self.decided.accepted,
            unique: ends(Kind::Events),
            duplicates: self.decided.duplicates,
            quarantined: ends(Kind::Quarantine),
            live: counts.live,
            finals: counts.finals,
            dropped: counts.dropped,
            void: self.absent.iter().map(|absent| absent.void.len()).sum(),
            in_flight: self.absent.iter().map(in_flight).sum(),
            ..Figures::default()
        }
    }
}

fn told(id: EventId, acceptances: &[Acceptance]) -> String {
    let one = |acceptance: &Acceptance| {
        let Acceptance { chain, entry, ordinal, .. } = acceptance;
        format!("chain {chain}, entry {entry}, ordinal {ordinal}")
    };
    format!("{id}: {}", acceptances.iter().map(one).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::{ChainId, ShardId};

    /// Five ordinals of an origin whose chain has ended, of which the lake holds the first `held`.
    fn missing(held_count: u64, settled: &[(u64, u64)]) -> u64 {
        let origin = Origin::of(&ChainId::dedup("r1", &ShardId::new("raw-0000"), 0), Kind::Events);
        let lane = Numbering { end: 5, forwarded: 5, is_ended: true, ..Numbering::new(origin.clone()) };
        let mut held = Held::new(5);
        (0..held_count).for_each(|ordinal| assert!(held.exact.insert(ordinal)));
        let mut sets = BTreeMap::new();
        for &(start, end) in settled {
            sets.entry(origin.clone()).or_insert_with(IntervalSet::default).insert(start, end);
        }
        absent(&[lane], &[held], &sets, &Flow::of_a_busy_writer())[0].missing.len()
    }

    #[test]
    fn all_ordinals_of_an_origin_that_writers_forgot_must_be_there() {
        assert_eq!(missing(3, &[]), 2, "there are rows of it, and no set has it any more");
        assert_eq!(missing(3, &[(0, 3)]), 0, "the others are on their way");
        assert_eq!(missing(0, &[]), 0, "no writer has read it yet");
        assert_eq!(missing(3, &[(0, 4)]), 1);
    }
}
