//! Sorted runs, merged into one.
//!
//! **Cursor**: where a merge stands in one run. Runs beyond those that can be read at the same time are merged into
//! longer ones first.

use crate::block::{BLOCK_ROWS_MAX, Block, SortColumns, plain_bytes};
use crate::error::{CompactError, halt};
use crate::held::{Held, MEMORY};
use crate::run::{FRAME_BYTES_MAX, Run, RunReader, RunWriter};
use crate::spill::Spill;
use arrow_array::RecordBatch;
use arrow_select::interleave::interleave_record_batch;
use schema::Table;
use std::cmp::Ordering;
use std::collections::VecDeque;

/// Bytes of batches that a block may draw on beside those at the cursors.
const LEFT_BEHIND_BYTES_MAX: usize = 4 * FRAME_BYTES_MAX;

/// Memory that a run takes while it is merged: a frame, plain and while it is read.
const RUN_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;

/// How many runs are merged at the same time within `bytes_max` of memory.
fn fan_in(bytes_max: usize) -> usize {
    const RUNS_MAX: usize = 64;
    (bytes_max / RUN_BYTES_MAX).clamp(2, RUNS_MAX)
}

/// The rows of any number of runs, in order.
pub(crate) fn merge(runs: Vec<Run>, table: Table, bytes_max: usize, spill: &Spill) -> Result<Merge, CompactError> {
    let fan_in = fan_in(bytes_max);
    let mut runs = VecDeque::from(runs);
    while runs.len() > fan_in {
        let mut merge = Merge::new(runs.drain(..fan_in).collect(), table)?;
        let mut longer = RunWriter::new(spill)?;
        while let Some(block) = merge.next()? {
            longer.write(&block)?;
        }
        runs.push_back(longer.finish()?);
    }
    Merge::new(runs.into(), table)
}

#[derive(Debug)]
struct Cursor {
    run: RunReader,
    columns: SortColumns,
    numbers: Vec<u32>,
    row: usize,
    /// Place of its batch among those that the next block draws on.
    batch: usize,
}

impl Cursor {
    fn compare(&self, other: &Cursor) -> Ordering {
        let columns = self.columns.compare(self.row, &other.columns, other.row);
        columns.then_with(|| self.numbers[self.row].cmp(&other.numbers[other.row]))
    }
}

/// Several runs, read as one.
#[derive(Debug)]
pub(crate) struct Merge {
    table: Table,
    _held: Held,
    cursors: Vec<Cursor>,
    /// Cursors with rows left: a heap, the one with the lowest row first.
    heap: Vec<usize>,
    /// What the next block draws on.
    batches: Vec<RecordBatch>,
    left_behind_bytes: usize,
}

impl Merge {
    fn new(runs: Vec<Run>, table: Table) -> Result<Merge, CompactError> {
        let mut held = Held::nothing_of(&MEMORY);
        held.set(runs.len() * RUN_BYTES_MAX);
        let mut merge = Merge {
            table,
            _held: held,
            cursors: Vec::new(),
            heap: Vec::new(),
            batches: Vec::new(),
            left_behind_bytes: 0,
        };
        for run in runs {
            let mut run = RunReader::new(run, table.schema())?;
            if let Some(Block { batch, numbers }) = run.next()? {
                let columns = SortColumns::of(table, &batch)?;
                merge.heap.push(merge.cursors.len());
                merge.cursors.push(Cursor { run, columns, numbers, row: 0, batch: merge.batches.len() });
                merge.batches.push(batch);
            }
        }
        for place in (0..merge.heap.len() / 2).rev() {
            merge.sink(place);
        }
        Ok(merge)
    }

    /// The next rows; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Block>, CompactError> {
        let (mut rows, mut numbers) = (Vec::with_capacity(BLOCK_ROWS_MAX), Vec::with_capacity(BLOCK_ROWS_MAX));
        while rows.len() < BLOCK_ROWS_MAX && self.left_behind_bytes <= LEFT_BEHIND_BYTES_MAX {
            let Some(&first) = self.heap.first() else { break };
            let cursor = &mut self.cursors[first];
            rows.push((cursor.batch, cursor.row));
            numbers.push(cursor.numbers[cursor.row]);
            cursor.row += 1;
            if cursor.row == cursor.numbers.len() && !self.refill(first)? {
                self.heap.swap_remove(0);
            }
            self.sink(0);
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let batch = interleave_record_batch(&batches, &rows).or_else(halt)?;
        self.forget();
        Ok(Some(Block { batch, numbers }))
    }

    /// Reads on in a run; whether there was more.
    fn refill(&mut self, number: usize) -> Result<bool, CompactError> {
        let cursor = &mut self.cursors[number];
        self.left_behind_bytes += plain_bytes(&self.batches[cursor.batch]);
        let Some(Block { batch, numbers }) = cursor.run.next()? else { return Ok(false) };
        cursor.columns = SortColumns::of(self.table, &batch)?;
        (cursor.numbers, cursor.row, cursor.batch) = (numbers, 0, self.batches.len());
        self.batches.push(batch);
        Ok(true)
    }

    /// Lets go of the batches that no cursor stands in.
    fn forget(&mut self) {
        let mut kept = Vec::with_capacity(self.heap.len());
        for &number in &self.heap {
            let cursor = &mut self.cursors[number];
            kept.push(self.batches[cursor.batch].clone());
            cursor.batch = kept.len() - 1;
        }
        self.batches = kept;
        self.left_behind_bytes = 0;
    }

    /// Puts the cursor at `place` where it belongs among those below it.
    fn sink(&mut self, mut place: usize) {
        loop {
            let below = [2 * place + 1, 2 * place + 2].into_iter().filter(|&below| below < self.heap.len());
            let Some(lowest) = below.min_by(|&a, &b| self.compare(a, b)) else { return };
            if self.compare(place, lowest).is_le() {
                return;
            }
            self.heap.swap(place, lowest);
            place = lowest;
        }
    }

    fn compare(&self, a: usize, b: usize) -> Ordering {
        self.cursors[self.heap[a]].compare(&self.cursors[self.heap[b]])
    }
}
