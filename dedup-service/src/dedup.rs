//! The decision: which events of a range are the first of their id, and under which ordinals they go on.
//!
//! Pure: (state, range) → (entry, forwards). **Stray**: an event whose hash is outside the shard's range. **Lane**: the
//! unique events of one kind, numbered densely. What was decided is written down as places in the range, so that a later
//! owner needs no decision code to act on it again.

use crate::batch::{LANES, PartAt, Unit, kind_of, lane_of, parts};
use crate::window::minute_of;
use crate::windows::Windows;
use bytes::Bytes;
use schema::v1::{CleanRecord, Decision, Lane, RawRecord, ReceivedRun, Void};
use schema::{ChainId, EventId, HashKey, HashRange, Kind, Origin, Position, record};
use service::{Halt, Rule, Rules};
use std::time::Duration;

/// Version of the rules by which a decision was made. Written down for whoever reads the chain; nothing depends on it.
pub const RULE_VERSION: u32 = 1;

/// How the window is kept.
#[derive(Clone, Copy, Debug)]
pub struct WindowRule {
    /// W: copies that are received closer together than this are recognised.
    pub width: Duration,
    /// Longest time by which a copy may be read later than newer events.
    pub delay_max: Duration,
}

impl WindowRule {
    /// First minute that must be known to judge an event received at `received_at`.
    pub fn reach(&self, received_at: i64) -> i32 {
        minute_of(received_at.saturating_sub(micros(self.width)))
    }

    /// First minute that is kept in memory when `newest` is the newest event.
    pub fn kept_from(&self, newest: i64, rules: Rules) -> i32 {
        let delay = if rules.keeps(Rule::WindowOutlastsDelays) { micros(self.delay_max) } else { 0 };
        minute_of(newest.saturating_sub(micros(self.width)).saturating_sub(delay))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Everything an owner knows of its chain.
#[derive(Debug)]
pub struct State {
    pub chain: ChainId,
    pub range: HashRange,
    /// Where the origin's clean records go.
    pub point: HashKey,
    /// Number of the next entry.
    pub next: u64,
    /// Raw position up to which everything is decided.
    pub position: Position,
    /// Next ordinal of each lane.
    pub ordinals: [u64; 2],
    /// Sum of H(id) of each lane.
    pub sums: [u128; 2],
    /// `None` for a chain whose first entries did not count.
    pub tally: Option<Tally>,
    pub newest_through: i64,
    pub windows: Windows,
    /// First minute of which no id is missing from memory because its entry was trimmed before it was loaded.
    pub trimmed_to: i32,
    pub ended: bool,
}

/// What a chain has counted since its genesis, so that its head alone tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Further copies that were dropped.
    pub duplicates: u64,
    /// Ordinals of each lane that were given up.
    pub voids: [u64; 2],
}

impl Tally {
    /// What an entry says; `None` where it says nothing.
    pub fn of(entry: &Decision) -> Option<Tally> {
        let voids = |lane: &Option<Lane>| lane.as_ref()?.voids_through;
        let voids = [voids(&entry.events)?, voids(&entry.quarantine)?];
        Some(Tally { duplicates: entry.duplicates_through?, voids })
    }

    /// What it comes to with an entry.
    pub fn with(self, entry: &Decision) -> Tally {
        let Tally { mut duplicates, mut voids } = self;
        duplicates += u64::from(entry.duplicates);
        for void in &entry.voids {
            let kind = Kind::try_from(void.kind).unwrap_or(Kind::Events);
            voids[lane_of(kind)] += record::count(&void.ids) as u64;
        }
        Tally { duplicates, voids }
    }

    fn write(self, entry: &mut Decision) {
        entry.duplicates_through = Some(self.duplicates);
        for (lane, voids) in [&mut entry.events, &mut entry.quarantine].into_iter().zip(self.voids) {
            lane.get_or_insert_default().voids_through = Some(voids);
        }
    }
}

/// A decided event record on its way to the clean stream.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Entry that decided it.
    pub entry: u64,
    /// When the raw record that it comes from arrived.
    pub arrived_at: i64,
    pub record: CleanRecord,
}

