//! The table: making it, and looking whether it is the one that is needed.

use super::DynamoLedger;
use super::item::{PK, SK};
use aws::{Aws, Failure};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, PointInTimeRecoverySpecification,
    PointInTimeRecoveryStatus, ScalarAttributeType, TableDescription, TableStatus,
};
use std::error::Error;
use std::time::Duration;
use thiserror::Error as ThisError;
use tokio::time::Instant;

/// How long a new table is waited for. DynamoDB takes seconds; a table that takes minutes needs a look.
const ACTIVE_WITHIN: Duration = Duration::from_secs(120);

const ACTIVE_POLL: Duration = Duration::from_millis(500);

/// By this code a server says that it has no such operation: DynamoDB Local knows nothing of backups.
const NO_SUCH_OPERATION: &str = "UnknownOperationException";

/// What guards a table against its owners. A ledger that is lost or goes back in time gives ordinals out twice.
#[derive(Clone, Copy, Debug)]
pub struct TableOptions {
    pub point_in_time_recovery: bool,
    pub deletion_protection: bool,
}

impl Default for TableOptions {
    fn default() -> TableOptions {
        TableOptions { point_in_time_recovery: true, deletion_protection: true }
    }
}

/// Why a table can't be used.
#[derive(Debug, ThisError, Clone, PartialEq, Eq)]
pub enum TableError {
    /// Make it, or name another one.
    #[error("there is no table {table}")]
    Missing { table: String },
    /// Wait, or look what is done to it.
    #[error("table {table} is {status}, not ACTIVE")]
    NotActive { table: String, status: String },
    /// Name another one: keys can't be changed.
    #[error("table {table} has the key {found}, and {PK} (S, HASH), {SK} (S, RANGE) is needed")]
    WrongKey { table: String, found: String },
    /// Undecided, or not allowed: what DynamoDB said.
    #[error("table {table}: {failure}")]
    Call { table: String, failure: String },
}

impl DynamoLedger {
    /// Opens the ledger in a table that exists. Warns where nothing guards it against deletion or keeps its past.
    ///
    /// # Errors
    /// Where it is not there, not active, not keyed as a ledger, or nobody answers.
    pub async fn open(aws: &Aws, table: &str) -> Result<DynamoLedger, TableError> {
        let ledger = DynamoLedger::new(aws, table);
        let description = ledger.described().await?;
        check(table, &description)?;
        if description.deletion_protection_enabled() != Some(true) {
            tracing::warn!(table, "deletion protection is off: whoever deletes this table loses what was decided");
        }
        match ledger.keeps_its_past().await {
            Ok(Some(false)) => tracing::warn!(table, "point-in-time recovery is off: nothing undoes a bad write"),
            Ok(Some(true)) => {}
            Ok(None) => tracing::debug!(table, "this server has no point-in-time recovery"),
            Err(error) => tracing::warn!(table, %error, "can't tell whether point-in-time recovery is on"),
        }
        Ok(ledger)
    }

    /// Makes the table, billed by use, and waits until it is active. Doing it again only adds the guards that lack.
    ///
    /// # Errors
    /// As [`DynamoLedger::open`].
    pub async fn create_table(aws: &Aws, table: &str, options: TableOptions) -> Result<(), TableError> {
        let ledger = DynamoLedger::new(aws, table);
        ledger.create(options).await?;
        let description = ledger.active().await?;
        if options.deletion_protection && description.deletion_protection_enabled() != Some(true) {
            ledger.protect().await?;
        }
        if options.point_in_time_recovery && ledger.keeps_its_past().await? == Some(false) {
            ledger.keep_its_past().await?;
        }
        Ok(())
    }

    async fn create(&self, options: TableOptions) -> Result<(), TableError> {
        let request = self.client.create_table().table_name(&self.table);
        let described = request
            .billing_mode(BillingMode::PayPerRequest)
            .deletion_protection_enabled(options.deletion_protection)
            .set_key_schema(Some(vec![element(PK, KeyType::Hash), element(SK, KeyType::Range)]))
            .set_attribute_definitions(Some(vec![definition(PK), definition(SK)]));
        let created = self.calls.repeat(async || {
            self.count_request("CreateTable");
            match described.clone().send().await {
                Err(error) if aws::code(&error) == "ResourceInUseException" => Ok(()),
                answer => answer.map(drop).map_err(|error| Failure::of(&error)),
            }
        });
        created.await.map_err(|failure| self.unusable(&failure))
    }

