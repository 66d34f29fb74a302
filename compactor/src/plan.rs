//! What a plan says. Pure: (cursors, announced objects, what their footers say) → the entry to append.
//!
//! **Cursor**: the entry of a writer chain at which the next plan goes on. **Input**: a live object that the plan takes
//! up. **Partition**: a value of `event_type` in paths; [`OTHER`] gathers the types that have none of their own. **Rank**:
//! the place of a row among its partition's input rows in sorted order; an output is a range of ranks.

use bytes::Bytes;
use lake::layout::{OTHER, ObjectName, Partition, Role};
use lake::parquet_file::Identity;
use prost::encoding::encoded_len_varint;
use schema::v1::{Cursor, PlanEntry, PlannedInputs, PlannedOutput};
use schema::{ChainId, Day, Table};
use service::Halt;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Most event types of a day with a partition of their own: query engines list partitions.
pub const PARTITIONS_MAX: usize = 500;

/// Most files of a plan beyond one for each partition; beyond it files grow. Keeps the outputs of an entry, at up to
/// 285 bytes each, below half of [`ledger::ENTRY_BYTES_MAX`].
const FURTHER_FILES_MAX: u64 = 128;

/// Most bytes that the inputs and cursors take in an entry: nearly the other half.
const INPUT_BYTES_MAX: usize = 180 << 10;

/// Bytes that a chain takes in an entry beside its name, twice: as inputs and as a cursor.
const CHAIN_BYTES: usize = 40;

/// Most objects that are looked at for one plan; an entry takes fewer.
pub(crate) const INPUTS_MAX: usize = 64 << 10;

/// Most rows of a plan: which of them are copies is a bit for each, in memory.
const ROWS_MAX: u64 = 1 << 28;

/// Most event types that are counted apart while planning; what comes later has no partition of its own.
const TYPES_MAX: usize = 10_000;

/// Bytes of an object that are not its rows', about.
const FOOTER_BYTES: u64 = 6 << 10;

/// Version of the rules by which inputs give outputs (PROTOCOL rules 28, 29).
pub const RULE_VERSION: u32 = 1;

/// Per writer chain, the first entry that is not planned.
pub type Cursors = BTreeMap<ChainId, u64>;

/// Outputs of a plan by partition, by rank within each; quarantine's have the empty name.
pub(crate) type Planned = BTreeMap<String, VecDeque<PlannedOutput>>;

/// What a writer chain announced for a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub chain: ChainId,
    /// All entries below were looked at.
    pub through: u64,
    /// By entry, ascending; never empty.
    pub objects: Vec<Announced>,
}

/// One live object, as its entry announced it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    pub entry: u64,
    pub part: u32,
    pub rows: u64,
    pub rows_hash: u128,
}

impl Announced {
    /// The part number in the key of a live object of that entry; `None` for any other key.
    pub(crate) fn part_of(key: &str, table: Table, day: Day, chain: &ChainId, entry: u64) -> Option<u32> {
        let Role::Live { part, .. } = ObjectName::parse(key)?.role else { return None };
        (ObjectName::live(table, day, chain, entry, part).key() == key).then_some(part)
    }
}

/// Cuts what was found to what one plan can take: whole entries, at least one.
pub fn cut(found: Vec<Found>) -> Vec<Found> {
    let (mut bytes, mut rows) = (0, 0u64);
    let mut taken: Vec<Found> = Vec::new();
    for mut found in found {
        bytes += 2 * found.chain.as_str().len() + CHAIN_BYTES;
        let (mut kept, mut before) = (0, 0);
        for entry in found.objects.chunk_by(|a, b| a.entry == b.entry) {
            bytes += entry.iter().map(|object| input_bytes(object, &mut before)).sum::<usize>();
            rows += entry.iter().map(|object| object.rows).sum::<u64>();
            let is_first = kept == 0 && taken.is_empty();
            if !is_first && (bytes > INPUT_BYTES_MAX || rows > ROWS_MAX) {
                found.through = entry[0].entry;
                found.objects.truncate(kept);
                if kept > 0 {
                    taken.push(found);
                }
                return taken;
            }
            kept += entry.len();
        }
        taken.push(found);
    }
    taken
}

