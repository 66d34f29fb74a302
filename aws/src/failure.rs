//! What a failed call means to whoever made it.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::display::DisplayErrorContext;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use std::error::Error;
use std::fmt;

/// What a failed call means. An error of the domain, as a failed condition, is told by its code before this is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Refused for now, with no effect: wait and repeat.
    Throttled(String),
    /// Undecided: it may have taken effect. Repeat only what may happen twice.
    Unavailable(String),
    /// Refused for good: access denied, a resource that is not there, a request that can't be.
    Refused(String),
}

/// Codes by which the services say «too fast». Source: the SDKs' own list,
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html>
const THROTTLED: [&str; 15] = [
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "KMSThrottlingException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestThrottling",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// Codes that come with a 4xx status and yet pass by themselves.
const PASSING: [&str; 6] = [
    "InternalFailure",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "TransactionInProgressException",
    "ConditionalRequestConflict",
];

impl Failure {
    pub fn of<E: ProvideErrorMetadata + Error + 'static>(error: &SdkError<E, HttpResponse>) -> Failure {
        let text = DisplayErrorContext(error).to_string();
        let SdkError::ServiceError(answer) = error else {
            return match error {
                SdkError::ConstructionFailure(_) => Failure::Refused(text),
                _ => Failure::Unavailable(text),
            };
        };
        let code = answer.err().code().unwrap_or_default();
        let status = answer.raw().status().as_u16();
        if THROTTLED.contains(&code) || status == 429 {
            Failure::Throttled(text)
        } else if status >= 500 || status == 408 || PASSING.contains(&code) {
            Failure::Unavailable(text)
        } else {
            Failure::Refused(text)
        }
    }

    /// Repeating the call may help.
    pub fn passes(&self) -> bool {
        !matches!(self, Failure::Refused(_))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Throttled(text) => write!(f, "throttled: {text}"),
            Failure::Unavailable(text) => write!(f, "no answer: {text}"),
            Failure::Refused(text) => write!(f, "refused: {text}"),
        }
    }
}

/// The code of a service's own error, as `ConditionalCheckFailedException`; empty where the service has not answered.
pub fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> &str {
    error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default()
}
