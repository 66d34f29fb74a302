//! Plans as people read them before they are made.

use crate::plan::partition_of;
use schema::v1::PlanEntry;
use schema::{Day, Table};
use std::collections::BTreeMap;
use std::fmt;

/// The next plan of a day, or the one that is open.
#[derive(Clone, Debug)]
pub struct PlanPreview {
    pub table: Table,
    pub day: Day,
    pub number: u64,
    /// Whether it is written down already, and not all its outputs exist.
    pub is_open: bool,
    pub plan: PlanEntry,
}

impl PlanPreview {
    pub fn inputs(&self) -> usize {
        self.plan.inputs.iter().map(|run| run.entries.len()).sum()
    }

    /// Files and rows of each partition.
    fn partitions(&self) -> BTreeMap<String, (usize, u64)> {
        let mut partitions: BTreeMap<String, (usize, u64)> = BTreeMap::new();
        for output in &self.plan.outputs {
            let (files, rows) = partitions.entry(partition_of(&output.key).unwrap_or_default()).or_default();
            *files += 1;
            *rows += output.rows;
        }
        partitions
    }
}

impl fmt::Display for PlanPreview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PlanPreview { table, day, number, is_open, plan } = self;
        let what = if *is_open { "finish plan" } else { "plan" };
        let (inputs, rows, files) = (self.inputs(), plan.input_rows, plan.outputs.len());
        writeln!(f, "{table} {day}: {what} {number}: {inputs} live objects, {rows} rows -> {files} final objects")?;
        for (partition, (files, rows)) in self.partitions() {
            let name = if partition.is_empty() { "all rows" } else { &partition };
            writeln!(f, "  {name}: {rows} rows in {files} objects")?;
        }
        Ok(())
    }
}
