//! A lake in a folder.
//!
//! An object is a file whose path is its key. It is written under a **temporary name** in a hidden folder, made durable
//! there, and linked to its own name, which fails if that name is taken: readers see all of an object or nothing, and a
//! crash leaves at most a temporary file, which the next opening sweeps away.

mod temporary;

use crate::{Created, Lake, LakeError, ObjectMeta};
use async_trait::async_trait;
use bytes::Bytes;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use temporary::{HIDDEN, Temporary};

/// Most bytes of a part of a key. Source: `NAME_MAX` of `<linux/limits.h>`.
const PART_BYTES_MAX: usize = 255;

/// A lake whose objects are the files below a folder.
#[derive(Clone, Debug)]
pub struct LocalLake {
    root: Arc<Path>,
}

impl LocalLake {
    /// Opens the lake in `dir`, creating the folder if need be, and removes what crashed creations left there.
    ///
    /// Blocks. Several processes may have the same lake open.
    ///
    /// # Errors
    /// As [`Lake::create`]: a folder that can't be created or read.
    pub fn open(dir: impl AsRef<Path>) -> Result<LocalLake, LakeError> {
        let root: Arc<Path> = Arc::from(dir.as_ref());
        let shown = root.display().to_string();
        fs::create_dir_all(root.join(HIDDEN)).map_err(|error| failed(&shown, "create the folder", &error))?;
        temporary::sweep(&root).map_err(|error| failed(&shown, "sweep temporary files", &error))?;
        Ok(LocalLake { root })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path_of(&self, key: &str) -> Result<PathBuf, LakeError> {
        match unfit(key) {
            None => Ok(self.root.join(key)),
            Some(why) => Err(LakeError::Refused { key: key.to_string(), detail: why.to_string() }),
        }
    }

    /// Runs `work` on the object's path where blocking is allowed.
    async fn blocking<T: Send + 'static>(
        &self,
        key: &str,
        action: &'static str,
        work: impl FnOnce(&Path, &Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, LakeError> {
        let path = self.path_of(key)?;
        let root = self.root.clone();
        let done = tokio::task::spawn_blocking(move || work(&root, &path)).await;
        match done {
            Ok(done) => done.map_err(|error| failed(key, action, &error)),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(LakeError::Unavailable { key: key.to_string(), detail: "shutting down".to_string() }),
        }
    }
}

#[async_trait]
impl Lake for LocalLake {
    async fn create(&self, key: &str, bytes: Bytes) -> Result<Created, LakeError> {
        let create = move |root: &Path, path: &Path| {
            let temporary = Temporary::with_content(root, &mut bytes.as_ref())?;
            link(root, temporary.path(), path)
        };
        self.blocking(key, "create the object", create).await
    }

    /// Links the file itself where it lies on the lake's file system, else a copy.
    async fn create_from_file(&self, key: &str, file: &Path) -> Result<Created, LakeError> {
        let file = file.to_path_buf();
        let create = move |root: &Path, path: &Path| {
            let mut source = File::open(&file).map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
            source.sync_all()?;
            match link(root, &file, path) {
                Err(error) if error.kind() == ErrorKind::CrossesDevices => {
                    let temporary = Temporary::with_content(root, &mut source)?;
                    link(root, temporary.path(), path)
                }
                done => done,
            }
        };
        self.blocking(key, "create the object from a file", create).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, LakeError> {
        self.blocking(key, "read the object", |_, path| fs::read(path).map(Bytes::from).map_err(absence)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, LakeError> {
        self.blocking(key, "read the object", move |_, path| read_range(path, range).map_err(absence)).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, LakeError> {
        let name = key.to_string();
        self.blocking(key, "look at the object", move |_, path| meta(name, &fs::metadata(path).map_err(absence)?)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, LakeError> {
        let (root, wanted) = (self.root.clone(), prefix.to_string());
        let listed = tokio::task::spawn_blocking(move || list(&root, &wanted)).await;
        match listed {
            Ok(listed) => listed.map_err(|error| failed(prefix, "list the objects", &error)),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(LakeError::Unavailable { key: prefix.to_string(), detail: "shutting down".to_string() }),
        }
    }

    async fn delete(&self, key: &str) -> Result<(), LakeError> {
        let delete = |_: &Path, path: &Path| match fs::remove_file(path) {
            Err(error) if !is_absent(&error) => Err(error),
            _ => Ok(()),
        };
        self.blocking(key, "delete the object", delete).await
    }
}

/// Why a key can't be a path below the root.
fn unfit(key: &str) -> Option<&'static str> {
    let plain = |part| matches!(part, Component::Normal(_));
    if key.split('/').any(str::is_empty) {
        Some("an empty part")
    } else if key.contains('\0') {
        Some("a NUL byte")
    } else if key.split('/').any(|part| part == ".") || !Path::new(key).components().all(plain) {
        Some("a part that leads elsewhere")
    } else if key.split('/').next() == Some(HIDDEN) {
        Some("the folder of temporary files")
    } else if key.split('/').any(|part| part.len() > PART_BYTES_MAX) {
        Some("a part that is too long")
    } else {
        None
    }
}

/// Gives the durable file `source` the name `path` as well, durably, unless that name is taken.
///
/// A folder or temporary file that vanishes meanwhile is no [`ErrorKind::NotFound`]: trying again helps.
fn link(root: &Path, source: &Path, path: &Path) -> io::Result<Created> {
    let folder = path.parent().expect("a key has at least one part below the root");
    fs::create_dir_all(folder)?;
    let created = match fs::hard_link(source, path) {
        Ok(()) => Created::New,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Created::Exists,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(io::Error::other(error)),
        Err(error) => return Err(error),
    };
    // The name may be another creator's who has not come this far: it must be durable before anyone relies on it.
    sync_folders(root, folder)?;
    Ok(created)
}

/// Makes the entries of `folder` and of those between it and the root durable.
fn sync_folders(root: &Path, folder: &Path) -> io::Result<()> {
    for folder in folder.ancestors().take_while(|folder| folder.starts_with(root)) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn read_range(path: &Path, range: Range<u64>) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    let end = range.end.min(file.metadata()?.len());
    let length = end.saturating_sub(range.start);
    let mut bytes = Vec::with_capacity(usize::try_from(length).map_err(io::Error::other)?);
    file.seek(SeekFrom::Start(range.start))?;
    file.take(length).read_to_end(&mut bytes)?;
    Ok(Bytes::from(bytes))
}

fn meta(key: String, found: &fs::Metadata) -> io::Result<ObjectMeta> {
    if !found.is_file() {
        return Err(ErrorKind::NotFound.into());
    }
    let modified_at = match found.modified()?.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(_) => 0,
    };
    Ok(ObjectMeta { key, bytes: found.len(), modified_at })
}

/// Walks the folders that may hold keys with the prefix; what vanishes meanwhile is left out.
fn list(root: &Path, prefix: &str) -> io::Result<Vec<ObjectMeta>> {
    let above = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
    if !above.is_empty() && unfit(above).is_some() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    let mut folders = vec![above.to_string()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(root.join(&folder)) {
            Err(error) if is_absent(&error) => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let key = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let may_hold = key.starts_with(prefix) || prefix.starts_with(&format!("{key}/"));
            if key == HIDDEN || !may_hold {
                continue;
            }
            match entry.metadata() {
                Ok(kind) if kind.is_dir() => folders.push(key),
                Ok(file) if file.is_file() && key.starts_with(prefix) => found.push(meta(key, &file)?),
                Err(error) if !is_absent(&error) => return Err(error),
                _ => {}
            }
        }
    }
    found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

/// Whether no object has that path: folders are none, and below a file there are none.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory)
}

/// The error of reading where no object is.
fn absence(error: io::Error) -> io::Error {
    if is_absent(&error) { ErrorKind::NotFound.into() } else { error }
}

/// Says what the caller can do about an error of the file system.
fn failed(key: &str, action: &str, error: &io::Error) -> LakeError {
    let key = key.to_string();
    let detail = format!("can't {action}: {error}");
    match error.kind() {
        ErrorKind::NotFound => LakeError::NotFound(key),
        ErrorKind::PermissionDenied
        | ErrorKind::FileTooLarge
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::InvalidFilename
        | ErrorKind::InvalidInput
        | ErrorKind::AlreadyExists
        | ErrorKind::Unsupported => LakeError::Refused { key, detail },
        // A full disk is among them: it is tried again until somebody has made room.
        _ => LakeError::Unavailable { key, detail },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn lake() -> (TempDir, LocalLake) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let lake = LocalLake::open(folder.path()).expect("an empty folder");
        (folder, lake)
    }

    fn hidden(lake: &LocalLake) -> Vec<PathBuf> {
        let entries = fs::read_dir(lake.root().join(HIDDEN)).expect("the hidden folder");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_folder_is_a_lake() {
        let (_folder, lake) = lake();
        crate::contract::the_whole_contract_holds(&lake, "contract/").await;
        assert_eq!(hidden(&lake), Vec::<PathBuf>::new());
    }

    #[tokio::test]
    async fn objects_are_there_when_the_lake_is_opened_again() {
        let (folder, lake) = lake();
        lake.create("a/b", Bytes::from_static(b"kept")).await.expect("a free key");
        let again = LocalLake::open(folder.path()).expect("a lake");
        assert_eq!(again.get("a/b").await, Ok(Bytes::from_static(b"kept")));
        assert_eq!(again.create("a/b", Bytes::new()).await, Ok(Created::Exists));
    }

    #[tokio::test]
    async fn opening_sweeps_what_a_crash_left_and_nothing_that_is_being_written() {
        let (folder, lake) = lake();
        let left = folder.path().join(HIDDEN).join("1-0");
        fs::write(&left, b"half of an obj").expect("a file");
        let written = Temporary::with_content(folder.path(), &mut &b"in flight"[..]).expect("a file");
        LocalLake::open(folder.path()).expect("a lake");
        assert_eq!(hidden(&lake), [written.path()]);
    }

    #[tokio::test]
    async fn temporary_files_are_no_objects() {
        let (folder, lake) = lake();
        let _written = Temporary::with_content(folder.path(), &mut &b"in flight"[..]).expect("a file");
        for prefix in ["", ".", ".tmp", ".tmp/"] {
            assert_eq!(lake.list(prefix).await, Ok(Vec::new()), "{prefix}");
        }
    }

    #[tokio::test]
    async fn keys_that_lead_elsewhere_are_refused() {
        let (_folder, lake) = lake();
        let long = "x".repeat(PART_BYTES_MAX + 1);
        for key in ["", "/", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "./a", "a/./b", "a\0b", ".tmp/x", &long] {
            let refused = |outcome: Result<(), LakeError>| matches!(outcome, Err(LakeError::Refused { .. }));
            assert!(refused(lake.create(key, Bytes::new()).await.map(drop)), "create {key:?}");
            assert!(refused(lake.get(key).await.map(drop)), "get {key:?}");
            assert!(refused(lake.delete(key).await), "delete {key:?}");
        }
    }

    #[tokio::test]
    async fn a_key_below_another_object_is_refused() {
        let (_folder, lake) = lake();
        lake.create("a", Bytes::new()).await.expect("a free key");
        let below = lake.create("a/b", Bytes::new()).await;
        assert!(matches!(below, Err(LakeError::Refused { .. })), "{below:?}");
    }
}
