//! Spans of the real binary, as a collector gets them.

use crate::collector::Collector;
use crate::pipeline::Pipeline;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

/// What a traced request leads to, in order: each step, what it is below, and what is said of it.
const STEPS: [(&str, &str, SpanKind, &[&str]); 4] = [
    ("append", "POST /v1/events", SpanKind::Producer, &["forebay.shard", "forebay.requests", "forebay.attempts"]),
    (
        "decide",
        "append",
        SpanKind::Consumer,
        &[
            "forebay.chain",
            "forebay.entry",
            "forebay.records",
            "forebay.events",
            "forebay.duplicates",
            "forebay.strays",
        ],
    ),
    ("forward", "append", SpanKind::Producer, &["forebay.chain", "forebay.records"]),
    ("commit", "append", SpanKind::Consumer, &["forebay.chain", "forebay.entry", "forebay.rows", "forebay.objects"]),
];

/// Runs a pipeline that traces a fraction of requests, posts each, and gives the spans that came until it had ended.
fn spans_of(collector: &Collector, sample: &str, more: &[&str], requests: &[String]) -> (Pipeline, Vec<Span>) {
    let pipeline = Pipeline::new();
    let traced = [&["--otlp-endpoint", &collector.endpoint, "--trace-sample", sample], more].concat();
    let up = pipeline.up(&traced);
    send(&pipeline, requests);
    assert!(up.stop().success(), "{}", pipeline.log("up"));
    (pipeline, collector.spans())
}

fn services(collector: &Collector) -> Vec<String> {
    let taken = collector.taken();
    let resources = taken.iter().filter_map(|spans| spans.resource.as_ref());
    let mut names: Vec<String> = resources.filter_map(|resource| text(&resource.attributes, "service.name")).collect();
    names.dedup();
    names
}

/// Posts one event for each, with that `traceparent`.
fn send(pipeline: &Pipeline, traceparents: &[String]) {
    for (k, traceparent) in traceparents.iter().enumerate() {
        let event = format!(
            r#"{{"event_id":"6f1c1a86-6f0a-4b27-8f0c-2f0b7d6e{k:04x}","event_name":"page:view","created_at":1700000000}}"#
        );
        assert_eq!(pipeline.post_with(&format!("traceparent: {traceparent}\r\n"), &event), Some(202));
    }
}

fn traceparent(trace: u128, is_sampled: bool) -> String {
    format!("00-{trace:032x}-00000000000000ab-0{}", u8::from(is_sampled))
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    match value(attributes, key)? {
        Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

fn number(span: &Span, key: &str) -> Option<i64> {
    match value(&span.attributes, key)? {
        Value::IntValue(number) => Some(*number),
        _ => None,
    }
}

/// What is said of a span, in the order in which it was said.
fn keys(span: &Span) -> Vec<&str> {
    span.attributes.iter().map(|attribute| attribute.key.as_str()).collect()
}

/// The one span of this name in a trace.
#[track_caller]
fn only<'a>(spans: &'a [Span], trace: u128, name: &str) -> &'a Span {
    let of_trace = |span: &&Span| span.trace_id == trace.to_be_bytes() && span.name == name;
    let found: Vec<&Span> = spans.iter().filter(of_trace).collect();
    assert_eq!(found.len(), 1, "{name} of {trace:x} in {spans:#?}");
    found[0]
}

#[test]
fn one_trace_leads_from_a_request_to_the_objects_of_its_events() {
    let collector = Collector::start();
    let (pipeline, spans) = spans_of(&collector, "100%", &[], &[traceparent(7, true)]);
    let request = only(&spans, 7, "POST /v1/events");
    assert_eq!(request.parent_span_id, 0xab_u64.to_be_bytes());
    assert_eq!(number(request, "http.response.status_code"), Some(202));
    assert_eq!(number(request, "forebay.events.accepted"), Some(1));
    let said = ["http.response.status_code", "forebay.events.accepted", "forebay.events.quarantined"];
    assert_eq!((request.kind(), keys(request)), (SpanKind::Server, said.to_vec()));
    for (name, parent, kind, attributes) in STEPS {
        let step = only(&spans, 7, name);
        assert_eq!((&step.parent_span_id, step.kind()), (&only(&spans, 7, parent).span_id, kind), "{name}");
        assert_eq!(keys(step), attributes, "{name}");
    }
    for span in &spans {
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano && span.events.is_empty(), "{span:#?}");
        assert_eq!(span.status, Some(Status::default()), "{}", span.name);
    }
    let commit = only(&spans, 7, "commit");
    assert_eq!((number(commit, "forebay.rows"), commit.links.len()), (Some(1), 0));
    assert!(text(&commit.attributes, "forebay.chain").is_some_and(|chain| chain.starts_with("writer/")));
    let Some(Value::ArrayValue(objects)) = value(&commit.attributes, "forebay.objects") else {
        panic!("no objects in {commit:#?}")
    };
    let [AnyValue { value: Some(Value::StringValue(object)) }] = &objects.values[..] else {
        panic!("not one object in {commit:#?}")
    };
    assert!(pipeline.lake().join(object).is_file(), "{object}");
    assert_eq!((spans.len(), services(&collector)), (5, vec!["forebay-up".to_string()]));
}

#[test]
fn traces_that_meet_in_a_batch_are_linked() {
    let collector = Collector::start();
    let at_the_end = ["--shards", "1", "--flush-interval", "1h"];
    let (_, spans) = spans_of(&collector, "100%", &at_the_end, &[traceparent(7, true), traceparent(8, true)]);
    for (trace, other) in [(7, 8), (8, 7)] {
        let [link] = &only(&spans, trace, "commit").links[..] else { panic!("not one link in {spans:#?}") };
        assert_eq!(link.trace_id, u128::to_be_bytes(other));
        assert_eq!(link.span_id, only(&spans, other, "append").span_id);
    }
}

#[test]
fn a_producer_that_asks_for_all_gets_the_fraction() {
    let collector = Collector::start();
    let all: Vec<String> = (1..=200).map(|trace| traceparent(trace, true)).collect();
    let (_, spans) = spans_of(&collector, "10%", &[], &all);
    let requests = spans.iter().filter(|span| span.name == "POST /v1/events").count();
    assert_eq!(requests, 20 + 10, "a tenth, and those that may be asked for ahead");
}

#[test]
fn nothing_is_sent_where_nothing_is_sampled() {
    let collector = Collector::start();
    let (_, spans) = spans_of(&collector, "0", &[], &[traceparent(7, true)]);
    assert_eq!(spans, []);
    let (_, spans) = spans_of(&collector, "100%", &[], &[traceparent(7, false)]);
    assert_eq!(spans, []);
}
