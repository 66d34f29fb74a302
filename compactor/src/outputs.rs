//! Cuts sorted rows into a plan's outputs.
//!
//! **Output**: a final object; takes a range of ranks of its partition, without the copies, which go to the **dropped**
//! object. Rows come in the table's order, so at most three objects are open: the partition at hand, the one of the types
//! without a partition, and the dropped.

use crate::block::{Block, SortColumns};
use crate::copies::Copies;
use crate::error::{CompactError, halt, spill};
use crate::held::{DISK, Held};
use crate::plan::Planned;
use crate::sort::Sorted;
use crate::spill::Spill;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_buffer::BooleanBuffer;
use arrow_select::filter::filter_record_batch;
use bytes::Bytes;
use lake::layout::OTHER;
use lake::parquet_file::{FINAL_ROW_GROUP_BYTES, Identity, LIVE_ROW_GROUP_BYTES, ObjectWriter};
use schema::Table;
use schema::v1::PlanEntry;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes of an object beyond which it is written to disk on its way to the lake.
const IN_MEMORY_BYTES_MAX: usize = 8 << 20;

/// Smallest size of row groups, where memory is very small.
const ROW_GROUP_BYTES_MIN: usize = 1 << 20;

/// An object that is ready for the lake.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) key: String,
    pub(crate) content: Content,
    pub(crate) identity: Identity,
}

#[derive(Debug)]
pub(crate) enum Content {
    Bytes(Bytes),
    /// And the disk that it takes.
    File(PathBuf, Held),
}

impl Content {
    /// How many bytes it has.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Content::Bytes(bytes) => bytes.len(),
            Content::File(_, held) => held.bytes(),
        }
    }
}

/// The outputs of a plan that are still to be written.
#[derive(Debug)]
pub(crate) struct Outputs {
    table: Table,
    spill: Arc<Spill>,
    row_group_bytes: usize,
    /// By partition; quarantine's is the empty one.
    planned: Planned,
    open: BTreeMap<String, Open>,
    dropped: ObjectWriter<Spool>,
    dropped_key: String,
}

#[derive(Debug)]
struct Open {
    writer: ObjectWriter<Spool>,
    key: String,
    /// Ranks until it is full.
    left: u64,
}

impl Outputs {
    /// Outputs of `plan`: those that are `planned`.
    pub(crate) fn new(
        table: Table,
        plan: &PlanEntry,
        planned: Planned,
        row_group_bytes: usize,
        spill: &Arc<Spill>,
    ) -> Result<Outputs, CompactError> {
        Ok(Outputs {
            table,
            spill: spill.clone(),
            row_group_bytes: row_group_bytes.clamp(ROW_GROUP_BYTES_MIN, FINAL_ROW_GROUP_BYTES),
            planned,
            open: BTreeMap::new(),
            dropped: ObjectWriter::new(table, Spool::new(spill), LIVE_ROW_GROUP_BYTES)?,
            dropped_key: plan.dropped_key.clone(),
        })
    }

    /// Writes the next rows and gives the objects that are complete by that.
    pub(crate) fn write(&mut self, block: &Block, copies: &Copies) -> Result<Vec<Finished>, CompactError> {
        let columns = SortColumns::of(self.table, &block.batch)?;
        let mut finished = Vec::new();
        let mut row = 0;
        while row < columns.rows() {
            let end = columns.end_of_type(row);
            let partition = self.partition_of(columns.event_type(row));
            row = self.write_piece(&partition, block, (row, end), copies, &mut finished)?;
        }
        Ok(finished)
    }

    /// A type has a partition of its own where the plan says so.
    fn partition_of(&self, event_type: &str) -> String {
        let own = self.table == Table::Quarantine || self.planned.contains_key(event_type);
        if own { event_type } else { OTHER }.to_string()
    }

    /// Writes rows of one type as far as they fit the open output; where they end.
    fn write_piece(
        &mut self,
        partition: &str,
        block: &Block,
        (from, to): (usize, usize),
        copies: &Copies,
        finished: &mut Vec<Finished>,
    ) -> Result<usize, CompactError> {
        let open = match self.open.remove(partition) {
            Some(open) => open,
            None => self.next_output(partition)?,
        };
        let rows = (to - from).min(usize::try_from(open.left).unwrap_or(usize::MAX));
        let mut open = Open { left: open.left - rows as u64, ..open };
        let piece = block.batch.slice(from, rows);
        let (kept, dropped) = split(piece, &block.numbers[from..from + rows], copies)?;
        open.writer.write(&kept)?;
        if let Some(dropped) = dropped {
            self.dropped.write(&dropped)?;
        }
        if open.left == 0 {
            finished.push(finish(open.key, open.writer)?);
        } else {
            self.open.insert(partition.to_string(), open);
        }
        Ok(from + rows)
    }

