//! Appending: records in calls, each call again with those of its records that Kinesis refused.
//!
//! **Call**: one PutRecords and its answer, which says for each record of its own whether it was taken.

use super::Api;
use crate::{AppendError, NewRecord, Placed};
use aws::Failure;
use aws_sdk_kinesis::operation::put_records::PutRecordsOutput;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, PutRecordsResultEntry};
use futures::future::join_all;
use schema::{Position, ShardId};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

/// Most records of one call.
/// Source: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>
const CALL_RECORDS_MAX: usize = 500;

/// Most bytes of one call, keys included.
/// Source: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>
const CALL_BYTES_MAX: usize = 10 << 20;

/// Calls that are under way at once: each holds up to 10 MiB, and 13 MiB more as it is sent.
const CALLS_MAX: usize = 8;

/// A record has to have a key; the explicit hash key decides. Its length counts as the record's own.
const PARTITION_KEY: &str = "-";

#[derive(Debug)]
pub(super) struct Appender {
    api: Api,
    deadline: Duration,
    /// Of payload alone.
    bytes_max: usize,
    calls: Semaphore,
}

/// A record that is not taken yet.
struct Pending {
    /// Its place among the records of the append.
    place: usize,
    record: NewRecord,
    /// What became of it last.
    failed: AppendError,
}

type Outcome = (usize, Result<Placed, AppendError>);

impl Appender {
    pub(super) fn new(api: Api, deadline: Duration, record_bytes_max: usize) -> Appender {
        let bytes_max = record_bytes_max.min(CALL_BYTES_MAX) - PARTITION_KEY.len();
        Appender { api, deadline, bytes_max, calls: Semaphore::new(CALLS_MAX) }
    }

    /// Appends records in as many calls as they need, side by side, until all are taken or the deadline is over.
    pub(super) async fn append(&self, records: Vec<NewRecord>) -> Vec<Result<Placed, AppendError>> {
        let deadline = Instant::now() + self.deadline;
        let not_sent = AppendError::Throttled("too many calls were under way".to_owned());
        let mut results = vec![Err(not_sent.clone()); records.len()];
        let mut fitting = Vec::with_capacity(records.len());
        for (place, record) in records.into_iter().enumerate() {
            match record.bytes.len() {
                bytes if bytes > self.bytes_max => {
                    results[place] = Err(AppendError::TooLarge { bytes, bytes_max: self.bytes_max });
                }
                _ => fitting.push(Pending { place, record, failed: not_sent.clone() }),
            }
        }
        let sent = into_calls(fitting).into_iter().map(|call| self.send(call, deadline));
        for (place, outcome) in join_all(sent).await.into_iter().flatten() {
            results[place] = outcome;
        }
        results
    }

    /// Sends the records of one call, and again those that were refused, with pauses that differ from process to process.
    async fn send(&self, call: Vec<Pending>, deadline: Instant) -> Vec<Outcome> {
        let mut done = Vec::with_capacity(call.len());
        let mut left = call;
        for attempt in 0.. {
            left = self.send_once(left, deadline, &mut done).await;
            let pause = self.api.calls.pause(attempt);
            if left.is_empty() || Instant::now() + pause >= deadline {
                break;
            }
            sleep(pause).await;
        }
        done.extend(left.into_iter().map(|pending| (pending.place, Err(pending.failed))));
        done
    }

    /// Makes one call; gives back what is worth sending again.
    async fn send_once(&self, mut left: Vec<Pending>, deadline: Instant, done: &mut Vec<Outcome>) -> Vec<Pending> {
        let Ok(permit) = timeout_at(deadline, self.calls.acquire()).await else {
            return left;
        };
        let answer = timeout_at(deadline, self.call(&left)).await;
        drop(permit);
        let failure = match answer {
            Ok(Ok(answer)) => return self.sort(left, answer, done),
            Ok(Err(failure)) => failure,
            Err(_) => Failure::Unavailable(format!("no answer within {:?}", self.deadline)),
        };
        let error = match &failure {
            Failure::Throttled(text) => AppendError::Throttled(text.clone()),
            Failure::Unavailable(_) | Failure::Refused(_) => AppendError::Unavailable(failure.to_string()),
        };
        left.iter_mut().for_each(|pending| pending.fails(error.clone()));
        if failure.passes() {
            return left;
        }
        done.extend(left.into_iter().map(|pending| (pending.place, Err(pending.failed))));
        Vec::new()
    }

