//! What is where: the whole content of the log by name and number, rebuilt from the segments at open.

use crate::chain::{Chain, SlotAt};
use crate::damage::What;
use crate::frame::{Body, Kind, Place};
use crate::live::{Counts, Live};
use crate::log::{Log, weight};
use crate::segment::{FIRST_SEGMENT, Segment};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// How far a log's numbering jumps when bytes of unknown content were lost after its last record: more records than a
/// shard takes in its life, so that no number is given out twice.
const DOUBT_JUMP: u64 = 1 << 40;

/// Bytes of recent payloads kept in memory, all logs together: a few seconds of a busy stream.
const RECENT_BYTES_MAX: usize = 16 << 20;

/// A note as it stands.
#[derive(Debug, Default)]
pub(crate) struct NoteAt {
    pub(crate) version: u64,
    pub(crate) bytes: Bytes,
    pub(crate) place: Option<Place>,
    /// A later version was lost to damage.
    pub(crate) damaged: bool,
}

/// The messages of one queue.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    pub(crate) waiting: BTreeMap<u64, Place>,
    pub(crate) next: u64,
}

#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) segments: BTreeMap<u32, Segment>,
    pub(crate) logs: HashMap<Arc<str>, Log>,
    pub(crate) chains: BTreeMap<Arc<str>, Chain>,
    pub(crate) notes: HashMap<Arc<str>, NoteAt>,
    pub(crate) queues: HashMap<Arc<str>, Messages>,
    /// The first segment that belongs to the log; what is older is a leftover of retention.
    pub(crate) first_segment: u32,
    /// Segments that retention leaves alone, since a person must look at them.
    pub(crate) damaged_segments: BTreeSet<u32>,
    /// How many slots, notes and messages stand in each segment.
    pub(crate) live: Counts,
    /// Where bytes of unknown content were lost last.
    doubt: Option<Place>,
    /// Logs whose payloads are in memory, in the order in which they came.
    recent: VecDeque<Arc<str>>,
    recent_bytes: usize,
}

impl Default for Index {
    fn default() -> Index {
        Index {
            segments: BTreeMap::new(),
            logs: HashMap::new(),
            chains: BTreeMap::new(),
            notes: HashMap::new(),
            queues: HashMap::new(),
            first_segment: FIRST_SEGMENT,
            damaged_segments: BTreeSet::new(),
            live: Counts::default(),
            doubt: None,
            recent: VecDeque::new(),
            recent_bytes: 0,
        }
    }
}

impl Index {
    /// Takes in a frame that stands in the log.
    pub(crate) fn apply(&mut self, place: Place, body: &Body<'_>) {
        let Body { kind, name, number, aux, payload } = *body;
        match kind {
            Kind::Record => self.log(name).place(number, aux as i64, place),
            Kind::Slot => entry(&mut self.chains, name).fill(number, SlotAt::new(aux, place), &mut self.live),
            Kind::Low => entry(&mut self.chains, name).trim(number, place.segment, &mut self.live),
            Kind::Mark => {
                let log = self.log(name);
                log.consumed = log.consumed.max(number);
                log.raise_low(aux as u64);
                log.mark_segment = Some(place.segment);
            }
            Kind::Note => self.note(name, number, payload, place),
            Kind::Message => {
                let queue = self.queue(name);
                let former = queue.waiting.insert(number, place);
                queue.next = queue.next.max(number + 1);
                self.live.replace(former, place);
            }
            Kind::Ack => {
                let acked = self.queue(name).waiting.remove(&number);
                acked.into_iter().for_each(|place| self.live.go(place));
            }
            Kind::First => self.first_segment = self.first_segment.max(number as u32),
            Kind::Marker => {}
            Kind::Seal => {
                if let Some(segment) = self.segments.get_mut(&place.segment) {
                    segment.sealed_at = Some(aux as i64);
                }
            }
        }
    }

    /// Takes in that what stood at `place` is lost.
    pub(crate) fn lose(&mut self, place: Place, what: &What) {
        self.damaged_segments.insert(place.segment);
        let What::Payload(frame) = what else {
            self.doubt = self.doubt.max(Some(place));
            return;
        };
        match frame.kind {
            Kind::Record => self.log(&frame.name).lose(frame.number, place),
            Kind::Slot => entry(&mut self.chains, &frame.name).lose(frame.number),
            Kind::Note => {
                let note = self.notes.entry(Arc::from(frame.name.as_str())).or_default();
                note.damaged |= frame.number > note.version;
            }
            // A message is named in the report of damage. The other kinds have no payload.
            _ => {}
        }
    }

    /// After all segments were read: no number of a log in doubt may be given out twice.
    pub(crate) fn settle_doubt(&mut self) {
        let doubt = self.doubt;
        for log in self.logs.values_mut().filter(|log| in_doubt(doubt, log.advanced_at)) {
            log.next += DOUBT_JUMP;
        }
    }

