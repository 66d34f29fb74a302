//! Names that no other test uses.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Tells this process from all others of the run, which use the same servers.
static PROCESS: LazyLock<u64> = LazyLock::new(|| getrandom::u64().expect("the system has randomness"));

static NAMES: AtomicU32 = AtomicU32::new(0);

/// A name for a stream, table, bucket or queue that nobody else has: `prefix-` and at most 27 characters, all of which are
/// allowed in each of them.
pub fn fresh_name(prefix: &str) -> String {
    format!("{prefix}-{:016x}-{}", *PROCESS, NAMES.fetch_add(1, Ordering::Relaxed))
}

/// Settings that name an installation of a test's own: each of its resources by an environment variable.
pub fn fresh_names(prefix: &str) -> Vec<(String, String)> {
    let fresh = fresh_name(prefix);
    let resources = ["RAW_STREAM", "CLEAN_STREAM", "TABLE", "BUCKET", "OVERFLOW_QUEUE", "TASK_QUEUE"];
    let named = |resource: &str| format!("{fresh}-{}", resource.to_ascii_lowercase().replace('_', "-"));
    resources.map(|resource| (format!("FOREBAY_{resource}"), named(resource))).to_vec()
}