/// What a decision came to.
#[derive(Debug)]
pub struct Decided {
    pub entry: Decision,
    pub forwards: Vec<Forward>,
}

impl State {
    /// The oldest minute that must be in memory to judge these units, and has room there, where it is not.
    pub fn missing_from(&self, units: &[Unit], rule: &WindowRule) -> Option<i32> {
        let oldest = units.iter().filter_map(Unit::received_at).min()?;
        self.windows.missing_from(rule.reach(oldest))
    }

    /// Decides a range, taking its new ids into the window. The caller appends the entry, and on failure drops the state.
    pub fn decide(&mut self, units: &[Unit], rule: &WindowRule, rules: Rules) -> Decided {
        let mut entry = Decision {
            from: self.position.as_str().to_string(),
            rule_version: RULE_VERSION,
            window_seconds: self.effective_window(units, rule).as_secs(),
            records: units.len() as u32,
            met: units.iter().map(Unit::events).sum::<usize>() as u32,
            ..Decision::default()
        };
        let mut lanes = LANES.map(|kind| LaneBuilder::new(self.ordinals[lane_of(kind)]));
        let mut forwards = Vec::new();
        for at in parts(units) {
            let kind = kind_of(at.part);
            let lane = &mut lanes[lane_of(kind)];
            let places = self.judge(&at, lane, &mut entry, rules);
            if !places.is_empty() {
                let origin = Origin::of(&self.chain, kind);
                let first_ordinal = lane.next - places.len() as u64;
                let record = record::clean_of(at.part, &places, &origin, first_ordinal);
                forwards.push(Forward { entry: self.next, arrived_at: at.arrived_at, record });
                self.newest_through = self.newest_through.max(at.part.received_at);
            }
        }
        if let Some(last) = units.last() {
            self.position = last.position.clone();
        }
        let [events, quarantine] = lanes;
        entry.events = Some(events.finish(&mut self.ordinals[0], &mut self.sums[0]));
        entry.quarantine = Some(quarantine.finish(&mut self.ordinals[1], &mut self.sums[1]));
        entry.to = self.position.as_str().to_string();
        entry.newest_through = self.newest_through;
        self.count(&mut entry);
        self.next += 1;
        self.windows.prune(rule.kept_from(self.newest_through, rules));
        Decided { entry, forwards }
    }

    /// An entry that decides nothing: it settles what is forwarded, or ends the chain.
    pub fn settle(&mut self) -> Decision {
        self.give_up(Vec::new())
    }

    /// An entry that gives up on what can never be sent.
    pub fn give_up(&mut self, voids: Vec<Void>) -> Decision {
        let mut entry = Decision {
            from: self.position.as_str().to_string(),
            to: self.position.as_str().to_string(),
            rule_version: RULE_VERSION,
            newest_through: self.newest_through,
            voids,
            ..Decision::default()
        };
        let [events, quarantine] = LANES.map(|kind| LaneBuilder::new(self.ordinals[lane_of(kind)]));
        entry.events = Some(events.finish(&mut self.ordinals[0], &mut self.sums[0]));
        entry.quarantine = Some(quarantine.finish(&mut self.ordinals[1], &mut self.sums[1]));
        self.count(&mut entry);
        self.next += 1;
        entry
    }

    /// Counts what an entry says, and writes into it what the chain has come to.
    fn count(&mut self, entry: &mut Decision) {
        self.tally = self.tally.map(|tally| tally.with(entry));
        if let Some(tally) = self.tally {
            tally.write(entry);
        }
    }

