//! Why a stream can't be used as it is, and what a person can do.

use crate::ReadError;
use aws::Failure;
use thiserror::Error;

/// All but [`KinesisError::Unavailable`] need a person.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum KinesisError {
    /// Wait and try again.
    #[error("stream {stream}: Kinesis did not answer: {detail}")]
    Unavailable { stream: String, detail: String },
    #[error("stream {stream}: {detail}")]
    Refused { stream: String, detail: String },
    #[error("there is no stream {stream}: create it first, or name another")]
    NoStream { stream: String },
    /// Routing by key is what the order of decisions rests on.
    #[error(
        "stream {stream} distributes its records by {strategy}, which ignores their keys: set its record distribution \
         strategy to USER_PARTITION_KEY"
    )]
    IgnoresKeys { stream: String, strategy: String },
    /// The stream is another one than it was. Its records and those of the old one must not be taken for each other.
    #[error(
        "stream {stream} was deleted and made again since this process started (was {was}, is {now}): what was not read \
         of the old one is lost; to go on with the new one, start again, its readers with --accept-made-again {was}"
    )]
    MadeAgain { stream: String, was: String, now: String },
    #[error("the {what} of stream {stream} was {was} when this process started and is {now}: {advice}")]
    Changed { stream: String, what: &'static str, was: String, now: String, advice: String },
    #[error("stream {stream} could not be looked at {looks} times in a row: {detail}")]
    Unwatched { stream: String, looks: u32, detail: String },
}

impl KinesisError {
    pub(super) fn of(stream: &str, failure: &Failure) -> KinesisError {
        let (stream, detail) = (stream.to_owned(), failure.to_string());
        if failure.passes() {
            KinesisError::Unavailable { stream, detail }
        } else {
            KinesisError::Refused { stream, detail }
        }
    }
}

/// Reading may be tried again whatever the failure: what needs a person is told by the watch.
pub(super) fn read_error(failure: &Failure) -> ReadError {
    ReadError::Unavailable(failure.to_string())
}
