//! The events that producers send, and what each copy of them says.
//!
//! **Copy**: one of the times that an event is sent. Each copy says which one it is, so that a row can be traced to a copy
//! that was really sent.

use crate::dice::Dice;
use crate::world::BEGIN_MICROS;
use schema::stored::{StoredEvent, StoredQuarantine};
use schema::{EventId, Kind};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

const DAY_MICROS: i64 = 86_400_000_000;

/// Days on which events were created.
pub(crate) const DAYS: usize = 2;

const TYPES: [&str; 2] = ["page", "cart"];

/// One of how many events is invalid.
const INVALID_EVERY: usize = 7;

/// An event as its producer knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: EventId,
    pub(crate) kind: Kind,
    pub(crate) number: usize,
}

impl Event {
    pub(crate) fn drawn(number: usize, dice: &mut Dice) -> Event {
        let kind = if number % INVALID_EVERY == INVALID_EVERY - 1 { Kind::Quarantine } else { Kind::Events };
        Event { id: EventId(dice.wide()), kind, number }
    }

    pub(crate) fn event_type(&self) -> &'static str {
        TYPES[self.number / DAYS % TYPES.len()]
    }

    pub(crate) fn name(&self) -> String {
        format!("{}:n{}", self.event_type(), self.number)
    }

    pub(crate) fn created_at(&self) -> i64 {
        BEGIN_MICROS - (self.number % DAYS) as i64 * DAY_MICROS - self.number as i64 - 1
    }

    pub(crate) fn original(&self, copy: u32) -> Vec<u8> {
        format!("event {} as copy {copy}", self.number).into_bytes()
    }

    /// Appends what a gateway stores of a copy.
    pub(crate) fn store(&self, copy: u32, out: &mut Vec<u8>) {
        let (name, properties, original) = (self.name(), properties(copy), self.original(copy));
        match self.kind {
            Kind::Events => StoredEvent {
                event_name: &name,
                created_at: self.created_at(),
                user_id: Some("u"),
                properties: &properties,
                ..StoredEvent::default()
            }
            .encode_delimited(out),
            Kind::Quarantine => {
                let item = StoredQuarantine {
                    original: &original,
                    reason: "bad_json",
                    stage: "gateway",
                    ..StoredQuarantine::default()
                };
                item.encode_delimited(out);
            }
        }
    }

    /// The copy as a producer writes it who puts JSON straight into the raw stream.
    pub(crate) fn json(&self, copy: u32) -> String {
        let (id, name, created_at) = (self.id, self.name(), self.created_at());
        format!(
            r#"{{"event_id":"{id}","event_name":"{name}","created_at":{created_at},"user_id":"u","properties":{}}}"#,
            properties(copy)
        )
    }
}

/// What a copy says of itself.
pub(crate) fn properties(copy: u32) -> String {
    format!(r#"{{"copy":{copy}}}"#)
}

/// What producers sent and what they were answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    state: Arc<Mutex<BooksState>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct BooksState {
    pub(crate) events: BTreeMap<EventId, Event>,
    /// When a gateway took each copy; nothing where no gateway did.
    pub(crate) copies: BTreeMap<EventId, BTreeMap<u32, Option<i64>>>,
    pub(crate) acknowledged: BTreeSet<EventId>,
}

impl Books {
    fn lock(&self) -> MutexGuard<'_, BooksState> {
        self.state.lock().expect("nothing panics while it holds the books")
    }

    /// Writes down that another copy goes out, and gives its number.
    pub(crate) fn send(&self, event: &Event, received_at: Option<i64>) -> u32 {
        let mut books = self.lock();
        books.events.entry(event.id).or_insert_with(|| event.clone());
        let copies = books.copies.entry(event.id).or_default();
        let copy = copies.len() as u32 + 1;
        copies.insert(copy, received_at);
        copy
    }

    pub(crate) fn acknowledge(&self, id: EventId) {
        self.lock().acknowledged.insert(id);
    }

    pub(crate) fn read(&self) -> BooksState {
        self.lock().clone()
    }
}
