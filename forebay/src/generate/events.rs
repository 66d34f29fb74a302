//! Made-up analytics events: line `n` is a function of the seed and `n`, and of nothing else.
//!
//! **Fresh**: an event nobody has seen. **Copy**: an earlier fresh event once more, byte for byte. **Flaw**: what is wrong
//! with an invalid event. **Late**: a fresh event whose time lies up to a week before its turn.

use super::rate::Rate;
use dice::{Dice, mix};
use schema::{EventId, Reason};
use std::ops::Range;
use std::time::Duration;
use text::{put, put_decimal, put_hex, put_timestamp};

mod dice;
mod text;

const DAY_MS: i64 = 86_400_000;

/// How far back the times of late events reach.
const LATE_MS: i64 = 7 * DAY_MS;

/// Events come a little out of order, as from many devices.
const DISORDER_MS: u64 = 2_000;

/// How far ahead the time of an event «from the future» is: beyond any tolerance.
const FUTURE_MS: i64 = 100 * 365 * DAY_MS;

/// Where the clock-free time in the ids starts, 2026-01-01, and how many ids share a millisecond of it.
const ID_EPOCH_MS: u64 = 1_767_225_600_000;
const IDS_PER_MS: u64 = 4;

/// Half of the copies come this soon after their original: often in the same batch.
const NEAR_COPIES: u64 = 64;

/// How many places are looked at for an original, from a drawn place back.
const ORIGINALS_LOOKED_AT_MAX: u64 = 64;

/// People who send events, and how many events apart a person's sessions begin.
const USERS: u64 = 50_000;
const SESSION_EVENTS: u64 = 1 << 16;

/// Event types and their subtypes. The first five types have 13 names between them.
const TYPES: [(&str, &[&str]); 20] = [
    ("page", &["view", "leave", "scroll"]),
    ("click", &["button", "link"]),
    ("product", &["view", "search", "compare"]),
    ("cart", &["add", "remove"]),
    ("checkout", &["start", "pay", "done"]),
    ("video", &["play", "pause"]),
    ("form", &["focus", "submit"]),
    ("account", &["login", "signup"]),
    ("ad", &["impression", "click"]),
    ("error", &["client"]),
    ("push", &["sent", "opened"]),
    ("email", &["sent", "opened"]),
    ("wishlist", &["add"]),
    ("review", &["write"]),
    ("coupon", &["apply"]),
    ("refund", &["ask"]),
    ("chat", &["open", "message"]),
    ("share", &["link"]),
    ("app", &["start", "background"]),
    ("survey", &["answer"]),
];

/// Most event types that can be asked for.
pub const EVENT_TYPES_MAX: u32 = 10_000;

/// What the events are like: shares from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    pub duplicates: f64,
    pub invalid: f64,
    pub late: f64,
    /// At least 1, at most [`EVENT_TYPES_MAX`].
    pub event_types: u32,
}

/// When the events happen: event `n` at `start_ms` plus its turn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timeline {
    /// Unix time in milliseconds.
    pub start_ms: i64,
    pub rate: Rate,
}

/// What is wrong with an invalid event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    CutOff,
    NotAnObject,
    NotUtf8,
    BadUuid,
    NoId,
    NoName,
    NameWithoutColon,
    NameIsANumber,
    NoTime,
    TimeInWords,
    FromTheFuture,
    TooOld,
    UserIsAnObject,
    PropertiesAreAList,
}

impl Flaw {
    pub const ALL: [Flaw; 14] = [
        Flaw::CutOff,
        Flaw::NotAnObject,
        Flaw::NotUtf8,
        Flaw::BadUuid,
        Flaw::NoId,
        Flaw::NoName,
        Flaw::NameWithoutColon,
        Flaw::NameIsANumber,
        Flaw::NoTime,
        Flaw::TimeInWords,
        Flaw::FromTheFuture,
        Flaw::TooOld,
        Flaw::UserIsAnObject,
        Flaw::PropertiesAreAList,
    ];