    fn next_output(&mut self, partition: &str) -> Result<Open, CompactError> {
        let Some(output) = self.planned.get_mut(partition).and_then(VecDeque::pop_front) else {
            return halt(format_args!("{}: there are more rows of `{partition}` than planned", self.dropped_key));
        };
        let writer = ObjectWriter::new(self.table, Spool::new(&self.spill), self.row_group_bytes)?;
        Ok(Open { writer, key: output.key, left: output.rows })
    }

    /// The dropped object, once all others are complete.
    pub(crate) fn finish(self) -> Result<Finished, CompactError> {
        let unwritten = self.planned.values().flatten().map(|output| &output.key);
        if let Some(key) = self.open.values().map(|open| &open.key).chain(unwritten).next() {
            return halt(format_args!("{}: there are fewer rows than planned, {key} is not full", self.dropped_key));
        }
        finish(self.dropped_key, self.dropped)
    }
}

/// The dropped object of a plan, of all its copies.
pub(crate) fn dropped(
    table: Table,
    plan: &PlanEntry,
    mut copies: Sorted,
    spill: &Arc<Spill>,
) -> Result<Finished, CompactError> {
    let mut writer = ObjectWriter::new(table, Spool::new(spill), LIVE_ROW_GROUP_BYTES)?;
    while let Some(block) = copies.next()? {
        writer.write(&block.batch)?;
    }
    finish(plan.dropped_key.clone(), writer)
}

/// Parts rows from copies.
fn split(
    piece: RecordBatch,
    numbers: &[u32],
    copies: &Copies,
) -> Result<(RecordBatch, Option<RecordBatch>), CompactError> {
    if copies.count() == 0 || !numbers.iter().any(|&number| copies.contains(number)) {
        return Ok((piece, None));
    }
    let are_copies: BooleanBuffer = numbers.iter().map(|&number| copies.contains(number)).collect();
    let part = |rows| filter_record_batch(&piece, &BooleanArray::new(rows, None)).or_else(halt);
    Ok((part(!&are_copies)?, Some(part(are_copies)?)))
}

fn finish(key: String, writer: ObjectWriter<Spool>) -> Result<Finished, CompactError> {
    let (spool, identity) = writer.finish()?;
    Ok(Finished { key, content: spool.finish().map_err(spill("write an object"))?, identity })
}

/// Bytes that go to disk when they become many.
#[derive(Debug)]
struct Spool {
    spill: Arc<Spill>,
    memory: Vec<u8>,
    disk: Option<OnDisk>,
}

#[derive(Debug)]
struct OnDisk {
    out: BufWriter<File>,
    path: PathBuf,
    held: Held,
}

impl Spool {
    fn new(spill: &Arc<Spill>) -> Spool {
        Spool { spill: spill.clone(), memory: Vec::new(), disk: None }
    }

    fn finish(self) -> io::Result<Content> {
        match self.disk {
            None => Ok(Content::Bytes(self.memory.into())),
            Some(OnDisk { out, path, held }) => {
                out.into_inner().map_err(io::IntoInnerError::into_error)?;
                Ok(Content::File(path, held))
            }
        }
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.disk.is_none() && self.memory.len() + bytes.len() > IN_MEMORY_BYTES_MAX {
            let (file, path) = self.spill.file().map_err(io::Error::other)?;
            let (mut out, mut held) = (BufWriter::new(file), Held::nothing_of(&DISK));
            out.write_all(&self.memory)?;
            held.set(std::mem::take(&mut self.memory).len());
            self.disk = Some(OnDisk { out, path, held });
        }
        match &mut self.disk {
            None => self.memory.write(bytes),
            Some(OnDisk { out, held, .. }) => out.write(bytes).inspect(|&written| held.add(written)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.disk.as_mut().map_or(Ok(()), |disk| disk.out.flush())
    }
}
