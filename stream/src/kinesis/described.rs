//! What a stream is, as far as anything of ours rests on it.

use super::{Api, KinesisError};
use crate::Description;
use aws::Failure;
use aws_sdk_kinesis::types::{RecordDistributionStrategy, StreamDescriptionSummary, StreamStatus};
use md5::{Digest, Md5};
use std::time::Duration;

/// Size of a record where a stream has no other limit.
/// Source: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_CreateStream.html>
const RECORD_KIB_DEFAULT: i32 = 1024;

/// Bytes of the hash of a stream's ARN that tell it from streams elsewhere.
const ARN_HASH_BYTES: usize = 6;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) arn: String,
    pub(super) incarnation: String,
    /// Unix time in milliseconds.
    pub(super) made_at: i64,
    pub(super) mode: String,
    pub(super) retention: Duration,
    pub(super) encryption: String,
    pub(super) distribution: Option<RecordDistributionStrategy>,
    /// Key and payload together.
    pub(super) record_bytes_max: usize,
    pub(super) is_active: bool,
}

impl Described {
    fn of(summary: StreamDescriptionSummary) -> Described {
        let record_kib = summary.max_record_size_in_kib.filter(|kib| *kib > 0).unwrap_or(RECORD_KIB_DEFAULT);
        let hours = u64::try_from(summary.retention_period_hours).unwrap_or(0);
        let made_at = summary.stream_creation_timestamp.to_millis().unwrap_or(0);
        Described {
            incarnation: incarnation(&summary.stream_arn, made_at),
            made_at,
            mode: summary.stream_mode_details.map_or_else(|| "PROVISIONED".into(), |d| d.stream_mode.to_string()),
            retention: Duration::from_secs(hours * 3600),
            encryption: summary.encryption_type.map_or_else(|| "NONE".into(), |encryption| encryption.to_string()),
            distribution: summary.record_distribution_strategy,
            record_bytes_max: usize::try_from(record_kib).expect("it is positive") << 10,
            // A stream that is being updated takes and gives records as ever.
            is_active: matches!(summary.stream_status, StreamStatus::Active),
            arn: summary.stream_arn,
        }
    }

    pub(super) fn description(&self) -> Description {
        Description { capacity_mode: self.mode.clone(), retention: self.retention }
    }

    /// Refuses a stream that nothing of ours can work on. Streams that were never told otherwise go by key, and
    /// provisioned ones have no strategy. Source:
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_StreamDescriptionSummary.html>
    pub(super) fn check(&self, stream: &str) -> Result<(), KinesisError> {
        match &self.distribution {
            None | Some(RecordDistributionStrategy::UserPartitionKey) => Ok(()),
            Some(other) => {
                Err(KinesisError::IgnoresKeys { stream: stream.to_owned(), strategy: other.as_str().to_owned() })
            }
        }
    }
}

/// A name for a stream that was made at `made_at` (Unix time in milliseconds): another stream of the same name was made
/// at another time.
fn incarnation(arn: &str, made_at: i64) -> String {
    let hash = Md5::digest(arn);
    let hash: String = hash[..ARN_HASH_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{hash}{made_at:012x}")
}

impl Api {
    /// Describes the stream, repeating until Kinesis answers or the deadline of calls is over.
    pub(super) async fn describe(&self) -> Result<Described, KinesisError> {
        let answer = self.calls.repeat(async || self.describe_once().await).await;
        match answer {
            Ok(Some(described)) => Ok(described),
            Ok(None) => Err(KinesisError::NoStream { stream: self.stream.clone() }),
            Err(failure) => Err(KinesisError::of(&self.stream, &failure)),
        }
    }

    /// `None` where there is no such stream.
    async fn describe_once(&self) -> Result<Option<Described>, Failure> {
        self.called("DescribeStreamSummary");
        match self.client.describe_stream_summary().stream_name(&self.stream).send().await {
            Ok(answer) => Ok(answer.stream_description_summary.map(Described::of)),
            Err(error) if aws::code(&error) == "ResourceNotFoundException" => Ok(None),
            Err(error) => Err(Failure::of(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incarnation_is_letters_and_digits_and_changes_with_the_time_and_the_place() {
        let a = incarnation("arn:aws:kinesis:us-east-1:1:stream/raw", 1_795_415_120_136);
        assert!(a.len() <= 32 && a.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{a}");
        assert_ne!(a, incarnation("arn:aws:kinesis:us-east-1:1:stream/raw", 1_795_415_120_137));
        assert_ne!(a, incarnation("arn:aws:kinesis:us-east-2:1:stream/raw", 1_795_415_120_136));
    }
}
