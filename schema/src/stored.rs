//! Events as they rest in a record body: protobuf, read and written without owning their strings.
//!
//! The bytes are those of the generated types `v1::StoredEvent` and `v1::StoredQuarantine`; the tests hold them together.

use thiserror::Error;

/// A valid event in a record body; the id stands in the record's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoredEvent<'a> {
    pub event_name: &'a str,
    /// Only where the producer sent one.
    pub event_type: Option<&'a str>,
    /// Unix time in microseconds.
    pub created_at: i64,
    pub source: Option<&'a str>,
    pub user_id: Option<&'a str>,
    pub session_id: Option<&'a str>,
    /// A JSON object as text; empty means `{}`.
    pub properties: &'a str,
}

/// An invalid event in a record body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoredQuarantine<'a> {
    /// What was sent, byte for byte.
    pub original: &'a [u8],
    pub reason: &'a str,
    pub field: &'a str,
    pub value: &'a str,
    pub message: &'a str,
    /// Who found it invalid: `gateway` or `dedup`.
    pub stage: &'a str,
    pub source: Option<&'a str>,
    /// As sent, where one could be read.
    pub event_id: &'a str,
}

/// Bytes in a body that are not what the body says it holds.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
pub enum StoredError {
    #[error("the message ends within a field")]
    Truncated,
    #[error("field {0} is not valid UTF-8")]
    NotUtf8(u32),
    #[error("field {field} has wire type {wire_type}")]
    WireType { field: u32, wire_type: u8 },
    #[error("{0} is no tag of a field")]
    Tag(u64),
}

impl<'a> StoredEvent<'a> {
    /// Type as the lake knows it: as sent, else the part of the name before the first `:`.
    pub fn effective_type(&self) -> &'a str {
        self.event_type.unwrap_or_else(|| self.event_name.split_once(':').map_or(self.event_name, |(head, _)| head))
    }

    /// The part of the name after the first `:`.
    pub fn subtype(&self) -> &'a str {
        self.event_name.split_once(':').map_or("", |(_, tail)| tail)
    }

    pub fn encoded_len(&self) -> usize {
        text_len(Some(self.event_name).filter(|name| !name.is_empty()))
            + text_len(self.event_type)
            + if self.created_at == 0 { 0 } else { 9 }
            + text_len(self.source)
            + text_len(self.user_id)
            + text_len(self.session_id)
            + text_len(Some(self.properties).filter(|text| !text.is_empty()))
    }

    /// Appends the message behind its length.
    pub fn encode_delimited(&self, out: &mut Vec<u8>) {
        put_varint(out, self.encoded_len() as u64);
        put_present(out, 1, self.event_name.as_bytes());
        put_optional(out, 2, self.event_type);
        if self.created_at != 0 {
            out.push(3 << 3 | FIXED64);
            out.extend_from_slice(&self.created_at.to_le_bytes());
        }
        put_optional(out, 4, self.source);
        put_optional(out, 5, self.user_id);
        put_optional(out, 6, self.session_id);
        put_present(out, 7, self.properties.as_bytes());
    }

    /// Reads one message; unknown fields are passed over.
    pub fn decode(bytes: &'a [u8]) -> Result<StoredEvent<'a>, StoredError> {
        let mut event = StoredEvent::default();
        let mut fields = Fields { rest: bytes };
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => event.event_name = value.text(number)?,
                2 => event.event_type = Some(value.text(number)?),
                3 => event.created_at = value.fixed(number)?,
                4 => event.source = Some(value.text(number)?),
                5 => event.user_id = Some(value.text(number)?),
                6 => event.session_id = Some(value.text(number)?),
                7 => event.properties = value.text(number)?,
                _ => {}
            }
        }
        Ok(event)
    }
}

