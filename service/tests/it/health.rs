//! Readiness as those see it who send work to a process.

use service::{Health, Part, Stop, admin};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};
use tonic_health::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

const SERVICE: &str = "a-service";

/// The names that a process is asked by: its service, and the empty one for all of it.
const NAMES: [&str; 2] = [SERVICE, ""];

/// A process that shows its health, and needs a ledger.
struct Shown {
    ledger: Part,
    stop: Stop,
    address: SocketAddr,
    _serving: AbortOnDropHandle<anyhow::Result<()>>,
}

impl Shown {
    async fn start() -> Shown {
        let (health, stop) = (Health::default(), Stop::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let ledger = health.part("ledger");
        let served = admin::serve(listener, health, SERVICE, stop.clone(), Stop::new());
        Shown { ledger, stop, address, _serving: AbortOnDropHandle::new(tokio::spawn(served)) }
    }

    async fn client(&self) -> HealthClient<Channel> {
        let endpoint = Endpoint::new(format!("http://{}", self.address)).expect("an address is one");
        HealthClient::new(endpoint.connect().await.expect("it listens"))
    }

    async fn check(&self, name: &str) -> Result<ServingStatus, Code> {
        let answer = self.client().await.check(asking_for(name)).await;
        answer
            .map(|answer| answer.into_inner())
            .map_or_else(|status| Err(status.code()), |answer| Ok(status_of(&answer)))
    }

    async fn watch(&self, name: &str) -> Watch {
        let answer = self.client().await.watch(asking_for(name)).await;
        Watch(answer.expect("the name is known").into_inner())
    }

    /// The status line and the body of what `path` answers.
    async fn get(&self, path: &str) -> (String, String) {
        let mut socket = TcpStream::connect(self.address).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: forebay\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
    }
}

/// What a watcher is told.
struct Watch(Streaming<HealthCheckResponse>);

impl Watch {
    async fn next(&mut self) -> ServingStatus {
        let told = self.0.message().await.expect("the call goes on");
        status_of(&told.expect("the call goes on"))
    }
}

fn asking_for(name: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: name.to_owned() }
}

fn status_of(answer: &HealthCheckResponse) -> ServingStatus {
    let numbered = |status: &ServingStatus| *status as i32 == answer.status;
    let all = [ServingStatus::Serving, ServingStatus::NotServing, ServingStatus::Unknown];
    all.into_iter().find(numbered).expect("one of those that are")
}

fn ok(body: &str) -> (String, String) {
    ("HTTP/1.1 200 OK".to_owned(), format!("{body}\n"))
}

/// What `/readyz` answers for this reason.
fn not_ready(reason: &str) -> (String, String) {
    ("HTTP/1.1 503 Service Unavailable".to_owned(), format!("{reason}\n"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_are_told_of_each_change_and_the_first_of_a_drain_is_that_the_process_is_not_ready() {
    for name in NAMES {
        let process = Shown::start().await;
        let mut watch = process.watch(name).await;
        let mut told = async || (watch.next().await, process.get("/readyz").await);
        assert_eq!(told().await, (ServingStatus::NotServing, not_ready("ledger: starting")));
        process.ledger.ready();
        assert_eq!(told().await, (ServingStatus::Serving, ok("ready")));
        process.ledger.not_ready("no answer");
        assert_eq!(told().await, (ServingStatus::NotServing, not_ready("ledger: no answer")));
        process.ledger.ready();
        assert_eq!(told().await, (ServingStatus::Serving, ok("ready")));
        process.stop.cancel();
        assert_eq!(told().await, (ServingStatus::NotServing, not_ready("process: draining")));
        assert_eq!(process.get("/healthz").await, ok("ok"), "it lives until it has drained");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_says_the_same_under_each_name_and_nothing_under_others() {
    let process = Shown::start().await;
    let mut watch = process.watch("").await;
    let mut told = async || {
        let watched = watch.next().await;
        (watched, process.check(SERVICE).await, process.check("").await, process.check("another").await)
    };
    let all = |status: ServingStatus| (status, Ok(status), Ok(status), Err(Code::NotFound));
    assert_eq!(told().await, all(ServingStatus::NotServing));
    process.ledger.ready();
    assert_eq!(told().await, all(ServingStatus::Serving));
    process.stop.cancel();
    assert_eq!(told().await, all(ServingStatus::NotServing));
}
