//! Rows in sort order, a piece at a time.
//!
//! **Block**: consecutive rows of the order, with their row numbers. **Order**: by the table's sort columns, then by row
//! number, so that it is the same whatever the memory.

use crate::error::CompactError;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::DataType;
use schema::Table;
use schema::columns::{self, EVENT_TYPE, ORDINAL, ORIGIN};
use std::cmp::Ordering;

/// Most rows of a block: they stay in the processor's cache while they are gathered and written.
pub(crate) const BLOCK_ROWS_MAX: usize = 4096;

#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) batch: RecordBatch,
    pub(crate) numbers: Vec<u32>,
}

/// The columns by which rows are sorted.
#[derive(Clone, Debug)]
pub(crate) struct SortColumns {
    /// Absent in quarantine.
    types: Option<StringArray>,
    times: TimestampMicrosecondArray,
    origins: StringArray,
    ordinals: Int64Array,
}

impl SortColumns {
    pub(crate) fn of(table: Table, batch: &RecordBatch) -> Result<SortColumns, CompactError> {
        let types = match table {
            Table::Events => Some(columns::text(batch, EVENT_TYPE)?.clone()),
            Table::Quarantine => None,
        };
        Ok(SortColumns {
            types,
            times: columns::times(batch, table.day_column())?.clone(),
            origins: columns::text(batch, ORIGIN)?.clone(),
            ordinals: columns::numbers(batch, ORDINAL)?.clone(),
        })
    }

    pub(crate) fn rows(&self) -> usize {
        self.times.len()
    }

    /// The type of a row; empty in quarantine.
    pub(crate) fn event_type(&self, row: usize) -> &str {
        self.types.as_ref().map_or("", |types| types.value(row))
    }

    pub(crate) fn time(&self, row: usize) -> i64 {
        self.times.value(row)
    }

    /// Where a row stands among rows of its type and time.
    pub(crate) fn place(&self, row: usize) -> (&str, i64) {
        (self.origins.value(row), self.ordinals.value(row))
    }

    /// Compares rows of two batches, but for their numbers.
    pub(crate) fn compare(&self, row: usize, other: &SortColumns, other_row: usize) -> Ordering {
        let types = self.event_type(row).cmp(other.event_type(other_row));
        let times = || self.time(row).cmp(&other.time(other_row));
        types.then_with(times).then_with(|| self.place(row).cmp(&other.place(other_row)))
    }

    /// The end of the run of rows that have the type of `row`, in sorted rows.
    pub(crate) fn end_of_type(&self, row: usize) -> usize {
        let Some(types) = &self.types else { return self.rows() };
        let (mut low, mut high) = (row + 1, types.len());
        let value = types.value(row);
        if high > low && types.value(high - 1) == value {
            return high;
        }
        while low < high {
            let middle = low.midpoint(high);
            if types.value(middle) == value { low = middle + 1 } else { high = middle }
        }
        low
    }
}

/// Bytes of the rows themselves, not of the memory that holds them.
pub(crate) fn plain_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(column_bytes).sum()
}

fn column_bytes(column: &ArrayRef) -> usize {
    let span = |offsets: &[i32]| (offsets[offsets.len() - 1] - offsets[0]) as usize + size_of_val(offsets);
    match column.data_type() {
        DataType::Utf8 => span(column.as_string::<i32>().value_offsets()),
        DataType::Binary => span(column.as_binary::<i32>().value_offsets()),
        _ => column.len() * size_of::<i64>(),
    }
}
