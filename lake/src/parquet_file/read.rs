//! Parquet into rows, a row group at a time.

use super::{Identity, ObjectError};
use crate::Lake;
use arrow_array::RecordBatch;
use bytes::Bytes;
use parquet::DecodeResult;
use parquet::arrow::ProjectionMask;
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder};
use schema::Table;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Bytes read from an object's end in the hope that they hold the whole footer.
const FOOTER_GUESS_BYTES: u64 = 32 << 10;

/// Gaps up to this size are read along, since another request costs more.
const GAP_BYTES_MAX: u64 = 128 << 10;

/// Most rows of a batch.
const BATCH_ROWS_MAX: usize = 8192;

/// Which columns are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns<'a> {
    All,
    Only(&'a [&'a str]),
}

/// An object whose footer has been read.
#[derive(Debug)]
pub(super) struct ObjectFile {
    key: String,
    bytes: u64,
    footer: Arc<ParquetMetaData>,
    /// The object's end, which was read in search of the footer. A small object is all in it.
    tail: Bytes,
}

impl ObjectFile {
    pub(super) async fn open(lake: &dyn Lake, key: &str) -> Result<ObjectFile, ObjectError> {
        let bytes = lake.head(key).await?.bytes;
        let decoder = ParquetMetaDataPushDecoder::try_new(bytes).map_err(|error| damaged(key, &error))?;
        let mut decoder = decoder.with_page_index_policy(PageIndexPolicy::Skip);
        let tail = bytes.saturating_sub(FOOTER_GUESS_BYTES)..bytes;
        let mut wanted = vec![tail];
        let mut tail = None;
        loop {
            let fetched = fetch(lake, key, bytes, &wanted).await?;
            let tail = tail.get_or_insert_with(|| fetched[0].clone()).clone();
            let decoded = guarded(key, || {
                decoder.push_ranges(wanted, fetched)?;
                decoder.try_decode()
            })?;
            match decoded {
                DecodeResult::NeedsData(more) => wanted = more,
                DecodeResult::Data(footer) => {
                    return Ok(ObjectFile { key: key.to_string(), bytes, footer: Arc::new(footer), tail });
                }
                DecodeResult::Finished => return Err(damaged(key, &"it has no footer")),
            }
        }
    }

    pub(super) fn identity(&self) -> Result<Identity, ObjectError> {
        Identity::of_footer(self.footer.file_metadata()).map_err(|detail| damaged(&self.key, &detail))
    }

    /// Reads ranges of the object, without asking for what is here already.
    async fn read(&self, lake: &dyn Lake, wanted: &[Range<u64>]) -> Result<Vec<Bytes>, ObjectError> {
        let start = self.bytes - self.tail.len() as u64;
        let is_here = |range: &Range<u64>| (start..=range.end).contains(&range.start) && range.end <= self.bytes;
        if !wanted.iter().all(is_here) {
            return fetch(lake, &self.key, self.bytes, wanted).await;
        }
        let slice = |range: &Range<u64>| self.tail.slice((range.start - start) as usize..(range.end - start) as usize);
        Ok(wanted.iter().map(slice).collect())
    }
}

/// Reads an object's rows in order, holding one row group of the columns that are read.
#[derive(Debug)]
pub struct ObjectReader {
    file: ObjectFile,
    decoder: ParquetPushDecoder,
    rows_read: u64,
    /// What ended the reading early: it must not look like the end of the rows when somebody asks again.
    damage: Option<ObjectError>,
}

impl ObjectReader {
    /// Reads the footer and gets ready for the first row group.
    ///
    /// # Errors
    /// [`ObjectError::Damaged`]: the footer can't be read, or the columns are not the table's.
    pub async fn open(
        lake: &dyn Lake,
        table: Table,
        key: &str,
        columns: Columns<'_>,
    ) -> Result<ObjectReader, ObjectError> {
        let file = ObjectFile::open(lake, key).await?;
        let decoder = guarded(key, || decoder(file.footer.clone(), table, columns))?;
        Ok(ObjectReader { file, decoder, rows_read: 0, damage: None })
    }

    /// What the footer says of the object.
    pub fn identity(&self) -> Result<Identity, ObjectError> {
        self.file.identity()
    }

    /// Bytes of the whole object.
    pub fn object_bytes(&self) -> u64 {
        self.file.bytes
    }

    /// The next rows; `None` after the last.
    ///
    /// # Errors
    /// [`ObjectError::Lake`]: a call that is repeated goes on where this one stopped.
    /// [`ObjectError::Damaged`]: what follows can't be read.
    pub async fn next_batch(&mut self, lake: &dyn Lake) -> Result<Option<RecordBatch>, ObjectError> {
        if let Some(damage) = &self.damage {
            return Err(damage.clone());
        }
        let next = self.decode_next(lake).await;
        match &next {
            Ok(Some(batch)) => self.rows_read += batch.num_rows() as u64,
            Err(damage @ ObjectError::Damaged { .. }) => self.damage = Some(damage.clone()),
            _ => {}
        }
        next
    }

