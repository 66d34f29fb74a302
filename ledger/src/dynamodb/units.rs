//! Counts every call to DynamoDB by the units it is billed by.
//!
//! Source of the units: <https://aws.amazon.com/dynamodb/pricing/on-demand/>

use super::DynamoLedger;
use aws::Failure;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::ConsumedCapacity;
use std::error::Error;

/// Bytes of an item that one write unit takes.
const WRITE_UNIT_BYTES: usize = 1 << 10;

const SERVICE: &str = "dynamodb";

/// What an operation is billed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// One for each KB of an item that was begun, also where a condition fails.
    Write,
    /// One for each 4 KB that a strongly consistent read began.
    Read,
}

/// As what a put is counted: leases are overwritten, while what else is put has to be deleted one day.
pub(super) const PUT: &str = "PutItem";
pub(super) const PUT_LEASE: &str = "PutItem/lease";

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Write => "write_units",
            Unit::Read => "read_units",
        }
    }
}

/// Write units of an item of so many bytes.
pub(super) fn write_units(bytes: usize) -> u64 {
    bytes.div_ceil(WRITE_UNIT_BYTES).max(1) as u64
}

/// What DynamoDB says a call was billed.
pub(super) fn units_of(capacity: Option<&ConsumedCapacity>) -> u64 {
    capacity.and_then(ConsumedCapacity::capacity_units).unwrap_or_default().ceil() as u64
}

impl DynamoLedger {
    pub(super) fn count_request(&self, operation: &'static str) {
        self.meter.add(SERVICE, operation, "requests", 1);
    }

    pub(super) fn count_units(&self, operation: &'static str, unit: Unit, units: u64) {
        if units > 0 {
            self.meter.add(SERVICE, operation, unit.name(), units);
        }
    }

    /// What a failed call means; a person is told of a refusal.
    pub(super) fn failed<E>(&self, operation: &'static str, error: &SdkError<E>) -> Failure
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        self.refusals.note(&self.table, operation, Failure::of(error))
    }

    /// As [`DynamoLedger::failed`]. A write that nobody answered may have been billed, so it counts.
    pub(super) fn failed_write<E>(&self, operation: &'static str, units: u64, error: &SdkError<E>) -> Failure
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let failure = self.failed(operation, error);
        if matches!(failure, Failure::Unavailable(_)) {
            self.count_units(operation, Unit::Write, units);
        }
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kilobyte_that_is_begun_is_a_write_unit() {
        assert_eq!([0, 1, 1024, 1025, 400 << 10].map(write_units), [1, 1, 1, 2, 400]);
    }

    #[test]
    fn half_a_unit_counts_as_one() {
        let capacity = ConsumedCapacity::builder().capacity_units(2.5).build();
        assert_eq!((units_of(Some(&capacity)), units_of(None)), (3, 0));
    }
}
