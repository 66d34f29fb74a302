//! The `forebay` binary in a data directory of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_forebay");

/// Longest wait for a process to start or to end by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ports below those that clients are given: a client that dials a port nobody listens on can't meet itself there.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Settings with which many small entries and objects are made, fast.
pub(crate) const BUSY: [&str; 14] = [
    "--flush-interval",
    "300ms",
    "--flush-rows",
    "2000",
    "--live-object-rows",
    "500",
    "--dedup-batch-bytes",
    "64KiB",
    "--writer-settle-after",
    "100ms",
    "--dedup-settle-after",
    "100ms",
    "--grpc-addr",
    "127.0.0.1:0",
];

/// A data directory, and what is run on it.
#[derive(Debug)]
pub(crate) struct Pipeline {
    folder: TempDir,
    port: u16,
}

impl Pipeline {
    pub(crate) fn new() -> Pipeline {
        Pipeline { folder: tempfile::tempdir().expect("a temporary folder"), port: free_port() }
    }

    /// A copy of everything that is there.
    pub(crate) fn copy(&self) -> Pipeline {
        let copy = Pipeline::new();
        copy_folder(self.folder.path(), copy.folder.path());
        copy
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn lake(&self) -> PathBuf {
        self.data_dir().join("lake")
    }

    /// The file of acknowledged ids.
    pub(crate) fn acked(&self) -> PathBuf {
        self.folder.path().join("acked.txt")
    }

    fn command(&self, name: &str) -> Command {
        self.at_home(Command::new(BINARY), &[name])
    }

    /// A command in the folder of the pipeline, with the environment that all commands have.
    fn at_home(&self, mut command: Command, args: &[&str]) -> Command {
        command
            .args(args)
            .env_clear()
            .env("RUST_LOG", "warn")
            .env("RUST_BACKTRACE", "1")
            .current_dir(self.folder.path());
        command
    }

    /// Runs a command on the data directory to its end.
    pub(crate) fn run(&self, name: &str, args: &[&str]) -> Output {
        let mut command = self.command(name);
        command.arg("--data-dir").arg(self.data_dir()).args(args).output().expect("the binary runs")
    }

    /// Runs the binary in the folder of the pipeline.
    pub(crate) fn run_as_told(&self, args: &[&str]) -> Output {
        self.at_home(Command::new(BINARY), args).output().expect("the binary runs")
    }

    /// Starts a command on the data directory.
    pub(crate) fn spawn(&self, name: &str, args: &[&str]) -> Running {
        let mut command = self.command(name);
        command.arg("--data-dir").arg(self.data_dir()).args(args);
        self.start(command, name)
    }

    /// Starts `up` and waits until it says where it listens.
    pub(crate) fn up(&self, args: &[&str]) -> Running {
        self.start_up(self.command("up"), args)
    }

    /// Starts `up` and waits for nothing.
    pub(crate) fn begin_up(&self, args: &[&str]) -> Running {
        let command = self.served(self.command("up"), args);
        self.start(command, "up")
    }

    /// As [`Pipeline::up`], where a process may have so many files and sockets open.
    pub(crate) fn up_with_open_files(&self, files: u32, args: &[&str]) -> Running {
        let script = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
        self.start_up(self.at_home(Command::new("/bin/sh"), &["-c", &script, BINARY, "up"]), args)
    }

    /// As [`Pipeline::up`], telling everything that it can tell.
    pub(crate) fn up_telling_all(&self, args: &[&str]) -> Running {
        self.up_telling("debug", args)
    }

    /// As [`Pipeline::up`], telling what a filter lets through.
    pub(crate) fn up_telling(&self, filter: &str, args: &[&str]) -> Running {
        let mut command = self.command("up");
        command.env("RUST_LOG", filter);
        self.start_up(command, args)
    }

    /// As [`Pipeline::up`], where no file can grow beyond some blocks of a size that the shell chooses.
    pub(crate) fn up_in_small_files(&self, blocks: u32, args: &[&str]) -> Running {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        self.start_up(self.at_home(Command::new("/bin/sh"), &["-c", &script, BINARY, "up"]), args)
    }

    fn start_up(&self, command: Command, args: &[&str]) -> Running {
        let mut up = self.start(self.served(command, args), "up");
        let events = format!("://{}/v1/events", self.address());
        assert!(up.says(&events), "`up` did not come up:\n{}", self.log("up"));
        up
    }

    fn served(&self, mut command: Command, args: &[&str]) -> Command {
        command.arg("--data-dir").arg(self.data_dir()).args(["--http-addr", &self.address()]).args(BUSY).args(args);
        command
    }

    /// Where HTTP is served.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts the generator; it appends what is acknowledged to the ledger file.
    pub(crate) fn generate(&self, args: &[&str]) -> Running {
        let mut command = self.command("generate");
        let url = format!("http://127.0.0.1:{}", self.port);
        command.args(["--url", &url]).arg("--ledger").arg(self.acked()).args(args);
        self.start(command, "generate")
    }

    /// Sends so many events and waits until all are acknowledged.
    pub(crate) fn generate_all(&self, total: &str, args: &[&str]) {
        let status = self.generate(&[&["--total", total, "--max"], args].concat()).wait();
        assert!(status.success(), "generate failed:\n{}", self.log("generate"));
    }

    pub(crate) fn audit(&self, args: &[&str]) -> Audit {
        Audit::of(&self.run("audit", args))
    }

    /// As [`Pipeline::audit`], with the ledger file.
    pub(crate) fn audit_acked(&self, args: &[&str]) -> Audit {
        let acked = self.acked();
        self.audit(&[&["--ledger", acked.to_str().expect("a plain path")], args].concat())
    }

    /// Posts a body; the status of the answer, if one came.
    pub(crate) fn post(&self, body: &str) -> Option<u16> {
        self.post_with("", body)
    }

    /// As [`Pipeline::post`], with more lines in the head.
    pub(crate) fn post_with(&self, more: &str, body: &str) -> Option<u16> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        socket.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        let head = "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close";
        write!(socket, "{head}\r\n{more}Content-Length: {}\r\n\r\n{body}", body.len()).ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        answer.split(' ').nth(1)?.parse().ok()
    }

