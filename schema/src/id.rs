//! Event ids: UUIDs of any version, compared by their 128 bits.
//!
//! **Canonical text**: 32 lower-case hex digits in groups 8-4-4-4-12. Its MD5 is where the event belongs on a stream.

mod lanes;

use crate::HashKey;
use md5::{Digest, Md5};
use std::fmt;

/// What makes two copies of an event copies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u128);

impl EventId {
    /// Bytes of an id on the wire.
    pub const BYTES: usize = 16;

    /// Reads a UUID: hyphenated or bare, either case, with or without braces or `urn:uuid:`.
    pub fn parse(text: &str) -> Option<EventId> {
        let bytes = text.as_bytes();
        match bytes.len() {
            36 => parse_hyphenated(bytes),
            32 => parse_bare(bytes),
            38 if bytes[0] == b'{' && bytes[37] == b'}' => parse_hyphenated(&bytes[1..37]),
            45 if text.get(..9)?.eq_ignore_ascii_case("urn:uuid:") => parse_hyphenated(&bytes[9..]),
            _ => None,
        }
        .map(EventId)
    }

    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    pub fn from_bytes(bytes: [u8; 16]) -> EventId {
        EventId(u128::from_be_bytes(bytes))
    }

    /// Writes the canonical text into a buffer of its exact length.
    pub fn canonical(self) -> [u8; 36] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 36];
        let mut at = 0;
        for (k, byte) in self.to_bytes().into_iter().enumerate() {
            if matches!(k, 4 | 6 | 8 | 10) {
                at += 1;
            }
            text[at] = DIGITS[usize::from(byte >> 4)];
            text[at + 1] = DIGITS[usize::from(byte & 15)];
            at += 2;
        }
        text
    }

    /// Where the event belongs: MD5 of the canonical text, as Kinesis itself would route it by partition key.
    ///
    /// Frozen: shards, records and checksums of every running installation rest on it.
    pub fn hash(self) -> HashKey {
        HashKey(u128::from_be_bytes(Md5::digest(self.canonical()).into()))
    }
}

fn parse_hyphenated(bytes: &[u8]) -> Option<u128> {
    if [8, 13, 18, 23].iter().any(|&k| bytes[k] != b'-') {
        return None;
    }
    let groups = [0..8, 9..13, 14..18, 19..23, 24..36];
    groups.into_iter().try_fold(0, |value, group| push_digits(value, &bytes[group]))
}

fn parse_bare(bytes: &[u8]) -> Option<u128> {
    push_digits(0, bytes)
}

fn push_digits(value: u128, digits: &[u8]) -> Option<u128> {
    let (mut part, mut bad) = (0u64, 0u8);
    if digits.len() > 16 {
        let (head, tail) = digits.split_at(digits.len() - 16);
        return push_digits(push_digits(value, head)?, tail);
    }
    for &digit in digits {
        let nibble = NIBBLES[usize::from(digit)];
        bad |= nibble;
        part = part << 4 | u64::from(nibble & 15);
    }
    (bad < 16).then_some(value << (4 * digits.len()) | u128::from(part))
}

/// Value of each hex digit; 255 for every other byte.
const NIBBLES: [u8; 256] = {
    let mut table = [255; 256];
    let mut k = 0;
    while k < 16 {
        table[b"0123456789abcdef"[k] as usize] = k as u8;
        table[b"0123456789ABCDEF"[k] as usize] = k as u8;
        k += 1;
    }
    table
};

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.canonical();
        f.pad(std::str::from_utf8(&text).expect("hex digits and hyphens are ASCII"))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Appends the hashes of ids, in their order: the same as [`EventId::hash`] of each, and much cheaper for many.
pub fn hash_all(ids: &[EventId], out: &mut Vec<HashKey>) {
    lanes::hash_all(ids, out);
}

/// Adds up hashes of ids: a checksum of a set that does not depend on order.
pub fn sum_hashes(ids: impl IntoIterator<Item = EventId>) -> u128 {
    ids.into_iter().fold(0, |sum, id| sum.wrapping_add(id.hash().0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_hash_is_the_md5_of_the_canonical_text() {
        let id = EventId::parse("0192F0C1-7B6D-7E1A-8A3B-1234567890AB").expect("a UUID");
        assert_eq!(id.to_string(), "0192f0c1-7b6d-7e1a-8a3b-1234567890ab");
        // printf 0192f0c1-7b6d-7e1a-8a3b-1234567890ab | md5sum
        assert_eq!(format!("{:?}", id.hash()), "6241b917f98e8f15bd89b8806fd3e2db");
    }

    #[test]
    fn what_is_not_a_uuid_is_refused() {
        for text in [
            "",
            "x",
            "0192f0c1-7b6d-7e1a-8a3b-1234567890a",
            "0192f0c1-7b6d-7e1a-8a3b-1234567890ag",
            "0192f0c17b6d-7e1a-8a3b-1234567890ab-",
            "{0192f0c1-7b6d-7e1a-8a3b-1234567890ab",
            "0192f0c1-7b6d-7e1a-8a3b-1234567890é",
        ] {
            assert_eq!(EventId::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_spelling_reads_back(value: u128) {
            let id = EventId(value);
            let text = id.to_string();
            for spelling in [
                text.clone(),
                text.to_uppercase(),
                text.replace('-', ""),
                format!("{{{text}}}"),
                format!("urn:uuid:{text}"),
            ] {
                prop_assert_eq!(EventId::parse(&spelling), Some(id));
            }
            prop_assert_eq!(EventId::from_bytes(id.to_bytes()), id);
        }
    }
}