impl<'a> StoredQuarantine<'a> {
    pub fn encoded_len(&self) -> usize {
        let present = |bytes: &[u8]| if bytes.is_empty() { 0 } else { field_len(bytes.len()) };
        [self.reason, self.field, self.value, self.message, self.stage, self.event_id]
            .iter()
            .map(|text| present(text.as_bytes()))
            .sum::<usize>()
            + present(self.original)
            + text_len(self.source)
    }

    /// Appends the message behind its length.
    pub fn encode_delimited(&self, out: &mut Vec<u8>) {
        put_varint(out, self.encoded_len() as u64);
        put_present(out, 1, self.original);
        put_present(out, 2, self.reason.as_bytes());
        put_present(out, 3, self.field.as_bytes());
        put_present(out, 4, self.value.as_bytes());
        put_present(out, 5, self.message.as_bytes());
        put_present(out, 6, self.stage.as_bytes());
        put_optional(out, 7, self.source);
        put_present(out, 8, self.event_id.as_bytes());
    }

    /// Reads one message; unknown fields are passed over.
    pub fn decode(bytes: &'a [u8]) -> Result<StoredQuarantine<'a>, StoredError> {
        let mut item = StoredQuarantine::default();
        let mut fields = Fields { rest: bytes };
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => item.original = value.bytes(number)?,
                2 => item.reason = value.text(number)?,
                3 => item.field = value.text(number)?,
                4 => item.value = value.text(number)?,
                5 => item.message = value.text(number)?,
                6 => item.stage = value.text(number)?,
                7 => item.source = Some(value.text(number)?),
                8 => item.event_id = value.text(number)?,
                _ => {}
            }
        }
        Ok(item)
    }
}

/// Walks the length-delimited messages of a plain body.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    pub fn new(plain: &'a [u8]) -> Messages<'a> {
        Messages { rest: plain }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<&'a [u8], StoredError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let message = take_delimited(&mut self.rest);
        if message.is_err() {
            self.rest = &[];
        }
        Some(message)
    }
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;

pub(crate) enum Value<'a> {
    Bytes(&'a [u8]),
    Fixed64(i64),
    Varint(u64),
    Other(u8),
}

impl<'a> Value<'a> {
    pub(crate) fn bytes(self, field: u32) -> Result<&'a [u8], StoredError> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            other => Err(StoredError::WireType { field, wire_type: other.wire_type() }),
        }
    }

    pub(crate) fn text(self, field: u32) -> Result<&'a str, StoredError> {
        simdutf8::basic::from_utf8(self.bytes(field)?).map_err(|_| StoredError::NotUtf8(field))
    }

    fn fixed(self, field: u32) -> Result<i64, StoredError> {
        match self {
            Value::Fixed64(value) => Ok(value),
            other => Err(StoredError::WireType { field, wire_type: other.wire_type() }),
        }
    }

    pub(crate) fn varint(self, field: u32) -> Result<u64, StoredError> {
        match self {
            Value::Varint(value) => Ok(value),
            other => Err(StoredError::WireType { field, wire_type: other.wire_type() }),
        }
    }

    fn wire_type(&self) -> u8 {
        match self {
            Value::Bytes(_) => BYTES,
            Value::Fixed64(_) => FIXED64,
            Value::Varint(_) => VARINT,
            Value::Other(wire_type) => *wire_type,
        }
    }
}

/// Walks the fields of one message.
pub(crate) struct Fields<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, StoredError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = take_varint(&mut self.rest)?;
        let tag = u32::try_from(tag).map_err(|_| StoredError::Tag(tag))?;
        let (field, wire_type) = (tag >> 3, (tag & 7) as u8);
        let value = match wire_type {
            BYTES => Value::Bytes(take_delimited(&mut self.rest)?),
            FIXED64 => Value::Fixed64(i64::from_le_bytes(take_array(&mut self.rest)?)),
            FIXED32 => {
                take_array::<4>(&mut self.rest)?;
                Value::Other(wire_type)
            }
            VARINT => Value::Varint(take_varint(&mut self.rest)?),
            _ => return Err(StoredError::WireType { field, wire_type }),
        };
        Ok(Some((field, value)))
    }
}

