//! The two requests that all else is made of: a conditional put, and a strongly consistent query of one partition.

use super::DynamoLedger;
use super::item::{self, Item, PK, SK, sort_key_of, string};
use super::units::{Unit, units_of, write_units};
use aws::Failure;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::types::ReturnConsumedCapacity::Total;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure::AllOld;
use std::collections::HashMap;

/// How a conditional write ended.
#[derive(Debug)]
pub(super) enum Write {
    Done,
    /// Its condition failed; what stands there, if anything does.
    Refused(Option<Item>),
}

/// When a write may happen.
#[derive(Clone, Debug, Default)]
pub(super) struct Condition {
    pub(super) expression: String,
    /// Stand for attributes whose names DynamoDB keeps for itself.
    pub(super) names: Option<HashMap<String, String>>,
    pub(super) values: Option<Item>,
}

impl Condition {
    /// Nothing stands there.
    pub(super) fn absent() -> Condition {
        Condition { expression: format!("attribute_not_exists({PK})"), ..Condition::default() }
    }
}

/// Which items of a partition to read.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub(super) sort: Sort,
    pub(super) descending: bool,
    /// Only the keys: fewer bytes on the way, the same bill.
    pub(super) keys_only: bool,
    pub(super) count_max: usize,
}

/// Which sort keys to read.
#[derive(Clone, Debug)]
pub(super) enum Sort {
    Any,
    Is(String),
    From(u64),
    StartsWith(String),
}

impl Sort {
    /// DynamoDB takes no empty text for a key.
    pub(super) fn starts_with(prefix: &str) -> Sort {
        if prefix.is_empty() { Sort::Any } else { Sort::StartsWith(prefix.to_owned()) }
    }

    /// A condition on the sort key, and what `:sort` in it is.
    fn condition(&self) -> Option<(String, String)> {
        match self {
            Sort::Any => None,
            Sort::Is(key) => Some((format!("{SK} = :sort"), key.clone())),
            Sort::From(number) => Some((format!("{SK} >= :sort"), sort_key_of(*number))),
            Sort::StartsWith(prefix) => Some((format!("begins_with({SK}, :sort)"), prefix.clone())),
        }
    }
}

impl Selection {
    /// All items with such keys, ascending.
    pub(super) fn all(sort: Sort) -> Selection {
        Selection { sort, descending: false, keys_only: false, count_max: usize::MAX }
    }
}

impl DynamoLedger {
    /// Puts an item where `condition` holds; counted as `operation`.
    ///
    /// Repeated while it is undecided: whoever is refused must be able to tell their own write from another's.
    pub(super) async fn put(
        &self,
        operation: &'static str,
        item: Item,
        condition: Condition,
    ) -> Result<Write, Failure> {
        self.calls.repeat(async || self.put_once(operation, item.clone(), condition.clone()).await).await
    }

    async fn put_once(&self, operation: &'static str, item: Item, condition: Condition) -> Result<Write, Failure> {
        self.count_request(operation);
        let units = write_units(item::bytes_of(&item));
        let request = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let conditional = request
            .condition_expression(condition.expression)
            .set_expression_attribute_names(condition.names)
            .set_expression_attribute_values(condition.values)
            .return_values_on_condition_check_failure(AllOld)
            .return_consumed_capacity(Total);
        let error = match conditional.send().await {
            Ok(put) => {
                self.count_units(operation, Unit::Write, units_of(put.consumed_capacity()));
                return Ok(Write::Done);
            }
            Err(error) => error,
        };
        if let Some(PutItemError::ConditionalCheckFailedException(failed)) = error.as_service_error() {
            return Ok(self.refused(operation, failed.item().cloned()));
        }
        Err(self.failed_write(operation, units, &error))
    }

    /// A failed condition is billed by what it failed on. Source:
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>
    pub(super) fn refused(&self, operation: &'static str, held: Option<Item>) -> Write {
        let units = held.as_ref().map_or(1, |held| write_units(item::bytes_of(held)));
        self.count_units(operation, Unit::Write, units);
        Write::Refused(held)
    }

    /// The selected items of a partition, page by page: a page ends at 1 MB. Source:
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.Pagination.html>
    pub(super) async fn query(&self, partition: &str, selection: &Selection) -> Result<Vec<Item>, Failure> {
        let (mut items, mut after) = (Vec::new(), None);
        loop {
            let left = selection.count_max - items.len();
            let page = self.calls.repeat(async || self.page(partition, selection, left, after.clone()).await).await?;
            items.extend(page.items.unwrap_or_default());
            after = page.last_evaluated_key.filter(|key| !key.is_empty());
            if after.is_none() || items.len() >= selection.count_max {
                return Ok(items);
            }
        }
    }

    async fn page(
        &self,
        partition: &str,
        selection: &Selection,
        count_max: usize,
        after: Option<Item>,
    ) -> Result<QueryOutput, Failure> {
        const OPERATION: &str = "Query";
        self.count_request(OPERATION);
        let mut condition = format!("{PK} = :partition");
        let mut values = HashMap::from([(":partition".to_owned(), string(partition))]);
        if let Some((on_sort_key, value)) = selection.sort.condition() {
            condition = format!("{condition} AND {on_sort_key}");
            values.insert(":sort".to_owned(), string(value));
        }
        let request = self.client.query().table_name(&self.table).consistent_read(true);
        let page = request
            .key_condition_expression(condition)
            .set_expression_attribute_values(Some(values))
            .set_projection_expression(selection.keys_only.then(|| format!("{PK}, {SK}")))
            .scan_index_forward(!selection.descending)
            .set_limit(i32::try_from(count_max).ok())
            .set_exclusive_start_key(after)
            .return_consumed_capacity(Total)
            .send()
            .await
            .map_err(|error| self.failed(OPERATION, &error))?;
        self.count_units(OPERATION, Unit::Read, units_of(page.consumed_capacity()));
        Ok(page)
    }
}
