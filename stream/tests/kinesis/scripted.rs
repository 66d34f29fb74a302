//! A Kinesis that answers as it is told: for what no stand-in does.

use aws::{Aws, Calls};
use serde_json::{Value, json};
use standins::scripted::{self, Answer, Request};
use std::time::Duration;

/// How long a call is repeated here.
const CALL_DEADLINE: Duration = Duration::from_millis(300);

/// A status that stands for no answer at all.
pub(crate) const SILENCE: u16 = 0;

/// When the stream was made, in seconds: so late that it can't have lost anything yet.
const MADE_AT: f64 = 4_102_444_800.5;

/// Status and body of an answer.
pub(crate) type Reply = (u16, Value);

pub(crate) struct Scripted {
    pub(crate) aws: Aws,
    server: scripted::Scripted,
}

impl Scripted {
    /// Answers by `script`; where that gives nothing, as a stream with one open shard and no records.
    pub(crate) async fn start(mut script: impl FnMut(&str, &Value) -> Option<Reply> + Send + 'static) -> Scripted {
        let answer = move |request: &Request| {
            let reply = script(&request.operation, &body_of(request));
            match reply.unwrap_or_else(|| (200, quiet(&request.operation))) {
                (SILENCE, _) => Answer::Silence,
                (status, body) => Answer::says(status, body.to_string()),
            }
        };
        let server = scripted::Scripted::answering(answer).await;
        let aws = Aws { calls: Calls::new(CALL_DEADLINE, 0), ..standins::connect(server.endpoint()) };
        Scripted { aws, server }
    }

    /// Bodies of the calls of an operation so far.
    pub(crate) fn asked(&self, operation: &str) -> Vec<Value> {
        self.server.requests().iter().filter(|request| request.operation == operation).map(body_of).collect()
    }
}

fn body_of(request: &Request) -> Value {
    serde_json::from_str(&request.body).expect("calls to Kinesis are JSON")
}

pub(crate) fn quiet(operation: &str) -> Value {
    match operation {
        "DescribeStreamSummary" => json!({"StreamDescriptionSummary": {
            "StreamName": "raw", "StreamARN": "arn:aws:kinesis:us-east-1:1:stream/raw", "StreamStatus": "ACTIVE",
            "RetentionPeriodHours": 24, "StreamCreationTimestamp": MADE_AT, "EnhancedMonitoring": [],
            "OpenShardCount": 1, "StreamModeDetails": {"StreamMode": "PROVISIONED"},
        }}),
        "ListShards" => json!({"Shards": [shard("shard", &[])]}),
        "GetShardIterator" => json!({"ShardIterator": "iterator"}),
        "GetRecords" => records(&[], "next", 0),
        _ => json!({}),
    }
}

pub(crate) fn shard(id: &str, parents: &[&str]) -> Value {
    json!({
        "ShardId": id, "ParentShardId": parents.first(), "AdjacentParentShardId": parents.get(1),
        "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": u128::MAX.to_string()},
        "SequenceNumberRange": {"StartingSequenceNumber": "1"},
    })
}

/// An answer of GetRecords with records at `positions`, all of which say `x`.
pub(crate) fn records(positions: &[u64], next: &str, behind_millis: u64) -> Value {
    let record = |position: &u64| {
        json!({
            "SequenceNumber": position.to_string(), "Data": "eA==", "PartitionKey": "-",
            "ApproximateArrivalTimestamp": 1_795_415_121.0,
        })
    };
    let records: Vec<Value> = positions.iter().map(record).collect();
    json!({"Records": records, "NextShardIterator": next, "MillisBehindLatest": behind_millis})
}

pub(crate) fn error(code: &str) -> Reply {
    let status = if code.contains("Internal") { 500 } else { 400 };
    (status, json!({"__type": code, "message": "as scripted"}))
}
