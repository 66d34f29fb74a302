//! The table that a ledger lies in.

use crate::{Fresh, UNGUARDED, fresh};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use ledger::dynamodb::{DynamoLedger, TableError, TableOptions};

#[tokio::test]
async fn a_table_is_made_once_and_guarded_later() {
    let Fresh { aws, table, .. } = fresh().await;
    DynamoLedger::create_table(&aws, &table, UNGUARDED).await.unwrap();
    // DynamoDB Local has no backups: the rest must be done all the same.
    DynamoLedger::create_table(&aws, &table, TableOptions::default()).await.unwrap();
    let described = Client::new(&aws.config).describe_table().table_name(&table).send().await.unwrap().table.unwrap();
    assert_eq!(described.deletion_protection_enabled, Some(true));
    assert_eq!(described.billing_mode_summary.unwrap().billing_mode, Some(BillingMode::PayPerRequest));
}

#[tokio::test]
async fn a_table_that_is_not_there_is_named() {
    let Fresh { aws, .. } = fresh().await;
    let error = DynamoLedger::open(&aws, "nowhere").await.unwrap_err();
    assert_eq!(error, TableError::Missing { table: "nowhere".to_owned() });
}

#[tokio::test]
async fn a_table_with_other_keys_is_refused() {
    let Fresh { aws, .. } = fresh().await;
    let table = standins::fresh_name("other");
    let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build().unwrap();
    let id = AttributeDefinition::builder().attribute_name("id").attribute_type(ScalarAttributeType::N);
    let request = Client::new(&aws.config).create_table().table_name(&table).key_schema(key);
    let request = request.attribute_definitions(id.build().unwrap()).billing_mode(BillingMode::PayPerRequest);
    request.send().await.unwrap();
    let error = DynamoLedger::open(&aws, &table).await.unwrap_err();
    let found = "id (N, HASH)".to_owned();
    assert_eq!(error, TableError::WrongKey { table: table.clone(), found });
    let made = DynamoLedger::create_table(&aws, &table, UNGUARDED).await.unwrap_err();
    assert!(matches!(made, TableError::WrongKey { .. }), "{made}");
}
