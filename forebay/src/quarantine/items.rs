//! Items of quarantine, each once, an object and a batch of rows at a time.

use crate::embedded::Embedded;
use crate::source::Source;
use anyhow::Context;
use arrow_array::{Array, BinaryArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use compactor::snapshot;
use lake::Lake;
use lake::layout::ObjectName;
use lake::parquet_file::{Columns, ObjectReader};
use schema::columns::{self, ColumnError};
use schema::{Day, Table};
use service::Env;
use std::sync::Arc;
use std::vec;

/// A quarantined event, borrowed from its batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Item<'a> {
    pub quarantine_id: &'a str,
    pub reason: &'a str,
    pub field: &'a str,
    pub value: &'a str,
    pub message: &'a str,
    pub stage: &'a str,
    /// The source that the write key named.
    pub source: Option<&'a str>,
    /// Unix time in microseconds.
    pub received_at: i64,
    pub original: &'a [u8],
}

impl Item<'_> {
    pub(super) fn day(&self) -> Day {
        Day::of(self.received_at)
    }
}

/// What quarantine holds at one moment. Memory is bounded by a row group of one object.
#[derive(Debug)]
pub(super) struct Items {
    lake: Arc<dyn Lake>,
    objects: vec::IntoIter<String>,
    reader: Option<ObjectReader>,
}

impl Items {
    /// Takes stock of the objects that together hold each item once.
    pub(super) async fn open(source: &Source, env: &Env) -> anyhow::Result<Items> {
        let Embedded { ledger, lake, .. } = source.look(env).await?.ports;
        let snapshot = snapshot(ledger.as_ref(), lake.as_ref()).await.context("find the objects of the lake")?;
        let objects: Vec<String> = snapshot.objects().filter(|key| is_quarantine(key)).map(str::to_string).collect();
        Ok(Items { lake, objects: objects.into_iter(), reader: None })
    }

    /// The next batch of rows; `None` after the last one.
    pub(super) async fn next_batch(&mut self) -> anyhow::Result<Option<Batch>> {
        loop {
            if let Some(reader) = &mut self.reader {
                if let Some(rows) = reader.next_batch(self.lake.as_ref()).await? {
                    return Ok(Some(Batch(rows)));
                }
                self.reader = None;
            }
            let Some(key) = self.objects.next() else { return Ok(None) };
            let opened = ObjectReader::open(self.lake.as_ref(), Table::Quarantine, &key, Columns::All).await;
            self.reader = Some(opened.context("read quarantine; if the object was compacted meanwhile, start again")?);
        }
    }
}

fn is_quarantine(key: &str) -> bool {
    ObjectName::parse(key).is_some_and(|name| name.table == Table::Quarantine)
}

/// Rows of quarantine.
#[derive(Debug)]
pub(super) struct Batch(RecordBatch);

impl Batch {
    pub(super) fn items(&self) -> Result<impl Iterator<Item = Item<'_>>, ColumnError> {
        let columns = ItemColumns::of(&self.0)?;
        Ok((0..self.0.num_rows()).map(move |row| columns.item(row)))
    }
}

struct ItemColumns<'a> {
    quarantine_id: &'a StringArray,
    reason: &'a StringArray,
    field: &'a StringArray,
    value: &'a StringArray,
    message: &'a StringArray,
    stage: &'a StringArray,
    source: &'a StringArray,
    received_at: &'a TimestampMicrosecondArray,
    original: &'a BinaryArray,
}

impl<'a> ItemColumns<'a> {
    fn of(rows: &'a RecordBatch) -> Result<ItemColumns<'a>, ColumnError> {
        Ok(ItemColumns {
            quarantine_id: columns::text(rows, columns::QUARANTINE_ID)?,
            reason: columns::text(rows, columns::REASON)?,
            field: columns::text(rows, columns::FIELD)?,
            value: columns::text(rows, columns::VALUE)?,
            message: columns::text(rows, columns::MESSAGE)?,
            stage: columns::text(rows, columns::STAGE)?,
            source: columns::text(rows, columns::SOURCE)?,
            received_at: columns::times(rows, columns::RECEIVED_AT)?,
            original: columns::binary(rows, columns::ORIGINAL)?,
        })
    }

    fn item(&self, row: usize) -> Item<'a> {
        Item {
            quarantine_id: self.quarantine_id.value(row),
            reason: self.reason.value(row),
            field: self.field.value(row),
            value: self.value.value(row),
            message: self.message.value(row),
            stage: self.stage.value(row),
            source: self.source.is_valid(row).then(|| self.source.value(row)),
            received_at: self.received_at.value(row),
            original: self.original.value(row),
        }
    }
}
