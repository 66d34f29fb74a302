//! A folder for what does not fit in memory.
//!
//! It is made when the first file is, and removed with everything in it when dropped. A lock on a file in it says that
//! its process lives; folders without a living process are what crashes left, and go when the next one is made.

use crate::error::{CompactError, spill};
use crate::held::{DISK, Held};
use crate::metrics::METRICS;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use tempfile::TempDir;

const PREFIX: &str = "forebay-compactor-";

const LOCK: &str = "lock";

/// Hands out files of a folder of its own.
#[derive(Debug)]
pub(crate) struct Spill {
    base: PathBuf,
    made: Mutex<Option<Made>>,
}

#[derive(Debug)]
struct Made {
    dir: TempDir,
    _lock: File,
    files: u64,
    /// What is in files that stay as long as the folder does.
    held: Held,
}

impl Spill {
    pub(crate) fn new(base: Option<&Path>) -> Spill {
        Spill { base: base.map_or_else(std::env::temp_dir, Path::to_path_buf), made: Mutex::new(None) }
    }

    /// A new file, empty, to read and write.
    pub(crate) fn file(&self) -> Result<(File, PathBuf), CompactError> {
        let mut made = self.made();
        if made.is_none() {
            *made = Some(make(&self.base).map_err(spill("make a folder for spilled rows"))?);
        }
        let Made { dir, files, .. } = made.as_mut().expect("it was made just now");
        *files += 1;
        let path = dir.path().join(files.to_string());
        let file =
            File::options().read(true).write(true).create_new(true).open(&path).map_err(spill("create a file"))?;
        Ok((file, path))
    }

    /// Takes note of bytes that were written to a file that stays as long as the folder does.
    pub(crate) fn note(&self, bytes: usize) {
        METRICS.spilled_bytes.inc_by(bytes as u64);
        if let Some(made) = self.made().as_mut() {
            made.held.add(bytes);
        }
    }

    #[cfg(test)]
    pub(crate) fn files(&self) -> u64 {
        self.made().as_ref().map_or(0, |made| made.files)
    }

    fn made(&self) -> MutexGuard<'_, Option<Made>> {
        self.made.lock().expect("nobody panics while holding it")
    }
}

fn make(base: &Path) -> io::Result<Made> {
    fs::create_dir_all(base)?;
    sweep(base)?;
    let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(base)?;
    let lock = File::create_new(dir.path().join(LOCK))?;
    lock.lock()?;
    Ok(Made { dir, _lock: lock, files: 0, held: Held::nothing_of(&DISK) })
}

/// Removes the folders whose process is gone. One that has no lock file yet is being made.
fn sweep(base: &Path) -> io::Result<()> {
    for entry in fs::read_dir(base)?.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(lock) = File::open(entry.path().join(LOCK)) else { continue };
        if lock.try_lock().is_ok() {
            // Somebody else may be sweeping as well.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::tempdir;

    fn folders(base: &Path) -> usize {
        fs::read_dir(base).unwrap().count()
    }

    #[test]
    fn the_folder_goes_with_its_owner_and_is_made_only_when_needed() {
        let base = tempdir().unwrap();
        let spill = Spill::new(Some(base.path()));
        assert_eq!(folders(base.path()), 0);
        spill.file().unwrap();
        spill.file().unwrap();
        assert_eq!((folders(base.path()), spill.files()), (1, 2));
        drop(spill);
        assert_eq!(folders(base.path()), 0);
    }

    #[test]
    fn what_a_crash_left_goes_and_what_is_in_use_stays() {
        let base = tempdir().unwrap();
        let left = base.path().join(format!("{PREFIX}left"));
        fs::create_dir(&left).unwrap();
        fs::write(left.join(LOCK), "").unwrap();
        let (a, b) = (Spill::new(Some(base.path())), Spill::new(Some(base.path())));
        a.file().unwrap();
        assert!(!left.exists());
        b.file().unwrap();
        assert_eq!(folders(base.path()), 2);
    }
}