    async fn decode_next(&mut self, lake: &dyn Lake) -> Result<Option<RecordBatch>, ObjectError> {
        let ObjectFile { key, footer, .. } = &self.file;
        loop {
            match guarded(key, || self.decoder.try_decode())? {
                DecodeResult::Data(batch) => return Ok(Some(batch)),
                DecodeResult::NeedsData(wanted) => {
                    let fetched = self.file.read(lake, &wanted).await?;
                    guarded(key, || self.decoder.push_ranges(wanted, fetched))?;
                }
                DecodeResult::Finished => {
                    let rows = footer.file_metadata().num_rows();
                    if u64::try_from(rows) == Ok(self.rows_read) {
                        return Ok(None);
                    }
                    return Err(damaged(key, &format_args!("it ends after {} of {rows} rows", self.rows_read)));
                }
            }
        }
    }
}

fn decoder(
    footer: Arc<ParquetMetaData>,
    table: Table,
    columns: Columns<'_>,
) -> Result<ParquetPushDecoder, ParquetError> {
    let builder = ParquetPushDecoderBuilder::try_new_decoder(footer)?;
    if builder.schema().fields() != table.schema().fields() {
        return Err(ParquetError::General(format!("its columns are not those of {table}")));
    }
    let mask = match columns {
        Columns::All => ProjectionMask::all(),
        Columns::Only(names) => ProjectionMask::columns(builder.parquet_schema(), names.iter().copied()),
    };
    builder.with_projection(mask).with_batch_size(BATCH_ROWS_MAX).build()
}

/// All rows of an object that is in memory already.
pub fn batches_of(
    table: Table,
    key: &str,
    bytes: &Bytes,
    columns: Columns<'_>,
) -> Result<Vec<RecordBatch>, ObjectError> {
    guarded(key, || {
        let footer = parquet::file::metadata::ParquetMetaDataReader::new().parse_and_finish(bytes)?;
        let mut decoder = decoder(Arc::new(footer), table, columns)?;
        decoder.push_range(0..bytes.len() as u64, bytes.clone())?;
        let mut batches = Vec::new();
        loop {
            match decoder.try_decode()? {
                DecodeResult::Data(batch) => batches.push(batch),
                DecodeResult::Finished => return Ok(batches),
                DecodeResult::NeedsData(_) => {
                    return Err(ParquetError::General("it reaches beyond its end".to_string()));
                }
            }
        }
    })
}

/// Reads ranges of an object, neighbouring ones together.
async fn fetch(lake: &dyn Lake, key: &str, bytes: u64, wanted: &[Range<u64>]) -> Result<Vec<Bytes>, ObjectError> {
    let beyond = wanted.iter().find(|range| range.end > bytes || range.start > range.end);
    if let Some(range) = beyond {
        return Err(damaged(key, &format_args!("it refers to bytes {range:?} of {bytes}")));
    }
    let mut fetched = vec![Bytes::new(); wanted.len()];
    for group in neighbours(wanted) {
        let (start, end) = span(wanted, &group);
        let together = lake.get_range(key, start..end).await?;
        if together.len() as u64 != end - start {
            return Err(damaged(key, &format_args!("bytes {start}..{end} are not all there")));
        }
        for place in group {
            let range = &wanted[place];
            fetched[place] = together.slice((range.start - start) as usize..(range.end - start) as usize);
        }
    }
    Ok(fetched)
}

/// Places of ranges that are read with one request each.
fn neighbours(wanted: &[Range<u64>]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_unstable_by_key(|&place| wanted[place].start);
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for place in order {
        match groups.last_mut() {
            Some(group) if wanted[place].start <= span(wanted, group).1 + GAP_BYTES_MAX => group.push(place),
            _ => groups.push(vec![place]),
        }
    }
    groups
}

fn span(wanted: &[Range<u64>], group: &[usize]) -> (u64, u64) {
    let ranges = || group.iter().map(|&place| &wanted[place]);
    let start = ranges().map(|range| range.start).min().unwrap_or(0);
    (start, ranges().map(|range| range.end).max().unwrap_or(0))
}

/// Decodes. Damage that makes the decoder panic is damage all the same.
fn guarded<T>(key: &str, decode: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ObjectError> {
    let decoded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode));
    decoded.map_err(|_| damaged(key, &"it makes the decoder panic"))?.map_err(|error| damaged(key, &error))
}

pub(super) fn damaged(key: &str, detail: &dyn fmt::Display) -> ObjectError {
    ObjectError::Damaged { key: key.to_string(), detail: detail.to_string() }
}
