//! Retention of the log, again and again while the pipeline runs.

use anyhow::Context;
use service::{Env, Stop};
use std::sync::Arc;
use std::time::Duration;
use store::{Store, StoreError};

/// Pause between two passes of retention over the log.
const PAUSE: Duration = Duration::from_secs(60);

/// Makes a pass after each pause. One that comes to nothing is made up for by the next: the log only stays larger meanwhile.
///
/// # Errors
/// The log takes nothing more.
pub(crate) async fn run(store: Arc<Store>, env: Env, stop: Stop) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(PAUSE) => pass(&store, env.now()).await.context("retention of the log")?,
        }
    }
}

async fn pass(store: &Store, now: i64) -> Result<(), StoreError> {
    match store.enforce_retention(now).await {
        Err(error @ StoreError::Stopped(_)) => Err(error),
        Err(error) => {
            let error = anyhow::Error::new(error);
            tracing::warn!(error = format!("{error:#}"), "retention of the log is tried again in {PAUSE:?}");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures::future::{join_all, poll_immediate};
    use std::sync::{Condvar, Mutex};
    use store::{Append, Options, PAYLOAD_BYTES_MAX};
    use tempfile::TempDir;

    /// Bytes that may wait for the log.
    const WAITING_BYTES_MAX: usize = 64 << 20;

    /// Bytes of a frame in front of its payload: a header, and a name of one letter.
    const FRAME_BYTES: usize = 48 + 1;

    /// Keeps the store from writing while it is shut.
    #[derive(Default)]
    struct Gate {
        is_shut: Mutex<bool>,
        opened: Condvar,
    }

    impl Gate {
        fn set(&self, is_shut: bool) {
            *self.is_shut.lock().expect("no holder panics") = is_shut;
            self.opened.notify_all();
        }

        fn pass(&self) {
            let is_shut = self.is_shut.lock().expect("no holder panics");
            drop(self.opened.wait_while(is_shut, |is_shut| *is_shut).expect("no holder panics"));
        }
    }

    /// A store that looks at its clock behind `gate`, and in which nobody waits for room.
    fn store(gate: &Arc<Gate>) -> (TempDir, Arc<Store>) {
        let (folder, gate) = (tempfile::tempdir().expect("a folder"), gate.clone());
        let clock = Arc::new(move || {
            gate.pass();
            0
        });
        let options = Options { wait_max: Duration::ZERO, ..Options::new(clock, "a test") };
        let store = Store::open(folder.path(), options).expect("a new directory");
        (folder, Arc::new(store))
    }

    fn largest_record() -> Vec<Append> {
        vec![Append::Record { log: "a".into(), bytes: Bytes::from(vec![0; PAYLOAD_BYTES_MAX - FRAME_BYTES]) }]
    }

    #[tokio::test]
    async fn a_log_that_is_too_busy_for_retention_is_tried_again_and_one_that_has_stopped_is_the_end() {
        let gate = Arc::<Gate>::default();
        let (_folder, store) = store(&gate);
        gate.set(true);
        let mut appends: Vec<_> =
            (0..WAITING_BYTES_MAX / PAYLOAD_BYTES_MAX).map(|_| Box::pin(store.append(largest_record()))).collect();
        for append in &mut appends {
            assert!(poll_immediate(append).await.is_none(), "nothing is written");
        }
        assert!(matches!(store.enforce_retention(0).await, Err(StoreError::Full)));
        assert!(pass(&store, 0).await.is_ok());

        gate.set(false);
        assert!(join_all(appends).await.iter().all(Result::is_ok));
        assert!(pass(&store, 0).await.is_ok());
        store.close();
        assert!(matches!(pass(&store, 0).await, Err(StoreError::Stopped(_))));
    }
}
