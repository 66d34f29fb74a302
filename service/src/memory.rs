//! How the process takes memory from the system.

/// Takes memory in small pages. Buffers here live briefly and are of many sizes: a huge page that is touched at one place
/// is cleared and kept whole, which was a third of all memory and a tenth of all processor time.
pub fn take_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay as the system has them");
    }
}