/// Bytes of an input in an entry, after that of entry `before`.
fn input_bytes(object: &Announced, before: &mut u64) -> usize {
    let gap = object.entry - std::mem::replace(before, object.entry);
    encoded_len_varint(gap) + encoded_len_varint(u64::from(object.part)) + encoded_len_varint(object.rows)
}

/// What the footers of the inputs say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    pub rows: u64,
    pub bytes: u64,
    types: BTreeMap<String, u64>,
}

impl Contents {
    pub fn add(&mut self, identity: &Identity, bytes: u64) {
        self.rows += identity.rows;
        self.bytes += bytes.saturating_sub(FOOTER_BYTES);
        for (name, rows) in &identity.types {
            if let Some(counted) = self.types.get_mut(name) {
                *counted += rows;
            } else if self.types.len() < TYPES_MAX {
                self.types.insert(name.clone(), *rows);
            }
        }
    }
}

/// A plan that is to be written down.
#[derive(Debug)]
pub struct Draft<'a> {
    pub table: Table,
    pub day: Day,
    pub number: u64,
    pub cursors: Cursors,
    pub found: &'a [Found],
    pub contents: &'a Contents,
    /// Partitions that earlier plans of the day made.
    pub partitions: BTreeSet<String>,
    pub object_bytes: u64,
    pub appended_at: i64,
}

impl Draft<'_> {
    /// The entry to append.
    pub fn entry(mut self) -> PlanEntry {
        for found in self.found {
            self.cursors.insert(found.chain.clone(), found.through);
        }
        let hashes = self.found.iter().flat_map(|found| &found.objects).map(|object| object.rows_hash);
        let input_hash = hashes.fold(0u128, u128::wrapping_add);
        PlanEntry {
            cursors: self.cursors.iter().map(|(chain, &next)| Cursor { chain: chain.to_string(), next }).collect(),
            inputs: self.found.iter().map(planned_inputs).collect(),
            outputs: self.outputs(),
            dropped_key: ObjectName::dropped(self.table, self.day, self.number).key(),
            rule_version: RULE_VERSION,
            input_rows: self.contents.rows,
            appended_at: self.appended_at,
            input_hash: Bytes::copy_from_slice(&input_hash.to_be_bytes()),
        }
    }

    fn outputs(&self) -> Vec<PlannedOutput> {
        let shares = match self.table {
            Table::Events => self.partition_rows().into_iter().map(|(name, rows)| (Some(name), rows)).collect(),
            Table::Quarantine => vec![(None, self.contents.rows)],
        };
        shares.iter().flat_map(|(partition, rows)| self.files(partition.as_ref(), *rows)).collect()
    }

    /// Rows of each partition: types that have one keep it, then the largest get one while there is room.
    fn partition_rows(&self) -> BTreeMap<Partition, u64> {
        let types = &self.contents.types;
        let fit = types.iter().filter(|(name, _)| is_fit(name));
        let (kept, new): (Vec<_>, Vec<_>) = fit.partition(|(name, _)| self.partitions.contains(*name));
        let mut new = new;
        new.sort_unstable_by_key(|&(name, &rows)| (Reverse(rows), name));
        new.truncate(PARTITIONS_MAX.saturating_sub(self.partitions.len()));
        let own = kept.into_iter().chain(new).map(|(name, &rows)| (Partition::of(name), rows));
        let mut shares: BTreeMap<Partition, u64> = own.collect();
        let others = self.contents.rows - shares.values().sum::<u64>();
        if others > 0 {
            shares.insert(Partition::other(), others);
        }
        shares
    }

    /// Even ranges of ranks, so many that each gives about an object's bytes.
    fn files(&self, partition: Option<&Partition>, rows: u64) -> Vec<PlannedOutput> {
        let Contents { rows: all_rows, bytes: all_bytes, .. } = *self.contents;
        let object_bytes = self.object_bytes.max(all_bytes / FURTHER_FILES_MAX).max(1);
        let bytes = u128::from(all_bytes) * u128::from(rows) / u128::from(all_rows.max(1));
        let bytes = u64::try_from(bytes).expect("a part of the bytes is no more than all of them");
        let files = bytes.div_ceil(object_bytes).clamp(1, rows.max(1));
        let rank = |k: u64| (u128::from(rows) * u128::from(k) / u128::from(files)) as u64;
        let file = |k: u64| PlannedOutput {
            key: self.output_name(partition, k as u32).key(),
            first_rank: rank(k),
            rows: rank(k + 1) - rank(k),
        };
        (0..files).map(file).collect()
    }

    fn output_name(&self, partition: Option<&Partition>, part: u32) -> ObjectName {
        match partition {
            Some(partition) => ObjectName::final_events(self.day, partition.clone(), self.number, part),
            None => ObjectName::final_quarantine(self.day, self.number, part),
        }
    }
}

