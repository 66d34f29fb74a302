//! The lake port: objects that are created once, and what they are called.
//!
//! **Create-only**: an object's key gets content once; nobody overwrites it. **live/**: objects from the writer;
//! **final/**: objects from the compactor; **dropped/**: rows that the compactor found to be further copies.

use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use thiserror::Error;

pub mod contract;
pub mod layout;
pub mod local;
pub mod parquet_file;
pub mod s3;

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    pub key: String,
    pub bytes: u64,
    /// Unix time in microseconds, by the lake's clock: for graces, never for order.
    pub modified_at: i64,
}

/// What a create came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The object is there with these bytes, durably.
    New,
    /// The key has an object already, of this or of other content: look and compare.
    Exists,
}

#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum LakeError {
    /// Undecided: a create may have landed. Repeat with the same arguments. S3's 409 is one of these.
    #[error("the lake did not answer for {key}: {detail}")]
    Unavailable { key: String, detail: String },
    #[error("object {0} does not exist")]
    NotFound(String),
    /// Repeating won't help: access denied, no space, a key that can't be.
    #[error("the lake refuses {key}: {detail}")]
    Refused { key: String, detail: String },
}

/// An object store.
#[async_trait]
pub trait Lake: Send + Sync + fmt::Debug {
    /// Creates an object if its key is free. Atomic: readers see all of it or nothing. Durable on success.
    async fn create(&self, key: &str, bytes: Bytes) -> Result<Created, LakeError>;

    /// Creates an object from a finished file, as [`Lake::create`] does, without holding it in memory.
    ///
    /// The file stays where it is and must never change again: the object may share its bytes.
    async fn create_from_file(&self, key: &str, file: &Path) -> Result<Created, LakeError>;

    async fn get(&self, key: &str) -> Result<Bytes, LakeError>;

    /// The bytes in `range`; a range that reaches beyond the end is cut there.
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, LakeError>;

    async fn head(&self, key: &str) -> Result<ObjectMeta, LakeError>;

    /// Objects whose key starts with `prefix`, ascending by key.
    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, LakeError>;

    /// Removes an object; one that isn't there is no error.
    async fn delete(&self, key: &str) -> Result<(), LakeError>;
}