    /// What should be said of it.
    pub fn reason(self) -> Reason {
        match self {
            Flaw::CutOff => Reason::BadJson,
            Flaw::NotUtf8 => Reason::BadUtf8,
            Flaw::BadUuid => Reason::BadUuid,
            Flaw::NoId | Flaw::NoName | Flaw::NoTime => Reason::MissingField,
            Flaw::NameWithoutColon | Flaw::NameIsANumber => Reason::BadEventName,
            Flaw::TimeInWords => Reason::BadTimestamp,
            Flaw::FromTheFuture => Reason::InTheFuture,
            Flaw::TooOld => Reason::TooOld,
            Flaw::NotAnObject | Flaw::UserIsAnObject | Flaw::PropertiesAreAList => Reason::BadType,
        }
    }
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    Fresh(EventId),
    /// The event that line `of` brought first.
    Copy {
        id: EventId,
        of: u64,
    },
    Invalid(Flaw),
}

impl Made {
    /// The id of a valid event.
    pub fn id(self) -> Option<EventId> {
        match self {
            Made::Fresh(id) | Made::Copy { id, .. } => Some(id),
            Made::Invalid(_) => None,
        }
    }
}

/// What the lot of a line says it should be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lot {
    Fresh,
    Copy,
    Invalid,
}

/// Makes events.
#[derive(Clone, Debug)]
pub struct Factory {
    seed: u64,
    timeline: Timeline,
    /// Lots below the first bound are invalid, below the second copies.
    invalid_below: u64,
    copy_below: u64,
    late_below: u64,
    types: Vec<(String, &'static [&'static str])>,
}

impl Factory {
    /// # Panics
    /// If there are no event types.
    pub fn new(seed: u64, mix: &Mix, timeline: Timeline) -> Factory {
        assert!((1..=EVENT_TYPES_MAX).contains(&mix.event_types), "{} event types", mix.event_types);
        let invalid_below = share_of_lots(mix.invalid);
        Factory {
            seed,
            timeline,
            invalid_below,
            copy_below: invalid_below.saturating_add(share_of_lots(mix.duplicates)),
            late_below: share_of_lots(mix.late),
            types: (0..mix.event_types as usize).map(event_type).collect(),
        }
    }

    /// Appends line `n` with its newline.
    pub fn write_line(&self, out: &mut Vec<u8>, n: u64) -> Made {
        let made = self.write_event(out, n);
        out.push(b'\n');
        made
    }

    /// Appends event `n` as JSON, or what is left of it where it is invalid.
    pub fn write_event(&self, out: &mut Vec<u8>, n: u64) -> Made {
        let made = self.made(n);
        match made {
            Made::Fresh(_) => self.write(out, n, None),
            Made::Copy { of, .. } => self.write(out, of, None),
            Made::Invalid(flaw) => self.write(out, n, Some(flaw)),
        }
        made
    }

    /// What line `n` is, without writing it.
    pub fn made(&self, n: u64) -> Made {
        let original = match self.lot(n) {
            Lot::Fresh => None,
            Lot::Copy => self.original(n),
            Lot::Invalid => {
                let flaws = Flaw::ALL.len() as u64;
                return Made::Invalid(Flaw::ALL[self.dice(n, Of::Flaw).below(flaws) as usize]);
            }
        };
        original.map_or(Made::Fresh(self.id(n)), |of| Made::Copy { id: self.id(of), of })
    }

    /// The id of event `n`: shaped as a UUID of version 7, its time counted from `n` and not from a clock.
    fn id(&self, n: u64) -> EventId {
        let mut dice = self.dice(n, Of::Id);
        let millis = u128::from((ID_EPOCH_MS + n / IDS_PER_MS) & ((1 << 48) - 1));
        let (a, b) = (u128::from(dice.next() >> 52), u128::from(dice.next() >> 2));
        EventId((millis << 80) | (0x7 << 76) | (a << 64) | (0b10 << 62) | b)
    }

    fn lot(&self, n: u64) -> Lot {
        match self.dice(n, Of::Lot).next() {
            lot if lot < self.invalid_below => Lot::Invalid,
            lot if lot < self.copy_below => Lot::Copy,
            _ => Lot::Fresh,
        }
    }

