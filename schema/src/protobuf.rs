//! Protobuf → events, by the same rules as JSON and without owning a string.
//!
//! The bytes are those of `v1::Event` and `v1::EventBatch`. The batch is walked message by message, so that one broken
//! event costs only itself.

use crate::json::event::check_object;
use crate::reason::Reason;
use crate::stored::{Fields, StoredError, StoredEvent};
use crate::validate::{self, Rejection, Rules, Valid};

/// A protobuf event as sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Sent<'a> {
    id: &'a str,
    event: StoredEvent<'a>,
}

/// Reads `bytes` as one `v1::Event`.
pub fn read<'a>(bytes: &'a [u8], rules: &Rules, now: i64) -> Result<Valid<'a>, Rejection> {
    let mut sent = Sent::default();
    let decoded = decode(bytes, &mut sent).map_err(not_an_event);
    match decoded.and_then(|()| check(bytes.len(), &sent, rules, now)) {
        Ok(valid) => Ok(valid),
        Err(rejection) => Err(Rejection { event_id: validate::excerpt(sent.id).to_string(), ..rejection }),
    }
}

/// Calls `each` with the bytes of every event of a `v1::EventBatch`, in order.
///
/// # Errors
/// The bytes are no batch; what `each` was called with until then counts for nothing.
pub fn for_each_event<'a, E: From<StoredError>>(
    batch: &'a [u8],
    mut each: impl FnMut(&'a [u8]) -> Result<(), E>,
) -> Result<(), E> {
    const EVENTS: u32 = 1;
    let mut fields = Fields { rest: batch };
    while let Some((number, value)) = fields.next()? {
        if number == EVENTS {
            each(value.bytes(number)?)?;
        }
    }
    Ok(())
}

/// Fills `sent` as far as the bytes can be read; unknown fields are passed over.
fn decode<'a>(bytes: &'a [u8], sent: &mut Sent<'a>) -> Result<(), StoredError> {
    let mut fields = Fields { rest: bytes };
    let event = &mut sent.event;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => sent.id = value.text(number)?,
            2 => event.event_name = value.text(number)?,
            3 => event.created_at = value.varint(number)?.cast_signed(),
            4 => event.event_type = Some(value.text(number)?),
            5 => event.source = Some(value.text(number)?),
            6 => event.user_id = Some(value.text(number)?),
            7 => event.session_id = Some(value.text(number)?),
            8 => event.properties = value.text(number)?,
            _ => {}
        }
    }
    Ok(())
}

fn not_an_event(error: StoredError) -> Rejection {
    let reason = match error {
        StoredError::NotUtf8(_) => Reason::BadUtf8,
        StoredError::Truncated | StoredError::WireType { .. } | StoredError::Tag(_) => Reason::BadProtobuf,
    };
    Rejection::new(reason, "", "", format!("not an `Event` message: {error}"))
}

