//! A PutRecords of which only some records arrive.

use super::call::Call;
use super::dice::Dice;
use super::forged::{self, Answer};
use super::upstream::Upstream;
use serde::Serialize;
use serde_json::{Map, Value};
use std::io;

/// How a record fails. Source: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecordsResultEntry.html>
const FAILURES: [(&str, &str); 2] = [
    ("ProvisionedThroughputExceededException", "Rate exceeded for shard shardId-000000000000 in stream a"),
    ("InternalFailure", "Internal service failure."),
];

/// The result of a record that did not arrive.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Failed {
    error_code: &'static str,
    error_message: &'static str,
}

/// Passes some of the records on, at least one if there are two, and never all. Nothing where the call can't be split: it
/// is no valid one, or the upstream refuses it as a whole.
///
/// # Errors
/// The upstream does not answer.
pub(super) async fn put(call: &Call, upstream: &mut Upstream, dice: &mut Dice) -> io::Result<Option<Answer>> {
    let Ok(mut request) = serde_json::from_slice::<Map<String, Value>>(&call.body) else {
        return Ok(None);
    };
    let Some(Value::Array(records)) = request.remove("Records").filter(|records| records != &Value::Array(vec![]))
    else {
        return Ok(None);
    };
    let arrives = arriving(records.len(), dice);
    let passed: Vec<Value> =
        records.into_iter().zip(&arrives).filter(|(_, arrives)| **arrives).map(|(record, _)| record).collect();
    let results = if passed.is_empty() { Some(Vec::new()) } else { pass(call, request, passed, upstream).await? };
    Ok(results.map(|results| forged::partial(merged(&arrives, results, dice))))
}

/// Which records arrive.
fn arriving(count: usize, dice: &mut Dice) -> Vec<bool> {
    let mut arrives: Vec<bool> = (0..count).map(|_| dice.falls(0.5)).collect();
    let fails = dice.below(count);
    arrives[fails] = false;
    if count > 1 {
        let other = (fails + 1 + dice.below(count - 1)) % count;
        arrives[other] = true;
    }
    arrives
}

/// The results of the records that are passed on.
async fn pass(
    call: &Call,
    mut request: Map<String, Value>,
    records: Vec<Value>,
    upstream: &mut Upstream,
) -> io::Result<Option<Vec<Value>>> {
    let count = records.len();
    request.insert("Records".into(), Value::Array(records));
    let body = serde_json::to_vec(&request).expect("what was JSON is JSON");
    let (status, answer) = upstream.apply(&call.with_body(body.into())).await?;
    let results =
        match serde_json::from_slice::<Map<String, Value>>(&answer).ok().and_then(|mut all| all.remove("Records")) {
            Some(Value::Array(results)) => results,
            _ => Vec::new(),
        };
    Ok((status.is_success() && results.len() == count).then_some(results))
}

/// The answer to all records, in their order.
fn merged(arrives: &[bool], results: Vec<Value>, dice: &mut Dice) -> Vec<u8> {
    let mut results = results.into_iter();
    let mut failed = || {
        let (error_code, error_message) = FAILURES[dice.below(FAILURES.len())];
        serde_json::to_value(Failed { error_code, error_message }).expect("two strings are JSON")
    };
    let next = |arrives: &bool| match arrives {
        true => results.next().expect("one for each that arrived"),
        false => failed(),
    };
    let records: Vec<Value> = arrives.iter().map(next).collect();
    // Upstreams may say that there is none.
    let has_failed = |record: &&Value| record.get("ErrorCode").is_some_and(|code| !code.is_null());
    let failures = records.iter().filter(has_failed).count();
    serde_json::to_vec(&serde_json::json!({ "FailedRecordCount": failures, "Records": records }))
        .expect("what was JSON is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_records_arrive_and_some_do_not() {
        for number in 0..200 {
            let mut dice = Dice::of_call(7, "PutRecords", number);
            let arrives = arriving(2 + number as usize % 5, &mut dice);
            assert!(arrives.contains(&true) && arrives.contains(&false), "{arrives:?}");
        }
        assert_eq!(arriving(1, &mut Dice::of_call(7, "PutRecords", 0)), [false]);
    }

    #[test]
    fn results_stay_in_the_order_of_the_records() {
        let results = vec![serde_json::json!({"ShardId": "a", "ErrorCode": null}), serde_json::json!({"ShardId": "b"})];
        let merged = merged(&[false, true, true, false], results, &mut Dice::of_call(7, "PutRecords", 0));
        let merged: Value = serde_json::from_slice(&merged).unwrap();
        let shards: Vec<Option<&str>> = (0..4).map(|k| merged["Records"][k]["ShardId"].as_str()).collect();
        assert_eq!(shards, [None, Some("a"), Some("b"), None]);
        assert_eq!(merged["FailedRecordCount"], 2);
    }
}
