//! Leases: each change is a conditional write on who held it and its counter.
//!
//! **Change**: who made it and a number of theirs, kept in the item. A change whose answer was lost, or that went over
//! the wire twice, is told from another worker's by it.

use super::DynamoLedger;
use super::item::{self, LEASES, PK, count, key, string};
use super::requests::{Condition, Selection, Sort, Write};
use super::units::{PUT_LEASE, Unit, units_of};
use crate::{Lease, LeaseError, LedgerError};
use aws::Failure;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::types::ReturnConsumedCapacity::Total;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure::AllOld;
use std::collections::HashMap;
use std::sync::atomic::Ordering;

impl DynamoLedger {
    /// Puts a lease that `owner` holds in place of `seen`, if it still stands so; `by` makes the change.
    pub(super) async fn swap(
        &self,
        name: &str,
        seen: Option<&Lease>,
        by: &str,
        owner: Option<&str>,
    ) -> Result<Lease, LeaseError> {
        let counter = seen.map_or(0, |lease| lease.counter) + 1;
        let lease = Lease { name: name.to_owned(), owner: owner.map(str::to_owned), counter };
        let change = format!("{by} {}", self.changes.fetch_add(1, Ordering::Relaxed));
        let condition = seen.map_or_else(Condition::absent, unchanged);
        match self.put(PUT_LEASE, item::of_lease(&lease, &change), condition).await? {
            Write::Done => Ok(lease),
            Write::Refused(Some(held)) if item::text(&held, "change") == Some(&change) => Ok(lease),
            Write::Refused(_) => Err(LeaseError::Lost(name.to_owned())),
        }
    }

    /// Deletes a lease that still stands so. One that is not there was deleted before.
    pub(super) async fn remove(&self, lease: &Lease) -> Result<(), LeaseError> {
        match self.calls.repeat(async || self.remove_once(lease).await).await? {
            Write::Done | Write::Refused(None) => Ok(()),
            Write::Refused(Some(_)) => Err(LeaseError::Lost(lease.name.clone())),
        }
    }

    async fn remove_once(&self, lease: &Lease) -> Result<Write, Failure> {
        const OPERATION: &str = "DeleteItem";
        self.count_request(OPERATION);
        let Condition { expression, names, values } = unchanged(lease);
        let request = self.client.delete_item().table_name(&self.table).set_key(Some(key(LEASES, &lease.name)));
        let conditional = request
            .condition_expression(expression)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values)
            .return_values_on_condition_check_failure(AllOld)
            .return_consumed_capacity(Total);
        let error = match conditional.send().await {
            Ok(deleted) => {
                self.count_units(OPERATION, Unit::Write, units_of(deleted.consumed_capacity()));
                return Ok(Write::Done);
            }
            Err(error) => error,
        };
        if let Some(DeleteItemError::ConditionalCheckFailedException(failed)) = error.as_service_error() {
            return Ok(self.refused(OPERATION, failed.item().cloned()));
        }
        Err(self.failed_write(OPERATION, 1, &error))
    }

    pub(super) async fn listed_leases(&self, prefix: &str) -> Result<Vec<Lease>, LedgerError> {
        let items = self.query(LEASES, &Selection::all(Sort::starts_with(prefix))).await?;
        let lease = |held| {
            item::lease(held).ok_or_else(|| LedgerError::Unavailable(format!("an item that is no lease: {held:?}")))
        };
        items.iter().map(lease).collect()
    }
}

/// The lease still stands as it was seen.
fn unchanged(seen: &Lease) -> Condition {
    let mut names = HashMap::from([("#counter".to_owned(), "counter".to_owned())]);
    names.insert("#owner".to_owned(), "owner".to_owned());
    let mut values = HashMap::from([(":counter".to_owned(), count(seen.counter))]);
    let owner = match &seen.owner {
        Some(owner) => {
            values.insert(":owner".to_owned(), string(owner));
            "#owner = :owner"
        }
        None => "attribute_not_exists(#owner)",
    };
    let expression = format!("attribute_exists({PK}) AND #counter = :counter AND {owner}");
    Condition { expression, names: Some(names), values: Some(values) }
}
