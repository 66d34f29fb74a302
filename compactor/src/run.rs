//! Sorted rows in a file.
//!
//! **Run**: blocks in sort order, one **frame** each: a head of three little-endian 32-bit numbers (rows, plain bytes,
//! stored bytes), then the block, compressed. A block's bytes: the row numbers, then column by column whether there are
//! nulls, a bit for each row if so, and the values. Files live as long as their compaction: nobody else reads them.

use crate::block::{Block, plain_bytes};
use crate::error::{CompactError, spill};
use crate::spill::Spill;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, SchemaRef};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::sync::Arc;

/// Plain bytes at which a block is written in pieces: a merge holds one piece of each of its runs.
pub(crate) const FRAME_BYTES_MAX: usize = 2 << 20;

/// zstd level, the cheapest: rows in columns shrink to a fraction, and disks are slower than that.
const LEVEL: i32 = 1;

const HEAD_BYTES: usize = 12;

/// A run that is being written.
#[derive(Debug)]
pub(crate) struct RunWriter<'a> {
    spill: &'a Spill,
    out: BufWriter<File>,
    plain: Vec<u8>,
}

/// A run to be read from its start.
#[derive(Debug)]
pub(crate) struct Run(File);

impl<'a> RunWriter<'a> {
    pub(crate) fn new(spill: &'a Spill) -> Result<RunWriter<'a>, CompactError> {
        let (file, _) = spill.file()?;
        Ok(RunWriter { spill, out: BufWriter::new(file), plain: Vec::new() })
    }

    pub(crate) fn write(&mut self, block: &Block) -> Result<(), CompactError> {
        let rows = block.numbers.len();
        if rows > 1 && plain_bytes(&block.batch) > FRAME_BYTES_MAX {
            let half = |from: usize, to: usize| Block {
                batch: block.batch.slice(from, to - from),
                numbers: block.numbers[from..to].to_vec(),
            };
            self.write(&half(0, rows / 2))?;
            return self.write(&half(rows / 2, rows));
        }
        self.write_frame(block).map_err(spill("write rows"))
    }

    fn write_frame(&mut self, block: &Block) -> io::Result<()> {
        self.plain.clear();
        put_numbers(&mut self.plain, block.numbers.iter().map(|number| number.to_le_bytes()));
        block.batch.columns().iter().for_each(|column| put_column(&mut self.plain, column));
        let stored = zstd::bulk::compress(&self.plain, LEVEL)?;
        for count in [block.numbers.len(), self.plain.len(), stored.len()] {
            let count = u32::try_from(count).map_err(io::Error::other)?;
            self.out.write_all(&count.to_le_bytes())?;
        }
        self.spill.note(HEAD_BYTES + stored.len());
        self.out.write_all(&stored)
    }

    pub(crate) fn finish(self) -> Result<Run, CompactError> {
        let file = self.out.into_inner().map_err(|error| spill("write rows")(error.into_error()));
        Ok(Run(file?))
    }
}

fn put_numbers<const N: usize>(out: &mut Vec<u8>, numbers: impl ExactSizeIterator<Item = [u8; N]>) {
    out.reserve(numbers.len() * N);
    numbers.for_each(|number| out.extend_from_slice(&number));
}

fn put_column(out: &mut Vec<u8>, column: &ArrayRef) {
    match column.nulls() {
        None => out.push(0),
        Some(nulls) => {
            out.push(1);
            let bits = nulls.inner().sliced();
            out.extend_from_slice(&bits.as_slice()[..column.len().div_ceil(8)]);
        }
    }
    match column.data_type() {
        DataType::Utf8 => {
            let texts = column.as_string::<i32>();
            put_pieces(out, texts.value_offsets(), texts.value_data());
        }
        DataType::Binary => {
            let pieces = column.as_binary::<i32>();
            put_pieces(out, pieces.value_offsets(), pieces.value_data());
        }
        DataType::Int64 => {
            put_numbers(out, column.as_primitive::<Int64Type>().values().iter().map(|value| value.to_le_bytes()));
        }
        DataType::Timestamp(..) => {
            let times = column.as_primitive::<TimestampMicrosecondType>();
            put_numbers(out, times.values().iter().map(|value| value.to_le_bytes()));
        }
        other => unreachable!("no table has a column of {other}"),
    }
}

fn put_pieces(out: &mut Vec<u8>, offsets: &[i32], values: &[u8]) {
    let (start, end) = (offsets[0], offsets[offsets.len() - 1]);
    put_numbers(out, offsets.iter().map(|offset| (offset - start).to_le_bytes()));
    out.extend_from_slice(&values[start as usize..end as usize]);
}

/// Reads a run block by block.
#[derive(Debug)]
pub(crate) struct RunReader {
    file: BufReader<File>,
    schema: SchemaRef,
    stored: Vec<u8>,
}

impl RunReader {
    pub(crate) fn new(run: Run, schema: SchemaRef) -> Result<RunReader, CompactError> {
        let Run(mut file) = run;
        file.rewind().map_err(spill("read rows"))?;
        Ok(RunReader { file: BufReader::new(file), schema, stored: Vec::new() })
    }

