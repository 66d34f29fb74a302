//! A part of a plan, carried out by itself.
//!
//! **Group**: some partitions of a plan, with all their outputs. Several make a plan complete together, in any order and
//! by anyone, and what they make is what one compaction of the whole plan makes (PROTOCOL rule 29).
//!
//! Groups are independent of one another but in two things. An id may come under two types, so that the first of its rows
//! is of one group and a copy of another: which rows are copies is found from the ids of *all* inputs and of earlier
//! plans, by every worker for itself, and as a function of the plan it is the same for all. And the dropped object takes
//! the copies of all groups: whoever finds all outputs there makes it, from the inputs, after everything else. The last
//! to create an output finds the others, since the lake is consistent; where it dies before, its task comes again.

use crate::block::SortColumns;
use crate::compact::{Done, Gone, Work, footer};
use crate::copies::{Copies, CopyFinder};
use crate::error::{CompactError, halt};
use crate::outputs;
use crate::plan::{self, Input, Planned};
use crate::sort::{Sorted, Sorter};
use crate::spill::Spill;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_buffer::BooleanBuffer;
use arrow_select::filter::filter_record_batch;
use futures::future::join_all;
use lake::layout::OTHER;
use lake::parquet_file::{Columns, ObjectError};
use lake::{Lake, LakeError};
use schema::columns::{ORDINAL, ORIGIN};
use schema::v1::PlanEntry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// Outputs that are looked for at the same time.
const LOOKED_FOR_AT_ONCE: usize = 16;

/// Some partitions of a plan.
#[derive(Debug)]
pub(crate) struct Group {
    /// Names of all partitions of the plan.
    all: BTreeSet<String>,
    /// The outputs of the group.
    planned: Planned,
}

impl Group {
    pub(crate) fn new(plan: &PlanEntry, partitions: &BTreeSet<String>) -> Group {
        let mut planned = plan::by_partition(plan);
        let all = planned.keys().cloned().collect();
        planned.retain(|partition, _| partitions.contains(partition));
        Group { all, planned }
    }

    /// Whether rows of a type, which is empty in quarantine, are the group's.
    fn takes(&self, event_type: &str) -> bool {
        let partition = if self.all.contains(event_type) { event_type } else { OTHER };
        self.planned.contains_key(partition)
    }
}

/// The partitions of a plan of which outputs are missing, with their rows.
pub(crate) async fn missing(lake: &dyn Lake, plan: &PlanEntry) -> Result<BTreeMap<String, u64>, CompactError> {
    let mut missing = BTreeMap::new();
    let outputs = plan::by_partition(plan).into_iter();
    let outputs: Vec<(String, Vec<_>)> = outputs.map(|(name, outputs)| (name, outputs.into())).collect();
    for some in outputs.chunks(LOOKED_FOR_AT_ONCE) {
        let looked = join_all(some.iter().map(async |(_, outputs)| {
            for output in outputs {
                if !exists(lake, &output.key).await? {
                    return Ok(false);
                }
            }
            Ok::<bool, CompactError>(true)
        }));
        for ((name, outputs), exist) in some.iter().zip(looked.await) {
            if !exist? {
                missing.insert(name.clone(), outputs.iter().map(|output| output.rows).sum());
            }
        }
    }
    Ok(missing)
}

