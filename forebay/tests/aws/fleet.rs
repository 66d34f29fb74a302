//! Processes of one installation.

use rustix::process::{Pid, Signal, kill_process};
use standins::{Endpoint, Server};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest wait for a process to become ready, to end, or to do something.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long events may take into the lake: two terms of a lease, and time to work.
pub(crate) const SETTLE: &str = "180s";

/// One installation: names of its own, and the processes on it. They end with it.
pub(crate) struct Fleet {
    environment: Vec<(String, String)>,
    /// What differs for the services: the proxies between them and AWS.
    detours: Vec<(String, String)>,
    dir: TempDir,
    running: Vec<(String, Child)>,
}

/// A process of the fleet.
#[derive(Clone, Copy)]
pub(crate) struct Member(usize);

impl Member {
    /// What was started first.
    pub(crate) const FIRST: Member = Member(0);
}

impl Fleet {
    /// Makes streams of two shards, table, bucket and queue.
    pub(crate) async fn set_up(name: &str) -> Fleet {
        let mut fleet = Fleet::set_up_on(name, 2, standins::kinesis().await).await;
        // Decisions are not paid for here.
        fleet.environment.push(("FOREBAY_DEDUP_LINGER".to_owned(), "500ms".to_owned()));
        fleet
    }

    /// As [`Fleet::set_up`], with so many shards a stream, on that Kinesis, and with all settings as they are on AWS.
    pub(crate) async fn set_up_on(name: &str, shards: u64, kinesis: Endpoint) -> Fleet {
        let mut environment = standins::environment().await;
        environment.push((Server::Kinesis.variable().to_string(), kinesis.url));
        environment.extend(standins::fresh_names(name));
        environment.extend(
            [("FOREBAY_BACKEND", "aws"), ("FOREBAY_S3_PATH_STYLE", "true"), ("FOREBAY_STREAM_CHECK_EVERY", "5s")]
                .map(|(key, value)| (key.into(), value.into())),
        );
        let dir = tempfile::tempdir().unwrap();
        let fleet = Fleet { environment, detours: Vec::new(), dir, running: Vec::new() };
        fleet.make_streams(shards);
        fleet
    }

    /// Makes streams, and what else is not there.
    fn make_streams(&self, shards: u64) {
        let shards = shards.to_string();
        self.forebay(&["setup", "aws", "--stream-shards", &shards, "--stream-retention", "24h", "--unguarded"]);
    }

    /// Makes other streams, of so many shards, which take the place of those that were; the name of the raw one that was.
    pub(crate) fn change_streams(&mut self, shards: u64) -> String {
        let old = self.name_of("RAW_STREAM").to_owned();
        for what in ["FOREBAY_RAW_STREAM", "FOREBAY_CLEAN_STREAM"] {
            let (_, name) = self.environment.iter_mut().find(|(key, _)| key == what).unwrap();
            name.push_str("-2");
        }
        self.make_streams(shards);
        old
    }

    /// Has services that are started from now on reach `server` at another endpoint. Commands of `forebay` reach it
    /// directly, as ever.
    pub(crate) fn detour(&mut self, server: Server, endpoint: Endpoint) {
        self.detours.push((server.variable().to_string(), endpoint.url));
    }

    /// Has services that are started from now on reach all servers directly again.
    pub(crate) fn end_detours(&mut self) {
        self.detours.clear();
    }

    pub(crate) fn command(&self, binary: &str) -> Command {
        let path = path_of(binary);
        assert!(path.exists(), "{} is not built: run cargo test --workspace", path.display());
        let mut command = Command::new(path);
        command.env_clear().envs(self.environment.iter().cloned()).stdin(Stdio::null());
        command
    }

    /// As [`Fleet::command`], with the detours of the services.
    pub(crate) fn service(&self, binary: &str) -> Command {
        let mut command = self.command(binary);
        command.envs(self.detours.iter().cloned());
        command
    }

    /// Runs a command of `forebay` to its end.
    pub(crate) fn forebay(&self, args: &[&str]) -> String {
        self.finish(self.command("forebay"), args)
    }

    /// As [`Fleet::forebay`], with the detours of the services.
    pub(crate) fn forebay_by_detour(&self, args: &[&str]) -> String {
        self.finish(self.service("forebay"), args)
    }

