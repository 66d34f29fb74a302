//! A lake that asks again.

use async_trait::async_trait;
use bytes::Bytes;
use lake::{Created, Lake, LakeError, ObjectMeta};
use std::future::Future;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Pause before a call is repeated.
const PAUSE: Duration = Duration::from_millis(100);

/// Most calls for one answer: five seconds of silence are an outage, and the next compaction goes on where this stopped.
const ATTEMPTS_MAX: u32 = 50;

/// Repeats what the lake did not answer. A create that landed unheard is reported as existing.
#[derive(Clone, Debug)]
pub(crate) struct Patient(pub(crate) Arc<dyn Lake>);

async fn repeat<T, F>(mut call: impl FnMut() -> F) -> Result<T, LakeError>
where
    F: Future<Output = Result<T, LakeError>>,
{
    let mut attempt = 1;
    loop {
        match call().await {
            Err(LakeError::Unavailable { .. }) if attempt < ATTEMPTS_MAX => {
                attempt += 1;
                tokio::time::sleep(PAUSE).await;
            }
            decided => return decided,
        }
    }
}

#[async_trait]
impl Lake for Patient {
    async fn create(&self, key: &str, bytes: Bytes) -> Result<Created, LakeError> {
        repeat(|| self.0.create(key, bytes.clone())).await
    }

    async fn create_from_file(&self, key: &str, file: &Path) -> Result<Created, LakeError> {
        repeat(|| self.0.create_from_file(key, file)).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, LakeError> {
        repeat(|| self.0.get(key)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, LakeError> {
        repeat(|| self.0.get_range(key, range.clone())).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, LakeError> {
        repeat(|| self.0.head(key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, LakeError> {
        repeat(|| self.0.list(prefix)).await
    }

    async fn delete(&self, key: &str) -> Result<(), LakeError> {
        repeat(|| self.0.delete(key)).await
    }
}