fn take_delimited<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], StoredError> {
    let length = usize::try_from(take_varint(rest)?).map_err(|_| StoredError::Truncated)?;
    let (bytes, tail) = rest.split_at_checked(length).ok_or(StoredError::Truncated)?;
    *rest = tail;
    Ok(bytes)
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], StoredError> {
    let (bytes, tail) = rest.split_first_chunk::<N>().ok_or(StoredError::Truncated)?;
    *rest = tail;
    Ok(*bytes)
}

fn take_varint(rest: &mut &[u8]) -> Result<u64, StoredError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first().ok_or(StoredError::Truncated)?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(StoredError::Truncated)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | BYTES);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_present(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_bytes(out, field, bytes);
    }
}

fn put_optional(out: &mut Vec<u8>, field: u8, text: Option<&str>) {
    if let Some(text) = text {
        put_bytes(out, field, text.as_bytes());
    }
}

fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn field_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

fn text_len(text: Option<&str>) -> usize {
    text.map_or(0, |text| field_len(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;
    use proptest::prelude::*;
    use prost::Message;

    fn owned_event() -> impl Strategy<Value = v1::StoredEvent> {
        let text = || proptest::option::of(".{0,40}");
        (".{0,200}", text(), any::<i64>(), text(), text(), text(), ".{0,300}").prop_map(
            |(event_name, event_type, created_at, source, user_id, session_id, properties)| v1::StoredEvent {
                event_name,
                event_type,
                created_at,
                source,
                user_id,
                session_id,
                properties,
            },
        )
    }

    fn borrowed(event: &v1::StoredEvent) -> StoredEvent<'_> {
        StoredEvent {
            event_name: &event.event_name,
            event_type: event.event_type.as_deref(),
            created_at: event.created_at,
            source: event.source.as_deref(),
            user_id: event.user_id.as_deref(),
            session_id: event.session_id.as_deref(),
            properties: &event.properties,
        }
    }

    proptest! {
        #[test]
        fn the_borrowed_codec_writes_and_reads_the_generated_types_bytes(events in proptest::collection::vec(owned_event(), 0..4)) {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for event in &events {
                borrowed(event).encode_delimited(&mut ours);
                event.encode_length_delimited(&mut theirs).expect("a Vec grows");
            }
            prop_assert_eq!(&ours, &theirs);
            let read: Result<Vec<_>, _> = Messages::new(&ours).map(|m| StoredEvent::decode(m?)).collect();
            prop_assert_eq!(read.expect("own bytes"), events.iter().map(borrowed).collect::<Vec<_>>());
        }

        #[test]
        fn a_quarantined_item_is_read_back(original: Vec<u8>, reason in ".{0,20}", value in ".{0,50}", source in proptest::option::of(".{0,9}")) {
            let item = StoredQuarantine { original: &original, reason: &reason, value: &value, source: source.as_deref(), stage: "gateway", ..Default::default() };
            let mut bytes = Vec::new();
            item.encode_delimited(&mut bytes);
            let theirs = v1::StoredQuarantine::decode_length_delimited(bytes.as_slice()).expect("protobuf");
            prop_assert_eq!(theirs.original.as_ref(), original.as_slice());
            let message = Messages::new(&bytes).next().expect("one message").expect("own bytes");
            prop_assert_eq!(StoredQuarantine::decode(message), Ok(item));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            for message in Messages::new(&bytes).flatten() {
                let _ = StoredEvent::decode(message);
                let _ = StoredQuarantine::decode(message);
            }
        }
    }

    #[test]
    fn the_type_is_the_part_before_the_first_colon_unless_sent() {
        let mut event = StoredEvent { event_name: "page:view:home", ..Default::default() };
        assert_eq!((event.effective_type(), event.subtype()), ("page", "view:home"));
        event.event_type = Some("screen");
        assert_eq!((event.effective_type(), event.subtype()), ("screen", "view:home"));
    }
}
