//! Rows in sort order, turned into Arrow columns a batch at a time.

use super::row_bytes::RowBytes;
use super::types::ranks;
use super::{RowRef, Rows};
use crate::columns::Part;
use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use std::sync::Arc;

/// Most rows of a batch: its rows and columns stay in the processor's cache.
const BATCH_ROWS_MAX: usize = 4096;

/// Row bytes after which a batch is cut, so that big rows neither fill memory nor overflow 32-bit offsets.
const BATCH_BYTES: usize = 8 << 20;

/// The rows of an object, sorted, as batches; an object without rows has none.
#[derive(Debug)]
pub struct Batches {
    rows: Rows,
    /// Row numbers in sort order.
    order: Vec<u32>,
    next: usize,
}

impl Batches {
    pub(super) fn new(rows: Rows) -> Batches {
        let order = sorted(&rows);
        Batches { rows, order, next: 0 }
    }

    /// The row numbers of the next batch.
    fn take(&mut self) -> std::ops::Range<usize> {
        let start = self.next;
        let mut bytes = 0;
        while self.next < self.order.len() && self.next - start < BATCH_ROWS_MAX && bytes < BATCH_BYTES {
            bytes += self.rows.refs[self.order[self.next] as usize].span.bytes();
            self.next += 1;
        }
        start..self.next
    }
}

impl Iterator for Batches {
    type Item = RecordBatch;

    fn next(&mut self) -> Option<RecordBatch> {
        let numbers = self.take();
        if numbers.is_empty() {
            return None;
        }
        let refs: Vec<&RowRef> = self.order[numbers].iter().map(|&row| &self.rows.refs[row as usize]).collect();
        Some(batch(&self.rows, &refs))
    }
}

/// Row numbers by event type, time, origin and ordinal.
fn sorted(rows: &Rows) -> Vec<u32> {
    assert!(u32::try_from(rows.refs.len()).is_ok(), "an object of {} rows", rows.refs.len());
    let types = rows.types.ranks();
    let mut keys: Vec<u128> = rows.refs.iter().zip(0..).map(|(row, number)| sort_key(row, &types, number)).collect();
    keys.sort_unstable();
    let mut order: Vec<u32> = keys.iter().map(|&key| key as u32).collect();
    let origins = ranks(rows.origins.iter().map(|known| known.origin.as_str()));
    let mut done = 0;
    for ties in keys.chunk_by(|a, b| a >> 32 == b >> 32) {
        if ties.len() > 1 {
            order[done..done + ties.len()].sort_unstable_by_key(|&number| {
                let row = &rows.refs[number as usize];
                (origins[row.origin as usize], rows.row(row).ordinal(), number)
            });
        }
        done += ties.len();
    }
    order
}

/// Rank of the type, time and row number in one integer: much faster to sort than a tuple.
fn sort_key(row: &RowRef, types: &[u32], number: u32) -> u128 {
    let rank = types.get(row.event_type as usize).copied().unwrap_or(0);
    let time = (row.created_at as u64) ^ (1 << 63);
    u128::from(rank) << 96 | u128::from(time) << 32 | u128::from(number)
}

fn batch(rows: &Rows, refs: &[&RowRef]) -> RecordBatch {
    let views: Vec<RowBytes<'_>> = refs.iter().map(|row| rows.row(row)).collect();
    let columns = rows.table.columns().iter().map(|&(_, part)| match part {
        Part::Origin => origins(rows, refs),
        other => column(&views, other),
    });
    let columns: Vec<ArrayRef> = columns.collect();
    RecordBatch::try_new(rows.table.schema(), columns).expect("columns are built to the schema")
}

fn column(rows: &[RowBytes<'_>], part: Part) -> ArrayRef {
    match part {
        Part::Id => ids(rows),
        Part::CreatedAt => times(rows.iter().map(RowBytes::created_at)),
        Part::ReceivedAt => times(rows.iter().map(RowBytes::received_at)),
        Part::Ordinal => Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.ordinal() as i64))),
        Part::Text(field) => texts(rows, None, |row| row.field(field)),
        Part::TextOrNull(field) => texts(rows, nulls(rows, field), |row| row.field(field)),
        Part::AfterColon(field) => texts(rows, None, |row| after_colon(row.field(field))),
        Part::Binary(field) => {
            let (offsets, values) = gather(rows, |row| row.field(field));
            Arc::new(BinaryArray::new(offsets, values, None))
        }
        Part::Origin => unreachable!("row bytes hold the hash of the origin only"),
    }
}

fn times(micros: impl Iterator<Item = i64>) -> ArrayRef {
    let values: ScalarBuffer<i64> = micros.collect();
    Arc::new(TimestampMicrosecondArray::new(values, None).with_timezone("UTC"))
}

fn ids(rows: &[RowBytes<'_>]) -> ArrayRef {
    const TEXT_BYTES: usize = 36;
    let mut values = Vec::with_capacity(rows.len() * TEXT_BYTES);
    for row in rows {
        values.extend_from_slice(&row.id().canonical());
    }
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(TEXT_BYTES, rows.len()));
    Arc::new(StringArray::try_new(offsets, Buffer::from_vec(values), None).expect("hex digits are ASCII"))
}

fn origins(rows: &Rows, refs: &[&RowRef]) -> ArrayRef {
    let names = refs.iter().map(|row| rows.origins[row.origin as usize].origin.as_str());
    Arc::new(StringArray::from_iter_values(names))
}

fn texts<'a>(rows: &[RowBytes<'a>], nulls: Option<NullBuffer>, text: impl Fn(&RowBytes<'a>) -> &'a [u8]) -> ArrayRef {
    let (offsets, values) = gather(rows, text);
    Arc::new(StringArray::try_new(offsets, values, nulls).expect("fields were texts when they were pushed"))
}

/// Lays the cells of a column end to end.
fn gather<'a>(rows: &[RowBytes<'a>], cell: impl Fn(&RowBytes<'a>) -> &'a [u8]) -> (OffsetBuffer<i32>, Buffer) {
    let offsets = OffsetBuffer::<i32>::from_lengths(rows.iter().map(|row| cell(row).len()));
    let mut values = Vec::with_capacity(offsets.last() as usize);
    for row in rows {
        values.extend_from_slice(cell(row));
    }
    (offsets, Buffer::from_vec(values))
}

fn nulls(rows: &[RowBytes<'_>], field: usize) -> Option<NullBuffer> {
    let nulls: NullBuffer = rows.iter().map(|row| !row.is_null(field)).collect();
    (nulls.null_count() > 0).then_some(nulls)
}

fn after_colon(name: &[u8]) -> &[u8] {
    name.iter().position(|&byte| byte == b':').map_or(&[], |colon| &name[colon + 1..])
}
