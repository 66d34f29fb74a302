//! Temporary files of a local lake.
//!
//! Whoever writes one holds a lock on it; one without a lock was left by a crash.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The folder below the root that holds temporary files; no key leads into it.
pub(super) const HIDDEN: &str = ".tmp";

/// Names that are tried before giving up: others of the same process id, in another container, may have left some.
const NAMES_MAX: u32 = 1000;

/// A durable file that is not an object yet; dropping it removes its name.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
    /// Holds the lock.
    _file: File,
}

impl Temporary {
    /// Writes and syncs a file with the given content.
    pub(super) fn with_content(root: &Path, content: &mut dyn Read) -> io::Result<Temporary> {
        let (path, file) = create(&root.join(HIDDEN))?;
        let mut temporary = Temporary { path, _file: file };
        temporary.fill(content)?;
        Ok(temporary)
    }

    fn fill(&mut self, content: &mut dyn Read) -> io::Result<()> {
        io::copy(content, &mut self._file)?;
        self._file.flush()?;
        self._file.sync_all()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a temporary file stays until the lake is opened again");
        }
    }
}

fn create(folder: &Path) -> io::Result<(PathBuf, File)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    for _ in 0..NAMES_MAX {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{}-{number}", std::process::id()));
        match File::create_new(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(file) => {
                file.lock()?;
                return Ok((path, file));
            }
        }
    }
    Err(io::Error::other("every temporary name is taken"))
}

/// Removes the temporary files that nobody writes any more.
pub(super) fn sweep(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root.join(HIDDEN))? {
        let path = entry?.path();
        match remove_if_left(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn remove_if_left(path: &Path) -> io::Result<()> {
    match File::open(path)?.try_lock() {
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
        Ok(()) => {
            tracing::info!(path = %path.display(), "removing a temporary file that a crash left");
            fs::remove_file(path)
        }
    }
}
