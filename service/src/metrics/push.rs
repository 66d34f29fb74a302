//! The same metrics by OTLP: what `/metrics` shows, sent to a collector again and again, under the same names.
//!
//! Counters and histograms count from when the process began to send; a sending that fails is not repeated, as the next one
//! says all of it.

use super::{Set, gather};
use crate::{Env, Health, Stop, otlp};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use prometheus::IntCounterVec;
use prometheus::proto::{self, MetricFamily, MetricType};
use std::sync::LazyLock;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Channel, Endpoint};

/// How long the collector may take for one sending, and a process that ends waits for the last.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// Sendings by what became of them.
static PUSHES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Sendings of all metrics by OTLP, by what became of them: `sent`, or `refused` by the collector";
    Set::new("metrics").counters("pushes_total", &["outcome"], help)
});

/// Registers what is counted, so that it is shown before anything is sent.
pub fn register() {
    ["sent", "refused"].into_iter().for_each(|outcome| PUSHES.with_label_values(&[outcome]).inc_by(0));
}

/// The sending of metrics, if the settings ask for it.
#[derive(Debug, Default)]
pub struct Pushing(Option<(Stop, AbortOnDropHandle<()>)>);

impl Pushing {
    /// Starts sending what `service` counts and shows, the readiness of `health` included.
    ///
    /// # Errors
    /// Settings that can't be meant. Whether anybody listens at the endpoint shows only later.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn start(settings: &otlp::Settings, service: &str, health: &Health, env: &Env) -> anyhow::Result<Pushing> {
        let Some((endpoint, every)) = settings.metrics()? else { return Ok(Pushing::default()) };
        let channel = Endpoint::from_shared(endpoint.to_owned()).map_err(|error| otlp::refused(endpoint, &error))?;
        register();
        let pusher = Pusher {
            client: MetricsServiceClient::new(channel.connect_timeout(SEND_TIMEOUT).connect_lazy()),
            resource: resource(service),
            health: health.clone(),
            env: env.clone(),
            began_at: nanos(env),
        };
        let stop = Stop::new();
        let sending = tokio::spawn(pusher.run(every, stop.clone()));
        Ok(Pushing(Some((stop, AbortOnDropHandle::new(sending)))))
    }

    /// Sends them once more, and waits for it a while.
    pub async fn close(self) {
        let Some((stop, sending)) = self.0 else { return };
        stop.cancel();
        // The task bounds each of its sendings: one that is under way, and the last.
        let _ = tokio::time::timeout(2 * SEND_TIMEOUT, sending).await;
    }
}

struct Pusher {
    client: MetricsServiceClient<Channel>,
    resource: Resource,
    health: Health,
    env: Env,
    /// Unix time in nanoseconds.
    began_at: u64,
}

impl Pusher {
    async fn run(mut self, every: Duration, stop: Stop) {
        let mut pauses = tokio::time::interval(every);
        pauses.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_taken = true;
        while stop.run_until_cancelled(pauses.tick()).await.is_some() {
            is_taken = self.send(is_taken).await;
        }
        self.send(is_taken).await;
    }

    /// Sends everything; whether it was taken. Warns where the sending before was.
    async fn send(&mut self, was_taken: bool) -> bool {
        let request = self.request();
        let answer = tokio::time::timeout(SEND_TIMEOUT, self.client.export(request)).await;
        let refusal = match answer {
            Ok(Ok(_)) => None,
            Ok(Err(status)) => Some(status.to_string()),
            Err(_) => Some(format!("no answer within {SEND_TIMEOUT:?}")),
        };
        let outcome = if refusal.is_none() { "sent" } else { "refused" };
        PUSHES.with_label_values(&[outcome]).inc();
        match &refusal {
            Some(error) if was_taken => {
                tracing::warn!(
                    error,
                    "the collector at --otlp-endpoint does not take metrics; the next sending has them all"
                );
            }
            None if !was_taken => tracing::info!("the collector at --otlp-endpoint takes metrics again"),
            _ => {}
        }
        refusal.is_none()
    }

