//! A lake in a bucket of S3.
//!
//! **Path**: what S3 calls an object: the prefix of this lake and the object's key, byte for byte. Nothing is encoded on
//! the way, so that the `%` of a partition stays what it is. **Upload**: an object that is sent in **parts** and comes
//! into being, all at once, when the upload is completed; until then, and for ever if nobody completes it, only the
//! bucket's owner sees it.
//!
//! Whatever creates an object says `If-None-Match: *`. 412: the key is taken, maybe by this very creation, of which an
//! earlier answer was lost. 409: somebody else creates or deletes it at this moment, and nothing has landed. Source:
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html#conditional-error-response>

mod bucket;
mod content;
mod read;
mod setup;
mod upload;
mod write;

pub use setup::setup;

use crate::{Created, Lake, LakeError, ObjectMeta};
use async_trait::async_trait;
use aws::{Aws, Failure};
use bucket::Bucket;
use bytes::Bytes;
use content::Content;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Objects up to this size are sent in one request, which costs a third of the shortest upload in parts.
const SINGLE_BYTES_MAX: u64 = 16 << 20;

/// Bytes of a part. Each is a request that is paid for, and what is sent again when a connection breaks.
const PART_BYTES: u64 = 16 << 20;

/// Where a lake is in S3, and how its objects are kept there.
#[derive(Clone, Debug)]
pub struct S3Options {
    pub bucket: String,
    /// Stands before each key, with one slash between them; empty for none.
    pub prefix: String,
    /// The KMS key that objects are encrypted with: its id, ARN or alias. Without one the bucket's own default applies.
    pub kms_key: Option<String>,
    /// The bucket's name goes into the path of URLs instead of the host's name, as most servers other than AWS want it.
    pub path_style: bool,
    pub sizes: UploadSizes,
}

impl S3Options {
    /// The lake that a bucket is as a whole.
    pub fn of_bucket(bucket: impl Into<String>) -> S3Options {
        let (prefix, kms_key, path_style) = (String::new(), None, false);
        S3Options { bucket: bucket.into(), prefix, kms_key, path_style, sizes: UploadSizes::default() }
    }
}

/// When objects are sent in parts.
#[derive(Clone, Copy, Debug)]
pub struct UploadSizes {
    /// Larger objects are sent in parts.
    pub single_bytes_max: u64,
    /// Bytes of each part but the last. S3 takes no less than 5 MiB. Source:
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
    pub part_bytes: u64,
}

impl Default for UploadSizes {
    fn default() -> UploadSizes {
        UploadSizes { single_bytes_max: SINGLE_BYTES_MAX, part_bytes: PART_BYTES }
    }
}

/// A lake whose objects are in a bucket. Clones share their connections.
#[derive(Clone, Debug)]
pub struct S3Lake {
    bucket: Arc<Bucket>,
}

impl S3Lake {
    /// Opens the lake, and asks for one name in it, so that a missing bucket or permission shows now and not later.
    ///
    /// It needs `s3:ListBucket` for good: S3 answers who may not list with «access denied» where an object is absent.
    ///
    /// # Errors
    /// [`LakeError::Refused`]: the bucket is not there, or its objects may not be listed.
    /// [`LakeError::Unavailable`]: no answer within the deadline.
    pub async fn open(aws: &Aws, options: S3Options) -> Result<S3Lake, LakeError> {
        let bucket = Bucket::new(aws, options);
        let listed = bucket.list_page(&bucket.path(""), None, Some(1)).await;
        listed.map_err(|failure| bucket.error(&bucket.place(), &failure))?;
        Ok(S3Lake { bucket: Arc::new(bucket) })
    }

    async fn create_of(&self, key: &str, content: &Content) -> Result<Created, LakeError> {
        let created = if content.bytes() <= self.bucket.sizes.single_bytes_max {
            Box::pin(write::create(&self.bucket, key, content)).await
        } else {
            Box::pin(upload::create(&self.bucket, key, content)).await
        };
        created.map_err(|failure| self.bucket.error(key, &failure))
    }

    /// The answer to a question about one object, which may not be there.
    fn found<T>(&self, key: &str, answer: Result<Option<T>, Failure>) -> Result<T, LakeError> {
        match answer {
            Ok(found) => found.ok_or_else(|| LakeError::NotFound(key.to_string())),
            Err(failure) => Err(self.bucket.error(key, &failure)),
        }
    }
}

#[async_trait]
impl Lake for S3Lake {
    async fn create(&self, key: &str, bytes: Bytes) -> Result<Created, LakeError> {
        self.bucket.check(key)?;
        self.create_of(key, &Content::Bytes(bytes)).await
    }

    /// Reads the file as often as it takes; a part of it is in memory only while it is on its way.
    async fn create_from_file(&self, key: &str, file: &Path) -> Result<Created, LakeError> {
        self.bucket.check(key)?;
        let content = Content::of_file(file).await.map_err(|failure| self.bucket.error(key, &failure))?;
        self.create_of(key, &content).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, LakeError> {
        self.bucket.check(key)?;
        self.found(key, Box::pin(self.bucket.get(key)).await)
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, LakeError> {
        self.bucket.check(key)?;
        self.found(key, Box::pin(self.bucket.get_range(key, range)).await)
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, LakeError> {
        self.bucket.check(key)?;
        self.found(key, Box::pin(self.bucket.head(key)).await)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, LakeError> {
        let listed = Box::pin(self.bucket.list(prefix)).await;
        listed.map_err(|failure| self.bucket.error(prefix, &failure))
    }

    async fn delete(&self, key: &str) -> Result<(), LakeError> {
        self.bucket.check(key)?;
        let deleted = Box::pin(self.bucket.delete(key)).await;
        deleted.map_err(|failure| self.bucket.error(key, &failure))
    }
}
