//! Where stand-ins live on this machine, and how the supervisor of a run is found or started.

use crate::lease::{Announcement, Lease};
use crate::server::Server;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use thiserror::Error;

/// Marks a target directory of Cargo. Source: <https://bford.info/cachedir/>
const TARGET_MARK: &str = "CACHEDIR.TAG";

/// How long servers outlive their last user: the next test binary of the same run wants them.
const GRACE: Duration = Duration::from_secs(20);

/// How often a supervisor is looked for or started. One that is ending takes some seconds.
const LOOKS_MAX: u32 = 150;

const LOOK_PAUSE: Duration = Duration::from_millis(200);

const PYTHON: &str = "python3";

/// Why a test has no stand-in.
#[derive(Debug, Error)]
pub enum StandInError {
    /// One line: what is missing and what to install; or what happened and the end of a log.
    #[error("{0}")]
    Refused(String),
    #[error(
        "the stand-ins for AWS need `{PYTHON}`, which is not there: install Python 3.9 or newer with its venv module"
    )]
    NoPython(#[source] std::io::Error),
    #[error("the supervisor of the stand-ins does not start: {0}")]
    NotStarted(String),
    #[error("no supervisor of the stand-ins in {0}: see its supervisor.log")]
    NotFound(PathBuf),
}

/// Directories of a run.
#[derive(Clone, Debug)]
pub struct Home {
    /// Packages, each complete. Many runs may share it.
    pub installs: PathBuf,
    /// Logs, data and the supervisor's whereabouts. Whoever names the same directory shares the servers.
    pub run: PathBuf,
    /// How long servers stay after their last user.
    pub grace: Duration,
}

impl Home {
    /// Below the target directory of this workspace, shared by all of its test processes.
    pub fn shared() -> Home {
        let root = target_directory().join("standins");
        Home { installs: root.join("installs"), run: root.join("run"), grace: GRACE }
    }

    /// Asks for a stand-in and waits until it can serve; the first time, until it is installed.
    ///
    /// # Errors
    /// It can't be had; the message is for the person who runs the test.
    pub fn ask(&self, server: Server) -> Result<Lease, StandInError> {
        for _ in 0..LOOKS_MAX {
            let Some(answer) = self.announcement().and_then(|at| Lease::request(&at, server.name()).ok()) else {
                self.launch()?;
                std::thread::sleep(LOOK_PAUSE);
                continue;
            };
            return answer.map_err(StandInError::Refused);
        }
        Err(StandInError::NotFound(self.run.clone()))
    }

    fn announcement(&self) -> Option<Announcement> {
        serde_json::from_slice(&std::fs::read(self.run.join("supervisor.json")).ok()?).ok()
    }

    /// Starts a supervisor, which ends at once where there is one already.
    fn launch(&self) -> Result<(), StandInError> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("supervisor/supervise.py");
        let launched = Command::new(PYTHON)
            // Leaves no compiled files beside the sources.
            .arg("-B")
            .args([&script, &self.installs, &self.run])
            .arg(self.grace.as_secs_f64().to_string())
            .stdin(Stdio::null())
            .output()
            .map_err(StandInError::NoPython)?;
        if launched.status.success() {
            return Ok(());
        }
        Err(StandInError::NotStarted(String::from_utf8_lossy(&launched.stderr).trim_end().to_string()))
    }
}

/// The target directory that this process was built in; the default one where it was moved out of it.
fn target_directory() -> PathBuf {
    let built_in = |program: PathBuf| {
        program.ancestors().find(|directory| directory.join(TARGET_MARK).exists()).map(Path::to_path_buf)
    };
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    std::env::current_exe().ok().and_then(built_in).unwrap_or_else(default)
}
