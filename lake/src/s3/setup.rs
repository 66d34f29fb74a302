//! A bucket for a lake, for development and for those who have no infrastructure as code.

use super::S3Options;
use super::bucket::{Bucket, failure};
use crate::LakeError;
use aws::{Aws, Failure, code};
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, BucketLocationConstraint, CreateBucketConfiguration,
    ExpirationStatus, LifecycleRule, LifecycleRuleFilter, PublicAccessBlockConfiguration,
};

/// The region that is no location constraint. Source:
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html>
const HOME_REGION: &str = "us-east-1";

/// Names the rule among the bucket's others.
const RULE: &str = "forebay-abort-incomplete-uploads";

/// No upload takes this long.
const UPLOAD_DAYS_MAX: i32 = 1;

/// Creates the bucket of a lake unless it is there, closes it to the public, and has uploads that nobody completed removed.
///
/// Safe to repeat. The bucket stays without versioning: objects are created once, and old versions of those that were
/// deleted would cost storage for ever.
///
/// # Errors
/// [`LakeError::Refused`]: the name is somebody else's, or the bucket may not be created or changed.
pub async fn setup(aws: &Aws, options: S3Options) -> Result<(), LakeError> {
    let bucket = Bucket::new(aws, options);
    let region = aws.config.region().map(|region| region.as_ref().to_string());
    let done = Box::pin(async {
        bucket.create(region.as_deref()).await?;
        bucket.close_to_the_public().await?;
        bucket.abort_incomplete_uploads().await
    });
    done.await.map_err(|failure| bucket.error(&bucket.place(), &failure))
}

impl Bucket {
    async fn create(&self, region: Option<&str>) -> Result<(), Failure> {
        let create = async || {
            let place = region.filter(|region| *region != HOME_REGION).map(|region| {
                CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::from(region)).build()
            });
            self.count_free("CreateBucket");
            let create = self.client.create_bucket().bucket(&self.name).set_create_bucket_configuration(place);
            match self.timed(0, create.send()).await? {
                Err(error) if code(&error) != "BucketAlreadyOwnedByYou" => Err(failure(&error)),
                _ => Ok(()),
            }
        };
        self.calls.repeat(create).await
    }

    async fn close_to_the_public(&self) -> Result<(), Failure> {
        let close = async || {
            let closed = PublicAccessBlockConfiguration::builder()
                .block_public_acls(true)
                .ignore_public_acls(true)
                .block_public_policy(true)
                .restrict_public_buckets(true)
                .build();
            self.count_free("PutPublicAccessBlock");
            let close = self.client.put_public_access_block().bucket(&self.name);
            match self.timed(0, close.public_access_block_configuration(closed).send()).await? {
                Err(error) => self.unless_unknown(code(&error), "blocking public access", failure(&error)),
                Ok(_) => Ok(()),
            }
        };
        self.calls.repeat(close).await
    }

    async fn abort_incomplete_uploads(&self) -> Result<(), Failure> {
        let mut rules = self.lifecycle_rules().await?;
        if rules.iter().any(|rule| rule.id() == Some(RULE)) {
            return Ok(());
        }
        rules.push(rule()?);
        let put = async || {
            let all =
                BucketLifecycleConfiguration::builder().set_rules(Some(rules.clone())).build().map_err(impossible)?;
            self.count_free("PutBucketLifecycleConfiguration");
            let put = self.client.put_bucket_lifecycle_configuration().bucket(&self.name).lifecycle_configuration(all);
            match self.timed(0, put.send()).await? {
                Err(error) => self.unless_unknown(code(&error), "removing incomplete uploads", failure(&error)),
                Ok(_) => Ok(()),
            }
        };
        self.calls.repeat(put).await
    }

    /// The bucket's rules, which are replaced as a whole.
    async fn lifecycle_rules(&self) -> Result<Vec<LifecycleRule>, Failure> {
        let get = async || {
            self.count_free("GetBucketLifecycleConfiguration");
            match self.timed(0, self.client.get_bucket_lifecycle_configuration().bucket(&self.name).send()).await? {
                Ok(found) => Ok(found.rules.unwrap_or_default()),
                Err(error) => match code(&error) {
                    "NoSuchLifecycleConfiguration" | "NotImplemented" => Ok(Vec::new()),
                    _ => Err(failure(&error)),
                },
            }
        };
        self.calls.repeat(get).await
    }

    /// Servers that stand in for S3 don't know all of it.
    fn unless_unknown(&self, code: &str, what: &str, failure: Failure) -> Result<(), Failure> {
        if code != "NotImplemented" {
            return Err(failure);
        }
        tracing::warn!(bucket = self.name, "the server does not know {what}");
        Ok(())
    }
}

fn rule() -> Result<LifecycleRule, Failure> {
    let abort = AbortIncompleteMultipartUpload::builder().days_after_initiation(UPLOAD_DAYS_MAX).build();
    let everywhere = LifecycleRuleFilter::builder().prefix("").build();
    let rule = LifecycleRule::builder().id(RULE).status(ExpirationStatus::Enabled).filter(everywhere);
    rule.abort_incomplete_multipart_upload(abort).build().map_err(impossible)
}

fn impossible(error: impl std::fmt::Display) -> Failure {
    Failure::Refused(error.to_string())
}
