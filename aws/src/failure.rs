//! What a failed call means to whoever made it.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
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
pub(crate) const THROTTLED: [&str; 15] = [
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
        let text = text(error);
        let SdkError::ServiceError(answer) = error else {
            return match error {
                SdkError::ConstructionFailure(_) => Failure::Refused(text),
                _ => Failure::Unavailable(text),
            };
        };
        let status = answer.raw().status().as_u16();
        if let Some(passes) = Failure::of_code(answer.err().code().unwrap_or_default(), &text) {
            passes
        } else if status == 429 {
            Failure::Throttled(text)
        } else if status >= 500 || status == 408 {
            Failure::Unavailable(text)
        } else {
            Failure::Refused(text)
        }
    }

    /// What the code of an error means by itself, as for one entry of a batch; `None` for codes that don't pass.
    pub fn of_code(code: &str, text: &str) -> Option<Failure> {
        if THROTTLED.contains(&code) {
            Some(Failure::Throttled(text.to_string()))
        } else if PASSING.contains(&code) {
            Some(Failure::Unavailable(text.to_string()))
        } else {
            None
        }
    }

    /// Repeating the call may help.
    pub fn passes(&self) -> bool {
        !matches!(self, Failure::Refused(_))
    }
}

/// What is said of an error: the service's own words, or the chain of what kept them away. Neither the request nor the
/// body of the answer is in it.
fn text<E: ProvideErrorMetadata + Error + 'static>(error: &SdkError<E, HttpResponse>) -> String {
    if let SdkError::ServiceError(answer) = error {
        let (code, status) = (answer.err().code().unwrap_or("no code"), answer.raw().status().as_u16());
        return match answer.err().message() {
            Some(message) => format!("{code}, status {status}: {message}"),
            None => format!("{code}, status {status}"),
        };
    }
    let mut text = error.to_string();
    let mut cause = Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
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