    /// Whether the next slot of `chain` may be what was lost: something of unknown content was, since it last advanced.
    pub(crate) fn is_in_doubt(&self, chain: &Chain) -> bool {
        in_doubt(self.doubt, chain.advanced_at())
    }

    /// Whether damage in `segment` still matters: while it does, nobody may forget it.
    pub(crate) fn must_keep(&self, segment: u32) -> bool {
        let unsettled = |chain: &Chain| self.is_in_doubt(chain) || chain.damaged_from(0).is_some();
        self.damaged_segments.contains(&segment) && self.chains.values().any(unsettled)
    }

    pub(crate) fn has_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// What a log that has no record yet starts at.
    pub(crate) fn first_of_a_new_log(&self) -> u64 {
        if self.has_doubt() { DOUBT_JUMP } else { 0 }
    }

    pub(crate) fn log(&mut self, name: &str) -> &mut Log {
        if !self.logs.contains_key(name) {
            // While segments are read, numbers come from the frames; doubt is settled at the end.
            self.logs.insert(Arc::from(name), Log::starting_at(0));
        }
        self.logs.get_mut(name).expect("just put there")
    }

    /// Keeps a payload in memory, and lets the oldest go for it.
    pub(crate) fn remember(&mut self, name: &Arc<str>, arrived_at: i64, bytes: Bytes) {
        self.recent_bytes += weight(&bytes);
        self.log(name).remember(arrived_at, bytes);
        self.recent.push_back(name.clone());
        while self.recent_bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.recent_bytes -= self.log(&oldest).forget();
        }
    }

    fn queue(&mut self, name: &str) -> &mut Messages {
        if !self.queues.contains_key(name) {
            self.queues.insert(Arc::from(name), Messages::default());
        }
        self.queues.get_mut(name).expect("just put there")
    }

    fn note(&mut self, name: &str, version: u64, bytes: &[u8], place: Place) {
        let note = match self.notes.get_mut(name) {
            Some(note) => note,
            None => self.notes.entry(Arc::from(name)).or_default(),
        };
        if version >= note.version {
            self.live.replace(note.place, place);
            *note = NoteAt { version, bytes: Bytes::copy_from_slice(bytes), place: Some(place), damaged: false };
        }
    }

    /// Notes and messages that stand in `segment`.
    pub(crate) fn notes_and_messages_in(&self, segment: u32) -> Vec<Live> {
        let notes = self.notes.iter().filter_map(|(name, note)| Some((Kind::Note, name, note.version, note.place?)));
        let messages = self.queues.iter().flat_map(|(name, queue)| {
            queue.waiting.iter().map(move |(number, place)| (Kind::Message, name, *number, *place))
        });
        notes
            .chain(messages)
            .filter(|(.., place)| place.segment == segment)
            .map(|(kind, name, number, place)| Live { kind, name: name.clone(), number, place })
            .collect()
    }

    /// Looks at `count` slots of `chain` from number `from` on: those that stand in `segment`, and where to go on.
    pub(crate) fn slots_in(&self, segment: u32, chain: &Arc<str>, from: u64, count: usize) -> (Vec<Live>, Option<u64>) {
        let slots = self.chains.get(chain).map_or(Vec::new(), |chain| chain.slots_from(from, count));
        let next = slots.last().filter(|_| slots.len() == count).map(|(number, _)| number + 1);
        let places = slots.into_iter().map(|(number, slot)| (number, slot.place()));
        let found = places.filter(|(_, place)| place.segment == segment);
        let live = |(number, place)| Live { kind: Kind::Slot, name: chain.clone(), number, place };
        (found.map(live).collect(), next)
    }

    /// Where a live frame stands now.
    pub(crate) fn place_of(&self, kind: Kind, name: &str, number: u64) -> Option<Place> {
        match kind {
            Kind::Slot => self.chains.get(name)?.slot(number).map(SlotAt::place),
            Kind::Note => self.notes.get(name).filter(|note| note.version == number)?.place,
            Kind::Message => self.queues.get(name)?.waiting.get(&number).copied(),
            _ => None,
        }
    }

    /// Whether nobody will read a record of `segment` again.
    pub(crate) fn is_consumed(&self, segment: u32) -> bool {
        self.logs.values().filter(|log| log.occupies(segment)).all(|log| log.first_after(segment) <= log.consumed)
    }
}

fn entry<'a>(chains: &'a mut BTreeMap<Arc<str>, Chain>, name: &str) -> &'a mut Chain {
    if !chains.contains_key(name) {
        chains.insert(Arc::from(name), Chain::default());
    }
    chains.get_mut(name).expect("just put there")
}

fn in_doubt(doubt: Option<Place>, advanced_at: Option<Place>) -> bool {
    doubt.is_some_and(|doubt| advanced_at.is_none_or(|advanced_at| advanced_at < doubt))
}
