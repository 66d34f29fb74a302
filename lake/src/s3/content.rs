//! What an object is made of: it can be read as often as sending it is repeated.

use aws::Failure;
use aws_sdk_s3::primitives::{ByteStream, Length};
use bytes::Bytes;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Read from a file at a time.
const BUFFER_BYTES: usize = 256 << 10;

#[derive(Debug)]
pub(super) enum Content {
    Bytes(Bytes),
    File { path: PathBuf, bytes: u64 },
}

impl Content {
    pub(super) async fn of_file(path: &Path) -> Result<Content, Failure> {
        let stream = ByteStream::from_path(path).await.map_err(|error| unreadable(path, &error))?;
        let (bytes, _) = stream.size_hint();
        Ok(Content::File { path: path.to_path_buf(), bytes })
    }

    pub(super) fn bytes(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File { bytes, .. } => *bytes,
        }
    }

    /// The bytes in `range`, which lies within the content.
    pub(super) async fn part(&self, range: Range<u64>) -> Result<ByteStream, Failure> {
        match self {
            Content::Bytes(bytes) => Ok(bytes.slice(range.start as usize..range.end as usize).into()),
            Content::File { path, .. } => {
                let file = ByteStream::read_from().path(path).buffer_size(BUFFER_BYTES);
                let part = file.offset(range.start).length(Length::Exact(range.end - range.start)).build().await;
                part.map_err(|error| unreadable(path, &error))
            }
        }
    }
}

fn unreadable(path: &Path, error: &dyn std::error::Error) -> Failure {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    Failure::Refused(format!("can't read {}: {error}{cause}", path.display()))
}