    /// Judges the events of one part; gives the places of the accepted.
    fn judge(&mut self, at: &PartAt<'_>, lane: &mut LaneBuilder, entry: &mut Decision, rules: Rules) -> Vec<usize> {
        let window = lane_of(kind_of(at.part));
        let received_at = at.part.received_at;
        let minute = minute_of(received_at);
        let mut places = Vec::with_capacity(at.hashes.len());
        for (place, (id, hash)) in at.ids().enumerate() {
            if rules.keeps(Rule::StraysGoHome) && !self.range.covers(hash) {
                entry.strays += 1;
            } else if self.windows.insert(window, id, minute) {
                lane.accept(id, hash, received_at);
                places.push(place);
                continue;
            } else {
                entry.duplicates += 1;
            }
            lane.skip(at.first + place as u32);
        }
        places
    }

    /// W as far as memory reaches: what the window could really tell for the oldest of these units.
    fn effective_window(&self, units: &[Unit], rule: &WindowRule) -> Duration {
        let Some(oldest) = units.iter().filter_map(Unit::received_at).min() else { return rule.width };
        let floor = self.windows.floor().max(self.trimmed_to);
        if rule.reach(oldest) >= floor {
            return rule.width;
        }
        let minutes = u64::try_from(i64::from(minute_of(oldest)) - i64::from(floor)).unwrap_or(0);
        Duration::from_secs(60 * minutes)
    }
}

/// Builds one lane of an entry.
struct LaneBuilder {
    first: u64,
    next: u64,
    ids: Vec<u8>,
    skipped: Vec<u32>,
    last_skipped: u32,
    received: Vec<ReceivedRun>,
    sum: u128,
}

impl LaneBuilder {
    fn new(first: u64) -> LaneBuilder {
        LaneBuilder {
            first,
            next: first,
            ids: Vec::new(),
            skipped: Vec::new(),
            last_skipped: 0,
            received: Vec::new(),
            sum: 0,
        }
    }

    fn accept(&mut self, id: EventId, hash: HashKey, received_at: i64) {
        self.next += 1;
        self.ids.extend_from_slice(&id.to_bytes());
        self.sum = self.sum.wrapping_add(hash.0);
        match self.received.last_mut() {
            Some(run) if run.received_at == received_at => run.count += 1,
            _ => self.received.push(ReceivedRun { count: 1, received_at }),
        }
    }

    fn skip(&mut self, flattened: u32) {
        self.skipped.push(flattened - self.last_skipped);
        self.last_skipped = flattened;
    }

    fn finish(self, ordinal: &mut u64, sum: &mut u128) -> Lane {
        *ordinal = self.next;
        *sum = sum.wrapping_add(self.sum);
        Lane {
            first_ordinal: self.first,
            count: (self.next - self.first) as u32,
            ids: Bytes::from(self.ids),
            skipped: self.skipped,
            received: self.received,
            sum_through: Bytes::copy_from_slice(&sum.to_be_bytes()),
            voids_through: None,
        }
    }
}

/// Gives up on a forward that can never be sent (PROTOCOL rule 16): what the chain says of it, and what goes in its place.
pub fn void(forward: &Forward, reason: &str) -> (Void, CleanRecord) {
    let record = &forward.record;
    let void = Void {
        kind: record.kind,
        first_ordinal: record.first_ordinal,
        ids: record.ids.clone(),
        reason: reason.to_string(),
    };
    let tombstone = record::tombstone(&Origin::new(&record.origin), record.first_ordinal, record.ids.clone());
    (void, tombstone)
}

/// Events outside `range`, as records to put into the raw stream again: those of each raw record together, under the hash
/// of the first.
///
/// # Errors
/// A record that has hopped more often than it can have events to bring home.
pub fn strays(
    units: &[Unit],
    range: &HashRange,
    point: HashKey,
    rules: Rules,
) -> Result<Vec<(HashKey, RawRecord)>, Halt> {
    let mut found = Vec::new();
    if !rules.keeps(Rule::StraysGoHome) || !rules.keeps(Rule::StraysAreKept) {
        return Ok(found);
    }
    for at in parts(units) {
        let astray = |(place, hash): (usize, &HashKey)| (!range.covers(*hash)).then_some(place);
        let places: Vec<usize> = at.hashes.iter().enumerate().filter_map(astray).collect();
        let Some(&first) = places.first() else { continue };
        if at.part.hops as usize > record::RECORD_EVENTS_MAX {
            return Err(Halt(format!("a stray has hopped {} times: the raw stream ignores hash keys", at.part.hops)));
        }
        let mut again = record::select_raw(at.part, &places);
        again.hops += 1;
        let under = if rules.keeps(Rule::StraysUnderOwnHash) { at.hashes[first] } else { point };
        found.push((under, again));
    }
    Ok(found)
}

