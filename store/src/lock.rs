//! The lock on a data directory: one process writes.

use crate::StoreError;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::sync::Mutex;

const FILE: &str = "LOCK";

/// Held as long as this lives. The file says who holds it, for whoever finds it held.
#[derive(Debug)]
pub(crate) struct Lock {
    file: Mutex<Option<File>>,
    holder: String,
}

impl Lock {
    /// Takes the lock on `data_dir` for this process, which `holder` describes.
    pub(crate) fn take(data_dir: &Path, holder: &str) -> Result<Lock, StoreError> {
        let path = data_dir.join(FILE);
        let context = || format!("lock {}", path.display());
        let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = open.map_err(StoreError::io(context()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Held { dir: data_dir.to_owned(), holder: read_holder(file) });
            }
            Err(TryLockError::Error(error)) => return Err(StoreError::io(context())(error)),
        }
        let holder = format!("process {}, {holder}", std::process::id());
        let lock = Lock { file: Mutex::new(Some(file)), holder };
        lock.describe("").map_err(StoreError::io(context()))?;
        Ok(lock)
    }

    /// Adds to what the file says of the holder.
    pub(crate) fn describe(&self, more: &str) -> std::io::Result<()> {
        let mut file = self.file.lock().expect("nobody panics while holding it");
        let Some(file) = file.as_mut() else { return Ok(()) };
        let text = if more.is_empty() { self.holder.clone() } else { format!("{}, {more}", self.holder) };
        file.rewind()?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        let end = file.stream_position()?;
        file.set_len(end)
    }

    pub(crate) fn release(&self) {
        self.file.lock().expect("nobody panics while holding it").take();
    }
}

fn read_holder(file: File) -> String {
    const HOLDER_BYTES_MAX: u64 = 1024;
    let mut text = String::new();
    match file.take(HOLDER_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "another process".to_owned(),
    }
}
