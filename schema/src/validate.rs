//! The rules of the event contract, the same for JSON and protobuf.
//!
//! **Rejection**: why an event goes to quarantine. **Quarantine id**: under which it is kept there; the same bytes sent
//! again from the same source get the same id, so a repeated request is recognised.

use crate::EventId;
use crate::reason::Reason;
use crate::record::PACK_BYTES_MAX;
use crate::stored::{StoredEvent, StoredQuarantine};
use crate::timestamp::YEAR_2000_MICROS;
use std::borrow::Cow;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

/// Deepest nesting of an event, itself included. Readers of the lake recurse; the bound is below every one we know of.
pub const DEPTH_MAX: usize = 64;

/// Longest `event_name` and `event_type`: both become part of paths and dictionaries.
pub const NAME_BYTES_MAX: usize = 200;

/// Longest excerpt of a value that a rejection repeats.
pub const EXCERPT_BYTES_MAX: usize = 200;

/// Longest name of a source that a write key stamps.
pub const SOURCE_BYTES_MAX: usize = 200;

/// What a record of one item may take next to the item's own bytes: id, excerpt, message, names of fields and sources.
const ITEM_OVERHEAD_BYTES: usize = 4096;

/// Most bytes of one sent item that quarantine can keep whole. A request with a longer one is refused.
pub const ORIGINAL_BYTES_MAX: usize = PACK_BYTES_MAX - ITEM_OVERHEAD_BYTES;

/// What may differ between installations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Most bytes of an event as sent; at most [`ORIGINAL_BYTES_MAX`].
    pub event_bytes_max: usize,
    /// How far `created_at` may lie ahead of the clock, in microseconds.
    pub ahead_micros_max: i64,
    /// How old an event may be, in microseconds.
    pub age_micros_max: Option<i64>,
}

/// An event that keeps the contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Valid<'a> {
    pub id: EventId,
    pub event: StoredEvent<'a>,
}

/// Why an event goes to quarantine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejection {
    pub reason: Reason,
    /// Empty where the event as a whole is meant.
    pub field: Cow<'static, str>,
    /// Starts as the value did; at most [`EXCERPT_BYTES_MAX`].
    pub value: String,
    pub message: String,
    /// As sent, where one could be read; at most [`EXCERPT_BYTES_MAX`].
    pub event_id: String,
    /// Where in the text, in bytes, if the rejection is about a place.
    pub(crate) at: Option<usize>,
}

impl Rejection {
    pub(crate) fn new(reason: Reason, field: impl Into<Cow<'static, str>>, value: &str, message: String) -> Rejection {
        let value = excerpt(value).to_string();
        Rejection { reason, field: field.into(), value, message, event_id: String::new(), at: None }
    }

    pub(crate) fn at(self, offset: usize) -> Rejection {
        Rejection { at: Some(offset), ..self }
    }

    /// What quarantine keeps of the event.
    pub fn stored<'a>(&'a self, original: &'a [u8], source: Option<&'a str>) -> StoredQuarantine<'a> {
        StoredQuarantine {
            original,
            reason: self.reason.as_str(),
            field: &self.field,
            value: &self.value,
            message: &self.message,
            stage: "gateway",
            source,
            event_id: &self.event_id,
        }
    }
}

/// Names a quarantined item by what was sent and by the source of its write key.
///
/// Frozen: xxh3-128 of the bytes, seeded with xxh3-64 of the source (empty where there is none), in the shape of a UUID
/// of version 8.
pub fn quarantine_id(source: Option<&str>, original: &[u8]) -> EventId {
    const VERSION: u128 = 0xf << 76;
    const VARIANT: u128 = 0b11 << 62;
    let seed = xxh3_64(source.unwrap_or_default().as_bytes());
    let hash = xxh3_128_with_seed(original, seed);
    EventId(hash & !VERSION & !VARIANT | 0x8 << 76 | 0b10 << 62)
}

/// The start of a text, cut between characters.
pub(crate) fn excerpt(text: &str) -> &str {
    &text[..text.floor_char_boundary(EXCERPT_BYTES_MAX)]
}

impl Rules {
    pub(crate) fn check_size(&self, bytes: usize) -> Result<(), Rejection> {
        if bytes <= self.event_bytes_max {
            return Ok(());
        }
        let message = format!("the event has {bytes} bytes, at most {} are taken", self.event_bytes_max);
        Err(Rejection::new(Reason::TooLarge, "", "", message))
    }

    pub(crate) fn check_time(&self, created_at: i64, now: i64, text: &str) -> Result<(), Rejection> {
        let reject = |reason, message| Err(Rejection::new(reason, "created_at", text, message));
        if created_at > now.saturating_add(self.ahead_micros_max) {
            let ahead = seconds(created_at.saturating_sub(now));
            return reject(Reason::InTheFuture, format!("the event is {ahead} s ahead of the clock"));
        }
        if created_at < YEAR_2000_MICROS {
            return reject(Reason::TooOld, "the event is from before 2000".into());
        }
        match self.age_micros_max {
            Some(max) if now.saturating_sub(created_at) > max => {
                let age = seconds(now.saturating_sub(created_at));
                reject(Reason::TooOld, format!("the event is {age} s old, at most {} s are taken", seconds(max)))
            }
            _ => Ok(()),
        }
    }
}

