//! How many files and sockets the process may have open, and how much may still be written.

use rustix::fs::statvfs;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::Path;

/// Raises the limit to the highest that the system allows this process. Many shells and service managers begin with 1,024,
/// from the days of `select`, and allow far more.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, ?current, ?maximum, "the limit on open files stays as it is");
    }
}

/// What the limit is now.
pub fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// What is free on the disk that a folder is on, or will be once it is made; nothing where the system does not tell.
pub fn free_bytes(folder: &Path) -> f64 {
    let disk = folder.ancestors().find_map(|folder| statvfs(folder).ok());
    disk.map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize)) as f64
}