    /// The fresh event that a copy at `n` repeats; none where only copies and invalid ones are near.
    fn original(&self, n: u64) -> Option<u64> {
        if n == 0 {
            return None;
        }
        let mut dice = self.dice(n, Of::Distance);
        let reach = if dice.below(2) == 0 { NEAR_COPIES } else { 1 << (1 + dice.below(u64::from(n.ilog2()) + 1)) };
        let last = n - 1 - dice.below(reach.min(n));
        let first = last.saturating_sub(ORIGINALS_LOOKED_AT_MAX);
        (first..=last).rev().find(|&place| self.lot(place) == Lot::Fresh)
    }

    fn dice(&self, n: u64, of: Of) -> Dice {
        Dice::new(self.seed, n, of as u64)
    }

    fn write(&self, out: &mut Vec<u8>, n: u64, flaw: Option<Flaw>) {
        let start = out.len();
        let mut dice = self.dice(n, Of::Fields);
        let (event_type, subtypes) = self.pick_type(&mut dice);
        out.push(b'{');
        self.write_id(out, n, flaw);
        write_name(out, event_type, subtypes[dice.below(subtypes.len() as u64) as usize], flaw);
        self.write_time(out, n, &mut dice, flaw);
        let user = dice.below(USERS);
        write_user(out, user, flaw);
        put(out, br#","session_id":"s-"#);
        put_hex(out, mix(self.seed ^ (user << 32) ^ (n / SESSION_EVENTS)));
        put(out, br#"","source":""#);
        put(out, pick(&mut dice, &["web", "web", "web", "ios", "android", "server"]).as_bytes());
        put(out, br#"","properties":"#);
        match flaw {
            Some(Flaw::PropertiesAreAList) => put(out, b"[1,2,3]"),
            _ => write_properties(out, event_type, &mut dice),
        }
        out.push(b'}');
        self.spoil(out, start, n, flaw);
    }

    fn write_id(&self, out: &mut Vec<u8>, n: u64, flaw: Option<Flaw>) {
        let id = self.id(n);
        match flaw {
            Some(Flaw::NoId) => put(out, br#""sent_by":"forebay-generate""#),
            Some(Flaw::BadUuid) => {
                put(out, br#""event_id":"no-uuid-"#);
                put_hex(out, id.0 as u64);
                out.push(b'"');
            }
            _ => {
                put(out, br#""event_id":""#);
                put(out, &id.canonical());
                out.push(b'"');
            }
        }
    }

    fn write_time(&self, out: &mut Vec<u8>, n: u64, dice: &mut Dice, flaw: Option<Flaw>) {
        let due = i64::try_from(self.timeline.rate.time_of(n).as_millis()).unwrap_or(i64::MAX);
        let (disorder, lateness) = (dice.below(DISORDER_MS) as i64, dice.below(LATE_MS as u64) as i64);
        let late = if dice.next() < self.late_below { lateness } else { 0 };
        let at = self.timeline.start_ms.saturating_add(due) - disorder - late;
        put(out, br#","created_at":""#);
        match flaw {
            Some(Flaw::NoTime) => out.truncate(out.len() - br#","created_at":""#.len()),
            Some(Flaw::TimeInWords) => put(out, br#"yesterday at noon""#),
            Some(Flaw::FromTheFuture) => put_timestamp(out, at + FUTURE_MS),
            Some(Flaw::TooOld) => put_timestamp(out, dice.below(20 * 365 * DAY_MS as u64) as i64),
            _ => put_timestamp(out, at),
        }
        if !matches!(flaw, Some(Flaw::NoTime | Flaw::TimeInWords)) {
            out.push(b'"');
        }
    }

    /// Breaks what stands from `start` on as JSON. What is left begins with the id, so that no two are the same.
    fn spoil(&self, out: &mut Vec<u8>, start: usize, n: u64, flaw: Option<Flaw>) {
        match flaw {
            Some(Flaw::CutOff) => {
                let id_end = start + br#"{"event_id":""#.len() + 36;
                let kept = self.dice(n, Of::Cut).below((out.len() - id_end) as u64) as usize;
                out.truncate(id_end + kept);
            }
            Some(Flaw::NotAnObject) => {
                out.truncate(start);
                put(out, br#"["#);
                out.push(b'"');
                put(out, &self.id(n).canonical());
                put(out, br#""]"#);
            }
            Some(Flaw::NotUtf8) => {
                out.pop();
                put(out, b",\"note\":\"\xff\xfe\"}");
            }
            _ => {}
        }
    }

    /// Draws a type: the first of the list comes most often, the last ones seldom.
    fn pick_type(&self, dice: &mut Dice) -> (&str, &'static [&'static str]) {
        let u = dice.next() >> 32;
        let cubed = (((u * u) >> 32) * u) >> 32;
        let (name, subtypes) = &self.types[((cubed * self.types.len() as u64) >> 32) as usize];
        (name, subtypes)
    }
}

/// What dice are thrown for: each has its own row of numbers.
#[derive(Clone, Copy)]
enum Of {
    Id = 1,
    Lot,
    Distance,
    Flaw,
    Fields,
    Cut,
}

fn share_of_lots(share: f64) -> u64 {
    (share.clamp(0.0, 1.0) * u64::MAX as f64) as u64
}

fn event_type(k: usize) -> (String, &'static [&'static str]) {
    match TYPES.get(k) {
        Some(&(name, subtypes)) => (name.to_string(), subtypes),
        None => (format!("custom{k}"), &["done"]),
    }
}

fn pick<'a>(dice: &mut Dice, words: &[&'a str]) -> &'a str {
    words[dice.below(words.len() as u64) as usize]
}

fn between(dice: &mut Dice, range: Range<u64>) -> u64 {
    range.start + dice.below(range.end - range.start)
}

fn write_name(out: &mut Vec<u8>, event_type: &str, subtype: &str, flaw: Option<Flaw>) {
    match flaw {
        Some(Flaw::NoName) => return,
        Some(Flaw::NameIsANumber) => return put(out, br#","event_name":42"#),
        _ => {}
    }
    put(out, br#","event_name":""#);
    put(out, event_type.as_bytes());
    out.push(if flaw == Some(Flaw::NameWithoutColon) { b'_' } else { b':' });
    put(out, subtype.as_bytes());
    out.push(b'"');
}

fn write_user(out: &mut Vec<u8>, user: u64, flaw: Option<Flaw>) {
    put(out, br#","user_id":"#);
    if flaw == Some(Flaw::UserIsAnObject) {
        put(out, br#"{"id":"#);
        put_decimal(out, user);
        return out.push(b'}');
    }
    put(out, br#""u-"#);
    put_decimal(out, user);
    out.push(b'"');
}

fn write_properties(out: &mut Vec<u8>, event_type: &str, dice: &mut Dice) {
    put(out, br#"{"url":"https://shop.example/"#);
    put(out, event_type.as_bytes());
    out.push(b'/');
    put_decimal(out, dice.below(20_000));
    put(out, br#"","title":"Caf\u00e9 & "#);
    put(out, pick(dice, &["garden", "lamps", "kitchen", "bicycles", "books"]).as_bytes());
    put(out, br#"","position":"#);
    put_decimal(out, dice.below(40));
    put(out, br#","amount":"#);
    put_decimal(out, dice.below(500));
    out.push(b'.');
    put_decimal(out, between(dice, 10..100));
    put(out, br#","returning":"#);
    put(out, pick(dice, &["true", "false", "null"]).as_bytes());
    put(out, br#","device":{"os":""#);
    put(out, pick(dice, &["android", "ios", "windows", "macos", "linux"]).as_bytes());
    put(out, br#"","browser":""#);
    put(out, pick(dice, &["chrome", "safari", "firefox", "edge"]).as_bytes());
    put(out, br#"","width":"#);
    put_decimal(out, between(dice, 320..2560));
    put(out, br#"},"request_id":""#);
    put_hex(out, dice.next());
    put(out, br#""}"#);
}

impl Timeline {
    /// As many events as are wanted, spread over `span`, the last one just before its end.
    pub fn spread(start_ms: i64, events: u64, span: Duration) -> Timeline {
        Timeline { start_ms, rate: Rate::new(events, span) }
    }
}

#[cfg(test)]
pub(crate) mod tests;