fn seconds(micros: i64) -> i64 {
    micros / 1_000_000
}

pub(crate) fn missing(field: &'static str) -> Rejection {
    Rejection::new(Reason::MissingField, field, "", format!("`{field}` is required"))
}

pub(crate) fn wrong_type(field: &'static str, value: &str, expected: &str) -> Rejection {
    Rejection::new(Reason::BadType, field, value, format!("`{field}` is not {expected}"))
}

pub(crate) fn event_id(text: &str) -> Result<EventId, Rejection> {
    match EventId::parse(text) {
        Some(EventId(0 | u128::MAX)) => Err(bad_uuid(text, "the nil and max UUIDs identify no event")),
        Some(id) => Ok(id),
        None => Err(bad_uuid(text, "`event_id` is not a UUID")),
    }
}

pub(crate) fn bad_uuid(value: &str, message: &str) -> Rejection {
    Rejection::new(Reason::BadUuid, "event_id", value, message.into())
}

pub(crate) fn event_name(text: &str) -> Result<(), Rejection> {
    if text.len() > NAME_BYTES_MAX {
        return Err(bad_event_name(
            text,
            &format!("`event_name` has {} bytes, at most {NAME_BYTES_MAX} are taken", text.len()),
        ));
    }
    match text.split_once(':') {
        Some((head, tail)) if !head.is_empty() && !tail.is_empty() => Ok(()),
        _ => Err(bad_event_name(text, "`event_name` is not of the form `type:subtype`")),
    }
}

pub(crate) fn bad_event_name(value: &str, message: &str) -> Rejection {
    Rejection::new(Reason::BadEventName, "event_name", value, message.into())
}

pub(crate) fn bad_timestamp(value: &str) -> Rejection {
    let message = "`created_at` is neither RFC 3339 nor a Unix time in s, ms or µs";
    Rejection::new(Reason::BadTimestamp, "created_at", value, message.into())
}

pub(crate) fn event_type(text: &str) -> Result<(), Rejection> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX {
        return Err(wrong_type("event_type", text, &format!("a string of 1 to {NAME_BYTES_MAX} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { event_bytes_max: 1000, ahead_micros_max: 5, age_micros_max: None };
    const NOW: i64 = YEAR_2000_MICROS + 1_000_000_000;

    #[test]
    fn times_are_bounded_on_both_sides_ends_included() {
        let reason = |rules: Rules, at| rules.check_time(at, NOW, "").err().map(|rejection| rejection.reason);
        assert_eq!(reason(RULES, NOW + 5), None);
        assert_eq!(reason(RULES, NOW + 6), Some(Reason::InTheFuture));
        assert_eq!(reason(RULES, i64::MAX), Some(Reason::InTheFuture));
        assert_eq!(reason(RULES, YEAR_2000_MICROS), None);
        assert_eq!(reason(RULES, YEAR_2000_MICROS - 1), Some(Reason::TooOld));
        let young = Rules { age_micros_max: Some(10), ..RULES };
        assert_eq!(reason(young, NOW - 10), None);
        assert_eq!(reason(young, NOW - 11), Some(Reason::TooOld));
        assert_eq!(reason(young, i64::MIN), Some(Reason::TooOld));
    }

    #[test]
    fn names_have_two_parts_that_are_not_empty() {
        for name in ["a:b", "a:b:c", "a::", "página:visitada", &format!("a:{}", "b".repeat(NAME_BYTES_MAX - 2))] {
            assert_eq!(event_name(name), Ok(()), "{name}");
        }
        for name in ["", ":", "a", "a:", ":b", &format!("a:{}", "b".repeat(NAME_BYTES_MAX - 1))] {
            assert_eq!(event_name(name).err().map(|rejection| rejection.reason), Some(Reason::BadEventName), "{name}");
        }
    }

    #[test]
    fn uuids_that_identify_nothing_are_refused() {
        assert!(event_id("0192f0c1-7b6d-7e1a-8a3b-1234567890ab").is_ok());
        assert!(event_id("00000000-0000-0000-0000-000000000000").is_err());
        assert!(event_id("ffffffff-ffff-ffff-ffff-ffffffffffff").is_err());
    }

    #[test]
    fn quarantine_ids_are_frozen_and_tell_sources_apart() {
        assert_eq!(quarantine_id(None, b"{}").to_string(), "43a2c2d0-25ca-826f-bce2-47f43e307741");
        assert_eq!(quarantine_id(Some("web"), b"{}").to_string(), "eeb15e0e-aa0a-8c0f-90ec-1acf0af7e7ef");
        assert_eq!(quarantine_id(Some(""), b"{}"), quarantine_id(None, b"{}"));
    }

    #[test]
    fn excerpts_end_between_characters() {
        assert_eq!(excerpt(&"é".repeat(300)).len(), EXCERPT_BYTES_MAX);
        assert_eq!(excerpt(&format!("x{}", "é".repeat(300))).len(), EXCERPT_BYTES_MAX - 1);
    }
}
