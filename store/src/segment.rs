//! Segments: the files of the log.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes at which a segment is sealed and the next one begun: few files for days of records, and small steps for retention.
pub const SEGMENT_BYTES: u32 = 64 << 20;

/// Number of the first segment that a data directory ever has.
pub(crate) const FIRST_SEGMENT: u32 = 1;

/// A segment that is open.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) number: u32,
    /// Kept open, so that a reader finishes what it began after retention has removed the file.
    pub(crate) file: Arc<File>,
    /// Bytes of whole frames in it.
    pub(crate) end: u32,
    /// When it was sealed, by the clock of whoever wrote it.
    pub(crate) sealed_at: Option<i64>,
}

pub(crate) fn dir(data_dir: &Path) -> PathBuf {
    data_dir.join("log")
}

pub(crate) fn path(data_dir: &Path, number: u32) -> PathBuf {
    dir(data_dir).join(format!("{number:08}.log"))
}

/// Numbers of the segments that are there, ascending.
pub(crate) fn list(data_dir: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir(data_dir))? {
        numbers.extend(entry?.file_name().to_str().and_then(number_of));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The last segment with anything in it: the next one is made before the full one is sealed.
pub(crate) fn last_written(data_dir: &Path, numbers: &[u32]) -> io::Result<Option<u32>> {
    for &number in numbers.iter().rev() {
        match fs::metadata(path(data_dir, number)) {
            Ok(found) if found.len() > 0 => return Ok(Some(number)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(numbers.first().copied())
}

fn number_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 8).then(|| digits.parse().ok()).flatten()
}

/// Makes an empty segment that a power cut does not take away again.
pub(crate) fn create(data_dir: &Path, number: u32) -> io::Result<Segment> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path(data_dir, number))?;
    sync_dir(&dir(data_dir))?;
    Ok(Segment { number, file: Arc::new(file), end: 0, sealed_at: None })
}

pub(crate) fn open(data_dir: &Path, number: u32, write: bool) -> io::Result<Segment> {
    let file = File::options().read(true).write(write).open(path(data_dir, number))?;
    Ok(Segment { number, file: Arc::new(file), end: 0, sealed_at: None })
}

pub(crate) fn remove(data_dir: &Path, number: u32) -> io::Result<()> {
    fs::remove_file(path(data_dir, number))
}

pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