fn check<'a>(bytes: usize, sent: &Sent<'a>, rules: &Rules, now: i64) -> Result<Valid<'a>, Rejection> {
    rules.check_size(bytes)?;
    let event = sent.event;
    if sent.id.is_empty() {
        return Err(validate::missing("event_id"));
    }
    let id = validate::event_id(sent.id)?;
    if event.event_name.is_empty() {
        return Err(validate::missing("event_name"));
    }
    validate::event_name(event.event_name)?;
    if event.created_at == 0 {
        return Err(validate::missing("created_at"));
    }
    rules.check_time(event.created_at, now, &event.created_at.to_string())?;
    event.event_type.map_or(Ok(()), validate::event_type)?;
    if !event.properties.is_empty() {
        check_object(event.properties)?;
    }
    Ok(Valid { id, event })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;
    use proptest::prelude::*;
    use prost::Message;

    const NOW: i64 = 1_795_163_400_000_000;
    const RULES: Rules = Rules { event_bytes_max: 10_000, ahead_micros_max: 0, age_micros_max: None };
    const ID: &str = "0192f0c1-7b6d-7e1a-8a3b-1234567890ab";

    fn event() -> v1::Event {
        v1::Event { event_id: ID.into(), event_name: "a:b".into(), created_at_micros: NOW, ..Default::default() }
    }

    fn reason(event: &v1::Event) -> Option<Reason> {
        read(&event.encode_to_vec(), &RULES, NOW).err().map(|rejection| rejection.reason)
    }

    proptest! {
        #[test]
        fn what_was_sent_is_what_is_read(source: Option<String>, user_id: Option<String>, session_id: Option<String>, micros in 1i64..1_000_000) {
            let created_at_micros = NOW - micros;
            let sent = v1::Event { source, user_id, session_id, created_at_micros, event_type: Some("t".into()), properties_json: "{\"a\":1}".into(), ..event() };
            let bytes = sent.encode_to_vec();
            let valid = read(&bytes, &RULES, NOW).expect("a valid event");
            let expected = StoredEvent {
                event_name: "a:b",
                event_type: Some("t"),
                created_at: created_at_micros,
                source: sent.source.as_deref(),
                user_id: sent.user_id.as_deref(),
                session_id: sent.session_id.as_deref(),
                properties: "{\"a\":1}",
            };
            prop_assert_eq!(valid.event, expected);
            prop_assert_eq!(valid.id.to_string(), ID);
        }

        #[test]
        fn any_bytes_are_taken_or_rejected(bytes: Vec<u8>) {
            let _ = read(&bytes, &RULES, NOW);
            let _ = for_each_event(&bytes, |_| Ok::<(), StoredError>(()));
        }
    }

    #[test]
    fn the_rules_are_those_of_json() {
        let broken = [
            (v1::Event::default(), Reason::MissingField),
            (v1::Event { event_id: "x".into(), ..event() }, Reason::BadUuid),
            (v1::Event { event_name: String::new(), ..event() }, Reason::MissingField),
            (v1::Event { event_name: "a".into(), ..event() }, Reason::BadEventName),
            (v1::Event { created_at_micros: 0, ..event() }, Reason::MissingField),
            (v1::Event { created_at_micros: -1, ..event() }, Reason::TooOld),
            (v1::Event { created_at_micros: NOW + 1, ..event() }, Reason::InTheFuture),
            (v1::Event { event_type: Some(String::new()), ..event() }, Reason::BadType),
            (v1::Event { properties_json: "[]".into(), ..event() }, Reason::BadType),
            (v1::Event { properties_json: "{".into(), ..event() }, Reason::BadJson),
            (v1::Event { properties_json: "{}{}".into(), ..event() }, Reason::BadJson),
            (
                v1::Event { properties_json: format!("{{\"a\":{}{}}}", "[".repeat(63), "]".repeat(63)), ..event() },
                Reason::TooDeep,
            ),
            (
                v1::Event { properties_json: format!("{{\"a\":\"{}\"}}", "x".repeat(10_000)), ..event() },
                Reason::TooLarge,
            ),
        ];
        for (event, expected) in broken {
            assert_eq!(reason(&event), Some(expected), "{:?}", event.event_name);
        }
        assert_eq!(reason(&event()), None);
    }

    #[test]
    fn a_broken_message_keeps_the_id_that_could_be_read() {
        let mut bytes = event().encode_to_vec();
        bytes.pop();
        let rejection = read(&bytes, &RULES, NOW).expect_err("a broken message");
        assert_eq!((rejection.reason, rejection.event_id.as_str()), (Reason::BadProtobuf, ID));
    }

    #[test]
    fn a_tag_that_is_too_long_is_not_taken_for_a_short_one() {
        let mut bytes = event().encode_to_vec();
        // Field 1 as text, with a bit set beyond the 32 that a tag has.
        bytes.extend([0x8a, 0x80, 0x80, 0x80, 0x10, 1, b'a']);
        assert_eq!(read(&bytes, &RULES, NOW).map_err(|rejection| rejection.reason).err(), Some(Reason::BadProtobuf));
    }

    #[test]
    fn a_batch_gives_its_events_one_by_one() {
        let batch = v1::EventBatch { events: vec![event(), v1::Event::default(), event()] }.encode_to_vec();
        let mut seen = Vec::new();
        let walked = for_each_event(&batch, |bytes| {
            seen.push(read(bytes, &RULES, NOW).is_ok());
            Ok::<(), StoredError>(())
        });
        assert_eq!((walked, seen), (Ok(()), vec![true, false, true]));
    }
}