async fn exists(lake: &dyn Lake, key: &str) -> Result<bool, CompactError> {
    match lake.head(key).await {
        Ok(_) => Ok(true),
        Err(LakeError::NotFound(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Work<'_> {
    /// The copies among the rows of the plan; `None` where somebody made the plan complete, and inputs are gone.
    pub(crate) async fn find_copies(&self) -> Result<Option<Copies>, CompactError> {
        let (inputs, spill) = (plan::inputs(self.plan)?, self.spill());
        let found = self.find_copies_in(&inputs, &spill).await;
        self.unless_complete(found).await
    }

    async fn find_copies_in(&self, inputs: &[Input], spill: &Arc<Spill>) -> Result<Copies, Gone> {
        let mut finder = CopyFinder::new(self.table, self.plan.input_rows, self.part_of_memory(2), spill);
        let columns = [self.table.id_column(), ORIGIN, ORDINAL];
        let mut take = |batch: RecordBatch, first: u32| finder.add(&batch, first);
        self.read(inputs, Columns::Only(&columns), &mut take).await?;
        self.read_earlier(&mut finder).await?;
        Ok(finder.finish()?)
    }

    /// Creates the outputs of a group. Whether it did: not where somebody made the plan complete, and inputs are gone.
    pub(crate) async fn carry_out_group(&self, group: &Group, copies: &Copies) -> Result<bool, CompactError> {
        let spill = self.spill();
        let rows = self.sort_group(group, &spill).await;
        let Some(mut rows) = self.unless_complete(rows).await? else { return Ok(false) };
        let mut outputs = self.outputs(group.planned.clone(), &spill)?;
        while let Some(block) = rows.next()? {
            for finished in outputs.write(&block, copies)? {
                self.create(finished).await?;
            }
        }
        // The group's own copies; the dropped object takes those of all.
        outputs.finish()?;
        Ok(true)
    }

    async fn sort_group(&self, group: &Group, spill: &Arc<Spill>) -> Result<Sorted, Gone> {
        let mut sorter = Sorter::new(self.table, self.part_of_memory(4), spill);
        let mut take = |batch: RecordBatch, first: u32| {
            let columns = SortColumns::of(self.table, &batch)?;
            let (some, numbers) = select(&batch, first, |row| group.takes(columns.event_type(row)))?;
            sorter.add_some(some, &numbers)
        };
        self.read(&plan::inputs(self.plan).map_err(CompactError::from)?, Columns::All, &mut take).await?;
        Ok(sorter.finish()?)
    }

    /// Makes the plan complete, if all its outputs exist. `None` where they don't, or somebody else did.
    pub(crate) async fn finish(&self, copies: &Copies) -> Result<Option<Done>, CompactError> {
        let Some(hash) = self.outputs_hash().await? else { return Ok(None) };
        let (inputs, spill) = (plan::inputs(self.plan)?, self.spill());
        let rows = self.sort_copies(&inputs, copies, &spill).await;
        let Some(rows) = self.unless_complete(rows).await? else { return Ok(None) };
        let dropped = outputs::dropped(self.table, self.plan, rows, &spill)?;
        self.complete(dropped, hash, copies).await?;
        let (inputs, objects) = (inputs.len() as u64, self.plan.outputs.len() as u64);
        let done = Done { inputs, rows: self.plan.input_rows, dropped: copies.count(), objects };
        done.count();
        Ok(Some(done))
    }

    async fn sort_copies(&self, inputs: &[Input], copies: &Copies, spill: &Arc<Spill>) -> Result<Sorted, Gone> {
        let mut sorter = Sorter::new(self.table, self.part_of_memory(4), spill);
        if copies.count() > 0 {
            let mut take = |batch: RecordBatch, first: u32| {
                let (some, numbers) = select(&batch, first, |row| copies.contains(first + row as u32))?;
                sorter.add_some(some, &numbers)
            };
            self.read(inputs, Columns::All, &mut take).await?;
        }
        Ok(sorter.finish()?)
    }

    /// Sum of the hashes of all outputs' rows; `None` where one is missing.
    async fn outputs_hash(&self) -> Result<Option<u128>, CompactError> {
        let mut hash = 0u128;
        for some in self.plan.outputs.chunks(LOOKED_FOR_AT_ONCE) {
            let footers = some.iter().map(|output| footer(self.lake, self.table, &output.key));
            for footer in join_all(footers).await {
                match footer {
                    Ok((identity, _)) => hash = hash.wrapping_add(identity.rows_hash),
                    Err(ObjectError::Lake(LakeError::NotFound(_))) => return Ok(None),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(Some(hash))
    }
}

/// The rows of a batch that are wanted, and their numbers in runs.
fn select(
    batch: &RecordBatch,
    first: u32,
    is_wanted: impl FnMut(usize) -> bool,
) -> Result<(RecordBatch, Vec<Range<u32>>), CompactError> {
    let rows = BooleanBuffer::collect_bool(batch.num_rows(), is_wanted);
    let numbers = rows.set_slices().map(|(from, to)| first + from as u32..first + to as u32).collect();
    let some = filter_record_batch(batch, &BooleanArray::new(rows, None)).or_else(halt)?;
    Ok((some, numbers))
}
