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
