//! The comparison: what was decided against what is held.

use super::bitmap::{intersection, without};
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

/// Most ids accepted twice that a remark names.
const REPEATS_SHOWN_MAX: usize = 3;

/// Everything that is read but the rows.
#[derive(Debug)]
pub(super) struct Evidence {
    embedded: Embedded,
    flow: Flow,
    decided: Decided,
    objects: Objects,
    findings: Findings,
}

impl Evidence {
    /// Reads streams and chains as they stand. `listed` are the objects that were in the lake before.
    pub(super) async fn gather(
        embedded: Embedded,
        listed: BTreeSet<String>,
        examples_max: usize,
    ) -> anyhow::Result<Evidence> {
        let mut findings = Findings::new(examples_max);
        let flow = Flow::look(&embedded).await?;
        let decided = Decided::read(&*embedded.ledger, &mut findings).await?;
        let objects = Objects::read(&*embedded.ledger, &*embedded.lake, listed, &mut findings).await?;
        Ok(Evidence { embedded, flow, decided, objects, findings })
    }
}

/// Reads the rows and compares.
pub(super) async fn judge(evidence: Evidence, mut receipts: Option<Receipts>) -> anyhow::Result<Report> {
    let Evidence { embedded, flow, mut decided, objects, mut findings } = evidence;
    let lanes = &decided.lanes;
    let reading = Reading { lake: &*embedded.lake, lanes, receipts: receipts.as_mut(), findings: &mut findings };
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
    let lost = judgement.receipts(&embedded, receipts.as_ref(), fates, &repeated).await?;
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
        if flow.is_written() {
            due.insert(0, lane.forwarded);
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
        repeats.judge(&lineage, |id, acceptances, is_right| {
            let told = told(id, acceptances);
            if is_right {
                far += 1;
                shown.extend((shown.len() < REPEATS_SHOWN_MAX).then_some(told));
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
        for id in self.rows.dropped.iter().filter(|id| repeated.iter().all(|ids| !ids.contains(id))) {
            self.findings.add("dropped without need", format_args!("{id}: it was accepted once"));
        }
    }

    /// Holds what was acknowledged against what is there; how many ids nobody has ever decided.
    async fn receipts(
        &mut self,
        embedded: &Embedded,
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
                    self.findings.add("acknowledged, not there", format_args!("{id}: it was never decided"));
                }
            }
        }
        for kind in KINDS {
            let unexcused = |(id, _): &(EventId, u8)| !repeated[kind as usize].contains(id);
            for (id, times) in receipts.of(kind).repeated().filter(unexcused) {
                self.findings.add("acknowledged, there more than once", format_args!("{id}: {times} times"));
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
        let counts = &self.rows.counts;
        if counts.unregistered > 0 {
            let count = counts.unregistered;
            self.remarks.push(format!("{count} rows in quarantine are of origins that no dedup chain has registered"));
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
