//! Why an owner gave up.

use ledger::LedgerError;
use ledger::keeper::Failure;
use schema::ChainId;
use service::Halt;
use stream::ReadError;

/// Why an owner gave up. All but [`OwnerError::Halt`] are put right by starting anew.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    #[error("parent chain {0} has not ended")]
    ParentRuns(ChainId),
    #[error("the owner's memory is too old to go on with")]
    Stale,
    #[error(transparent)]
    Ledger(LedgerError),
    #[error(transparent)]
    Stream(ReadError),
    #[error(transparent)]
    Halt(#[from] Halt),
}

impl OwnerError {
    /// For whoever ends a process: a halt stays one.
    pub(crate) fn into_cause(self) -> anyhow::Error {
        match self {
            OwnerError::Halt(halt) => halt.into(),
            other => other.into(),
        }
    }
}

impl From<LedgerError> for OwnerError {
    fn from(error: LedgerError) -> OwnerError {
        match error {
            LedgerError::Damaged { .. } | LedgerError::TooLarge { .. } => Halt(error.to_string()).into(),
            other => OwnerError::Ledger(other),
        }
    }
}

impl From<ReadError> for OwnerError {
    fn from(error: ReadError) -> OwnerError {
        match error {
            ReadError::Unavailable(_) => OwnerError::Stream(error),
            ReadError::Trimmed { ref shard, ref after } => Halt(format!(
                "{error}; `forebay audit` says what is missing; on AWS, raise the stream's retention and start with \
                 --accept-trimmed {shard}:{after} to go on with the oldest record that is left"
            ))
            .into(),
            _ => Halt(error.to_string()).into(),
        }
    }
}

impl From<OwnerError> for Failure {
    fn from(error: OwnerError) -> Failure {
        match error {
            OwnerError::Halt(halt) => Failure::Fatal(halt.into()),
            other => Failure::Again(other.to_string()),
        }
    }
}