    async fn active(&self) -> Result<TableDescription, TableError> {
        let asked = Instant::now();
        loop {
            let described = self.described().await;
            let waited_for = match &described {
                Ok(description) => check(&self.table, description),
                Err(error) => Err(error.clone()),
            };
            match waited_for {
                Ok(()) => return described,
                Err(TableError::NotActive { .. } | TableError::Missing { .. }) if asked.elapsed() < ACTIVE_WITHIN => {
                    tokio::time::sleep(ACTIVE_POLL).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn described(&self) -> Result<TableDescription, TableError> {
        let missing = || TableError::Missing { table: self.table.clone() };
        let described = self.calls.repeat(async || {
            self.count_request("DescribeTable");
            match self.client.describe_table().table_name(&self.table).send().await {
                Err(error) if aws::code(&error) == "ResourceNotFoundException" => Ok(None),
                answer => answer.map(|answer| answer.table).map_err(|error| Failure::of(&error)),
            }
        });
        described.await.map_err(|failure| self.unusable(&failure))?.ok_or_else(missing)
    }

    async fn protect(&self) -> Result<(), TableError> {
        let protected = self.calls.repeat(async || {
            self.count_request("UpdateTable");
            let request = self.client.update_table().table_name(&self.table).deletion_protection_enabled(true);
            request.send().await.map(drop).map_err(|error| Failure::of(&error))
        });
        protected.await.map_err(|failure| self.unusable(&failure))
    }

    /// Whether point-in-time recovery is on; `None` where the server has no such thing.
    async fn keeps_its_past(&self) -> Result<Option<bool>, TableError> {
        let asked = self.calls.repeat(async || {
            self.count_request("DescribeContinuousBackups");
            known(self.client.describe_continuous_backups().table_name(&self.table).send().await)
        });
        let Some(answer) = asked.await.map_err(|failure| self.unusable(&failure))? else { return Ok(None) };
        let status = answer
            .continuous_backups_description()
            .and_then(|backups| backups.point_in_time_recovery_description())
            .and_then(|recovery| recovery.point_in_time_recovery_status());
        Ok(Some(status == Some(&PointInTimeRecoveryStatus::Enabled)))
    }

    async fn keep_its_past(&self) -> Result<(), TableError> {
        let on = PointInTimeRecoverySpecification::builder().point_in_time_recovery_enabled(true).build();
        let on = on.expect("it says whether it is enabled");
        let kept = self.calls.repeat(async || {
            self.count_request("UpdateContinuousBackups");
            let request = self.client.update_continuous_backups().table_name(&self.table);
            match request.point_in_time_recovery_specification(on.clone()).send().await {
                // Backups of a table that was just made are not ready at once.
                Err(error) if aws::code(&error) == "ContinuousBackupsUnavailableException" => {
                    Err(Failure::Throttled(error.to_string()))
                }
                answer => known(answer).map(drop),
            }
        });
        kept.await.map_err(|failure| self.unusable(&failure))
    }

    fn unusable(&self, failure: &Failure) -> TableError {
        TableError::Call { table: self.table.clone(), failure: failure.to_string() }
    }
}

/// An answer; `None` from a server that has no such operation.
fn known<T, E>(answer: Result<T, SdkError<E>>) -> Result<Option<T>, Failure>
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match answer {
        Err(error) if aws::code(&error) == NO_SUCH_OPERATION => Ok(None),
        answer => answer.map(Some).map_err(|error| Failure::of(&error)),
    }
}

fn check(table: &str, description: &TableDescription) -> Result<(), TableError> {
    let table = table.to_owned();
    let found = key_of(description);
    if found != format!("{PK} (S, HASH), {SK} (S, RANGE)") {
        return Err(TableError::WrongKey { table, found });
    }
    match description.table_status() {
        // A table whose settings change serves as before.
        Some(TableStatus::Active | TableStatus::Updating) => Ok(()),
        status => {
            let status = status.map_or("in an unknown state", TableStatus::as_str).to_owned();
            Err(TableError::NotActive { table, status })
        }
    }
}

fn key_of(description: &TableDescription) -> String {
    let kind_of = |name: &str| {
        let attribute = description.attribute_definitions().iter().find(|attribute| attribute.attribute_name() == name);
        attribute.map_or("?", |attribute| attribute.attribute_type().as_str())
    };
    let part = |element: &KeySchemaElement| {
        let name = element.attribute_name();
        format!("{name} ({}, {})", kind_of(name), element.key_type().as_str())
    };
    description.key_schema().iter().map(part).collect::<Vec<_>>().join(", ")
}

fn element(name: &str, kind: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().expect("it has a name and a kind")
}

fn definition(name: &str) -> AttributeDefinition {
    let definition = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
    definition.build().expect("it has a name and a type")
}
