//! A gateway that neither the stream nor the queue answers: it can make nothing durable, so it acknowledges nothing and
//! keeps nothing.

use crate::fleet::{Fleet, eventually, free_address};
use crate::http::exchange;
use crate::metrics;
use standins::Server;
use standins::proxy::{FaultProxy, Faults};
use std::net::SocketAddr;

const MIB: f64 = 1048576.0;

/// Requests that are refused while the outage lasts. All of their bodies together are several times what memory may grow by.
const REFUSED: f64 = 400.0;

/// Short, so that many requests come to their end: the stream gets half a second, and the queue a second.
const IMPATIENT: [&str; 4] =
    ["--resend-for=500ms", "--overflow-after=500ms", "--aws-call-timeout=1s", "--aws-call-deadline=1s"];

/// What may be in flight, and how much more memory that may take: bodies are parsed, packed and compressed.
const IN_FLIGHT_BYTES_MAX: [&str; 2] = ["--in-flight-bytes-max", "16MiB"];
const GROWTH_BYTES_MAX: f64 = 24.0 * MIB;

/// Bodies of an eighth of a MiB and more, all of them sent again until they are acknowledged.
const LOAD: [&str; 7] = ["--total", "16000", "--batch", "500", "--connections", "32", "--max"];

const EVENT: &str =
    r#"{"event_id":"7d0f3c52-9a5e-4a34-8d0e-5f1f5ad0c0de","event_name":"page:view","created_at":1767225600}"#;

fn post(gateway: SocketAddr) -> String {
    exchange(gateway, "POST /v1/events HTTP/1.1\r\nContent-Type: application/json", EVENT)
}

/// Requests that were answered with 503 so far.
fn refused(gateway: SocketAddr) -> f64 {
    let start = "forebay_gateway_requests_total{status=\"503\"} ";
    let shown = metrics::shown(gateway);
    shown.lines().find_map(|line| line.strip_prefix(start)).map_or(0.0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_stream_and_queue_a_gateway_refuses_in_bounded_memory_and_loses_nothing_it_acknowledged() {
    let mut fleet = Fleet::set_up("outage").await;
    fleet.workers();
    let silenced = [
        (Server::Kinesis, FaultProxy::start(&standins::kinesis().await, Faults::none(), 0).await),
        (Server::Queue, FaultProxy::start(&standins::queue().await, Faults::none(), 0).await),
    ];
    for (server, proxy) in &silenced {
        fleet.detour(*server, proxy.endpoint());
    }
    let (gateway, grpc) = (free_address(), free_address().to_string());
    let addresses = ["--http-addr", &gateway.to_string(), "--grpc-addr", &grpc];
    fleet.start("ingest-gateway", &[&addresses, &IMPATIENT[..], &IN_FLIGHT_BYTES_MAX].concat());
    fleet.wait_until_ready(gateway).await;
    fleet.generate(gateway, &["--total", "2000", "--max"]);
    silenced.iter().for_each(|(_, proxy)| proxy.pause());
    let answer = post(gateway).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 503") && answer.contains("\r\nretry-after: "), "{answer}");

    let load = fleet.start_to_generate(gateway, &LOAD);
    let resident = || metrics::total(gateway, "forebay_memory_resident_bytes");
    let (before, mut most) = (resident(), 0.0);
    eventually("requests are refused", || {
        most = resident().max(most);
        refused(gateway) >= REFUSED
    })
    .await;
    assert!(most - before <= GROWTH_BYTES_MAX, "{before} bytes became {most}");
    assert!(fleet.is_running(load), "who sends goes on");

    silenced.iter().for_each(|(_, proxy)| proxy.resume());
    assert_eq!(fleet.ended(load).await.0, Some(0));
    fleet.audit_is_clean();
    fleet.stop_all();
}