/// Whether a type can be a partition of its own.
fn is_fit(event_type: &str) -> bool {
    event_type != OTHER && Partition::of(event_type).as_str() == event_type
}

fn planned_inputs(found: &Found) -> PlannedInputs {
    let mut before = 0;
    let mut gap = |object: &Announced| object.entry - std::mem::replace(&mut before, object.entry);
    PlannedInputs {
        chain: found.chain.to_string(),
        entries: found.objects.iter().map(&mut gap).collect(),
        parts: found.objects.iter().map(|object| object.part).collect(),
        rows: found.objects.iter().map(|object| object.rows).collect(),
    }
}

/// A live object that a plan takes up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    pub key: String,
    pub rows: u64,
}

/// The live objects that a plan takes up, in the plan's order.
///
/// # Errors
/// A plan that this release can't read.
pub fn inputs(plan: &PlanEntry) -> Result<Vec<Input>, Halt> {
    let unreadable = || Halt(format!("the plan of {} can't be read: a newer release wrote it", plan.dropped_key));
    let ObjectName { table, day, .. } = ObjectName::parse(&plan.dropped_key).ok_or_else(unreadable)?;
    if plan.rule_version != RULE_VERSION {
        return Err(unreadable());
    }
    let mut inputs = Vec::new();
    for run in &plan.inputs {
        if run.entries.len() != run.parts.len() || run.entries.len() != run.rows.len() {
            return Err(unreadable());
        }
        let (chain, mut entry) = (ChainId::new(&run.chain), 0u64);
        for (&gap, (&part, &rows)) in run.entries.iter().zip(run.parts.iter().zip(&run.rows)) {
            entry = entry.checked_add(gap).ok_or_else(unreadable)?;
            inputs.push(Input { key: ObjectName::live(table, day, &chain, entry, part).key(), rows });
        }
    }
    Ok(inputs)
}

/// The partition in the key of an output; `None` for quarantine.
pub(crate) fn partition_of(key: &str) -> Option<String> {
    match ObjectName::parse(key)?.role {
        Role::Final { partition, .. } => partition.map(|partition| partition.as_str().to_string()),
        _ => None,
    }
}

/// The partitions of their own that plans made.
pub(crate) fn partitions<'a>(plans: impl IntoIterator<Item = &'a PlanEntry>) -> BTreeSet<String> {
    let keys = plans.into_iter().flat_map(|plan| &plan.outputs).map(|output| output.key.as_str());
    keys.filter_map(partition_of).filter(|partition| partition != OTHER).collect()
}

/// All outputs of a plan.
pub(crate) fn by_partition(plan: &PlanEntry) -> Planned {
    let mut outputs = Planned::new();
    for output in &plan.outputs {
        outputs.entry(partition_of(&output.key).unwrap_or_default()).or_default().push_back(output.clone());
    }
    outputs
}

#[cfg(test)]
mod tests;
