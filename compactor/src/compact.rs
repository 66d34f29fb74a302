//! Carries out a plan: its inputs, merged, give its outputs.
//!
//! Outputs are a function of the inputs and of the day's earlier plans (PROTOCOL rule 29), so anyone may carry out a plan,
//! twice and at the same time. The dropped object is created after all others: where it is, the plan is **complete**.

use crate::config::Config;
use crate::copies::{Copies, CopyFinder};
use crate::error::{CompactError, halt};
use crate::metrics::METRICS;
use crate::outputs::{Content, Finished, Outputs};
use crate::plan::{self, Input, Planned};
use crate::sort::{Sorted, Sorter};
use crate::spill::Spill;
use arrow_array::{Array, RecordBatch};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use lake::parquet_file::{self, Columns, FINAL_ROW_GROUP_BYTES, Identity, ObjectError, ObjectReader, batches_of};
use lake::{Created, Lake, LakeError};
use schema::v1::PlanEntry;
use schema::{EventId, Table, columns};
use std::fs;
use std::sync::Arc;

/// Small inputs that are fetched ahead of the one being read.
const FETCHED_AHEAD: usize = 8;

/// Most bytes of an input that is fetched as a whole.
const WHOLE_BYTES_MAX: u64 = 4 << 20;

/// Inputs with more rows are surely too large to be fetched as a whole.
const WHOLE_ROWS_MAX: u64 = 100_000;

/// How memory is shared out: of eight parts, four for rows, two for telling copies, one for the object being written.
const PARTS: usize = 8;

/// What carrying out a plan came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) inputs: u64,
    pub(crate) rows: u64,
    pub(crate) dropped: u64,
    pub(crate) objects: u64,
}

impl Done {
    pub(crate) fn count(&self) {
        METRICS.plans.inc();
        METRICS.rows.inc_by(self.rows);
        METRICS.dropped.inc_by(self.dropped);
    }
}

/// A plan to carry out.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub(crate) lake: &'a dyn Lake,
    pub(crate) config: &'a Config,
    pub(crate) table: Table,
    pub(crate) plan: &'a PlanEntry,
    /// The day's plans before it.
    pub(crate) earlier: &'a [PlanEntry],
}

