//! A lake that asks again.

use async_trait::async_trait;
use bytes::Bytes;
use lake::{Created, Lake, LakeError, ObjectMeta};
use std::future::Future;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Pause before a call is repeated.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a call is repeated. A minute of silence is an outage: throttled prefixes recover sooner, and whoever takes the
/// task next, or compacts next, goes on where this stopped. The last call may take its own time beyond it.
const REPEATED_FOR: Duration = Duration::from_secs(60);

/// Repeats what the lake did not answer, for [`REPEATED_FOR`]: a lake may have repeated each call by itself, for a
/// deadline of its own. A create that landed unheard is reported as existing.
#[derive(Clone, Debug)]
pub(crate) struct Patient(pub(crate) Arc<dyn Lake>);

async fn repeat<T, F>(mut call: impl FnMut() -> F) -> Result<T, LakeError>
where
    F: Future<Output = Result<T, LakeError>>,
{
    let until = Instant::now() + REPEATED_FOR;
    loop {
        match call().await {
            Err(LakeError::Unavailable { .. }) if Instant::now() + PAUSE < until => tokio::time::sleep(PAUSE).await,
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// What S3 takes to say that it does not answer, about.
    const OWN_DEADLINE: Duration = Duration::from_secs(15);

    fn silence() -> LakeError {
        LakeError::Unavailable { key: "live/a".to_string(), detail: "silence".to_string() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_answer_is_given_up_after_a_minute_however_long_each_call_takes() {
        for each in [Duration::ZERO, OWN_DEADLINE] {
            let (start, calls) = (Instant::now(), Cell::new(0));
            let outcome: Result<(), LakeError> = repeat(async || {
                calls.set(calls.get() + 1);
                tokio::time::sleep(each).await;
                Err(silence())
            })
            .await;
            assert!(matches!(outcome, Err(LakeError::Unavailable { .. })), "{outcome:?}");
            assert!(calls.get() > 1 && start.elapsed() <= REPEATED_FOR + OWN_DEADLINE, "{} calls", calls.get());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_ends_the_repeating_be_it_a_refusal() {
        let calls = Cell::new(0);
        let outcome = repeat(async || {
            calls.set(calls.get() + 1);
            if calls.get() < 4 { Err(silence()) } else { Ok(calls.get()) }
        });
        assert!(matches!(outcome.await, Ok(4)));
        let missing = repeat(async || Err::<(), _>(LakeError::NotFound("live/a".to_string())));
        assert!(matches!(missing.await, Err(LakeError::NotFound(_))));
    }
}