    /// Runs a command of `forebay` that ends with 1, as something is wrong; what it says.
    pub(crate) fn forebay_fails(&self, args: &[&str]) -> String {
        let output = self.command("forebay").args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "forebay {args:?}: {}", said(&output));
        said(&output)
    }

    fn finish(&self, mut command: Command, args: &[&str]) -> String {
        let output = command.args(args).output().unwrap();
        assert!(output.status.success(), "forebay {args:?}: {}\n{}", said(&output), self.logs());
        said(&output)
    }

    /// Starts a process whose log is kept.
    pub(crate) fn start(&mut self, binary: &str, args: &[&str]) -> Member {
        let name = format!("{binary}-{}", self.running.len());
        let log = std::fs::File::create(self.dir.path().join(&name)).unwrap();
        let child = self.service(binary).args(args).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.running.push((name, child));
        Member(self.running.len() - 1)
    }

    /// Starts a gateway; where it listens for HTTP.
    pub(crate) fn gateway(&mut self) -> SocketAddr {
        let http = free_address();
        self.gateway_at(http);
        http
    }

    /// Starts a gateway that listens for HTTP there.
    pub(crate) fn gateway_at(&mut self, http: SocketAddr) -> Member {
        let grpc = free_address();
        self.start("ingest-gateway", &["--http-addr", &http.to_string(), "--grpc-addr", &grpc.to_string()])
    }

    /// Starts a worker of each stage, of which the writer makes objects soon.
    pub(crate) fn workers(&mut self) -> [Member; 2] {
        [self.dedup(), self.writer()]
    }

    pub(crate) fn dedup(&mut self) -> Member {
        self.start("dedup-service", &[])
    }

    pub(crate) fn writer(&mut self) -> Member {
        self.start("writer-service", &["--flush-interval", "1s"])
    }

    pub(crate) async fn wait_until_ready(&self, address: SocketAddr) {
        let check = ["--check-health".to_string(), address.to_string()];
        let is_ready = || self.command("ingest-gateway").args(&check).output().unwrap().status.success();
        eventually(&format!("{address} is ready"), is_ready).await;
    }

    /// Sends events until all are acknowledged, and writes down which.
    pub(crate) fn generate(&self, gateway: SocketAddr, args: &[&str]) {
        self.forebay(&words(&self.sending(gateway, args)));
    }

    /// As [`Fleet::generate`], until it is stopped.
    pub(crate) fn start_to_generate(&mut self, gateway: SocketAddr, args: &[&str]) -> Member {
        self.start("forebay", &words(&self.sending(gateway, args)))
    }

    fn sending(&self, gateway: SocketAddr, args: &[&str]) -> Vec<String> {
        let (url, ledger) = (format!("http://{gateway}"), self.receipts());
        [&["generate", "--url", &url, "--ledger", &ledger], args].concat().into_iter().map(str::to_owned).collect()
    }

    /// Everything acknowledged is in the lake once, and nothing else is.
    pub(crate) fn audit_is_clean(&self) -> String {
        self.forebay(&["audit", "--wait", SETTLE, "--ledger", &self.receipts()])
    }

    /// What one of its resources is called: `RAW_STREAM`, `TASK_QUEUE`.
    pub(crate) fn name_of(&self, what: &str) -> &str {
        let variable = format!("FOREBAY_{what}");
        let (_, name) = self.environment.iter().find(|(key, _)| *key == variable).unwrap();
        name
    }

    pub(crate) fn receipts(&self) -> String {
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

    /// Asks one to stop, and does not wait for it.
    pub(crate) fn ask_to_stop(&self, member: Member) {
        self.signal(member, Signal::TERM);
    }

    fn signal(&self, member: Member, signal: Signal) {
        kill_process(Pid::from_child(&self.running[member.0].1), signal).unwrap();
    }

    /// Asks one to stop; it drains, and ends well.
    pub(crate) fn stop(&mut self, member: Member) {
        self.signal(member, Signal::TERM);
        self.ends_well(member);
    }

    /// Asks all to stop that still run.
    pub(crate) fn stop_all(&mut self) {
        let running: Vec<Member> =
            (0..self.running.len()).map(Member).filter(|&member| self.is_running(member)).collect();
        for &member in &running {
            self.signal(member, Signal::TERM);
        }
        for member in running {
            self.ends_well(member);
        }
    }

    fn ends_well(&mut self, member: Member) {
        let (name, child) = &mut self.running[member.0];
        let (status, name) = (child.wait().unwrap(), name.clone());
        assert!(status.success(), "{name} ended with {status}\n{}", self.logs());
    }

    pub(crate) fn is_running(&mut self, member: Member) -> bool {
        self.running[member.0].1.try_wait().unwrap().is_none()
    }

    /// Waits until one ends by itself; its exit code, and all that it said.
    pub(crate) async fn ended(&mut self, member: Member) -> (Option<i32>, String) {
        let what = format!("{} ends", self.running[member.0].0);
        eventually(&what, || !self.is_running(member)).await;
        let (name, child) = &mut self.running[member.0];
        (child.wait().unwrap().code(), std::fs::read_to_string(self.dir.path().join(name)).unwrap())
    }

    /// Asks one to stop, and waits; its exit code, and all that it said.
    pub(crate) async fn interrupted(&mut self, member: Member) -> (Option<i32>, String) {
        self.signal(member, Signal::TERM);
        self.ended(member).await
    }

    /// All that one has said so far.
    pub(crate) fn log(&self, member: Member) -> String {
        std::fs::read_to_string(self.dir.path().join(&self.running[member.0].0)).unwrap()
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
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        for (_, child) in &mut self.running {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not so within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Binaries of the workspace lie in one folder, and tests in one below it; so a copy of that folder works by itself.
fn path_of(binary: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap();
    folder.join(binary)
}

fn words(owned: &[String]) -> Vec<&str> {
    owned.iter().map(String::as_str).collect()
}

pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}
