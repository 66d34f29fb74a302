//! The services of the compose file as processes.
//!
//! They have the file's commands and environment and nothing else, but for what differs between a container and a process:
//! **Hosts and ports**: each port of a container is a free one here. **LocalStack** is the stand-ins for AWS, whose
//! resources have names of their own, since other tests use them too.

use crate::file::{ComposeFile, Condition, Service, with_defaults};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest wait for a service to become healthy.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long events may take into the lake: two terms of a lease, and time to work.
const SETTLE: &str = "180s";

/// LocalStack as containers reach it.
const LOCALSTACK: &str = "http://localstack:4566";

/// What is started, as the file has it, and where it is here.
pub(crate) struct Composition {
    file: ComposeFile,
    /// Parts of commands and values, and what stands for them here.
    rewrites: Vec<(String, String)>,
    /// What stands for LocalStack.
    localstack: Vec<(String, String)>,
    dir: TempDir,
    running: BTreeMap<String, Child>,
}

impl Composition {
    /// Starts what `docker compose up` starts, in its order, until all of it is healthy or done.
    pub(crate) async fn up() -> Composition {
        let file = ComposeFile::read();
        let rewrites = rewrites(&file);
        let dir = tempfile::tempdir().unwrap();
        let mut composition =
            Composition { file, rewrites, localstack: localstack().await, dir, running: BTreeMap::new() };
        composition.start(None).await;
        let has_check = |name: &&String| composition.file.services[*name].healthcheck.is_some();
        let checked: Vec<String> = composition.running.keys().filter(has_check).cloned().collect();
        for name in checked {
            composition.wait(&name, Condition::ServiceHealthy).await;
        }
        composition
    }

    /// Runs the load generator of the profile `load` to its end, with `args` after the file's own.
    pub(crate) async fn load(&mut self, args: &[&str]) {
        let services = self.services(Some("load"));
        let [(name, service)] = services.as_slice() else { panic!("{services:?}") };
        for (on, dependency) in &service.depends_on {
            self.wait(on, dependency.condition).await;
        }
        let output = self.command(service).args(args).args(["--ledger", &self.receipts()]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}\n{}", self.logs());
    }

    /// Sends an event as the quickstart's `curl` does; the whole answer.
    pub(crate) fn post(&self, address: &str, path: &str, body: &str) -> String {
        let here = self.rewritten(address);
        let mut socket = TcpStream::connect(&here).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {here}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            body.len()
        );
        socket.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }

    /// Puts an id among those that were acknowledged.
    pub(crate) fn write_down(&self, id: &str) {
        std::fs::write(self.receipts(), format!("a {id}\n")).unwrap();
    }

    /// Everything that was acknowledged is in the lake once, and nothing else is.
    pub(crate) fn audit_is_clean(&self) {
        let mut command = self.command(&self.file.services["setup"].clone().saying(&["audit", "--wait", SETTLE]));
        let output = command.args(["--ledger", &self.receipts()]).output().unwrap();
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
        assert!(output.status.success(), "{said:?}\n{}", self.logs());
    }

    /// Asks all to stop, as `docker compose down` does; each ends well.
    pub(crate) fn down(&mut self) {
        for child in self.running.values() {
            // One that is done is no longer there.
            let _ =
                rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::TERM);
        }
        let logs = self.logs();
        for (name, mut child) in std::mem::take(&mut self.running) {
            let status = child.wait().unwrap();
            assert!(status.success(), "{name} ended with {status}\n{logs}");
        }
    }

    fn services(&self, profile: Option<&str>) -> Vec<(String, Service)> {
        let owned = |(name, service): (&str, &Service)| (name.to_owned(), service.clone());
        self.file.in_order(profile).into_iter().map(owned).collect()
    }

    async fn start(&mut self, profile: Option<&str>) {
        for (name, service) in self.services(profile).into_iter().filter(|(_, service)| service.build.is_some()) {
            for (on, dependency) in &service.depends_on {
                self.wait(on, dependency.condition).await;
            }
            let log = std::fs::File::create(self.dir.path().join(&name)).unwrap();
            let child = self.command(&service).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
            self.running.insert(name, child);
        }
    }

    /// Waits as Compose does. What has an image of its own is a stand-in, and those are healthy.
    async fn wait(&mut self, name: &str, condition: Condition) {
        if self.file.services[name].image.is_some() {
            return;
        }
        if condition == Condition::ServiceCompletedSuccessfully {
            let status = self.running.get_mut(name).unwrap().wait().unwrap();
            assert!(status.success(), "{name} ended with {status}\n{}", self.logs());
            return;
        }
        let start = Instant::now();
        while !self.is_healthy(name) {
            assert!(start.elapsed() < PATIENCE, "{name} is not healthy\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Does what the file's health check does: `CMD`, the image's binary, and its arguments.
    fn is_healthy(&self, name: &str) -> bool {
        let service = &self.file.services[name];
        let [_, _, args @ ..] = service.healthcheck.as_ref().unwrap().test.as_slice() else { panic!("{service:?}") };
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        self.command(&service.clone().saying(&args)).output().unwrap().status.success()
    }

    /// The binary that the image of `service` has, with the file's arguments and environment.
    fn command(&self, service: &Service) -> Command {
        let package = &service.build.as_ref().unwrap().args.package;
        let binary = Path::new(env!("CARGO_BIN_EXE_forebay")).with_file_name(package);
        assert!(binary.exists(), "{} is not built: run cargo test --workspace", binary.display());
        let mut command = Command::new(binary);
        command.env_clear().stdin(Stdio::null());
        command.args(service.command.iter().map(|word| self.rewritten(word)));
        command.envs(service.environment.iter().flat_map(|(key, value)| self.variable(key, &with_defaults(value))));
        command
    }

    fn variable(&self, key: &str, value: &str) -> Vec<(String, String)> {
        match value {
            LOCALSTACK => self.localstack.clone(),
            _ => vec![(key.to_owned(), self.rewritten(value))],
        }
    }

    fn rewritten(&self, text: &str) -> String {
        self.rewrites.iter().fold(text.to_owned(), |text, (there, here)| text.replace(there, here))
    }

    fn receipts(&self) -> String {
        self.dir.path().join("acknowledged").to_str().unwrap().to_owned()
    }

    /// The ends of all logs.
    fn logs(&self) -> String {
        const LINES: usize = 15;
        let tail = |name: &String| {
            let log = std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            format!("--- {name}\n{}\n", lines[lines.len().saturating_sub(LINES)..].join("\n"))
        };
        self.running.keys().map(tail).collect()
    }
}

impl Drop for Composition {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// By which services find what stands in for LocalStack.
async fn localstack() -> Vec<(String, String)> {
    let endpoints = standins::environment().await.into_iter().filter(|(key, _)| key.starts_with("AWS_ENDPOINT_URL"));
    // An endpoint that is a setting says so by itself.
    let path_style = ("FOREBAY_S3_PATH_STYLE".to_owned(), "true".to_owned());
    endpoints.chain(standins::fresh_names("compose")).chain([path_style]).collect()
}

/// A free port for each port that the file publishes, by the ways in which containers name it.
fn rewrites(file: &ComposeFile) -> Vec<(String, String)> {
    let mut rewrites = Vec::new();
    for (name, service) in file.services.iter().filter(|(_, service)| service.build.is_some()) {
        for port in service.ports.iter().map(|port| port.rsplit(':').next().unwrap()) {
            let here = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
            rewrites.extend(["0.0.0.0", "127.0.0.1", name].map(|host| (format!("{host}:{port}"), here.clone())));
        }
    }
    rewrites
}
