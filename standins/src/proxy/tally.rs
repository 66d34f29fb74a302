//! How often each fault has happened.

use super::faults::Fault;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// A held call has reached the upstream.
const DELIVERED: &str = "delivered late";

/// How often what happened to calls of which operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    by_operation: BTreeMap<(String, &'static str), u64>,
}

impl Counts {
    pub fn of(&self, operation: &str, fault: Fault) -> u64 {
        self.named(operation, fault.name())
    }

    /// Calls that were held and have been delivered since.
    pub fn delivered(&self, operation: &str) -> u64 {
        self.named(operation, DELIVERED)
    }

    /// A fault, to whichever operation.
    pub fn of_any(&self, fault: Fault) -> u64 {
        self.iter().filter(|(_, name, _)| *name == fault.name()).map(|(_, _, count)| count).sum()
    }

    /// Operation, name of what happened, how often.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'static str, u64)> {
        self.by_operation.iter().map(|((operation, name), &count)| (operation.as_str(), *name, count))
    }

    fn named(&self, operation: &str, name: &'static str) -> u64 {
        self.by_operation.get(&(operation.to_string(), name)).copied().unwrap_or_default()
    }
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: Mutex<Counts>,
    calls: Mutex<BTreeMap<String, u64>>,
}

impl Tally {
    pub(super) fn count(&self, operation: &str, fault: Fault) {
        self.add(operation, fault.name());
    }

    pub(super) fn count_delivered(&self, operation: &str) {
        self.add(operation, DELIVERED);
    }

    fn add(&self, operation: &str, name: &'static str) {
        let mut counts = self.counts.lock().expect("no holder panics");
        *counts.by_operation.entry((operation.to_string(), name)).or_default() += 1;
    }

    /// The number of a call among those of its operation, from 0.
    pub(super) fn number(&self, operation: &str) -> u64 {
        let mut calls = self.calls.lock().expect("no holder panics");
        let next = calls.entry(operation.to_string()).or_default();
        *next += 1;
        *next - 1
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts.lock().expect("no holder panics").clone()
    }
}
