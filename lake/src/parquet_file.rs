//! Objects as Parquet files.
//!
//! **Identity**: what makes two objects the same although their bytes may differ: how many rows they have, the rows'
//! hash, and how the rows fall into event types. It stands in the footer of each object.

mod identity;
mod properties;
mod read;
mod write;

pub use identity::{Identity, identity, verify};
pub use read::{Columns, ObjectReader, batches_of};
pub use write::{ObjectWriter, encode};

use crate::{Created, Lake, LakeError};
use bytes::Bytes;
use std::path::Path;
use thiserror::Error;

/// Bytes of a row group of `live/`, encoded: a merge holds one for each of its inputs.
pub const LIVE_ROW_GROUP_BYTES: usize = 4 << 20;

/// Bytes of a row group of `final/`, encoded: query engines share their work out by row groups.
pub const FINAL_ROW_GROUP_BYTES: usize = 32 << 20;

#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ObjectError {
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The bytes are not those that were written: a person must look.
    #[error("object {key} is damaged: {detail}")]
    Damaged { key: String, detail: String },
    /// Somebody else made the object, of other rows: halt (PROTOCOL rule 23).
    #[error("object {key} has {found}, while {expected} were announced")]
    Differs { key: String, expected: Identity, found: Identity },
    /// The file that an object is written to does not take it, as a full disk does not.
    #[error("can't write the object: {0}")]
    Unwritten(String),
}

/// Creates an object, or finds that it exists with the same rows (PROTOCOL rule 23).
///
/// # Errors
/// [`ObjectError::Lake`] of [`LakeError::Unavailable`]: repeat with the same arguments.
/// [`ObjectError::Differs`] and [`ObjectError::Damaged`]: halt.
pub async fn create_exactly(
    lake: &dyn Lake,
    key: &str,
    bytes: Bytes,
    expected: &Identity,
) -> Result<Created, ObjectError> {
    let created = lake.create(key, bytes).await?;
    check_if_exists(lake, key, created, expected).await
}

/// As [`create_exactly`], of a finished file that must never change again.
pub async fn create_exactly_from_file(
    lake: &dyn Lake,
    key: &str,
    file: &Path,
    expected: &Identity,
) -> Result<Created, ObjectError> {
    let created = lake.create_from_file(key, file).await?;
    check_if_exists(lake, key, created, expected).await
}

async fn check_if_exists(
    lake: &dyn Lake,
    key: &str,
    created: Created,
    expected: &Identity,
) -> Result<Created, ObjectError> {
    if created == Created::Exists {
        let found = identity(lake, key).await?;
        if found != *expected {
            return Err(ObjectError::Differs { key: key.to_string(), expected: expected.clone(), found });
        }
    }
    Ok(created)
}
