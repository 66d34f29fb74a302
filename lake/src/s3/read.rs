//! Reading objects and their names.

use super::bucket::{Bucket, GET_REQUESTS, PUT_REQUESTS, failure, status};
use crate::ObjectMeta;
use aws::{Failure, code};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::primitives::DateTime;
use bytes::Bytes;
use std::ops::Range;

/// The status of a range that begins beyond the end.
const NO_SUCH_RANGE: u16 = 416;

const NOT_FOUND: u16 = 404;

/// A bucket that is not there is no absent object.
const NO_SUCH_BUCKET: &str = "NoSuchBucket";

/// Most bytes read at a time by a read that has no range of its own: the largest objects that are made are smaller.
const WHOLE_BYTES_MAX: u64 = 1 << 30;

impl Bucket {
    pub(super) async fn get(&self, key: &str) -> Result<Option<Bytes>, Failure> {
        self.calls.repeat(async || self.fetch(key, None, WHOLE_BYTES_MAX).await).await
    }

    /// The bytes in `range` as far as there are any; `None` where no object is.
    pub(super) async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, Failure> {
        let bytes = range.end.saturating_sub(range.start);
        if bytes == 0 {
            return Ok(self.head(key).await?.map(|_| Bytes::new()));
        }
        let header = format!("bytes={}-{}", range.start, range.end - 1);
        self.calls.repeat(async || self.fetch(key, Some(&header), bytes).await).await
    }

    /// Asks once. A body that breaks off is thrown away: only a whole one is checked against its checksum.
    async fn fetch(&self, key: &str, range: Option<&str>, bytes_max: u64) -> Result<Option<Bytes>, Failure> {
        let get = self.client.get_object().bucket(&self.name).key(self.path(key));
        self.count("GetObject", GET_REQUESTS);
        match self.timed(0, get.set_range(range.map(str::to_string)).send()).await? {
            Ok(answer) => self.body(answer, bytes_max).await.map(Some),
            Err(error) if status(&error) == NO_SUCH_RANGE => Ok(Some(Bytes::new())),
            Err(error) if status(&error) == NOT_FOUND && code(&error) != NO_SUCH_BUCKET => Ok(None),
            Err(error) => Err(failure(&error)),
        }
    }

    async fn body(&self, answer: GetObjectOutput, bytes_max: u64) -> Result<Bytes, Failure> {
        let bytes = answer.content_length.and_then(|bytes| u64::try_from(bytes).ok());
        let bytes = bytes.ok_or_else(|| Failure::Refused("an object of unknown length".to_string()))?;
        if bytes > bytes_max {
            return Err(Failure::Refused(format!("{bytes} bytes, where at most {bytes_max} were asked for")));
        }
        let body = self.timed(bytes, answer.body.collect()).await?;
        let body = body.map_err(|error| Failure::Unavailable(format!("the body broke off: {error}")))?.into_bytes();
        self.count_bytes("GetObject", "bytes_out", body.len() as u64);
        Ok(body)
    }

    /// `None` where no object is. The answer has no body, so a bucket that is not there looks the same.
    pub(super) async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, Failure> {
        let head = async || {
            self.count("HeadObject", GET_REQUESTS);
            let head = self.client.head_object().bucket(&self.name).key(self.path(key));
            match self.timed(0, head.send()).await? {
                Ok(found) => Ok(Some(meta(key, found.content_length, found.last_modified))),
                Err(error) if status(&error) == NOT_FOUND => Ok(None),
                Err(error) => Err(failure(&error)),
            }
        };
        self.calls.repeat(head).await
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, Failure> {
        let path = self.path(prefix);
        let (mut found, mut next) = (Vec::new(), None);
        loop {
            let page = self.list_page(&path, next, None).await?;
            found.extend(page.contents().iter().filter_map(|object| {
                let key = object.key().and_then(|path| path.strip_prefix(&self.prefix))?;
                Some(meta(key, object.size(), object.last_modified().copied()))
            }));
            next = page.next_continuation_token;
            match (page.is_truncated, &next) {
                (Some(true), Some(_)) => {}
                (Some(true), None) => return Err(Failure::Unavailable("a page that does not lead on".to_string())),
                _ => break,
            }
        }
        // S3 lists in this order by itself, its directory buckets in none.
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    /// Up to a thousand names, or `count_max`.
    pub(super) async fn list_page(
        &self,
        path: &str,
        next: Option<String>,
        count_max: Option<i32>,
    ) -> Result<ListObjectsV2Output, Failure> {
        let list = async || {
            self.count("ListObjectsV2", PUT_REQUESTS);
            let list = self.client.list_objects_v2().bucket(&self.name).prefix(path).set_max_keys(count_max);
            let listed = self.timed(0, list.set_continuation_token(next.clone()).send()).await?;
            listed.map_err(|error| failure(&error))
        };
        self.calls.repeat(list).await
    }
}

fn meta(key: &str, bytes: Option<i64>, modified_at: Option<DateTime>) -> ObjectMeta {
    let bytes = bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
    ObjectMeta { key: key.to_string(), bytes, modified_at: modified_at.map_or(0, |time| micros(&time)) }
}

fn micros(time: &DateTime) -> i64 {
    time.secs().saturating_mul(1_000_000).saturating_add(i64::from(time.subsec_nanos() / 1_000))
}
