//! Why a compaction stopped.

use lake::LakeError;
use lake::parquet_file::ObjectError;
use ledger::LedgerError;
use queue::QueueError;
use schema::columns::ColumnError;
use service::Halt;
use std::fmt;

/// Why a compaction stopped. What was done stays done: after all but [`CompactError::Halt`], compact again.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    #[error(transparent)]
    Ledger(LedgerError),
    #[error(transparent)]
    Lake(LakeError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The disk for spilled rows does not take or give them.
    #[error("can't spill rows to disk: {0}")]
    Spill(String),
    /// Not transparent: a [`Halt`] must stand in the chain of causes for whoever looks for one there.
    #[error("compaction can't go on")]
    Halt(#[from] Halt),
}

impl From<LedgerError> for CompactError {
    fn from(error: LedgerError) -> CompactError {
        match error {
            LedgerError::Damaged { .. } | LedgerError::TooLarge { .. } => Halt(error.to_string()).into(),
            other => CompactError::Ledger(other),
        }
    }
}

impl From<LakeError> for CompactError {
    /// What is missing without a reason must be looked into.
    fn from(error: LakeError) -> CompactError {
        match error {
            LakeError::NotFound(_) => Halt(error.to_string()).into(),
            other => CompactError::Lake(other),
        }
    }
}

impl From<ObjectError> for CompactError {
    fn from(error: ObjectError) -> CompactError {
        match error {
            ObjectError::Lake(error) => error.into(),
            ObjectError::Unwritten(detail) => CompactError::Spill(detail),
            ObjectError::Damaged { .. } | ObjectError::Differs { .. } => Halt(error.to_string()).into(),
        }
    }
}

impl From<ColumnError> for CompactError {
    fn from(error: ColumnError) -> CompactError {
        Halt(error.to_string()).into()
    }
}

/// An error of the spill disk, with what was tried.
pub(crate) fn spill(action: &'static str) -> impl Fn(std::io::Error) -> CompactError {
    move |error| CompactError::Spill(format!("{action}: {error}"))
}

/// A check of the protocol that failed.
pub(crate) fn halt<T>(reason: impl fmt::Display) -> Result<T, CompactError> {
    Err(Halt(reason.to_string()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_halt_is_among_the_causes_so_that_the_process_ends_as_halted() {
        let outcome: Result<(), CompactError> = halt("a row is missing");
        let error = outcome.context("compact events").expect_err("it is one");
        assert!(error.chain().any(|cause| cause.is::<Halt>()), "{error:#}");
        assert_eq!(format!("{error:#}"), "compact events: compaction can't go on: halt: a row is missing");
    }
}
