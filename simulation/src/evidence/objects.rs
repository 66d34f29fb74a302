//! What Parquet objects say, and which copies of events say the same.

use super::Place;
use crate::events::BooksState;
use crate::lakes::SimLake;
use arrow_array::{BinaryArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use bytes::Bytes;
use lake::parquet_file::{Columns, batches_of};
use schema::columns::{
    self, CREATED_AT, ColumnError, EVENT_NAME, EVENT_TYPE, ORIGINAL, PROPERTIES, RECEIVED_AT, binary, text, times,
};
use schema::{EventId, Kind, Table};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::Arc;

/// Rows of objects by key.
pub(crate) type Objects = BTreeMap<String, Arc<Vec<Row>>>;

/// A row of an object.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) place: Place,
    pub(crate) id: EventId,
    /// The copy whose words the row has; 0 where no copy said that.
    pub(crate) copy: u32,
}

/// Reads the objects of a lake, each once.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    objects: Objects,
}

impl Reader {
    /// Rows of all that was ever in the lake.
    pub(crate) fn read(&mut self, lake: &SimLake, books: &BooksState) -> Result<&Objects, String> {
        for (key, bytes) in lake.history() {
            if let Entry::Vacant(unread) = self.objects.entry(key) {
                let rows = rows(unread.key(), &bytes, books)?;
                unread.insert(Arc::new(rows));
            }
        }
        Ok(&self.objects)
    }
}

fn rows(key: &str, bytes: &Bytes, books: &BooksState) -> Result<Vec<Row>, String> {
    let broken = |error: &dyn fmt::Display| format!("audit: object {key} can't be read: {error}");
    let table = key.split('/').nth(1).and_then(Table::parse).ok_or_else(|| broken(&"it is of no table"))?;
    let mut rows = Vec::new();
    for batch in batches_of(table, key, bytes, Columns::All).map_err(|error| broken(&error))? {
        rows.extend(rows_of(table, &batch, books).map_err(|error| broken(&error))?);
    }
    Ok(rows)
}

fn rows_of(table: Table, batch: &RecordBatch, books: &BooksState) -> Result<Vec<Row>, ColumnError> {
    let words = Words::of(table, batch)?;
    let received_at = times(batch, RECEIVED_AT)?;
    let row = |(row, place): (usize, Result<columns::Place<'_>, ColumnError>)| {
        let place = place?;
        let copy = words.copy(books, place.id, row);
        let copy = copy.filter(|copy| was_received(books, place.id, *copy, received_at.value(row)));
        Ok(Row { place: (place.origin.to_string(), place.ordinal), id: place.id, copy: copy.unwrap_or(0) })
    };
    columns::places(table, batch)?.enumerate().map(row).collect()
}

/// The columns by which a row tells which copy it is.
enum Words<'a> {
    Event {
        name: &'a StringArray,
        event_type: &'a StringArray,
        properties: &'a StringArray,
        created_at: &'a TimestampMicrosecondArray,
    },
    Quarantined(&'a BinaryArray),
}

impl<'a> Words<'a> {
    fn of(table: Table, batch: &'a RecordBatch) -> Result<Words<'a>, ColumnError> {
        if table == Table::Quarantine {
            return Ok(Words::Quarantined(binary(batch, ORIGINAL)?));
        }
        Ok(Words::Event {
            name: text(batch, EVENT_NAME)?,
            event_type: text(batch, EVENT_TYPE)?,
            properties: text(batch, PROPERTIES)?,
            created_at: times(batch, CREATED_AT)?,
        })
    }

    fn copy(&self, books: &BooksState, id: EventId, row: usize) -> Option<u32> {
        match self {
            Words::Event { name, event_type, properties, created_at } => {
                let says = (name.value(row), event_type.value(row), properties.value(row));
                event_copy(books, id, says, created_at.value(row))
            }
            Words::Quarantined(original) => quarantined_copy(books, id, original.value(row)),
        }
    }
}

/// The copy of an event that has this name, type and properties.
pub(crate) fn event_copy(books: &BooksState, id: EventId, says: (&str, &str, &str), created_at: i64) -> Option<u32> {
    let event = books.events.get(&id)?;
    let (name, event_type, properties) = says;
    let same = event.kind == Kind::Events && event.name() == name && event.event_type() == event_type;
    let copy = properties.strip_prefix(r#"{"copy":"#)?.strip_suffix('}')?.parse().ok()?;
    (same && event.created_at() == created_at && books.copies.get(&id)?.contains_key(&copy)).then_some(copy)
}

/// The copy of an invalid event that was sent as these bytes.
pub(crate) fn quarantined_copy(books: &BooksState, id: EventId, original: &[u8]) -> Option<u32> {
    let event = books.events.get(&id)?;
    let copies = books.copies.get(&id)?;
    copies.keys().copied().find(|&copy| event.kind == Kind::Quarantine && event.original(copy) == original)
}

fn was_received(books: &BooksState, id: EventId, copy: u32, received_at: i64) -> bool {
    let known = books.copies.get(&id).and_then(|copies| copies.get(&copy));
    known.is_some_and(|at| at.is_none_or(|at| at == received_at))
}