    pub(crate) fn next(&mut self) -> Result<Option<Block>, CompactError> {
        self.read().map_err(spill("read rows"))
    }

    fn read(&mut self) -> io::Result<Option<Block>> {
        let mut head = [0; HEAD_BYTES];
        match self.file.read_exact(&mut head) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let count = |k: usize| u32::from_le_bytes(head.as_chunks().0[k]) as usize;
        let (rows, plain_bytes) = (count(0), count(1));
        self.stored.resize(count(2), 0);
        self.file.read_exact(&mut self.stored)?;
        let plain = zstd::bulk::decompress(&self.stored, plain_bytes)?;
        let block = Plain { rest: &plain, rows }.block(&self.schema);
        block.map(Some).ok_or_else(|| io::Error::other("a frame is damaged"))
    }
}

/// What is left of a block's bytes; `None` from any of its readers means damage.
struct Plain<'a> {
    rest: &'a [u8],
    rows: usize,
}

impl<'a> Plain<'a> {
    fn block(mut self, schema: &SchemaRef) -> Option<Block> {
        let numbers = self.numbers(self.rows)?.map(u32::from_le_bytes).collect();
        let columns: Option<Vec<ArrayRef>> =
            schema.fields().iter().map(|field| self.column(field.data_type())).collect();
        Some(Block { batch: RecordBatch::try_new(schema.clone(), columns?).ok()?, numbers })
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(bytes)
    }

    fn numbers<const N: usize>(&mut self, count: usize) -> Option<impl Iterator<Item = [u8; N]> + 'a> {
        Some(self.bytes(count * N)?.as_chunks().0.iter().copied())
    }

    fn column(&mut self, data_type: &DataType) -> Option<ArrayRef> {
        let nulls = self.nulls()?;
        match data_type {
            DataType::Utf8 => {
                let (offsets, values) = self.pieces()?;
                Some(Arc::new(StringArray::try_new(offsets, values, nulls).ok()?))
            }
            DataType::Binary => {
                let (offsets, values) = self.pieces()?;
                Some(Arc::new(BinaryArray::try_new(offsets, values, nulls).ok()?))
            }
            DataType::Int64 => Some(Arc::new(Int64Array::try_new(self.longs()?, nulls).ok()?)),
            DataType::Timestamp(_, zone) => {
                let times = TimestampMicrosecondArray::try_new(self.longs()?, nulls).ok()?;
                Some(Arc::new(times.with_timezone_opt(zone.clone())))
            }
            other => unreachable!("no table has a column of {other}"),
        }
    }

    fn nulls(&mut self) -> Option<Option<NullBuffer>> {
        if self.bytes(1)? == [0] {
            return Some(None);
        }
        let bits = Buffer::from(self.bytes(self.rows.div_ceil(8))?);
        Some(Some(NullBuffer::new(BooleanBuffer::new(bits, 0, self.rows))))
    }

    fn longs(&mut self) -> Option<ScalarBuffer<i64>> {
        Some(self.numbers(self.rows)?.map(i64::from_le_bytes).collect())
    }

    fn pieces(&mut self) -> Option<(OffsetBuffer<i32>, Buffer)> {
        let offsets: Vec<i32> = self.numbers(self.rows + 1)?.map(i32::from_le_bytes).collect();
        let is_sound = offsets[0] == 0 && offsets.is_sorted();
        let end = is_sound.then(|| offsets[self.rows] as usize)?;
        Some((OffsetBuffer::new(offsets.into()), Buffer::from(self.bytes(end)?)))
    }
}
