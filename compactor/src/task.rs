//! What the planner asks of the fleet.
//!
//! **Task**: a message that names a plan and a group of its partitions. Only a hint: what is to be done stands in the plan,
//! so a task that comes twice, late or not at all does no harm. **Dead letter**: a task that was tried too often, with the
//! reason. JSON, so that people can read both.

use schema::{Day, Table};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Most groups of a plan. Every group reads all inputs of its plan and keeps its own rows: more groups share out the
/// sorting and writing further, but not the reading.
const GROUPS_MAX: u64 = 16;

/// Please make the outputs of these partitions, and the plan complete if they are the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) table: String,
    pub(crate) day: String,
    /// Number of the plan in the day's chain.
    pub(crate) plan: u64,
    /// Quarantine has one, the empty one.
    pub(crate) partitions: BTreeSet<String>,
    /// Whether there may be more to plan once the plan is complete.
    pub(crate) more: bool,
}

/// A task that nobody tries any more.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct DeadLetter<'a> {
    pub(crate) reason: &'a str,
    pub(crate) deliveries: u32,
    /// The message as it came.
    pub(crate) task: &'a str,
}

impl Task {
    pub(crate) fn new((table, day): (Table, Day), plan: u64, more: bool, partitions: BTreeSet<String>) -> Task {
        Task { table: table.name().to_string(), day: day.to_string(), plan, partitions, more }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers are JSON")
    }

    /// Reads a message.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Task, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("the message is no task: {error}"))
    }

    /// The table and day whose plan it is.
    ///
    /// # Errors
    /// Says which of them there is not.
    pub(crate) fn of_day(&self) -> Result<(Table, Day), String> {
        let table = Table::parse(&self.table).ok_or_else(|| format!("there is no table {:?}", self.table))?;
        let day = Day::parse(&self.day).ok_or_else(|| format!("there is no day {:?}", self.day))?;
        Ok((table, day))
    }
}

impl DeadLetter<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers are JSON")
    }
}

/// Deals partitions, with their rows, out to groups of about the same size; at least one group, and be it empty.
pub(crate) fn groups(partitions: &BTreeMap<String, u64>) -> Vec<BTreeSet<String>> {
    let rows_min = partitions.values().sum::<u64>().div_ceil(GROUPS_MAX);
    let (mut groups, mut group, mut group_rows) = (Vec::new(), BTreeSet::new(), 0);
    for (partition, rows) in partitions {
        group.insert(partition.clone());
        group_rows += rows;
        if group_rows >= rows_min {
            groups.push(std::mem::take(&mut group));
            group_rows = 0;
        }
    }
    if !group.is_empty() || groups.is_empty() {
        groups.push(group);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_partition_is_in_one_of_a_bounded_number_of_groups(
            partitions in proptest::collection::btree_map("[a-z]{1,3}", 1u64..1000, 0..60),
        ) {
            let groups = groups(&partitions);
            prop_assert!((1..=GROUPS_MAX as usize).contains(&groups.len()));
            let dealt: Vec<&String> = groups.iter().flatten().collect();
            prop_assert_eq!(dealt, partitions.keys().collect::<Vec<_>>());
        }
    }

    #[test]
    fn tasks_come_back_as_they_were_and_others_are_refused() {
        let partitions = BTreeSet::from(["a/b é".to_string(), String::new()]);
        let task = Task::new((Table::Events, Day(20_779)), 7, true, partitions);
        assert_eq!(Task::decode(&task.encode()), Ok(task.clone()));
        assert_eq!(task.of_day(), Ok((Table::Events, Day(20_779))));
        assert!(Task { day: "2026-13-01".to_string(), ..task }.of_day().is_err());
        assert!(Task::decode(b"\xff").is_err());
    }
}
