//! Rows into Parquet.

use super::{Identity, LIVE_ROW_GROUP_BYTES, ObjectError, properties};
use arrow_array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use schema::rows::Rows;
use schema::{Table, columns};
use std::fmt;
use std::io::Write;

/// Encoded bytes to expect of a row, well above what most have: to grow the buffer costs more than room that stays empty.
const BYTES_PER_ROW: usize = 100;

/// Writes the rows of a live object. Takes processor time in proportion to the rows, and none of the network's.
pub fn encode(rows: Rows) -> (Bytes, Identity) {
    const WHY: &str = "memory takes every byte, and the batches have the table's own schema";
    let table = rows.table();
    let identity = Identity {
        rows: rows.rows(),
        rows_hash: rows.rows_hash(),
        types: rows.types().into_iter().map(|(name, count)| (name.to_string(), count)).collect(),
    };
    let out = Vec::with_capacity(rows.rows() as usize * BYTES_PER_ROW);
    let mut writer = open(table, out, LIVE_ROW_GROUP_BYTES).expect(WHY);
    for batch in rows.into_batches() {
        writer.write(&batch).expect(WHY);
    }
    seal(&mut writer, &identity);
    (Bytes::from(writer.into_inner().expect(WHY)), identity)
}

type Parquet<T> = Result<T, parquet::errors::ParquetError>;

fn open<W: Write + Send>(table: Table, out: W, row_group_bytes: usize) -> Parquet<ArrowWriter<W>> {
    ArrowWriter::try_new(out, table.schema(), Some(properties::of(table, row_group_bytes)))
}

/// Puts what the footer says of the object into it; the footer itself is written last.
fn seal<W: Write + Send>(writer: &mut ArrowWriter<W>, identity: &Identity) {
    for pair in identity.metadata() {
        writer.append_key_value_metadata(pair);
    }
}

/// Writes an object batch by batch, holding one row group in memory.
pub struct ObjectWriter<W: Write + Send> {
    table: Table,
    writer: ArrowWriter<W>,
    identity: Identity,
}

impl<W: Write + Send> ObjectWriter<W> {
    /// Begins an object whose bytes go to `out`, in row groups of about `row_group_bytes` encoded bytes.
    pub fn new(table: Table, out: W, row_group_bytes: usize) -> Result<ObjectWriter<W>, ObjectError> {
        let writer = open(table, out, row_group_bytes).map_err(unwritten)?;
        Ok(ObjectWriter { table, writer, identity: Identity::default() })
    }

    /// Adds rows; the caller sorts them as [`Table::sorted_by`] says.
    ///
    /// # Errors
    /// [`ObjectError::Unwritten`]: `out` does not take them, or the batch is not of the table.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ObjectError> {
        let hash = columns::rows_hash(self.table, batch).map_err(unwritten)?;
        self.identity.rows += batch.num_rows() as u64;
        self.identity.rows_hash = self.identity.rows_hash.wrapping_add(hash);
        self.count_types(batch)?;
        self.writer.write(batch).map_err(unwritten)
    }

    fn count_types(&mut self, batch: &RecordBatch) -> Result<(), ObjectError> {
        if self.table == Table::Quarantine {
            return Ok(());
        }
        let types: Vec<&str> = columns::text(batch, columns::EVENT_TYPE).map_err(unwritten)?.iter().flatten().collect();
        for run in types.chunk_by(|a, b| a == b) {
            match self.identity.types.get_mut(run[0]) {
                Some(count) => *count += run.len() as u64,
                None => drop(self.identity.types.insert(run[0].to_string(), run.len() as u64)),
            }
        }
        Ok(())
    }

    /// About how many bytes the object would have if it were finished now.
    pub fn encoded_bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    /// What is held in memory.
    pub fn memory_bytes(&self) -> usize {
        self.writer.memory_size()
    }

    /// What has been written so far.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Writes the footer; the object is complete when `out` is flushed.
    pub fn finish(mut self) -> Result<(W, Identity), ObjectError> {
        seal(&mut self.writer, &self.identity);
        let out = self.writer.into_inner().map_err(unwritten)?;
        Ok((out, self.identity))
    }
}

impl<W: Write + Send> fmt::Debug for ObjectWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectWriter({}, {})", self.table, self.identity)
    }
}

fn unwritten(error: impl fmt::Display) -> ObjectError {
    ObjectError::Unwritten(error.to_string())
}
