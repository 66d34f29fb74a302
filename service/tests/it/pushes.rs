//! Metrics as a collector gets them.

use crate::collector::Collector;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, number_data_point,
};
use service::metrics::Set;
use service::metrics::push::Pushing;
use service::{Env, Health, otlp};
use std::time::Duration;
use tokio::runtime::Runtime;

/// Longer than any test: metrics are sent at the start and at the end.
const ONCE: Duration = Duration::from_secs(3600);

/// Nobody listens here.
const NOWHERE: &str = "http://127.0.0.1:1";

fn settings(endpoint: &str) -> otlp::Settings {
    otlp::Settings { otlp_endpoint: Some(endpoint.to_owned()), otlp_metrics_every: Some(ONCE) }
}

/// Sends metrics while a process does this `work`, and once more at its end.
fn push(settings: &otlp::Settings, work: impl Future<Output = ()>) {
    Runtime::new().expect("a runtime").block_on(async {
        let health = Health::default();
        health.part("a part").ready();
        let pushing = Pushing::start(settings, "a-test", &health, &Env::system()).expect("the settings can be meant");
        work.await;
        pushing.close().await;
    });
}

/// What came until now: each time all of a process.
fn sent(collector: &Collector) -> Vec<ResourceMetrics> {
    collector.taken.metrics.lock().expect("no holder panics").clone()
}

fn metric<'a>(sent: &'a ResourceMetrics, name: &str) -> &'a Metric {
    let metrics = &sent.scope_metrics[0].metrics;
    metrics.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("no {name}"))
}

fn numbers(metric: &Metric) -> &[NumberDataPoint] {
    match &metric.data {
        Some(Data::Sum(sum)) => {
            assert_eq!((sum.aggregation_temporality(), sum.is_monotonic), (AggregationTemporality::Cumulative, true));
            &sum.data_points
        }
        Some(Data::Gauge(gauge)) => &gauge.data_points,
        other => panic!("{other:?}"),
    }
}

/// The value of the one point that has this label.
fn value(metric: &Metric, label: Option<(&str, &str)>) -> f64 {
    let attributes: Vec<KeyValue> = label.into_iter().map(|(key, value)| attribute(key, value)).collect();
    let point = numbers(metric).iter().find(|point| point.attributes == attributes);
    let point = point.unwrap_or_else(|| panic!("no {label:?} in {metric:?}"));
    let Some(number_data_point::Value::AsDouble(value)) = point.value else { panic!("{point:?}") };
    value
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn histogram(metric: &Metric) -> &HistogramDataPoint {
    let Some(Data::Histogram(histogram)) = &metric.data else { panic!("{metric:?}") };
    assert_eq!(histogram.aggregation_temporality(), AggregationTemporality::Cumulative);
    &histogram.data_points[0]
}

#[test]
fn a_collector_gets_what_is_counted_under_its_name_with_its_labels() {
    let set = Set::new("push_test");
    let counters = set.counters("bytes_total", &["way"], "Bytes by way");
    let level = set.level("level", "A level");
    let times = set.histogram("seconds", &[0.1, 1.0], "Times");
    let collector = Collector::start();
    push(&settings(&collector.endpoint), async {
        while sent(&collector).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        counters.with_label_values(&["there"]).inc_by(7);
        level.set(2.5);
        [0.05, 0.5, 0.5, 3.0].into_iter().for_each(|seconds| times.observe(seconds));
    });
    let [first, last] = &sent(&collector)[..] else { panic!("not at the start and at the end") };

    let bytes = metric(last, "forebay_push_test_bytes_total");
    assert_eq!((bytes.description.as_str(), bytes.unit.as_str()), ("Bytes by way", "By"));
    assert_eq!(value(bytes, Some(("way", "there"))), 7.0);
    assert_eq!(value(metric(last, "forebay_push_test_level"), None), 2.5);
    assert_eq!(value(metric(last, "forebay_ready"), Some(("part", "a part"))), 1.0);

    let times = metric(last, "forebay_push_test_seconds");
    let point = histogram(times);
    assert_eq!((times.unit.as_str(), point.count, point.sum), ("s", 4, Some(4.05)));
    assert_eq!((&point.explicit_bounds[..], &point.bucket_counts[..]), (&[0.1, 1.0][..], &[1, 2, 1][..]));

    let before = histogram(metric(first, "forebay_push_test_seconds"));
    assert_eq!((before.count, &before.bucket_counts[..]), (0, &[0, 0, 0][..]));
    assert_eq!(before.start_time_unix_nano, point.start_time_unix_nano);
    assert!(point.start_time_unix_nano <= before.time_unix_nano && before.time_unix_nano < point.time_unix_nano);

    let resource = last.resource.as_ref().expect("who sends");
    assert!(resource.attributes.contains(&attribute("service.name", "a-test")), "{resource:?}");
}

#[test]
fn what_a_collector_did_not_take_is_counted_and_in_the_next() {
    let kept = Set::new("push_test").counter("kept_total", "Kept");
    push(&settings(NOWHERE), async { kept.inc() });
    let collector = Collector::start();
    push(&settings(&collector.endpoint), async {});
    let metrics = sent(&collector);
    let last = metrics.last().expect("it was sent");
    assert_eq!(value(metric(last, "forebay_push_test_kept_total"), None), 1.0);
    assert!(value(metric(last, "forebay_metrics_pushes_total"), Some(("outcome", "refused"))) >= 1.0);
}

#[test]
fn nothing_is_sent_without_the_setting() {
    let collector = Collector::start();
    let settings = otlp::Settings { otlp_metrics_every: None, ..settings(&collector.endpoint) };
    push(&settings, async {});
    assert!(sent(&collector).is_empty());
}
