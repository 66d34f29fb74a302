//! Rows read back from Arrow columns.

use super::{CREATED_AT, ORDINAL, ORIGIN, Part, RECEIVED_AT, Table};
use crate::EventId;
use crate::rows::row_bytes::{RowHead, origin_hash, put_row};
use arrow_array::{Array, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_128;

/// A batch that does not hold what its table promises.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
pub enum ColumnError {
    #[error("column {0} is missing")]
    Missing(String),
    #[error("column {name} is of type {found}")]
    Type { name: String, found: String },
    #[error("row {row} has {value:?} for an id")]
    NotAnId { row: usize, value: String },
    #[error("row {row} has {value} for an ordinal")]
    NotAnOrdinal { row: usize, value: i64 },
}

/// Who a row is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place<'a> {
    pub origin: &'a str,
    pub ordinal: u64,
    pub id: EventId,
}

/// The column `name` as text.
pub fn text<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray, ColumnError> {
    typed(batch, name)
}

/// The column `name` as Unix times in microseconds.
pub fn times<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a TimestampMicrosecondArray, ColumnError> {
    typed(batch, name)
}

/// The column `name` as numbers.
pub fn numbers<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a Int64Array, ColumnError> {
    typed(batch, name)
}

/// The column `name` as bytes.
pub fn binary<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a BinaryArray, ColumnError> {
    typed(batch, name)
}

/// Who the rows of a batch are, in order; the id, origin and ordinal columns are enough.
pub fn places<'a>(
    table: Table,
    batch: &'a RecordBatch,
) -> Result<impl ExactSizeIterator<Item = Result<Place<'a>, ColumnError>> + 'a, ColumnError> {
    let columns = PlaceColumns::of(table, batch)?;
    Ok((0..batch.num_rows()).map(move |row| columns.place(row)))
}

/// The sum of the rows' hashes modulo 2^128, as [`crate::rows::Rows::rows_hash`] has it for the same rows.
///
/// Needs all columns of the table.
pub fn rows_hash(table: Table, batch: &RecordBatch) -> Result<u128, ColumnError> {
    let places = PlaceColumns::of(table, batch)?;
    let received_at = times(batch, RECEIVED_AT)?;
    let created_at = match table {
        Table::Events => times(batch, CREATED_AT)?,
        Table::Quarantine => received_at,
    };
    let fields = fields(table, batch)?;
    let mut cells = Vec::with_capacity(fields.len());
    let (mut row_bytes, mut sum) = (Vec::new(), 0u128);
    for row in 0..batch.num_rows() {
        let place = places.place(row)?;
        let head = RowHead {
            origin_hash: origin_hash(place.origin),
            ordinal: place.ordinal,
            id: place.id,
            created_at: created_at.value(row),
            received_at: received_at.value(row),
        };
        cells.clear();
        cells.extend(fields.iter().map(|field| field.cell(row)));
        row_bytes.clear();
        put_row(&mut row_bytes, &head, &cells);
        sum = sum.wrapping_add(xxh3_128(&row_bytes));
    }
    Ok(sum)
}

struct PlaceColumns<'a> {
    ids: &'a StringArray,
    origins: &'a StringArray,
    ordinals: &'a Int64Array,
}

impl<'a> PlaceColumns<'a> {
    fn of(table: Table, batch: &'a RecordBatch) -> Result<PlaceColumns<'a>, ColumnError> {
        Ok(PlaceColumns {
            ids: text(batch, table.id_column())?,
            origins: text(batch, ORIGIN)?,
            ordinals: numbers(batch, ORDINAL)?,
        })
    }

    fn place(&self, row: usize) -> Result<Place<'a>, ColumnError> {
        let id = self.ids.value(row);
        let ordinal = self.ordinals.value(row);
        Ok(Place {
            origin: self.origins.value(row),
            ordinal: u64::try_from(ordinal).map_err(|_| ColumnError::NotAnOrdinal { row, value: ordinal })?,
            id: EventId::parse(id).ok_or_else(|| ColumnError::NotAnId { row, value: id.to_string() })?,
        })
    }
}

enum FieldColumn<'a> {
    Text(&'a StringArray),
    Binary(&'a BinaryArray),
}

impl<'a> FieldColumn<'a> {
    fn cell(&self, row: usize) -> Option<&'a [u8]> {
        match self {
            FieldColumn::Text(column) => column.is_valid(row).then(|| column.value(row).as_bytes()),
            FieldColumn::Binary(column) => Some(column.value(row)),
        }
    }
}

/// The columns that hold the fields of a row, in field order.
fn fields(table: Table, batch: &RecordBatch) -> Result<Vec<FieldColumn<'_>>, ColumnError> {
    let mut fields = Vec::with_capacity(table.field_count());
    for &(name, part) in table.columns() {
        let field = match part {
            Part::Text(number) | Part::TextOrNull(number) => (number, FieldColumn::Text(text(batch, name)?)),
            Part::Binary(number) => (number, FieldColumn::Binary(binary(batch, name)?)),
            _ => continue,
        };
        fields.push(field);
    }
    fields.sort_unstable_by_key(|&(number, _)| number);
    Ok(fields.into_iter().map(|(_, column)| column).collect())
}

fn typed<'a, A: Array + 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a A, ColumnError> {
    let column = batch.column_by_name(name).ok_or_else(|| ColumnError::Missing(name.to_string()))?;
    let wrong = || ColumnError::Type { name: name.to_string(), found: column.data_type().to_string() };
    column.as_any().downcast_ref::<A>().ok_or_else(wrong)
}
