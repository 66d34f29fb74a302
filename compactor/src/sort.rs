//! Sorts any number of rows.
//!
//! **Chunk**: rows in memory, sorted all at once. Where one does not hold all rows, each becomes a run on disk, and the
//! runs are merged.

use crate::block::{BLOCK_ROWS_MAX, Block, SortColumns};
use crate::error::{CompactError, halt};
use crate::held::{Held, MEMORY};
use crate::merge::{Merge, merge};
use crate::run::{Run, RunWriter};
use crate::spill::Spill;
use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use arrow_select::interleave::interleave_record_batch;
use schema::Table;
use std::collections::HashMap;
use std::ops::Range;

/// Batches with fewer rows are put together: small objects are many, and each batch costs something in every block.
const BATCH_ROWS_MIN: usize = 2048;

/// Most memory of a chunk, so that no column of a block reaches the 2 GiB that its offsets can count.
const CHUNK_BYTES_MAX: usize = 1 << 30;

/// Bytes that sorting takes for each row beside the row.
const SORT_BYTES_PER_ROW: usize = 20;

/// Takes rows in any order and gives them back sorted.
#[derive(Debug)]
pub(crate) struct Sorter<'a> {
    table: Table,
    spill: &'a Spill,
    bytes_max: usize,
    chunk: Chunk,
    runs: Vec<Run>,
}

impl<'a> Sorter<'a> {
    /// Holds about `bytes_max` of rows in memory, and once more as much where rows are large.
    pub(crate) fn new(table: Table, bytes_max: usize, spill: &'a Spill) -> Sorter<'a> {
        let bytes_max = bytes_max.min(CHUNK_BYTES_MAX);
        Sorter { table, spill, bytes_max, chunk: Chunk::default(), runs: Vec::new() }
    }

    /// Adds rows, of which the first has number `first`.
    pub(crate) fn add(&mut self, batch: RecordBatch, first: u32) -> Result<(), CompactError> {
        let numbers = first..first + batch.num_rows() as u32;
        self.add_some(batch, std::slice::from_ref(&numbers))
    }

    /// Adds rows whose numbers, in the rows' order, are those of `runs`.
    pub(crate) fn add_some(&mut self, batch: RecordBatch, runs: &[Range<u32>]) -> Result<(), CompactError> {
        self.chunk.add(batch, runs)?;
        if self.chunk.bytes >= self.bytes_max { self.write() } else { Ok(()) }
    }

    /// Sorts what is in memory and writes it to a run.
    fn write(&mut self) -> Result<(), CompactError> {
        let mut run = RunWriter::new(self.spill)?;
        let mut sorted = std::mem::take(&mut self.chunk).sort(self.table)?;
        while let Some(block) = sorted.next()? {
            run.write(&block)?;
        }
        self.runs.push(run.finish()?);
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<Sorted, CompactError> {
        if self.runs.is_empty() {
            return Ok(Sorted::Chunk(self.chunk.sort(self.table)?));
        }
        self.write()?;
        Ok(Sorted::Merge(merge(self.runs, self.table, self.bytes_max, self.spill)?))
    }
}

/// Rows in order.
#[derive(Debug)]
pub(crate) enum Sorted {
    Chunk(SortedChunk),
    Merge(Merge),
}

impl Sorted {
    /// The next rows; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Block>, CompactError> {
        match self {
            Sorted::Chunk(chunk) => chunk.next(),
            Sorted::Merge(merge) => merge.next(),
        }
    }
}

/// Rows as they came.
#[derive(Debug)]
struct Chunk {
    held: Held,
    batches: Vec<RecordBatch>,
    numbering: Numbering,
    rows: usize,
    bytes: usize,
    /// Small batches, to be put together.
    small: Vec<RecordBatch>,
    small_rows: usize,
}

impl Default for Chunk {
    fn default() -> Chunk {
        Chunk {
            held: Held::nothing_of(&MEMORY),
            batches: Vec::new(),
            numbering: Numbering::default(),
            rows: 0,
            bytes: 0,
            small: Vec::new(),
            small_rows: 0,
        }
    }
}

impl Chunk {
    fn add(&mut self, batch: RecordBatch, runs: &[Range<u32>]) -> Result<(), CompactError> {
        let rows = batch.num_rows();
        for run in runs {
            self.numbering.add(self.rows as u32, run.start);
            self.rows += run.len();
        }
        self.bytes += batch.get_array_memory_size() + rows * SORT_BYTES_PER_ROW;
        self.held.set(self.bytes);
        if rows >= BATCH_ROWS_MIN {
            self.put_together()?;
            self.batches.push(batch);
        } else if rows > 0 {
            self.small.push(batch);
            self.small_rows += rows;
            if self.small_rows >= BATCH_ROWS_MIN {
                self.put_together()?;
            }
        }
        Ok(())
    }

    fn put_together(&mut self) -> Result<(), CompactError> {
        let small = std::mem::take(&mut self.small);
        if let Some(first) = small.first() {
            self.batches.push(concat_batches(&first.schema(), &small).or_else(halt)?);
            self.small_rows = 0;
        }
        Ok(())
    }

