//! Servers live as long as somebody uses them, whatever dies first. Each test has a run of its own.

#![allow(clippy::unwrap_used)] // A test that can't be set up may panic.

use standins::{Home, Server};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Far longer than a server takes to go.
const LOOKS_MAX: usize = 300;

const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// The shortest, so that nobody waits for it.
const GRACE: &str = "0.2";

/// Another process that uses the queue's server, which is the quickest to start.
struct User(Child);

impl User {
    fn start(run: &Path) -> User {
        // Whatever becomes of the test, its end of the pipe goes with it, and the user with that.
        let mut user = user(run);
        user.args(["--until-input-ends", "queue"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        User(user.spawn().unwrap())
    }

    /// What it prints once it has its server.
    fn url(&mut self) -> String {
        let mut lines = BufReader::new(self.0.stdout.as_mut().unwrap()).lines().map_while(Result::ok);
        lines.find_map(|line| line.strip_prefix("export AWS_ENDPOINT_URL_SQS=").map(str::to_string)).unwrap()
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn user(run: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_standins"));
    command.arg("--run").arg(run).args(["--grace", GRACE]);
    command
}

fn answers(url: &str) -> bool {
    let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    TcpStream::connect(address).is_ok()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..LOOKS_MAX {
        if holds() {
            return;
        }
        std::thread::sleep(LOOK_PAUSE);
    }
    panic!("never: {what}");
}

/// The numbers of the servers' processes, as the supervisor wrote them down.
fn servers(run: &Path) -> Vec<u32> {
    let written: Vec<(u32, String)> =
        serde_json::from_slice(&std::fs::read(run.join("servers.json")).unwrap()).unwrap();
    written.into_iter().map(|(pid, _)| pid).collect()
}

/// The parent of a process is the fourth word of its state. Source: <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>
fn parent(pid: u32) -> String {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    state.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().to_string()
}

#[test]
fn two_processes_share_one_server_that_goes_after_the_last() {
    let run = TempDir::new().unwrap();
    let (mut one, mut other) = (User::start(run.path()), User::start(run.path()));
    let url = one.url();
    assert_eq!(other.url(), url);
    one.kill();
    assert!(answers(&url));
    other.kill();
    wait_until("the server goes", || !answers(&url));
    wait_until("the supervisor goes", || !run.path().join("supervisor.json").exists());
}

#[test]
fn a_killed_supervisor_takes_its_servers_along_and_is_replaced() {
    let run = TempDir::new().unwrap();
    let mut user = User::start(run.path());
    let url = user.url();
    let supervisor = parent(servers(run.path())[0]);
    assert!(Command::new("kill").args(["-KILL", &supervisor]).status().unwrap().success());
    wait_until("the server goes", || !answers(&url));
    let mut next = User::start(run.path());
    assert!(answers(&next.url()));
    user.kill();
    next.kill();
}

#[test]
fn a_server_that_died_is_started_again_for_the_next_user() {
    let run = TempDir::new().unwrap();
    let mut user = User::start(run.path());
    let url = user.url();
    let server = servers(run.path())[0].to_string();
    assert!(Command::new("kill").args(["-KILL", &server]).status().unwrap().success());
    wait_until("the server goes", || !answers(&url));
    let mut next = User::start(run.path());
    assert!(answers(&next.url()));
    user.kill();
    next.kill();
}

#[test]
fn whereabouts_of_a_supervisor_that_is_gone_mislead_nobody() {
    let run = TempDir::new().unwrap();
    std::fs::write(run.path().join("supervisor.json"), r#"{"port": 1, "token": "stale"}"#).unwrap();
    std::fs::write(run.path().join("servers.json"), r#"[[1, "another boot 17"]]"#).unwrap();
    let mut user = User::start(run.path());
    assert!(answers(&user.url()));
    user.kill();
}

#[test]
fn an_interrupted_install_is_done_again() {
    let run = TempDir::new().unwrap();
    let home = Home { installs: run.path().join("installs"), run: run.path().to_path_buf(), grace: Duration::ZERO };
    let interrupted = home.installs.join("kinesis-local-0.6.2.part/node_modules/kinesis-local");
    std::fs::create_dir_all(&interrupted).unwrap();
    std::fs::write(interrupted.join("main.js"), "half of").unwrap();
    let lease = home.ask(Server::Kinesis).unwrap();
    assert!(answers(&lease.endpoint().url));
}

/// Where a program is; Python itself rather than a script that looks for it.
fn program(name: &str) -> String {
    let mut ask = Command::new(if name == "python3" { name } else { "sh" });
    match name {
        "python3" => ask.args(["-c", "import sys; print(sys.executable)"]),
        _ => ask.arg("-c").arg(format!("command -v {name}")),
    };
    String::from_utf8(ask.output().unwrap().stdout).unwrap().trim().to_string()
}

/// What a user says that finds none but these programs.
fn complaint(programs: &[&str], server: &str) -> String {
    let (run, path) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for name in programs {
        symlink(program(name), path.path().join(name)).unwrap();
    }
    let mut user = user(run.path()).arg(server).env("PATH", path.path()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    user.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(!user.wait().unwrap().success());
    said
}

#[test]
fn what_is_missing_is_said_in_one_line() {
    for (programs, server, missing) in [
        (&[][..], "queue", "`python3`"),
        (&["python3"], "kinesis", "`node`"),
        (&["python3", "node"], "kinesis", "`npm`"),
        (&["python3", "node", "npm"], "dynamodb", "`java`"),
    ] {
        let said = complaint(programs, server);
        assert!(said.contains(missing) && said.contains("install"), "{said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    }
}
