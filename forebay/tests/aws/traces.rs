//! One trace from a request through all processes to the objects of its events, whichever way the request came and its
//! events went.

use crate::collector::Collector;
use crate::fleet::{Fleet, eventually, free_address};
use crate::http::exchange;
use crate::metrics;
use ingest_gateway::grpc::RawBatch;
use ingest_gateway::grpc::proto::ingest_client::IngestClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use prost::Message;
use schema::{EventId, v1};
use standins::Server;
use standins::proxy::{Fault, FaultProxy, Faults};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use tonic::transport::Endpoint;

/// The traces, by what they lead from.
const HTTP: u128 = 7;
const GRPC: u128 = 8;
const OVERFLOW: u128 = 9;

/// The span below which a producer has each request.
const PRODUCER: u64 = 0xab;

/// Steps beyond the request, and whose they are.
const STEPS: [(&str, &str); 4] = [
    ("ingest-gateway", "append"),
    ("dedup-service", "decide"),
    ("dedup-service", "forward"),
    ("writer-service", "commit"),
];

/// Of the event of a trace.
fn id(trace: u128) -> EventId {
    EventId(0x6f1c_1a86_6f0a_4b27_8f0c_2f0b_7d6e_0000 + trace)
}

fn traceparent(trace: u128) -> String {
    format!("00-{trace:032x}-{PRODUCER:016x}-01")
}

/// A gateway whose records go through the proxy, and a worker of each stage, all of which trace every request; where the
/// gateway listens for HTTP and for gRPC.
fn start(fleet: &mut Fleet, collector: &Collector, proxy: &FaultProxy) -> [SocketAddr; 2] {
    let [http, grpc] = [(); 2].map(|()| free_address());
    let traced = ["--otlp-endpoint", &collector.endpoint, "--trace-sample", "100%"];
    fleet.start("dedup-service", &traced);
    fleet.start("writer-service", &[&traced[..], &["--flush-interval", "1s"]].concat());
    fleet.detour(Server::Kinesis, proxy.endpoint());
    let addresses = ["--http-addr", &http.to_string(), "--grpc-addr", &grpc.to_string()];
    fleet.start("ingest-gateway", &[&traced, &addresses[..]].concat());
    [http, grpc]
}

fn post(gateway: SocketAddr, trace: u128) {
    let id = id(trace);
    let event = format!(r#"{{"event_id":"{id}","event_name":"page:view","created_at":1767225600}}"#);
    let head =
        format!("POST /v1/events HTTP/1.1\r\nContent-Type: application/json\r\ntraceparent: {}", traceparent(trace));
    let answer = exchange(gateway, &head, &event);
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
}

async fn publish(gateway: SocketAddr, trace: u128) {
    let event_id = id(trace).to_string();
    let created_at_micros = 1_767_225_600_000_000;
    let event = v1::Event { event_id, event_name: "page:view".into(), created_at_micros, ..v1::Event::default() };
    let mut request = tonic::Request::new(RawBatch { events: vec![event.encode_to_vec().into()] });
    request.metadata_mut().insert("traceparent", traceparent(trace).parse().unwrap());
    let channel = Endpoint::from_shared(format!("http://{gateway}")).unwrap().connect().await.unwrap();
    assert_eq!(IngestClient::new(channel).publish(request).await.unwrap().into_inner().accepted, 1);
}

/// Spans of a trace, each with the service that it comes from.
fn of_trace(collector: &Collector, trace: u128) -> Vec<(String, Span)> {
    let of_process = |taken: ResourceSpans| {
        let service = service(&taken);
        let spans = taken.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.filter(move |span| span.trace_id == trace.to_be_bytes()).map(move |span| (service.clone(), span))
    };
    collector.taken().into_iter().flat_map(of_process).collect()
}

fn service(taken: &ResourceSpans) -> String {
    let attributes = &taken.resource.as_ref().unwrap().attributes;
    let named = attributes.iter().find(|attribute| attribute.key == "service.name").unwrap();
    let Some(Value::StringValue(name)) = named.value.as_ref().unwrap().value.clone() else { panic!("{named:?}") };
    name
}

/// Every step is in the trace of a request, and all of them are below it.
fn assert_is_one(spans: &[(String, Span)], request: &str) {
    let names: BTreeSet<(&str, &str)> =
        spans.iter().map(|(service, span)| (service.as_str(), span.name.as_str())).collect();
    for step in STEPS.into_iter().chain([("ingest-gateway", request)]) {
        assert!(names.contains(&step), "{step:?} is not in {names:?}");
    }
    let within: BTreeSet<&[u8]> = spans.iter().map(|(_, span)| span.span_id.as_slice()).collect();
    for (_, span) in spans {
        let is_first = span.name == request && span.parent_span_id == PRODUCER.to_be_bytes();
        assert!(is_first || within.contains(span.parent_span_id.as_slice()), "{span:#?} of {spans:#?}");
    }
}

fn has_committed(collector: &Collector, trace: u128) -> bool {
    collector.spans().iter().any(|span| span.trace_id == trace.to_be_bytes() && span.name == "commit")
}

/// What the proxy refuses goes by way of the queue.
async fn trace_each_way(collector: &Collector) {
    let mut fleet = Fleet::set_up("traces").await;
    let proxy = FaultProxy::start(&standins::kinesis().await, Faults::none(), 0).await;
    let [http, grpc] = start(&mut fleet, collector, &proxy);
    fleet.wait_until_ready(http).await;
    post(http, HTTP);
    publish(grpc, GRPC).await;
    proxy.set(Faults::none().with("PutRecords", Fault::Throttle, 1.0));
    post(http, OVERFLOW);
    proxy.set(Faults::none());
    assert_eq!(metrics::total(http, "forebay_gateway_overflow_records_total"), 1.0);
    for trace in [HTTP, GRPC, OVERFLOW] {
        eventually(&format!("the event of trace {trace} is in the lake"), || has_committed(collector, trace)).await;
    }
    fleet.stop_all();
}

#[test]
fn one_trace_leads_from_a_request_through_all_processes_to_the_commit_of_its_events() {
    let collector = Collector::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(trace_each_way(&collector));
    for (trace, request) in
        [(HTTP, "POST /v1/events"), (GRPC, "forebay.v1.Ingest/Publish"), (OVERFLOW, "POST /v1/events")]
    {
        assert_is_one(&of_trace(&collector, trace), request);
    }
}