    fn request(&self) -> ExportMetricsServiceRequest {
        let span = Span { began_at: self.began_at, now: nanos(&self.env) };
        let metrics = gather(&self.health).iter().filter_map(|family| span.metric(family)).collect();
        let scope = Some(InstrumentationScope { name: "forebay".to_owned(), ..InstrumentationScope::default() });
        let scope_metrics = vec![ScopeMetrics { scope, metrics, schema_url: String::new() }];
        let resource = Some(self.resource.clone());
        let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, schema_url: String::new() }];
        ExportMetricsServiceRequest { resource_metrics }
    }
}

/// The time that counters and histograms are about.
#[derive(Clone, Copy, Debug)]
struct Span {
    began_at: u64,
    now: u64,
}

impl Span {
    /// A family as OTLP has it; none where it is of a type that this crate does not make.
    fn metric(self, family: &MetricFamily) -> Option<Metric> {
        let temporality = AggregationTemporality::Cumulative.into();
        let metrics = family.get_metric();
        let data = match family.get_field_type() {
            MetricType::COUNTER => Data::Sum(Sum {
                data_points: metrics
                    .iter()
                    .map(|metric| self.number(metric, metric.get_counter().get_value()))
                    .collect(),
                aggregation_temporality: temporality,
                is_monotonic: true,
            }),
            MetricType::GAUGE => Data::Gauge(Gauge {
                data_points: metrics.iter().map(|metric| self.number(metric, metric.get_gauge().get_value())).collect(),
            }),
            MetricType::HISTOGRAM => Data::Histogram(Histogram {
                data_points: metrics.iter().map(|metric| self.histogram(metric)).collect(),
                aggregation_temporality: temporality,
            }),
            MetricType::SUMMARY | MetricType::UNTYPED => return None,
        };
        Some(Metric {
            name: family.name().to_owned(),
            description: family.help().to_owned(),
            unit: unit(family.name()).to_owned(),
            metadata: Vec::new(),
            data: Some(data),
        })
    }

    fn number(self, metric: &proto::Metric, value: f64) -> NumberDataPoint {
        NumberDataPoint {
            attributes: attributes(metric),
            start_time_unix_nano: self.began_at,
            time_unix_nano: self.now,
            value: Some(number_data_point::Value::AsDouble(value)),
            ..NumberDataPoint::default()
        }
    }

    /// Prometheus counts what is below each bound, OTLP what is between two of them; the last class has no upper bound.
    fn histogram(self, metric: &proto::Metric) -> HistogramDataPoint {
        let histogram = metric.get_histogram();
        let buckets = histogram.get_bucket();
        let below = buckets.iter().map(proto::Bucket::cumulative_count).chain([histogram.get_sample_count()]);
        let mut counted = 0;
        let bucket_counts = below.map(|below| below.saturating_sub(std::mem::replace(&mut counted, below))).collect();
        HistogramDataPoint {
            attributes: attributes(metric),
            start_time_unix_nano: self.began_at,
            time_unix_nano: self.now,
            count: histogram.get_sample_count(),
            sum: Some(histogram.get_sample_sum()),
            bucket_counts,
            explicit_bounds: buckets.iter().map(proto::Bucket::upper_bound).collect(),
            ..HistogramDataPoint::default()
        }
    }
}

fn attributes(metric: &proto::Metric) -> Vec<KeyValue> {
    let attribute = |label: &proto::LabelPair| KeyValue {
        key: label.name().to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(label.value().to_owned())) }),
        ..KeyValue::default()
    };
    metric.get_label().iter().map(attribute).collect()
}

/// As UCUM has it, for a name that says it.
fn unit(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    match name.rsplit('_').next() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        _ => "1",
    }
}

fn resource(service: &str) -> Resource {
    let attributes = ResourceAttributesWithSchema::from(&otlp::resource(service)).attributes.0;
    Resource { attributes, ..Resource::default() }
}

fn nanos(env: &Env) -> u64 {
    u64::try_from(env.now()).unwrap_or(0) * 1_000
}
