//! This executable once more, as a process that is measured.

use super::process;
use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::ffi::OsStr;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Pause between two looks at a child: what its memory grew in the last of them is missed.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// Longest time until a child listens; a fresh data directory takes well below a second.
const START_TIME_MAX: Duration = Duration::from_secs(60);

/// Longest time until a child has drained, compacted or audited.
const END_TIME_MAX: Duration = Duration::from_secs(3600);

/// How much of the end of a child's log is shown when it fails.
const LOG_BYTES_SHOWN: usize = 4_000;

/// What a child used from its start to its end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub cpu: Duration,
    pub peak_rss_bytes: u64,
}

/// A running child; one that is dropped is killed.
#[derive(Debug)]
pub(super) struct Child {
    name: String,
    process: std::process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts this executable with `args`; what it prints goes to `log`.
    pub(super) fn start(log: &Path, args: &[&OsStr]) -> anyhow::Result<Child> {
        let program = std::env::current_exe().context("find this executable")?;
        let out = File::create(log).with_context(|| format!("create {}", log.display()))?;
        let err = out.try_clone().context("share the log")?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(out).stderr(err);
        let name = args.first().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let process = command.spawn().with_context(|| format!("start `{name}`"))?;
        Ok(Child { name, process, log: log.to_owned() })
    }

    /// Where it says that it serves HTTP, as soon as it says so.
    pub(super) fn http_addr(&mut self) -> anyhow::Result<SocketAddr> {
        let give_up = Instant::now() + START_TIME_MAX;
        loop {
            if let Some(addr) = announced_addr(&self.printed()) {
                return Ok(addr);
            }
            let ended = self.process.try_wait().context("look after the child")?;
            if ended.is_some() || Instant::now() > give_up {
                bail!("`{}` does not listen:\n{}", self.name, self.log_end());
            }
            sleep(LOOK_PAUSE);
        }
    }

    /// Asks it to stop, and waits until it has drained.
    pub(super) fn stop(self) -> anyhow::Result<Usage> {
        kill_process(self.pid(), Signal::TERM).with_context(|| format!("ask `{}` to stop", self.name))?;
        self.finish()
    }

    /// Waits for its end, and for success.
    pub(super) fn finish(mut self) -> anyhow::Result<Usage> {
        let give_up = Instant::now() + END_TIME_MAX;
        let mut peak_rss_bytes = 0;
        while !self.has_ended()? {
            peak_rss_bytes = process::peak_rss_bytes(self.process.id()).unwrap_or(0).max(peak_rss_bytes);
            ensure!(Instant::now() < give_up, "`{}` did not end within {END_TIME_MAX:?}", self.name);
            sleep(LOOK_PAUSE);
        }
        let cpu = process::cpu_time(self.process.id())?;
        let status = self.process.wait().context("wait for the child")?;
        ensure!(status.success(), "`{}` failed with {status}:\n{}", self.name, self.log_end());
        Ok(Usage { cpu, peak_rss_bytes })
    }

    /// Leaves the ended process in place, so that its times can still be read.
    fn has_ended(&self) -> anyhow::Result<bool> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(self.pid()), look).context("look after the child")?.is_some())
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    fn printed(&self) -> String {
        std::fs::read(&self.log)
            .map_or_else(|error| error.to_string(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn log_end(&self) -> String {
        let text = self.printed();
        text[text.floor_char_boundary(text.len().saturating_sub(LOG_BYTES_SHOWN))..].to_string()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Of one that was waited for, the library knows that there is nobody to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The address of the line `HTTP http://ADDR/v1/events …`, once the line is whole.
fn announced_addr(printed: &str) -> Option<SocketAddr> {
    let whole = printed.rsplit_once('\n')?.0;
    let line = whole.lines().find_map(|line| line.trim_start().strip_prefix("HTTP "))?;
    line.trim_start().strip_prefix("http://")?.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_once_its_line_is_whole() {
        let printed = "forebay 0.1.0 is up\n\n  HTTP     http://127.0.0.1:4711/v1/events   (also /healthz)\n";
        let addr = "127.0.0.1:4711".parse().ok();
        assert_eq!(announced_addr(printed), addr);
        assert_eq!(announced_addr(printed.trim_end()), None);
        assert_eq!(announced_addr("  gRPC     http://127.0.0.1:1\n"), None);
    }
}