    /// Head and body of what a path answers, if anything did.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        socket.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        write!(socket, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// What a command wrote to its log.
    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(format!("{name}.log"))).unwrap_or_default()
    }

    fn start(&self, mut command: Command, name: &str) -> Running {
        let log = File::options().create(true).append(true).open(self.folder.path().join(format!("{name}.log")));
        let log = log.expect("a log file");
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn();
        let mut child = child.expect("the binary starts");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        Running { child, out }
    }
}

/// A process that is killed when it is no longer wanted.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    /// Reads what it prints until a line has `text`; whether one had.
    fn says(&mut self, text: &str) -> bool {
        self.line_with(text).is_some()
    }

    /// As it prints it.
    pub(crate) fn line_with(&mut self, text: &str) -> Option<String> {
        let mut line = String::new();
        while self.out.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            if line.contains(text) {
                return Some(line);
            }
            line.clear();
        }
        None
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: no chance to do anything.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was started here");
    }

    /// SIGTERM: drains.
    pub(crate) fn stop(self) -> ExitStatus {
        self.ask_to_stop();
        self.wait()
    }

    /// As [`Running::stop`], without waiting until it has.
    pub(crate) fn ask_to_stop(&self) {
        let kill = format!("kill -TERM {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status().expect("a shell");
        assert!(status.success(), "{kill}");
    }

    pub(crate) fn wait(mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it was started here") {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "process {} does not end", self.child.id());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What `audit` said.
#[derive(Debug)]
pub(crate) struct Audit {
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
    figures: BTreeMap<String, u64>,
}

impl Audit {
    fn of(output: &Output) -> Audit {
        let text = format!("{}{}", said(&output.stdout), said(&output.stderr));
        let figures = said(&output.stdout).lines().take_while(|line| !line.is_empty()).filter_map(figure).collect();
        Audit { code: output.status.code(), text, figures }
    }

    pub(crate) fn figure(&self, name: &str) -> u64 {
        *self.figures.get(name).unwrap_or_else(|| panic!("no figure {name} in\n{}", self.text))
    }

    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        assert_eq!(self.code, Some(0), "{}", self.text);
        assert_eq!((self.figure("missing"), self.figure("twice")), (0, 0), "{}", self.text);
    }

    #[track_caller]
    pub(crate) fn assert_finds(&self, texts: &[&str]) {
        assert_eq!(self.code, Some(1), "{}", self.text);
        texts.iter().for_each(|text| assert!(self.text.contains(text), "no `{text}` in\n{}", self.text));
    }
}

/// Name and count in a line of the table: the name may have a space, what it means follows.
fn figure(line: &str) -> Option<(String, u64)> {
    let (name, rest) = line.split_at_checked(11)?;
    let count = rest.split_whitespace().next()?.replace(',', "");
    Some((name.trim().to_string(), count.parse().ok()?))
}

pub(crate) fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Files below a folder, hidden ones left out, in order.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).into_iter().flatten();
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            match path.is_dir() {
                _ if is_hidden => {}
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    found
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&target).expect("a folder");
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("a file");
        }
    }
}

fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let width = PORTS.end - PORTS.start;
    let start = (std::process::id() % u32::from(width)) as u16;
    let port = |_| PORTS.start + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % width;
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (0..width).map(port).find(is_free).expect("a free port")
}
