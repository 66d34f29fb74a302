//! The socket as a file in the data directory.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixSocket, UnixStream};

/// The socket's name in the data directory.
const NAME: &str = "control.sock";

/// Most bytes of a socket's path on all systems. Sources: `sun_path` has 108 bytes on Linux, the final NUL included
/// (<https://man7.org/linux/man-pages/man7/unix.7.html>), and 104 on macOS and the BSDs (their `sys/un.h`).
const PATH_BYTES_MAX: usize = 103;

/// Callers that may wait to be let in.
const BACKLOG: u32 = 16;

/// The owner may connect, nobody else.
const MODE: u32 = 0o600;

/// A socket that is listened on; its file goes with it.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) listener: UnixListener,
    _file: SocketFile,
}

#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "could not remove the control socket");
        }
    }
}

/// A path that a system call takes for the socket.
#[derive(Debug)]
struct Address {
    path: PathBuf,
    /// The path goes through it.
    _folder: Option<File>,
}

impl Address {
    fn of(data_dir: &Path) -> io::Result<Address> {
        let path = data_dir.join(NAME);
        if path.as_os_str().len() <= PATH_BYTES_MAX {
            return Ok(Address { path, _folder: None });
        }
        // Linux knows an open folder by a short name as well. Elsewhere there is no such path, and the caller is told.
        let folder = File::open(data_dir)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd()));
        Ok(Address { path, _folder: Some(folder) })
    }
}

/// Listens in `data_dir`, whose lock this process has: a socket that is there already is of somebody who was killed.
pub(super) fn listen(data_dir: &Path) -> io::Result<Door> {
    let (address, path) = (Address::of(data_dir)?, data_dir.join(NAME));
    remove_left_over(&path)?;
    let socket = UnixSocket::new_stream()?;
    socket.bind(&address.path)?;
    let file = SocketFile(path);
    // Nobody can connect before it listens, so there is no moment at which somebody else could.
    fs::set_permissions(&file.0, Permissions::from_mode(MODE))?;
    Ok(Door { listener: socket.listen(BACKLOG)?, _file: file })
}

fn remove_left_over(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file of that name that is no socket")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Connects to whoever listens in `data_dir`; `None` where nobody does.
pub(super) async fn connect(data_dir: &Path) -> io::Result<Option<UnixStream>> {
    let connected = match Address::of(data_dir) {
        Ok(address) => UnixStream::connect(&address.path).await,
        Err(error) => Err(error),
    };
    match connected {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error),
    }
}
