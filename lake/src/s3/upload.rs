//! An object in parts.
//!
//! The upload that is completed first makes the object; all others find it there. An upload that came to nothing is
//! aborted, so that its parts cost no storage; if even that fails, a rule of the bucket removes them (see
//! [`super::setup()`]).

use super::bucket::{Bucket, PUT_REQUESTS, failure, status};
use super::content::Content;
use super::write::{CONDITION_FAILED, NO_OBJECT};
use crate::Created;
use aws::Failure;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, ServerSideEncryption};
use futures::{StreamExt, TryStreamExt, stream};
use std::ops::Range;

/// Parts that are on their way at once: a single connection to S3 does not fill a fast line.
const PARTS_AT_ONCE: usize = 4;

/// Most parts of an upload. Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
const PARTS_MAX: u64 = 10_000;

/// An upload that has begun.
#[derive(Debug)]
struct Upload<'a> {
    bucket: &'a Bucket,
    path: String,
    id: String,
    content: &'a Content,
}

/// Creates an object with an upload of its own.
///
/// After a conflict S3 wants a new upload: the caller, who repeats what is undecided, begins one. It looks before it
/// sends: a request at the price of a GET instead of a whole upload where the object is there already, as it is after a
/// completion whose answer was lost.
pub(super) async fn create(bucket: &Bucket, key: &str, content: &Content) -> Result<Created, Failure> {
    let parts = content.bytes().div_ceil(bucket.sizes.part_bytes);
    if parts > PARTS_MAX {
        return Err(Failure::Refused(format!("{parts} parts, while S3 takes {PARTS_MAX} of an object")));
    }
    if bucket.head(key).await?.is_some() {
        return Ok(Created::Exists);
    }
    let path = bucket.path(key);
    let upload = Upload { bucket, id: begin(bucket, &path).await?, path, content };
    let created = upload.carry_out().await;
    if created != Ok(Created::New) {
        upload.abort().await;
    }
    created
}

/// Begins an upload. If an answer is lost there are two, of which one stays without parts.
async fn begin(bucket: &Bucket, path: &str) -> Result<String, Failure> {
    let begin = async || {
        let begin = bucket.client.create_multipart_upload().bucket(&bucket.name).key(path);
        let begin = begin.checksum_algorithm(ChecksumAlgorithm::Crc32);
        let begin = match &bucket.kms_key {
            Some(key) => {
                begin.server_side_encryption(ServerSideEncryption::AwsKms).ssekms_key_id(key).bucket_key_enabled(true)
            }
            None => begin,
        };
        bucket.count("CreateMultipartUpload", PUT_REQUESTS);
        let begun = bucket.timed(0, begin.send()).await?.map_err(|error| failure(&error))?;
        begun.upload_id.ok_or_else(|| Failure::Refused("an upload without an id".to_string()))
    };
    bucket.calls.repeat(begin).await
}

impl Upload<'_> {
    async fn carry_out(&self) -> Result<Created, Failure> {
        let (bytes, part_bytes) = (self.content.bytes(), self.bucket.sizes.part_bytes);
        let ranges = (0..bytes.div_ceil(part_bytes)).map(|k| k * part_bytes..bytes.min((k + 1) * part_bytes));
        let parts = (1..).zip(ranges).map(|(number, range)| Box::pin(self.send_part(number, range)));
        let parts: Vec<CompletedPart> = stream::iter(parts).buffered(PARTS_AT_ONCE).try_collect().await?;
        self.complete(parts).await
    }

    async fn send_part(&self, number: i32, range: Range<u64>) -> Result<CompletedPart, Failure> {
        let bytes = range.end - range.start;
        let send = async || {
            let body = self.content.part(range.clone()).await?;
            let part = self.bucket.client.upload_part().bucket(&self.bucket.name).key(&self.path).upload_id(&self.id);
            let part = part.part_number(number).checksum_algorithm(ChecksumAlgorithm::Crc32).body(body);
            self.bucket.count("UploadPart", PUT_REQUESTS);
            self.bucket.count_bytes("UploadPart", "bytes_in", bytes);
            let sent = self.bucket.timed(bytes, part.send()).await?.map_err(|error| failure(&error))?;
            let part = CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag);
            Ok(part.set_checksum_crc32(sent.checksum_crc32).build())
        };
        self.bucket.calls_that_send(bytes).repeat(send).await
    }

    /// Makes the object of the parts, unless there is one.
    ///
    /// Repeated where no answer came: then «exists» may be this upload's own doing, and so may «no such upload», which
    /// is undecided. A conflict has ended the upload.
    async fn complete(&self, parts: Vec<CompletedPart>) -> Result<Created, Failure> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let complete = async || {
            let complete = self.bucket.client.complete_multipart_upload().bucket(&self.bucket.name).key(&self.path);
            let complete = complete.upload_id(&self.id).multipart_upload(parts.clone()).if_none_match(NO_OBJECT);
            self.bucket.count("CompleteMultipartUpload", PUT_REQUESTS);
            match self.bucket.timed(self.content.bytes(), complete.send()).await? {
                Ok(_) => Ok(Ok(Created::New)),
                Err(error) if status(&error) == CONDITION_FAILED => Ok(Ok(Created::Exists)),
                Err(error) if is_over(status(&error)) => Ok(Err(failure(&error))),
                Err(error) => Err(failure(&error)),
            }
        };
        self.bucket.calls.repeat(complete).await?
    }

    /// Gives the parts up. Nobody waits for them, so it is tried once.
    async fn abort(&self) {
        let abort = self.bucket.client.abort_multipart_upload().bucket(&self.bucket.name).key(&self.path);
        self.bucket.count_free("AbortMultipartUpload");
        let aborted = self.bucket.timed(0, abort.upload_id(&self.id).send()).await;
        if let Err(failure) = aborted.and_then(|aborted| aborted.map_err(|error| Failure::of(&error))) {
            tracing::debug!(path = self.path, upload = self.id, %failure, "an upload that came to nothing stays for now");
        }
    }
}

/// Whether a completion ended with a conflict (409), or found no upload (404): repeating it with this upload won't help.
fn is_over(status: u16) -> bool {
    matches!(status, 404 | 409)
}