    fn sort(mut self, table: Table) -> Result<SortedChunk, CompactError> {
        self.put_together()?;
        let columns: Result<Vec<SortColumns>, _> =
            self.batches.iter().map(|batch| SortColumns::of(table, batch)).collect();
        let columns = columns?;
        let mut starts = Vec::with_capacity(self.batches.len());
        let mut rows = 0usize;
        for batch in &self.batches {
            starts.push(rows as u32);
            rows += batch.num_rows();
        }
        if u32::try_from(rows).is_err() {
            return halt(format_args!("{rows} rows are too many to sort at once"));
        }
        let places = Places { starts };
        let order = order(&columns, &places, rows);
        let Chunk { held, batches, numbering, .. } = self;
        Ok(SortedChunk { _held: held, batches, numbering, places, order, next: 0 })
    }
}

/// Which batch and row a place in the chunk is.
#[derive(Debug)]
struct Places {
    /// Place of the first row of each batch.
    starts: Vec<u32>,
}

impl Places {
    fn locate(&self, place: u32) -> (usize, usize) {
        let batch = self.starts.partition_point(|&start| start <= place) - 1;
        (batch, (place - self.starts[batch]) as usize)
    }
}

/// Which row number a place in the chunk has.
#[derive(Debug, Default)]
struct Numbering {
    /// Place of the first row of each run of consecutive numbers.
    starts: Vec<u32>,
    /// Number of that row.
    firsts: Vec<u32>,
}

impl Numbering {
    /// The rows from `place` on have the numbers from `first` on.
    fn add(&mut self, place: u32, first: u32) {
        if let (Some(start), Some(before)) = (self.starts.last(), self.firsts.last())
            && first.checked_sub(*before) == Some(place - start)
        {
            return;
        }
        self.starts.push(place);
        self.firsts.push(first);
    }

    fn number(&self, place: u32) -> u32 {
        let run = self.starts.partition_point(|&start| start <= place) - 1;
        self.firsts[run] + (place - self.starts[run])
    }
}

/// Places in sort order.
fn order(columns: &[SortColumns], places: &Places, rows: usize) -> Vec<u32> {
    let mut keys = keys(columns, rows);
    keys.sort_unstable();
    let mut order: Vec<u32> = keys.iter().map(|&key| key as u32).collect();
    let mut done = 0;
    for ties in keys.chunk_by(|a, b| a >> 32 == b >> 32) {
        if ties.len() > 1 {
            order[done..done + ties.len()].sort_unstable_by_key(|&place| {
                let (batch, row) = places.locate(place);
                (columns[batch].place(row), place)
            });
        }
        done += ties.len();
    }
    order
}

/// For each row the rank of its type, its time and its place in one integer: much faster to sort than a tuple.
fn keys(columns: &[SortColumns], rows: usize) -> Vec<u128> {
    let mut types = Types::default();
    let mut keys = Vec::with_capacity(rows);
    for columns in columns {
        for row in 0..columns.rows() {
            let number = types.number(columns.event_type(row));
            let time = (columns.time(row) as u64) ^ (1 << 63);
            keys.push(u128::from(number) << 96 | u128::from(time) << 32 | keys.len() as u128);
        }
    }
    let ranks = types.ranks();
    for key in &mut keys {
        let number = (*key >> 96) as usize;
        *key = *key << 32 >> 32 | u128::from(ranks[number]) << 96;
    }
    keys
}

/// Event types by number.
#[derive(Default)]
struct Types<'a> {
    numbers: HashMap<&'a str, u32>,
    last: Option<(&'a str, u32)>,
}

impl<'a> Types<'a> {
    /// Rows of one type come in runs, since live objects are sorted.
    fn number(&mut self, name: &'a str) -> u32 {
        if let Some((_, number)) = self.last.filter(|(last, _)| *last == name) {
            return number;
        }
        let next = self.numbers.len() as u32;
        let number = *self.numbers.entry(name).or_insert(next);
        self.last = Some((name, number));
        number
    }

