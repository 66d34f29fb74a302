//! Spans as a collector gets them.

use crate::collector::Collector;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind as Kind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span, Status};
use service::traces::{Attribute, Settings, SpanKind, TraceContext, carried, encode};
use service::{Env, Traces, otlp};
use std::io;
use tokio::runtime::Runtime;
use tracing::dispatcher::with_default;
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Level};

/// A request of a producer that traces, and the span of it that the producer has.
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
const SPAN: u64 = 0xb7ad_6b71_6920_3331;

fn opened(collector: &Collector, service: &str) -> Traces {
    let otlp = otlp::Settings { otlp_endpoint: Some(collector.endpoint.clone()), ..otlp::Settings::default() };
    let settings = Settings { otlp, trace_sample: 1.0 };
    Traces::open(&settings, service, &Env::system()).expect("the endpoint is one")
}

/// What a collector has got when a process that did this `work` has ended.
fn taken(work: impl FnOnce(&Traces)) -> Vec<ResourceSpans> {
    let (collector, runtime) = (Collector::start(), Runtime::new().expect("a runtime"));
    runtime.block_on(async {
        let traces = opened(&collector, "a-test");
        work(&traces);
        traces.close().await;
    });
    collector.taken()
}

fn spans(work: impl FnOnce(&Traces)) -> Vec<Span> {
    let scopes = taken(work).into_iter().flat_map(|taken| taken.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

/// Contexts of spans of other processes, as a record brings them.
fn elsewhere(contexts: impl IntoIterator<Item = (u128, u64)>) -> Vec<TraceContext> {
    let bytes = |(trace, span): (u128, u64)| [&trace.to_be_bytes()[..], &span.to_be_bytes()].concat();
    contexts.into_iter().flat_map(|context| carried(&bytes(context)).collect::<Vec<_>>()).collect()
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn now_nanos() -> u64 {
    u64::try_from(Env::system().now()).expect("it is after 1970") * 1000
}

/// The contexts that a span is linked to.
fn linked(span: &Span) -> Vec<(u128, u64)> {
    let id = "ids have their lengths";
    let context = |trace: &[u8], span: &[u8]| {
        (u128::from_be_bytes(trace.try_into().expect(id)), u64::from_be_bytes(span.try_into().expect(id)))
    };
    span.links.iter().map(|link| context(&link.trace_id, &link.span_id)).collect()
}

#[test]
fn a_request_is_a_span_in_the_trace_of_its_producer() {
    let spans = spans(|traces| drop(traces.request("a request", || Some(TRACEPARENT))));
    let [span] = &spans[..] else { panic!("not one span in {spans:#?}") };
    assert_eq!((span.name.as_str(), span.kind()), ("a request", Kind::Server));
    assert_eq!(span.trace_id, TRACE.to_be_bytes());
    assert_eq!(span.parent_span_id, SPAN.to_be_bytes());
    assert_ne!(span.span_id, SPAN.to_be_bytes());
}

#[test]
fn a_request_that_nobody_traced_before_begins_a_trace() {
    let spans = spans(|traces| (0..2).for_each(|_| drop(traces.request("a request", || None))));
    let [one, other] = &spans[..] else { panic!("not two spans in {spans:#?}") };
    assert_ne!(one.trace_id, other.trace_id);
    for span in [one, other] {
        assert_eq!((span.trace_id.len(), span.span_id.len(), span.parent_span_id.len()), (16, 8, 0), "{span:#?}");
    }
}

#[test]
fn a_span_says_what_it_is_described_with_and_no_more() {
    let spans = spans(|traces| {
        drop(traces.request("not described", || None));
        let mut described = traces.request("described", || None);
        described.describe(|| [Attribute::new("forebay.records", 3), Attribute::new("forebay.overflowed", true)]);
        // What follows from a span may be asked for at any time, and it is described both before and after.
        assert_eq!(described.contexts().count(), 1);
        described.describe(|| [Attribute::new("forebay.chain", "dedup/0")]);
    });
    let [plain, described] = &spans[..] else { panic!("not two spans in {spans:#?}") };
    assert_eq!((&plain.attributes[..], &plain.events[..], &plain.status), (&[][..], &[][..], &Some(Status::default())));
    let all = [
        attribute("forebay.records", Value::IntValue(3)),
        attribute("forebay.overflowed", Value::BoolValue(true)),
        attribute("forebay.chain", Value::StringValue("dedup/0".to_owned())),
    ];
    assert_eq!((&described.attributes[..], &described.events[..]), (&all[..], &[][..]));
}

#[test]
fn a_span_of_work_that_failed_says_why() {
    let spans = spans(|traces| traces.request("a request", || None).fail(&"no room"));
    let [span] = &spans[..] else { panic!("not one span in {spans:#?}") };
    let failed = Status { message: "no room".to_owned(), code: StatusCode::Error.into() };
    assert_eq!(span.status, Some(failed));
}

#[test]
fn each_trace_has_a_span_of_its_own_for_a_step_and_the_first_is_linked_to_all_others() {
    let parents = [(1, 11), (2, 12), (3, 13)];
    let spans = spans(|traces| {
        let twice = elsewhere(parents.into_iter().chain(parents));
        let mut step = traces.step("a step", &SpanKind::Consumer, twice);
        step.describe(|| [Attribute::new("forebay.records", 3)]);
        step.fail(&"no room");
    });
    assert_eq!(spans.len(), parents.len());
    for (span, (trace, parent)) in spans.iter().zip(parents) {
        assert_eq!((span.name.as_str(), span.kind()), ("a step", Kind::Consumer));
        assert_eq!(span.trace_id, u128::to_be_bytes(trace));
        assert_eq!(span.parent_span_id, u64::to_be_bytes(parent));
        assert_eq!(span.attributes, [attribute("forebay.records", Value::IntValue(3))]);
        assert_eq!(span.status.as_ref().map(Status::code), Some(StatusCode::Error));
    }
    assert_eq!(spans.iter().map(linked).collect::<Vec<_>>(), [&parents[1..], &parents[..1], &parents[..1]]);
}

#[test]
fn steps_have_the_kind_that_they_are_begun_with() {
    let kinds = [
        (SpanKind::Internal, Kind::Internal),
        (SpanKind::Client, Kind::Client),
        (SpanKind::Server, Kind::Server),
        (SpanKind::Producer, Kind::Producer),
        (SpanKind::Consumer, Kind::Consumer),
    ];
    for (begun, got) in kinds {
        let spans = spans(|traces| drop(traces.step("a step", &begun, elsewhere([(1, 11)]))));
        assert_eq!(spans.iter().map(Span::kind).collect::<Vec<_>>(), [got]);
    }
}

#[test]
fn a_span_lasts_until_it_is_dropped_whatever_thread_does_that() {
    let before = now_nanos();
    let spans = spans(|traces| {
        let request = traces.request("a request", || None);
        drop(traces.step("a step", &SpanKind::Producer, request.contexts()));
        std::thread::spawn(|| drop(request)).join().expect("dropping does not panic");
    });
    let [step, request] = &spans[..] else { panic!("not two spans in {spans:#?}") };
    assert_eq!((&step.trace_id, &step.parent_span_id), (&request.trace_id, &request.span_id));
    let moments = [
        before,
        request.start_time_unix_nano,
        step.start_time_unix_nano,
        step.end_time_unix_nano,
        request.end_time_unix_nano,
    ];
    assert!(moments.is_sorted(), "{moments:?}");
}

#[test]
fn what_follows_from_spans_is_what_a_collector_knows_them_by() {
    let mut header = Vec::new();
    let spans = spans(|traces| {
        let parents = elsewhere([(1, 11), (2, 12)]);
        header = encode(traces.step("a step", &SpanKind::Producer, parents).contexts());
    });
    let ids: Vec<u8> = spans.iter().flat_map(|span| [&span.trace_id[..], &span.span_id].concat()).collect();
    assert_eq!((header, spans.len()), (ids, 2));
}

#[test]
fn spans_say_which_service_they_come_from() {
    let taken = taken(|traces| drop(traces.request("a request", || None)));
    let [of_service] = &taken[..] else { panic!("not one resource in {taken:#?}") };
    let resource = of_service.resource.clone().expect("there is one");
    let name = attribute("service.name", Value::StringValue("a-test".to_owned()));
    let version = attribute("service.version", Value::StringValue(env!("CARGO_PKG_VERSION").to_owned()));
    assert!(resource.attributes.contains(&name) && resource.attributes.contains(&version), "{resource:#?}");
    let scopes: Vec<_> = of_service.scope_spans.iter().map(|spans| spans.scope.clone()).collect();
    let forebay = InstrumentationScope { name: "forebay".to_owned(), ..InstrumentationScope::default() };
    assert_eq!(scopes, [Some(forebay)]);
}

#[test]
fn traces_turn_on_no_line_of_the_log_and_take_none() {
    let log = tracing_subscriber::fmt().with_max_level(Level::WARN).with_writer(io::sink).finish();
    let spans = spans(|traces| {
        let _request = traces.request("a request", || None);
        assert_eq!(LevelFilter::current(), LevelFilter::INFO, "finer lines are passed over without a look");
        assert!(!tracing::enabled!(Level::ERROR), "there is no log, and a span is none");
        with_default(&Dispatch::new(log), || {
            assert!(tracing::enabled!(Level::WARN));
            assert!(!tracing::enabled!(target: "forebay::trace", Level::INFO));
            assert!(!tracing::enabled!(target: "hyper", Level::DEBUG));
            tracing::error!("a line of the log");
            drop(traces.request("a request while a line could be logged", || None));
        });
    });
    assert_eq!(spans.len(), 2);
    assert!(spans.iter().all(|span| span.events.is_empty()), "{spans:#?}");
}

#[test]
fn traces_of_two_services_in_a_process_stay_apart() {
    let (of_one, of_other) = (Collector::start(), Collector::start());
    Runtime::new().expect("a runtime").block_on(async {
        let (one, other) = (opened(&of_one, "one"), opened(&of_other, "other"));
        let request = one.request("a request", || None);
        // Begun while the other's span lasts, below it, and ended after it.
        let step = other.step("a step", &SpanKind::Consumer, request.contexts());
        drop(request);
        one.close().await;
        drop(one);
        drop(step);
        other.close().await;
    });
    let names = |collector: &Collector| collector.spans().into_iter().map(|span| span.name).collect::<Vec<_>>();
    assert_eq!((names(&of_one), names(&of_other)), (vec!["a request".to_owned()], vec!["a step".to_owned()]));
}