/// What an entry decided, as forwards, from the range it decided on.
///
/// # Errors
/// A range that is not the one that was decided.
pub fn recall(chain: &ChainId, number: u64, entry: &Decision, units: &[Unit]) -> Result<Vec<Forward>, Halt> {
    let differs =
        |what: &str| Halt(format!("chain {chain}, entry {number}: the raw range gives {what} than was decided on"));
    let met: usize = units.iter().map(Unit::events).sum();
    if units.len() != entry.records as usize || met != entry.met as usize {
        return Err(differs("other records"));
    }
    let mut lanes = [&entry.events, &entry.quarantine].map(|lane| LaneReader::new(lane.as_ref()));
    let mut forwards = Vec::new();
    for at in parts(units) {
        let kind = kind_of(at.part);
        let lane = &mut lanes[lane_of(kind)];
        let first_ordinal = lane.next;
        let mut places = Vec::new();
        for (place, id) in record::ids(&at.part.ids).enumerate() {
            if lane.skips(at.first + place as u32) {
                continue;
            }
            if lane.take() != Some(id) {
                return Err(differs("other ids"));
            }
            places.push(place);
        }
        if !places.is_empty() {
            let record = record::clean_of(at.part, &places, &Origin::of(chain, kind), first_ordinal);
            forwards.push(Forward { entry: number, arrived_at: at.arrived_at, record });
        }
    }
    Ok(forwards)
}

/// Reads one lane of an entry in step with the range.
struct LaneReader<'a> {
    next: u64,
    ids: &'a [u8],
    skipped: std::iter::Peekable<std::vec::IntoIter<u32>>,
}

impl LaneReader<'_> {
    fn new(lane: Option<&Lane>) -> LaneReader<'_> {
        let places: Vec<u32> = lane
            .map_or(&[][..], |lane| &lane.skipped)
            .iter()
            .scan(0, |at, gap| {
                *at += gap;
                Some(*at)
            })
            .collect();
        LaneReader {
            next: lane.map_or(0, |lane| lane.first_ordinal),
            ids: lane.map_or(&[], |lane| &lane.ids),
            skipped: places.into_iter().peekable(),
        }
    }

    fn skips(&mut self, flattened: u32) -> bool {
        self.skipped.next_if_eq(&flattened).is_some()
    }

    fn take(&mut self) -> Option<EventId> {
        let (id, rest) = self.ids.split_first_chunk::<{ EventId::BYTES }>()?;
        self.ids = rest;
        self.next += 1;
        Some(EventId::from_bytes(*id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_and_what_was_given_up_are_counted_through_all_entries_of_a_chain() {
        let void = |kind: Kind, count: usize| Void {
            kind: kind.into(),
            ids: vec![7; count * EventId::BYTES].into(),
            ..Void::default()
        };
        let voids = vec![void(Kind::Events, 2), void(Kind::Quarantine, 1), void(Kind::Events, 3)];
        let mut entries = [
            Decision { duplicates: 4, ..Decision::default() },
            Decision { voids, ..Decision::default() },
            Decision { duplicates: 1, ..Decision::default() },
        ];
        let mut tally = Tally::default();
        for entry in &mut entries {
            assert_eq!(Tally::of(entry), None, "nobody has counted");
            tally = tally.with(entry);
            tally.write(entry);
            assert_eq!(Tally::of(entry), Some(tally));
        }
        assert_eq!(tally, Tally { duplicates: 5, voids: [5, 1] });
    }
}
