//! Frames as they rest in a segment.
//!
//! ```text
//!  0 magic         8 payload length     16 number      40 payload checksum
//!  4 kind, 0      12 synced through     24 aux (u128)  44 header checksum    48 name, payload
//!  6 name length
//! ```
//! Integers are little-endian. The header checksum covers the header, the name, and the place where the frame stands: a
//! frame copied elsewhere, or bytes of a payload that look like a frame, are not taken for one. **Synced through**: the
//! offset in this segment up to which everything was durable when the frame was written; it tells damage from a torn tail.

use crc32fast::Hasher;
use std::fmt;

/// Bytes of a header, name and payload not counted.
pub(crate) const HEADER_BYTES: usize = 48;

/// Most bytes of the name of a log, chain, queue or note: what fits a u16 with room to spare, and far above any in use.
pub const NAME_BYTES_MAX: usize = 1024;

/// Most bytes of a payload: four times the largest record, so that a length beyond it can't be a frame.
pub const PAYLOAD_BYTES_MAX: usize = 4 << 20;

/// First bytes of a frame. The first of them never occurs in UTF-8 text.
pub(crate) const MAGIC: [u8; 4] = [0xfb, b'F', b'B', b'1'];

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Number: sequence; aux: when it arrived.
    Record = 1,
    /// Number: slot; aux: nonce.
    Slot = 2,
    /// Slots from 1 up to, not including, the number are gone for good.
    Low = 3,
    /// Number: how far a log is consumed; aux: its first record that retention has left.
    Mark = 4,
    /// Number: version.
    Note = 5,
    Message = 6,
    Ack = 7,
    /// Number: the first segment that belongs to the log of frames.
    First = 8,
    /// Says nothing but what its header says: synced through.
    Marker = 9,
    /// The last frame of a segment that is full; aux: when.
    Seal = 10,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        use Kind::*;
        [Record, Slot, Low, Mark, Note, Message, Ack, First, Marker, Seal].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Where a frame stands: its segment, offset and whole length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) bytes: u32,
}

/// A header without its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) number: u64,
    pub(crate) aux: u128,
    pub(crate) synced_through: u32,
    pub(crate) name_bytes: usize,
    pub(crate) payload_bytes: usize,
    payload_checksum: u32,
}

impl Header {
    /// Bytes of the whole frame.
    pub(crate) fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.name_bytes + self.payload_bytes
    }

    /// Reads a header; `None` for bytes that can't be one. The checksum is for [`Header::is_at`] to look at.
    pub(crate) fn read(bytes: &[u8]) -> Option<Header> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        if bytes[..4] != MAGIC || bytes[5] != 0 {
            return None;
        }
        let header = Header {
            kind: Kind::from_byte(bytes[4])?,
            name_bytes: u16::from_le_bytes(take(bytes, 6)).into(),
            payload_bytes: u32::from_le_bytes(take(bytes, 8)) as usize,
            synced_through: u32::from_le_bytes(take(bytes, 12)),
            number: u64::from_le_bytes(take(bytes, 16)),
            aux: u128::from_le_bytes(take(bytes, 24)),
            payload_checksum: u32::from_le_bytes(take(bytes, 40)),
        };
        (header.name_bytes <= NAME_BYTES_MAX && header.payload_bytes <= PAYLOAD_BYTES_MAX).then_some(header)
    }

    /// Whether `bytes`, header and name at least, were written as they are and where they are.
    pub(crate) fn is_at(&self, bytes: &[u8], segment: u32, offset: u32) -> bool {
        let Some(name) = bytes.get(HEADER_BYTES..HEADER_BYTES + self.name_bytes) else { return false };
        u32::from_le_bytes(take(bytes, 44)) == header_checksum(&bytes[..44], name, segment, offset)
            && std::str::from_utf8(name).is_ok()
    }

    pub(crate) fn payload_is(&self, payload: &[u8]) -> bool {
        payload.len() == self.payload_bytes && checksum(payload) == self.payload_checksum
    }

    /// Name of the frame that `bytes` start with, once [`Header::is_at`] has said that it is one.
    pub(crate) fn name<'a>(&self, bytes: &'a [u8]) -> &'a str {
        std::str::from_utf8(&bytes[HEADER_BYTES..HEADER_BYTES + self.name_bytes]).expect("checked with the checksum")
    }
}

