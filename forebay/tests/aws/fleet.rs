//! Processes of one installation.

use rustix::process::{Pid, Signal, kill_process};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest wait for a process to become ready, or to end.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long events may take into the lake: two terms of a lease, and time to work.
const SETTLE: &str = "180s";

/// One installation: names of its own, and the processes on it. They end with it.
pub(crate) struct Fleet {
    environment: Vec<(String, String)>,
    dir: TempDir,
    running: Vec<(String, Child)>,
}

/// A process of the fleet.
#[derive(Clone, Copy)]
pub(crate) struct Member(usize);

impl Fleet {
    /// Makes streams of two shards, table, bucket and queue.
    pub(crate) async fn set_up(name: &str) -> Fleet {
        let mut environment = standins::environment().await;
        let fresh = standins::fresh_name(name);
        let named = ["RAW_STREAM", "CLEAN_STREAM", "TABLE", "BUCKET", "OVERFLOW_QUEUE"];
        environment.extend(named.map(|what| {
            (format!("FOREBAY_{what}"), format!("{fresh}-{}", what.to_ascii_lowercase().replace('_', "-")))
        }));
        environment.extend(
            [("FOREBAY_BACKEND", "aws"), ("FOREBAY_S3_PATH_STYLE", "true")]
                .map(|(key, value)| (key.into(), value.into())),
        );
        let fleet = Fleet { environment, dir: tempfile::tempdir().unwrap(), running: Vec::new() };
        fleet.forebay(&["setup", "aws", "--stream-shards", "2", "--stream-retention", "24h", "--unguarded"]);
        fleet
    }

    fn command(&self, binary: &str) -> Command {
        let path = path_of(binary);
        assert!(path.exists(), "{} is not built: run cargo test --workspace", path.display());
        let mut command = Command::new(path);
        command.env_clear().envs(self.environment.iter().cloned()).stdin(Stdio::null());
        command
    }

    /// Runs a command of `forebay` to its end.
    pub(crate) fn forebay(&self, args: &[&str]) -> String {
        let output = self.command("forebay").args(args).output().unwrap();
        assert!(output.status.success(), "forebay {args:?}: {}\n{}", said(&output), self.logs());
        said(&output)
    }

    /// Starts a process whose log is kept.
    pub(crate) fn start(&mut self, binary: &str, args: &[&str]) -> Member {
        let name = format!("{binary}-{}", self.running.len());
        let log = std::fs::File::create(self.dir.path().join(&name)).unwrap();
        let child = self.command(binary).args(args).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.running.push((name, child));
        Member(self.running.len() - 1)
    }

    /// Starts a gateway; where it listens for HTTP.
    pub(crate) fn gateway(&mut self) -> SocketAddr {
        let (http, grpc) = (free_address(), free_address());
        self.start("ingest-gateway", &["--http-addr", &http.to_string(), "--grpc-addr", &grpc.to_string()]);
        http
    }

    pub(crate) async fn wait_until_ready(&self, address: SocketAddr) {
        let start = Instant::now();
        let check = ["--check-health".to_string(), address.to_string()];
        while !self.command("ingest-gateway").args(&check).output().unwrap().status.success() {
            assert!(start.elapsed() < PATIENCE, "not ready at {address}: {}", self.logs());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Sends events until all are acknowledged, and writes down which.
    pub(crate) fn generate(&self, gateway: SocketAddr, args: &[&str]) {
        let (url, ledger) = (format!("http://{gateway}"), self.receipts());
        let all = [&["generate", "--url", &url, "--ledger", &ledger], args].concat();
        self.forebay(&all);
    }

    /// Everything acknowledged is in the lake once, and nothing else is.
    pub(crate) fn audit_is_clean(&self) {
        self.forebay(&["audit", "--wait", SETTLE, "--ledger", &self.receipts()]);
    }

    fn receipts(&self) -> String {
        self.dir.path().join("acknowledged").to_str().unwrap().to_owned()
    }

    pub(crate) fn kill(&mut self, member: Member) {
        let (_, child) = &mut self.running[member.0];
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn pause(&self, member: Member) {
        self.signal(member, Signal::STOP);
    }

    pub(crate) fn resume(&self, member: Member) {
        self.signal(member, Signal::CONT);
    }

    fn signal(&self, member: Member, signal: Signal) {
        kill_process(Pid::from_child(&self.running[member.0].1), signal).unwrap();
    }

    /// Asks all to stop; each drains, and ends well.
    pub(crate) fn stop_all(&mut self) {
        for member in 0..self.running.len() {
            self.signal(Member(member), Signal::TERM);
        }
        let logs = self.logs();
        for (name, child) in &mut self.running {
            let status = child.wait().unwrap();
            assert!(status.success(), "{name} ended with {status}\n{logs}");
        }
        self.running.clear();
    }

    /// The ends of all logs.
    fn logs(&self) -> String {
        const LINES: usize = 15;
        let tail = |(name, _): &(String, Child)| {
            let log = std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            format!("--- {name}\n{}\n", lines[lines.len().saturating_sub(LINES)..].join("\n"))
        };
        self.running.iter().map(tail).collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Binaries of the workspace lie in one folder.
fn path_of(binary: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_forebay")).with_file_name(binary)
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}
