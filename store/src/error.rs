//! What can go wrong with the store.

use crate::Damage;
use crate::frame::NAME_BYTES_MAX;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum StoreError {
    /// Stop the other process, or take another directory.
    #[error("data directory {} is in use by {holder}", dir.display())]
    Held { dir: PathBuf, holder: String },
    /// Restore the files from a copy, or open again with [`crate::Options::set_aside_damaged`].
    #[error("the log is damaged: {}", list(.0))]
    Damaged(Vec<Damage>),
    /// A write or a sync has failed: what it held is undecided, and nothing more is taken. Start the process anew.
    #[error("the store stopped: {0}")]
    Stopped(String),
    /// Too much waits to be written: come again later.
    #[error("too much waits to be written")]
    Full,
    /// Undecided: a part of a large call was written, the rest was not. Repeat.
    #[error("only a part was written")]
    Partly(#[source] Box<StoreError>),
    #[error("a name of {bytes} bytes; at most {NAME_BYTES_MAX} fit")]
    NameTooLong { bytes: usize },
    #[error("a payload of {bytes} bytes is too large for the log")]
    PayloadTooLarge { bytes: usize },
    #[error("the store is open read-only")]
    ReadOnly,
    #[error("{context}")]
    Io { context: String, source: io::Error },
}

impl StoreError {
    pub(crate) fn io(context: impl Into<String>) -> impl FnOnce(io::Error) -> StoreError {
        let context = context.into();
        move |source| StoreError::Io { context, source }
    }
}

fn list(damages: &[Damage]) -> String {
    const NAMED_MAX: usize = 20;
    let mut lines: Vec<String> = damages.iter().take(NAMED_MAX).map(Damage::to_string).collect();
    if damages.len() > NAMED_MAX {
        lines.push(format!("and {} more", damages.len() - NAMED_MAX));
    }
    lines.join("; ")
}

/// Why something can't be read back.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum FetchError {
    /// Retention has removed it.
    #[error("gone by retention; the first that is left is {first}")]
    Trimmed { first: u64 },
    #[error("number {number} is damaged: {detail}")]
    Damaged { number: u64, detail: String },
    /// Read again.
    #[error("reading the log failed: {0}")]
    Io(String),
}
