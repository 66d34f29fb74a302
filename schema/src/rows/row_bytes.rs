//! A row as bytes: what its hash is taken of, and what its columns are made from.
//!
//! Little-endian, in this order: hash of the origin's name (8), ordinal (8), id (16), created_at (8), received_at (8),
//! a bit for each field that is null (4), the end of each field (4 each), the fields. Frozen: announced hashes rest on it.

use crate::EventId;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes before the ends of the fields.
const HEAD_BYTES: usize = 52;

/// Bytes of a field's end.
const END_BYTES: usize = 4;

/// What a row has beside its fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RowHead {
    pub(crate) origin_hash: u64,
    pub(crate) ordinal: u64,
    pub(crate) id: EventId,
    /// The time whose day is the row's partition.
    pub(crate) created_at: i64,
    pub(crate) received_at: i64,
}

/// Stands for an origin's name in row bytes.
pub(crate) fn origin_hash(origin: &str) -> u64 {
    xxh3_64(origin.as_bytes())
}

/// Bytes of a row with these fields.
///
/// # Panics
/// If there are more than 32 fields, or their sum is over 4 GiB.
pub(crate) fn length_of_row(fields: &[Option<&[u8]>]) -> usize {
    assert!(fields.len() <= u32::BITS as usize, "{} fields", fields.len());
    let field_bytes: usize = fields.iter().flatten().map(|field| field.len()).sum();
    assert!(u32::try_from(field_bytes).is_ok(), "a row of {field_bytes} bytes");
    HEAD_BYTES + END_BYTES * fields.len() + field_bytes
}

/// Appends a row: [`length_of_row`] bytes.
pub(crate) fn put_row(out: &mut Vec<u8>, head: &RowHead, fields: &[Option<&[u8]>]) {
    let nulls = fields.iter().rev().fold(0u32, |bits, field| bits << 1 | u32::from(field.is_none()));
    put_head(out, head, nulls);
    let mut end = 0;
    for field in fields {
        end += field.map_or(0, <[u8]>::len) as u32;
        out.extend_from_slice(&end.to_le_bytes());
    }
    for field in fields.iter().flatten() {
        out.extend_from_slice(field);
    }
}

fn put_head(out: &mut Vec<u8>, head: &RowHead, nulls: u32) {
    let mut bytes = [0; HEAD_BYTES];
    bytes[..8].copy_from_slice(&head.origin_hash.to_le_bytes());
    bytes[8..16].copy_from_slice(&head.ordinal.to_le_bytes());
    bytes[16..32].copy_from_slice(&head.id.0.to_le_bytes());
    bytes[32..40].copy_from_slice(&head.created_at.to_le_bytes());
    bytes[40..48].copy_from_slice(&head.received_at.to_le_bytes());
    bytes[48..].copy_from_slice(&nulls.to_le_bytes());
    out.extend_from_slice(&bytes);
}

/// One row, borrowed from where it was put.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowBytes<'a> {
    head: &'a [u8; HEAD_BYTES],
    ends: &'a [[u8; END_BYTES]],
    fields: &'a [u8],
}

impl<'a> RowBytes<'a> {
    /// # Panics
    /// If the bytes are not those of a row of `field_count` fields.
    #[inline]
    pub(crate) fn new(bytes: &'a [u8], field_count: usize) -> RowBytes<'a> {
        let (head, rest) = bytes.split_first_chunk().expect("a row begins with its head");
        let (ends, fields) = rest.split_at(END_BYTES * field_count);
        RowBytes { head, ends: ends.as_chunks().0, fields }
    }

    #[inline]
    pub(crate) fn ordinal(&self) -> u64 {
        u64::from_le_bytes(self.part(8))
    }

    #[inline]
    pub(crate) fn id(&self) -> EventId {
        EventId(u128::from_le_bytes(self.part(16)))
    }

    #[inline]
    pub(crate) fn created_at(&self) -> i64 {
        i64::from_le_bytes(self.part(32))
    }

    #[inline]
    pub(crate) fn received_at(&self) -> i64 {
        i64::from_le_bytes(self.part(40))
    }

    #[inline]
    pub(crate) fn is_null(&self, field: usize) -> bool {
        u32::from_le_bytes(self.part(48)) >> field & 1 == 1
    }

    /// The bytes of a field; empty where it is null.
    #[inline]
    pub(crate) fn field(&self, field: usize) -> &'a [u8] {
        let start = if field == 0 { 0 } else { self.end(field - 1) };
        &self.fields[start..self.end(field)]
    }

    #[inline]
    fn end(&self, field: usize) -> usize {
        u32::from_le_bytes(self.ends[field]) as usize
    }

    #[inline]
    fn part<const N: usize>(&self, at: usize) -> [u8; N] {
        *self.head[at..].first_chunk().expect("every part lies within the head")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_row_reads_back(
            (origin_hash, ordinal, id) in any::<(u64, u64, u128)>(),
            (created_at, received_at) in any::<(i64, i64)>(),
            fields in proptest::collection::vec(proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9)), 0..9),
        ) {
            let head = RowHead { origin_hash, ordinal, id: EventId(id), created_at, received_at };
            let cells: Vec<Option<&[u8]>> = fields.iter().map(Option::as_deref).collect();
            let mut bytes = Vec::new();
            put_row(&mut bytes, &head, &cells);
            prop_assert_eq!(bytes.len(), length_of_row(&cells));
            let row = RowBytes::new(&bytes, cells.len());
            prop_assert_eq!((row.ordinal(), row.id().0), (ordinal, id));
            prop_assert_eq!((row.created_at(), row.received_at()), (created_at, received_at));
            for (number, &cell) in cells.iter().enumerate() {
                prop_assert_eq!(row.is_null(number), cell.is_none());
                prop_assert_eq!(row.field(number), cell.unwrap_or_default());
            }
        }
    }
}
