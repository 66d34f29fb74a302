//! Runs against a gateway that answers in every way there is.

use super::*;
use crate::acked;
use clap::Parser;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use schema::EventId;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use tokio::net::TcpListener;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn parse(flags: &str) -> Result<Args, clap::Error> {
    let words = ["generate"].into_iter().chain(flags.split_whitespace());
    Cli::try_parse_from(words).map(|cli| cli.args)
}

/// How the gateway of a test answers its requests, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Sound,
    /// Some requests are refused for now, some lose their connection before or after they were taken.
    Faulty,
    AlwaysBusy,
    Refusing,
    /// Accepts what is invalid as well.
    Careless,
}

#[derive(Debug, Default)]
struct Taken {
    requests: u64,
    accepted: Vec<EventId>,
    quarantined: BTreeSet<EventId>,
}

#[derive(Clone, Debug)]
struct Gateway {
    mood: Mood,
    taken: Arc<Mutex<Taken>>,
}

/// A gateway on a port of its own; it ends with the test's runtime.
async fn gateway(mood: Mood) -> (SocketAddr, Gateway, JoinSet<()>) {
    let gateway = Gateway { mood, taken: Arc::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("bound");
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(listener, gateway.clone()));
    (addr, gateway, tasks)
}

async fn serve(listener: TcpListener, gateway: Gateway) {
    let mut connections = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.expect("accepts");
        let gateway = gateway.clone();
        connections.spawn(async move {
            let service = service_fn(|request| gateway.answer(request));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

impl Gateway {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::io::Error> {
        assert_eq!(request.uri(), "/v1/events");
        assert_eq!(request.headers()["content-type"], "application/x-ndjson");
        let body = request.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
        let mut taken = self.taken.lock().expect("no holder panics");
        let number = taken.requests;
        taken.requests += 1;
        match self.mood {
            Mood::AlwaysBusy => Ok(busy(503)),
            Mood::Refusing => Ok(response(401, "{\"title\":\"no such key\"}")),
            Mood::Faulty if number % 7 == 1 => Ok(busy(503)),
            Mood::Faulty if number % 7 == 2 => Ok(busy(429)),
            Mood::Faulty if number % 7 == 3 => Err(std::io::Error::other("dropped before it was taken")),
            Mood::Faulty if number % 7 == 5 => {
                taken.take(&body, false);
                Err(std::io::Error::other("dropped after it was taken"))
            }
            mood => Ok(taken.take(&body, mood == Mood::Careless)),
        }
    }
}

impl Taken {
    fn take(&mut self, body: &[u8], careless: bool) -> Response<Full<Bytes>> {
        let lines = body.strip_suffix(b"\n").expect("NDJSON ends with a newline").split(|&byte| byte == b'\n');
        let (mut accepted, mut quarantined) = (0, Vec::new());
        for (index, line) in lines.enumerate() {
            let valid = events::tests::breaks(line).is_none();
            if valid || careless {
                accepted += 1;
                let text = line.get(13..49).and_then(|id| std::str::from_utf8(id).ok());
                self.accepted.extend(text.and_then(EventId::parse));
                continue;
            }
            let id = quarantine_id(line);
            self.quarantined.insert(id);
            quarantined.push(format!(r#"{{"index":{index},"quarantine_id":"{id}","reason":"invalid"}}"#));
        }
        let body = format!(r#"{{"accepted":{accepted},"quarantined":[{}]}}"#, quarantined.join(","));
        response(if accepted > 0 { 202 } else { 422 }, &body)
    }
}

fn quarantine_id(line: &[u8]) -> EventId {
    EventId(
        line.iter()
            .fold(7, |hash: u128, &byte| hash.wrapping_mul(0x0100_0000_01b3_1234_5677).wrapping_add(byte.into())),
    )
}

fn response(status: u16, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response
}

fn busy(status: u16) -> Response<Full<Bytes>> {
    let mut response = response(status, "");
    response.headers_mut().insert("retry-after", "0".parse().expect("a header"));
    response
}

const PATIENCE: Patience = Patience {
    pause_first: Duration::from_millis(1),
    pause_max: Duration::from_millis(4),
    tried_for: Duration::from_secs(60),
    after_stop: Duration::from_millis(200),
};

async fn run_against(addr: SocketAddr, patience: Patience, flags: &str, stop: Stop) -> Summary {
    let args = parse(&format!("--url http://{addr} --seed 7 {flags}")).expect("sound flags");
    args.check().expect("sound flags");
    run_with(&args, patience, &Env::system(), stop).await.expect("it begins")
}

#[tokio::test]
async fn every_batch_is_acknowledged_once_whatever_the_gateway_does_and_the_ledger_knows_each_id() {
    let (addr, gateway, _tasks) = gateway(Mood::Faulty).await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("acked");
    let flags = format!("--max --total 10k --duplicates 5% --invalid 3% --ledger {}", path.display());
    let summary = run_against(addr, PATIENCE, &flags, Stop::new()).await;

    assert!(summary.is_clean(), "{summary}");
    let counts = &summary.counts;
    assert_eq!((counts.acknowledged, counts.batches, counts.unacknowledged), (10_000, 100, 0));
    assert!(counts.copies > 300 && counts.quarantined > 200, "{summary}");
    assert_eq!(counts.answers[&202], 100);
    assert!(counts.answers[&503] > 5 && counts.answers[&429] > 5 && counts.unanswered > 5, "{summary}");

    let ledger = acked::read(&path).expect("own file");
    let taken = gateway.taken.lock().expect("no holder panics");
    let accepted: BTreeSet<EventId> = taken.accepted.iter().copied().collect();
    assert_eq!(ledger.accepted, Vec::from_iter(accepted));
    assert_eq!(ledger.quarantined, Vec::from_iter(taken.quarantined.iter().copied()));
    assert!(taken.accepted.len() as u64 > counts.accepted, "some batches were taken twice");
}

#[tokio::test]
async fn a_batch_of_invalid_events_is_acknowledged_by_its_422() {
    let (addr, _, _tasks) = gateway(Mood::Sound).await;
    let summary = run_against(addr, PATIENCE, "--max --total 50 --batch 1 --invalid 100%", Stop::new()).await;
    assert!(summary.is_clean(), "{summary}");
    assert_eq!((summary.counts.quarantined, summary.counts.answers[&422]), (50, 50));
}

#[tokio::test]
async fn a_gateway_that_takes_invalid_events_for_valid_fails_the_run() {
    let (addr, _, _tasks) = gateway(Mood::Careless).await;
    let summary = run_against(addr, PATIENCE, "--max --total 1k --invalid 20%", Stop::new()).await;
    assert!(!summary.is_clean());
    assert!(summary.to_string().contains("the answer says 100"), "{summary}");
}

#[tokio::test]
async fn a_refusal_fails_the_run_at_once() {
    let (addr, gateway, _tasks) = gateway(Mood::Refusing).await;
    let summary = run_against(addr, PATIENCE, "--max --connections 2", Stop::new()).await;
    assert!(summary.counts.failures[0].contains("no such key"), "{summary}");
    assert!(gateway.taken.lock().expect("no holder panics").requests <= 2);
}

#[tokio::test]
async fn patience_with_a_busy_gateway_ends() {
    let (addr, _, _tasks) = gateway(Mood::AlwaysBusy).await;
    let patience = Patience { tried_for: Duration::from_millis(100), ..PATIENCE };
    let summary = run_against(addr, patience, "--max --connections 1", Stop::new()).await;
    assert!(summary.counts.failures[0].contains("status 503"), "{summary}");
    assert_eq!((summary.counts.acknowledged, summary.counts.unacknowledged), (0, 100));
}

#[tokio::test]
async fn a_stopped_run_is_clean_and_tells_what_it_gave_up() {
    let (addr, _, _tasks) = gateway(Mood::AlwaysBusy).await;
    let stop = Stop::new();
    let (summary, ()) = tokio::join!(run_against(addr, PATIENCE, "--max --connections 3", stop.clone()), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        stop.cancel();
    });
    assert!(summary.is_clean(), "{summary}");
    assert_eq!(summary.counts.unacknowledged, 300);
}

#[tokio::test]
async fn a_rate_is_kept() {
    let (addr, _, _tasks) = gateway(Mood::Sound).await;
    let summary = run_against(addr, PATIENCE, "--rate 5000/s --duration 1s", Stop::new()).await;
    assert_eq!(summary.counts.acknowledged, 5000);
    assert!(summary.took >= Duration::from_millis(999), "{summary}");
}

#[test]
fn flags_that_cannot_be_meant_are_refused_by_name() {
    for (flags, named) in [
        ("--max --rate 3/s", "--rate"),
        ("--rate 0/s", "--rate"),
        ("--rate 300", "--rate"),
        ("--total 0", "--total"),
        ("--total many", "--total"),
        ("--batch 0", "--batch"),
        ("--batch 10001", "--batch"),
        ("--connections 0", "--connections"),
        ("--connections 9999", "--connections"),
        ("--duplicates 101%", "--duplicates"),
        ("--duplicates 95%", "--duplicates"),
        ("--duplicates 60% --invalid 50%", "--invalid"),
        ("--late -1%", "-1"),
        ("--event-types 0", "--event-types"),
        ("--event-types 10001", "--event-types"),
        ("--seed x", "--seed"),
        ("--duration 0s", "--duration"),
        ("--duration 1s --rate 1/m", "--duration"),
        ("--url ftp://127.0.0.1", "--url"),
    ] {
        let refusal = match parse(flags) {
            Ok(args) => args.check().expect_err(flags).to_string(),
            Err(error) => error.to_string(),
        };
        assert!(refusal.contains(named), "{flags}: {refusal}");
    }
}

#[test]
fn a_slow_rate_sends_what_happens_within_a_second() {
    for (flags, events) in
        [("", 100), ("--rate 24/d", 1), ("--rate 30/s", 30), ("--rate 1/s --batch 7", 7), ("--max", 100)]
    {
        assert_eq!(parse(flags).expect("sound flags").load().batch_events, events, "{flags}");
    }
}
