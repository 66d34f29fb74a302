//! Counts every call to AWS in the units it is billed by.

use crate::metrics::METRICS;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What was counted of one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// `kinesis`, `dynamodb`, `s3` or `sqs`.
    pub service: &'static str,
    /// As the API calls it: `PutRecords`.
    pub operation: &'static str,
    /// `requests` for every operation, and what it is billed by besides, as `write_units` or `bytes`.
    pub unit: &'static str,
    pub total: u64,
}

type Totals = BTreeMap<(&'static str, &'static str, &'static str), u64>;

/// Counts of one process.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    totals: Arc<Mutex<Totals>>,
}

impl Meter {
    /// Adds `count` of `unit` to an operation.
    pub fn add(&self, service: &'static str, operation: &'static str, unit: &'static str, count: u64) {
        let mut totals = self.totals.lock().expect("no holder panics");
        *totals.entry((service, operation, unit)).or_default() += count;
        METRICS.units.with_label_values(&[service, operation, unit]).inc_by(count);
    }

    /// Everything counted so far, by service, operation and unit.
    pub fn counts(&self) -> Vec<Count> {
        let totals = self.totals.lock().expect("no holder panics");
        let count =
            |(&(service, operation, unit), &total): (&(_, _, _), &u64)| Count { service, operation, unit, total };
        totals.iter().map(count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up_by_operation() {
        let meter = Meter::default();
        meter.add("dynamodb", "PutItem", "requests", 1);
        meter.add("dynamodb", "PutItem", "write_units", 3);
        let shared = meter.clone();
        shared.add("dynamodb", "PutItem", "requests", 1);
        let counted: Vec<(&str, u64)> = meter.counts().iter().map(|count| (count.unit, count.total)).collect();
        assert_eq!(counted, [("requests", 2), ("write_units", 3)]);
    }
}