    /// For each number, the place of its type in alphabetical order.
    fn ranks(&self) -> Vec<u32> {
        let mut sorted: Vec<(&str, u32)> = self.numbers.iter().map(|(&name, &number)| (name, number)).collect();
        sorted.sort_unstable();
        let mut ranks = vec![0; sorted.len()];
        for (rank, (_, number)) in (0..).zip(sorted) {
            ranks[number as usize] = rank;
        }
        ranks
    }
}

/// A chunk whose rows are handed out in order.
#[derive(Debug)]
pub(crate) struct SortedChunk {
    _held: Held,
    batches: Vec<RecordBatch>,
    numbering: Numbering,
    places: Places,
    order: Vec<u32>,
    next: usize,
}

impl SortedChunk {
    fn next(&mut self) -> Result<Option<Block>, CompactError> {
        let end = self.order.len().min(self.next + BLOCK_ROWS_MAX);
        if self.next == end {
            return Ok(None);
        }
        let order = &self.order[self.next..end];
        let rows: Vec<(usize, usize)> = order.iter().map(|&place| self.places.locate(place)).collect();
        let numbers = order.iter().map(|&place| self.numbering.number(place)).collect();
        self.next = end;
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let batch = interleave_record_batch(&batches, &rows).or_else(halt)?;
        Ok(Some(Block { batch, numbers }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::rows::{RowPlace, Rows};
    use schema::stored::{StoredEvent, StoredQuarantine};
    use schema::{EventId, Origin};
    use tempfile::tempdir;

    /// Batches of rows with nulls, empty texts and texts of all sizes, each sorted in itself.
    fn batches(table: Table, count: u64) -> Vec<RecordBatch> {
        let mut all = Vec::new();
        for batch in 0..count {
            let mut rows = Rows::new(table);
            for k in 0..7 {
                let dice = (batch * 7 + k).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
                let (origin, text) = (Origin::new(format!("o{}", dice % 3)), "é".repeat(dice as usize % 50));
                let place = RowPlace {
                    origin: &origin,
                    ordinal: batch,
                    id: EventId(dice.into()),
                    received_at: (dice % 4) as i64,
                };
                let user_id = dice.is_multiple_of(2).then_some(text.as_str());
                let event_name = ["a:x", "b:y", ":"][dice as usize % 3];
                match table {
                    Table::Events => {
                        let event = StoredEvent {
                            event_name,
                            user_id,
                            created_at: (dice % 5) as i64,
                            ..StoredEvent::default()
                        };
                        rows.push_event(&place, &event);
                    }
                    Table::Quarantine => {
                        let item = StoredQuarantine {
                            original: text.as_bytes(),
                            source: user_id,
                            ..StoredQuarantine::default()
                        };
                        rows.push_quarantined(&place, &item);
                    }
                }
            }
            all.extend(rows.into_batches());
        }
        all
    }

    fn sorted(table: Table, batches: &[RecordBatch], bytes_max: usize) -> (RecordBatch, Vec<u32>, u64) {
        let base = tempdir().unwrap();
        let spill = Spill::new(Some(base.path()));
        let mut sorter = Sorter::new(table, bytes_max, &spill);
        let mut first = 0;
        for batch in batches {
            sorter.add(batch.clone(), first).unwrap();
            first += batch.num_rows() as u32;
        }
        let (mut pieces, mut numbers) = (Vec::new(), Vec::new());
        let mut sorted = sorter.finish().unwrap();
        while let Some(block) = sorted.next().unwrap() {
            pieces.push(block.batch);
            numbers.extend(block.numbers);
        }
        (concat_batches(&table.schema(), &pieces).unwrap(), numbers, spill.files())
    }

    #[test]
    fn rows_come_out_in_order_and_the_same_whatever_the_memory() {
        for table in Table::ALL {
            let batches = batches(table, 100);
            let (rows, numbers, files) = sorted(table, &batches, 1 << 30);
            assert_eq!((rows.num_rows(), files), (700, 0));
            let columns = SortColumns::of(table, &rows).unwrap();
            for row in 1..700 {
                let order = columns.compare(row - 1, &columns, row).then(numbers[row - 1].cmp(&numbers[row]));
                assert!(order.is_lt(), "{table}: row {row}");
            }
            let (spilled, spilled_numbers, files) = sorted(table, &batches, 1);
            assert!(files > 190, "one run a batch, and merges of two: {files} files");
            assert_eq!((spilled, spilled_numbers), (rows, numbers));
        }
    }

    #[test]
    fn every_row_keeps_its_number() {
        let batches = batches(Table::Events, 600);
        let all = concat_batches(&batches[0].schema(), &batches).unwrap();
        let (rows, numbers, _) = sorted(Table::Events, &batches, 1 << 30);
        let indices: Vec<(usize, usize)> = numbers.iter().map(|&number| (0, number as usize)).collect();
        assert_eq!(interleave_record_batch(&[&all], &indices).unwrap(), rows);
    }

    #[test]
    fn rows_of_which_some_were_left_out_keep_their_numbers() {
        let all = batches(Table::Events, 60);
        let base = tempdir().unwrap();
        for bytes_max in [1, 1 << 30] {
            let spill = Spill::new(Some(base.path()));
            let mut sorter = Sorter::new(Table::Events, bytes_max, &spill);
            for (batch, first) in all.iter().zip((0..).step_by(7)) {
                let some = concat_batches(&batch.schema(), &[batch.slice(1, 2), batch.slice(4, 3)]).unwrap();
                sorter.add_some(some, &[first + 1..first + 3, first + 4..first + 7]).unwrap();
            }
            let (mut sorted, together) = (sorter.finish().unwrap(), concat_batches(&all[0].schema(), &all).unwrap());
            let mut rows = 0;
            while let Some(block) = sorted.next().unwrap() {
                let places: Vec<(usize, usize)> = block.numbers.iter().map(|&number| (0, number as usize)).collect();
                assert_eq!(interleave_record_batch(&[&together], &places).unwrap(), block.batch);
                rows += places.len();
            }
            assert_eq!(rows, 300);
        }
    }

    #[test]
    fn no_rows_are_sorted_as_well() {
        assert_eq!(sorted(Table::Events, &[], 1).0.num_rows(), 0);
    }
}