/// Whether all objects of a plan exist; when the last of them was made.
pub(crate) async fn completed_at(lake: &dyn Lake, plan: &PlanEntry) -> Result<Option<i64>, CompactError> {
    match lake.head(&plan.dropped_key).await {
        Ok(dropped) => Ok(Some(dropped.modified_at)),
        Err(LakeError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Work<'_> {
    /// Makes the plan complete. `None` where somebody else did meanwhile.
    pub(crate) async fn carry_out(&self) -> Result<Option<Done>, CompactError> {
        let inputs = plan::inputs(self.plan)?;
        let spill = self.spill();
        let gathered = self.gather(&inputs, &spill).await;
        let Some((sorted, copies)) = self.unless_complete(gathered).await? else { return Ok(None) };
        let objects = self.write(sorted, &copies, &spill).await?;
        let done = Done { inputs: inputs.len() as u64, rows: self.plan.input_rows, dropped: copies.count(), objects };
        done.count();
        Ok(Some(done))
    }

    /// What was read; `None` where inputs are gone because the plan is complete.
    pub(crate) async fn unless_complete<T>(&self, read: Result<T, Gone>) -> Result<Option<T>, CompactError> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(Gone::Failed(error)) => Err(error),
            Err(Gone::Input(key)) => match completed_at(self.lake, self.plan).await? {
                Some(_) => Ok(None),
                None => halt(format_args!("{key} is gone, and the plan of {} is not complete", self.plan.dropped_key)),
            },
        }
    }

    pub(crate) fn spill(&self) -> Arc<Spill> {
        Arc::new(Spill::new(self.config.spill_dir.as_deref()))
    }

    pub(crate) fn part_of_memory(&self, parts: usize) -> usize {
        self.config.memory_bytes_max / PARTS * parts
    }

    /// Reads all inputs: sorts their rows and finds the copies among them.
    async fn gather(&self, inputs: &[Input], spill: &Arc<Spill>) -> Result<(Sorted, Copies), Gone> {
        let mut finder = CopyFinder::new(self.table, self.plan.input_rows, self.part_of_memory(2), spill);
        let mut sorter = Sorter::new(self.table, self.part_of_memory(4), spill);
        let mut take = |batch: RecordBatch, first: u32| {
            finder.add(&batch, first)?;
            sorter.add(batch, first)
        };
        self.read(inputs, Columns::All, &mut take).await?;
        self.read_earlier(&mut finder).await?;
        Ok((sorter.finish()?, finder.finish()?))
    }

    /// Shows all rows of the inputs, batch by batch, each with the number of its first row.
    pub(crate) async fn read(
        &self,
        inputs: &[Input],
        columns: Columns<'_>,
        take: &mut impl FnMut(RecordBatch, u32) -> Result<(), CompactError>,
    ) -> Result<(), Gone> {
        let mut next = 0u32;
        let mut number = |batch: RecordBatch| {
            let first = next;
            next =
                first.checked_add(batch.num_rows() as u32).ok_or_else(|| differs("a plan has fewer than 2^32 rows"))?;
            take(batch, first)
        };
        let (mut ahead, mut fetched) = (inputs.iter(), FuturesOrdered::new());
        for input in inputs {
            while fetched.len() < FETCHED_AHEAD
                && let Some(input) = ahead.next()
            {
                fetched.push_back(self.fetch(input));
            }
            let bytes = fetched.next().await.expect("this input is ahead or was fetched already")?;
            let rows = match bytes {
                Some(bytes) => self.read_whole(input, &bytes, columns, &mut number)?,
                None => self.read_in_parts(input, columns, &mut number).await?,
            };
            if rows != input.rows {
                let Input { key, rows: planned } = input;
                return Err(differs(format_args!("{key} has {rows} rows, {planned} were planned")).into());
            }
        }
        Ok(())
    }

    /// Shows the ids of the day's earlier plans to `finder`, after all input rows.
    pub(crate) async fn read_earlier(&self, finder: &mut CopyFinder<'_>) -> Result<(), CompactError> {
        for output in self.earlier.iter().flat_map(|plan| &plan.outputs) {
            self.read_ids(&output.key, finder).await?;
        }
        Ok(())
    }

    /// A small input's bytes; `None` where it is to be read in parts.
    async fn fetch(&self, input: &Input) -> Result<Option<Bytes>, Gone> {
        if input.rows > WHOLE_ROWS_MAX {
            return Ok(None);
        }
        let bytes =
            self.lake.get_range(&input.key, 0..WHOLE_BYTES_MAX + 1).await.map_err(|error| Gone::of(error.into()))?;
        Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= WHOLE_BYTES_MAX))
    }

    fn read_whole(
        &self,
        input: &Input,
        bytes: &Bytes,
        columns: Columns<'_>,
        take: &mut impl FnMut(RecordBatch) -> Result<(), CompactError>,
    ) -> Result<u64, Gone> {
        let mut rows = 0;
        for batch in batches_of(self.table, &input.key, bytes, columns).map_err(Gone::of)? {
            rows += batch.num_rows() as u64;
            take(batch)?;
        }
        Ok(rows)
    }

    async fn read_in_parts(
        &self,
        input: &Input,
        columns: Columns<'_>,
        take: &mut impl FnMut(RecordBatch) -> Result<(), CompactError>,
    ) -> Result<u64, Gone> {
        let reader = ObjectReader::open(self.lake, self.table, &input.key, columns).await;
        let (mut reader, mut rows) = (reader.map_err(Gone::of)?, 0);
        while let Some(batch) = reader.next_batch(self.lake).await.map_err(Gone::of)? {
            rows += batch.num_rows() as u64;
            take(batch)?;
        }
        Ok(rows)
    }

    async fn read_ids(&self, key: &str, finder: &mut CopyFinder<'_>) -> Result<(), CompactError> {
        let name = self.table.id_column();
        let mut reader = ObjectReader::open(self.lake, self.table, key, Columns::Only(&[name])).await?;
        while let Some(batch) = reader.next_batch(self.lake).await? {
            let ids = columns::text(&batch, name)?;
            finder.add_earlier((0..ids.len()).map(|row| EventId::parse(ids.value(row))))?;
        }
        Ok(())
    }

    pub(crate) fn outputs(&self, planned: Planned, spill: &Arc<Spill>) -> Result<Outputs, CompactError> {
        let row_group_bytes = self.part_of_memory(1).min(FINAL_ROW_GROUP_BYTES);
        Outputs::new(self.table, self.plan, planned, row_group_bytes, spill)
    }

    /// Writes the outputs in order and creates them; how many there are.
    async fn write(&self, mut sorted: Sorted, copies: &Copies, spill: &Arc<Spill>) -> Result<u64, CompactError> {
        let mut outputs = self.outputs(plan::by_partition(self.plan), spill)?;
        let (mut objects, mut hash) = (0, 0u128);
        while let Some(block) = sorted.next()? {
            for finished in outputs.write(&block, copies)? {
                hash = hash.wrapping_add(finished.identity.rows_hash);
                objects += 1;
                self.create(finished).await?;
            }
        }
        let dropped = outputs.finish()?;
        self.complete(dropped, hash, copies).await?;
        Ok(objects)
    }

    /// Creates the dropped object, the last of all, if its rows and those of all outputs, of that hash, are the inputs'.
    pub(crate) async fn complete(
        &self,
        dropped: Finished,
        outputs_hash: u128,
        copies: &Copies,
    ) -> Result<(), CompactError> {
        let hash = outputs_hash.wrapping_add(dropped.identity.rows_hash);
        if hash.to_be_bytes() != *self.plan.input_hash || dropped.identity.rows != copies.count() {
            return Err(differs(format_args!(
                "the rows of the plan of {} are not those announced",
                self.plan.dropped_key
            )));
        }
        self.create_object(dropped).await?;
        Ok(())
    }

    /// Creates a final object.
    pub(crate) async fn create(&self, finished: Finished) -> Result<(), CompactError> {
        let (rows, bytes) = (finished.identity.rows, finished.content.bytes());
        if self.create_object(finished).await? == Created::New {
            METRICS.final_objects.inc();
            METRICS.final_rows.inc_by(rows);
            METRICS.final_bytes.inc_by(bytes as u64);
        }
        Ok(())
    }

    async fn create_object(&self, finished: Finished) -> Result<Created, CompactError> {
        let Finished { key, content, identity } = finished;
        Ok(match content {
            Content::Bytes(bytes) => parquet_file::create_exactly(self.lake, &key, bytes, &identity).await?,
            Content::File(path, _held) => {
                let created = parquet_file::create_exactly_from_file(self.lake, &key, &path, &identity).await?;
                // The folder goes in the end anyway; this only frees the disk earlier.
                let _ = fs::remove_file(path);
                created
            }
        })
    }
}

/// What an object's footer says, and how many bytes the object has.
pub(crate) async fn footer(lake: &dyn Lake, table: Table, key: &str) -> Result<(Identity, u64), ObjectError> {
    let reader = ObjectReader::open(lake, table, key, Columns::Only(&[])).await?;
    Ok((reader.identity()?, reader.object_bytes()))
}

/// Why inputs can't be read.
pub(crate) enum Gone {
    /// This input is not there.
    Input(String),
    Failed(CompactError),
}

impl Gone {
    fn of(error: ObjectError) -> Gone {
        match error {
            ObjectError::Lake(LakeError::NotFound(key)) => Gone::Input(key),
            other => Gone::Failed(other.into()),
        }
    }
}

impl From<CompactError> for Gone {
    fn from(error: CompactError) -> Gone {
        Gone::Failed(error)
    }
}

fn differs(reason: impl std::fmt::Display) -> CompactError {
    service::Halt(reason.to_string()).into()
}
