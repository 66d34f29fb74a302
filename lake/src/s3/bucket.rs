//! The bucket: what every call to S3 needs, how long it may take, and what its failure means.

use super::{S3Options, UploadSizes};
use crate::LakeError;
use aws::{Aws, Calls, Failure, Meter, code};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use std::error::Error;
use std::time::Duration;

/// A line that carries less is no line to work with: each attempt may take as long as its bytes take at this speed.
const BYTES_PER_SECOND_MIN: u64 = 1 << 20;

/// Longest wait for an answer where the settings have none.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Most bytes of a path. Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>
const PATH_BYTES_MAX: usize = 1024;

/// Codes that pass although their status does not say so: bytes that were damaged or cut off on their way, operations that
/// were in each other's way, and an error that comes under a status of success, as a completion's may, which begins its
/// answer before it is done. Sources: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>,
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>
const PASSING: [&str; 6] =
    ["BadDigest", "IncompleteBody", "InternalError", "NoSuchUpload", "OperationAborted", "XAmzContentChecksumMismatch"];

/// Requests at the price of a PUT: PUT, COPY, POST and LIST. Source: <https://aws.amazon.com/s3/pricing/>
pub(super) const PUT_REQUESTS: &str = "put_requests";

/// Requests at the price of a GET: GET, HEAD and all others but DELETE and CANCEL, which are free. Source:
/// <https://aws.amazon.com/s3/pricing/>
pub(super) const GET_REQUESTS: &str = "get_requests";

/// A bucket and the prefix of the lake in it.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) client: Client,
    pub(super) name: String,
    /// Empty, or ends with a slash.
    pub(super) prefix: String,
    pub(super) kms_key: Option<String>,
    pub(super) sizes: UploadSizes,
    pub(super) calls: Calls,
    answer_timeout: Duration,
    meter: Meter,
}

impl Bucket {
    pub(super) fn new(aws: &Aws, options: S3Options) -> Bucket {
        let S3Options { bucket, prefix, kms_key, path_style, sizes } = options;
        let timeouts = aws.config.timeout_config();
        let prefix = match prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Bucket {
            client: client(aws, path_style),
            name: bucket,
            prefix,
            kms_key,
            sizes,
            calls: aws.calls.clone(),
            answer_timeout: timeouts.and_then(|t| t.operation_attempt_timeout()).unwrap_or(ANSWER_TIMEOUT),
            meter: aws.meter.clone(),
        }
    }

    pub(super) fn path(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Where the lake is, for errors that are of no object.
    pub(super) fn place(&self) -> String {
        format!("s3://{}/{}", self.name, self.prefix)
    }

    /// Refuses keys that S3 or its tools can't reach.
    pub(super) fn check(&self, key: &str) -> Result<(), LakeError> {
        let unfit = if self.prefix.len() + key.len() > PATH_BYTES_MAX {
            "a path that is too long"
        } else if key.split('/').any(str::is_empty) {
            "an empty part"
        } else if key.split('/').any(|part| part == "." || part == "..") {
            "a part that leads elsewhere"
        } else {
            return Ok(());
        };
        Err(LakeError::Refused { key: key.to_string(), detail: unfit.to_string() })
    }

    /// Waits for something that moves `bytes`, as long as a slow line takes for them and no longer.
    pub(super) async fn timed<T>(&self, bytes: u64, work: impl Future<Output = T>) -> Result<T, Failure> {
        let longest = self.answer_timeout + time_for(bytes);
        let late = |_| Failure::Unavailable(format!("nothing within {longest:?}"));
        tokio::time::timeout(longest, work).await.map_err(late)
    }

    /// Repeats calls that send `bytes`.
    pub(super) fn calls_that_send(&self, bytes: u64) -> Calls {
        self.calls.longer(time_for(bytes))
    }

    /// Counts a call before it is made: S3 bills for most of those that fail as well.
    pub(super) fn count(&self, operation: &'static str, billed: &'static str) {
        self.meter.add("s3", operation, "requests", 1);
        self.meter.add("s3", operation, billed, 1);
    }

    pub(super) fn count_free(&self, operation: &'static str) {
        self.meter.add("s3", operation, "requests", 1);
    }

    pub(super) fn count_bytes(&self, operation: &'static str, unit: &'static str, bytes: u64) {
        self.meter.add("s3", operation, unit, bytes);
    }

    /// Says what the caller can do about a failure, and of which object and bucket it is.
    pub(super) fn error(&self, key: &str, failure: &Failure) -> LakeError {
        let (key, detail) = (key.to_string(), format!("bucket {}: {failure}", self.name));
        match failure {
            Failure::Refused(_) => LakeError::Refused { key, detail },
            Failure::Throttled(_) | Failure::Unavailable(_) => LakeError::Unavailable { key, detail },
        }
    }
}

/// A client that leaves timing to [`Bucket::timed`]: an answer's time depends on the bytes that are sent and received.
pub(super) fn client(aws: &Aws, path_style: bool) -> Client {
    let timeouts = aws.config.timeout_config().map(|timeouts| timeouts.to_builder()).unwrap_or_default();
    let timeouts = timeouts.disable_operation_attempt_timeout().build();
    let config = Builder::from(&aws.config).interceptor(aws::Outcomes).timeout_config(timeouts);
    Client::from_conf(config.force_path_style(path_style).build())
}

fn time_for(bytes: u64) -> Duration {
    Duration::from_secs(bytes.div_ceil(BYTES_PER_SECOND_MIN))
}

/// What a failed call means.
pub(super) fn failure<E: ProvideErrorMetadata + Error + 'static>(error: &SdkError<E, HttpResponse>) -> Failure {
    match Failure::of(error) {
        Failure::Refused(text) if PASSING.contains(&code(error)) => Failure::Unavailable(text),
        failure => failure,
    }
}

/// The status of the answer; 0 where there is none.
pub(super) fn status<E>(error: &SdkError<E, HttpResponse>) -> u16 {
    error.raw_response().map_or(0, |answer| answer.status().as_u16())
}