/// What is written as one frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body<'a> {
    pub(crate) kind: Kind,
    pub(crate) name: &'a str,
    pub(crate) number: u64,
    pub(crate) aux: u128,
    pub(crate) payload: &'a [u8],
}

impl Body<'_> {
    /// Appends the frame to `out`, to stand at `offset` of `segment`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, segment: u32, offset: u32, synced_through: u32) -> Place {
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[self.kind as u8, 0]);
        out.extend_from_slice(&(self.name.len() as u16).to_le_bytes());
        out.extend_from_slice(&(self.payload.len() as u32).to_le_bytes());
        out.extend_from_slice(&synced_through.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.aux.to_le_bytes());
        out.extend_from_slice(&checksum(self.payload).to_le_bytes());
        let sum = header_checksum(&out[start..], self.name.as_bytes(), segment, offset);
        out.extend_from_slice(&sum.to_le_bytes());
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(self.payload);
        Place { segment, offset, bytes: (out.len() - start) as u32 }
    }
}

/// What a frame was, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FrameName {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) number: u64,
}

impl fmt::Display for FrameName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FrameName { kind, name, number } = self;
        match kind {
            Kind::Record => write!(f, "record {number} of {name}"),
            Kind::Slot => write!(f, "slot {number} of chain {name}"),
            Kind::Low => write!(f, "trim mark {number} of chain {name}"),
            Kind::Mark => write!(f, "consumer mark {number} of {name}"),
            Kind::Note => write!(f, "version {number} of note {name}"),
            Kind::Message => write!(f, "message {number} of queue {name}"),
            Kind::Ack => write!(f, "ack of message {number} of queue {name}"),
            Kind::First => write!(f, "start of the log at segment {number}"),
            Kind::Marker => write!(f, "an idle marker"),
            Kind::Seal => write!(f, "the segment's seal"),
        }
    }
}

fn header_checksum(header: &[u8], name: &[u8], segment: u32, offset: u32) -> u32 {
    let mut sum = Hasher::new();
    sum.update(&segment.to_le_bytes());
    sum.update(&offset.to_le_bytes());
    sum.update(header);
    sum.update(name);
    sum.finalize()
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the header is longer")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_frame_reads_back_and_only_where_it_was_written(
            name in "[a-z/]{0,40}", number: u64, aux: u128, payload: Vec<u8>, segment: u32, offset: u32, synced: u32,
        ) {
            let body = Body { kind: Kind::Slot, name: &name, number, aux, payload: &payload };
            let mut bytes = Vec::new();
            let place = body.encode(&mut bytes, segment, offset, synced);
            let header = Header::read(&bytes).expect("own bytes");
            prop_assert_eq!(place.bytes as usize, bytes.len());
            prop_assert_eq!(header.frame_bytes(), bytes.len());
            prop_assert_eq!((header.kind, header.number, header.aux, header.synced_through), (Kind::Slot, number, aux, synced));
            prop_assert!(header.is_at(&bytes, segment, offset));
            prop_assert!(!header.is_at(&bytes, segment, offset.wrapping_add(1)));
            prop_assert!(header.payload_is(&bytes[HEADER_BYTES + name.len()..]));
            prop_assert_eq!(header.name(&bytes), name);
        }

        #[test]
        fn a_flipped_bit_is_noticed(payload in proptest::collection::vec(any::<u8>(), 0..100), bit: proptest::sample::Index) {
            let body = Body { kind: Kind::Record, name: "raw/raw-0000", number: 1, aux: 2, payload: &payload };
            let mut bytes = Vec::new();
            body.encode(&mut bytes, 1, 0, 0);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let whole = Header::read(&bytes).is_some_and(|header| {
                header.frame_bytes() == bytes.len()
                    && header.is_at(&bytes, 1, 0)
                    && header.payload_is(&bytes[HEADER_BYTES + header.name_bytes..])
            });
            prop_assert!(!whole);
        }
    }
}
