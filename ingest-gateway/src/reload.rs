//! Files that may change while the gateway runs: certificate and write keys.

use crate::keys::Keys;
use crate::metrics::{METRICS, Reloaded};
use crate::tls::Identity;
use anyhow::{Context, ensure};
use service::Stop;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How often the files are looked at: who takes a key away waits so long, and certificates are renewed weeks ahead.
const INTERVAL: Duration = Duration::from_secs(60);

/// Longest file: a chain of a few certificates has some 10 kB, and 10,000 keys have 1 MB.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Reads the file that `setting` names.
pub(crate) fn read(setting: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    let what = || format!("{setting} {}", path.display());
    let length = std::fs::metadata(path).with_context(what)?.len();
    ensure!(length <= FILE_BYTES_MAX, "{}: more than {FILE_BYTES_MAX} bytes", what());
    std::fs::read(path).with_context(what)
}

/// Takes over what the files become, until `stop`. What can't be used is said, and what was read before stays.
pub(crate) async fn keep_fresh(identity: Option<Arc<Identity>>, keys: Arc<Keys>, stop: Stop) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(INTERVAL) => {}
        }
        let certificate = identity.as_ref().map_or(Ok(()), |identity| identity.reload());
        tell(Reloaded::Certificate, certificate);
        tell(Reloaded::Keys, keys.reload());
    }
}

fn tell(what: Reloaded, outcome: anyhow::Result<()>) {
    METRICS.reloaded(what, outcome.is_ok());
    if let Err(error) = outcome {
        tracing::warn!(error = format!("{error:#}"), "going on with what was read before");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it is shown that the file of this can't be used, once it has been looked at again.
    async fn is_shown_as_failed(what: &str) -> bool {
        tokio::time::sleep(INTERVAL * 2).await;
        METRICS.reload_failed.with_label_values(&[what]).get() == 1
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_cannot_be_used_is_shown_until_it_can_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys");
        let write = |text: &str| std::fs::write(&path, text).expect("a file");
        write("web=0123456789abcdef\n");
        let keys = Keys::load(Vec::new(), Some(path.clone())).expect("a key");
        let stop = Stop::new();
        let looking = tokio::spawn(keep_fresh(None, keys, stop.clone()));
        for (text, is_unusable) in [("web=short\n", true), ("web=0123456789abcdef-new\n", false)] {
            write(text);
            assert_eq!(is_shown_as_failed("keys").await, is_unusable, "{text}");
            assert!(!is_shown_as_failed("certificate").await);
        }
        stop.cancel();
        looking.await.expect("it does not panic").expect("it was asked to end");
    }
}
