//! An object in one request, and the removal of objects.

use super::bucket::{Bucket, PUT_REQUESTS, failure, status};
use super::content::Content;
use crate::Created;
use aws::Failure;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::types::ServerSideEncryption;

/// What `If-None-Match` says: no object of whatever content.
pub(super) const NO_OBJECT: &str = "*";

/// The status of a condition that does not hold. Source:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html#conditional-error-response>
pub(super) const CONDITION_FAILED: u16 = 412;

/// Creates an object with one request, which is repeated until its outcome is known.
pub(super) async fn create(bucket: &Bucket, key: &str, content: &Content) -> Result<Created, Failure> {
    let bytes = content.bytes();
    let create = async || {
        let body = content.part(0..bytes).await?;
        let put = bucket.client.put_object().bucket(&bucket.name).key(bucket.path(key));
        let put = encrypted(put, bucket).if_none_match(NO_OBJECT).body(body);
        bucket.count("PutObject", PUT_REQUESTS);
        bucket.count_bytes("PutObject", "bytes_in", bytes);
        match bucket.timed(bytes, Box::pin(put.send())).await? {
            Ok(_) => Ok(Created::New),
            Err(error) if status(&error) == CONDITION_FAILED => Ok(Created::Exists),
            Err(error) => Err(failure(&error)),
        }
    };
    bucket.calls_that_send(bytes).repeat(create).await
}

/// A bucket key spares most calls to KMS. Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-key.html>
fn encrypted(put: PutObjectFluentBuilder, bucket: &Bucket) -> PutObjectFluentBuilder {
    match &bucket.kms_key {
        Some(key) => {
            put.server_side_encryption(ServerSideEncryption::AwsKms).ssekms_key_id(key).bucket_key_enabled(true)
        }
        None => put,
    }
}

impl Bucket {
    pub(super) async fn delete(&self, key: &str) -> Result<(), Failure> {
        let delete = async || {
            self.count_free("DeleteObject");
            let delete = self.client.delete_object().bucket(&self.name).key(self.path(key));
            self.timed(0, delete.send()).await?.map(drop).map_err(|error| failure(&error))
        };
        self.calls.repeat(delete).await
    }
}
