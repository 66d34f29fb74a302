//! What the SDK does of itself, over the wire: nothing that is not asked for.

#![allow(clippy::unwrap_used)] // A test that can't be set up may panic.

use aws::{Aws, Calls, Failure};
use standins::scripted::{Answer, Scripted};
use std::cell::Cell;
use std::time::Duration;

/// As a process connects, but for where its credentials come from.
async fn connected(server: &Scripted) -> Aws {
    let aws = Aws::connect(&standins::settings(server.endpoint()), 7).await;
    let config = aws.config.to_builder().credentials_provider(standins::credentials()).build();
    Aws { config, ..aws }
}

async fn broken(status: u16) -> Scripted {
    Scripted::answering(move |_| Answer::says(status, r#"{"__type":"InternalServerError"}"#)).await
}

#[tokio::test]
async fn a_call_that_fails_is_one_request() {
    for status in [500, 503, 429] {
        let server = broken(status).await;
        let connections = [connected(&server).await, standins::connect(server.endpoint())];
        for aws in &connections {
            let client = aws_sdk_dynamodb::Client::new(&aws.config);
            client.list_tables().send().await.unwrap_err();
            assert_eq!(server.take_requests().len(), 1, "status {status}");
            aws_sdk_kinesis::Client::new(&aws.config).list_streams().send().await.unwrap_err();
            assert_eq!(server.take_requests().len(), 1, "status {status}");
        }
    }
}

#[tokio::test]
async fn a_call_that_gets_no_answer_is_one_request() {
    let server = Scripted::start([]).await;
    let client = aws_sdk_dynamodb::Client::new(&connected(&server).await.config);
    client.list_tables().send().await.unwrap_err();
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn each_attempt_of_ours_is_one_request_and_a_deadline_ends_them() {
    let server = broken(500).await;
    let aws = Aws { calls: Calls::new(Duration::from_secs(1), 7), ..connected(&server).await };
    let (client, attempts) = (aws_sdk_dynamodb::Client::new(&aws.config), Cell::new(0));
    let outcome = aws
        .calls
        .repeat(async || {
            attempts.set(attempts.get() + 1);
            client.list_tables().send().await.map_err(|error| Failure::of(&error))
        })
        .await;
    assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
    assert!(attempts.get() > 1);
    assert_eq!(server.requests().len(), attempts.get());
}

#[tokio::test]
async fn a_connection_waits_for_an_answer_as_long_as_it_is_told_to() {
    let server = broken(500).await;
    let settings = standins::settings(server.endpoint());
    for aws in [connected(&server).await, standins::connect(server.endpoint())] {
        let timeouts = aws.config.timeout_config().unwrap();
        assert_eq!(timeouts.connect_timeout(), Some(settings.connect_timeout));
        assert_eq!(timeouts.operation_attempt_timeout(), Some(settings.call_timeout));
    }
}