    async fn call(&self, records: &[Pending]) -> Result<PutRecordsOutput, Failure> {
        let entries = records.iter().map(|pending| entry(&pending.record)).collect();
        self.api.called("PutRecords");
        let put = self.api.client.put_records().stream_name(&self.api.stream).set_records(Some(entries));
        put.send().await.map_err(|error| Failure::of(&error))
    }

    /// Notes which records were taken; gives back the others.
    fn sort(&self, sent: Vec<Pending>, answer: PutRecordsOutput, done: &mut Vec<Outcome>) -> Vec<Pending> {
        let mut answers = answer.records.into_iter();
        let mut left = Vec::new();
        for mut pending in sent {
            match placed(answers.next()) {
                Ok(placed) => {
                    self.api.put(pending.record.bytes.len());
                    done.push((pending.place, Ok(placed)));
                }
                Err(error) => {
                    pending.fails(error);
                    left.push(pending);
                }
            }
        }
        left
    }
}

impl Pending {
    /// A record that may have landed once is undecided, however it was refused later.
    fn fails(&mut self, error: AppendError) {
        if !matches!(self.failed, AppendError::Unavailable(_)) {
            self.failed = error;
        }
    }
}

/// Divides records into calls, in order.
fn into_calls(records: Vec<Pending>) -> Vec<Vec<Pending>> {
    let mut calls: Vec<Vec<Pending>> = Vec::new();
    let mut bytes = 0;
    for pending in records {
        let size = pending.record.bytes.len() + PARTITION_KEY.len();
        match calls.last_mut() {
            Some(call) if call.len() < CALL_RECORDS_MAX && bytes + size <= CALL_BYTES_MAX => {
                bytes += size;
                call.push(pending);
            }
            _ => {
                bytes = size;
                calls.push(vec![pending]);
            }
        }
    }
    calls
}

fn entry(record: &NewRecord) -> PutRecordsRequestEntry {
    PutRecordsRequestEntry::builder()
        .partition_key(PARTITION_KEY)
        .explicit_hash_key(record.point.0.to_string())
        .data(Blob::from_maybe_shared(record.bytes.clone()))
        .build()
        .expect("it has data")
}

/// Where a record landed, by the answer about it.
fn placed(answer: Option<PutRecordsResultEntry>) -> Result<Placed, AppendError> {
    let Some(answer) = answer else {
        return Err(AppendError::Unavailable("the answer is about fewer records".to_owned()));
    };
    if let Some(code) = answer.error_code {
        let text = format!("{code}: {}", answer.error_message.unwrap_or_default());
        return Err(match Failure::of_code(&code, &text) {
            Some(Failure::Throttled(text)) => AppendError::Throttled(text),
            _ => AppendError::Unavailable(text),
        });
    }
    let position = answer.sequence_number.as_deref().and_then(Position::parse).filter(|position| !position.is_start());
    match (answer.shard_id, position) {
        (Some(shard), Some(position)) => Ok(Placed { shard: ShardId::new(shard), position }),
        _ => Err(AppendError::Unavailable("the answer does not say where the record is".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use schema::HashKey;

    fn pending(sizes: &[usize]) -> Vec<Pending> {
        let record = |bytes: usize| NewRecord { point: HashKey(0), bytes: vec![0; bytes].into() };
        let failed = AppendError::Throttled(String::new());
        let of = |(place, &bytes): (usize, &usize)| Pending { place, record: record(bytes), failed: failed.clone() };
        sizes.iter().enumerate().map(of).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn calls_keep_their_limits_and_carry_every_record_once(sizes in proptest::collection::vec(0usize..200_000, 0..700)) {
            let calls = into_calls(pending(&sizes));
            for call in &calls {
                let bytes: usize = call.iter().map(|pending| pending.record.bytes.len() + 1).sum();
                prop_assert!(!call.is_empty() && call.len() <= CALL_RECORDS_MAX && bytes <= CALL_BYTES_MAX);
            }
            let places: Vec<usize> = calls.iter().flatten().map(|pending| pending.place).collect();
            prop_assert_eq!(places, (0..sizes.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_record_that_may_have_landed_stays_undecided() {
        let mut pending = pending(&[1]).remove(0);
        pending.fails(AppendError::Unavailable("silence".into()));
        pending.fails(AppendError::Throttled("slow down".into()));
        assert_eq!(pending.failed, AppendError::Unavailable("silence".into()));
    }
}
