//! Files that may change while the gateway runs: certificate and write keys.

use crate::keys::Keys;
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
        for error in [certificate, keys.reload()].into_iter().filter_map(Result::err) {
            tracing::warn!(error = format!("{error:#}"), "going on with what was read before");
        }
    }
}
