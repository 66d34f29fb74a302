//! Traces: what happened to a request's events on their way, as spans that are sent to a collector by OTLP.
//!
//! **Sampled**: a request that is traced, as few are. **Context**: a span in a sampled trace, as record headers carry it
//! across the streams. **Step**: work on a batch, in which several traces take part; each has a span of its own for it, and
//! these are linked. Where nothing is sampled there is no context, and without contexts there are no spans: nothing is
//! allocated, encoded or sent.

mod context;
mod export;
mod sampler;
mod span;

pub use context::{CARRIED_BYTES_MAX, CARRIED_MAX, TraceContext, carried, encode};
pub use export::register;
pub use opentelemetry::trace::SpanKind;
pub use opentelemetry::{KeyValue as Attribute, StringValue, Value};

use crate::settings::fraction;
use crate::{Env, Stop, otlp};
use clap::Args;
use export::Queue;
use opentelemetry::trace::{SpanId, Status, TraceContextExt, TraceId, TracerProvider as _};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::trace::{IdGenerator, Sampler as Keep, SdkTracerProvider, SpanExporter as _};
use sampler::{Asked, Sampler};
use std::slice;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Dispatch, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Most traces that one step has spans for, however large its batch: a trace more is one without that step.
pub const STEP_TRACES_MAX: usize = 64;

/// How long a process that ends waits for the collector to take the last spans.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Settings of traces.
#[derive(Args, Clone, Debug)]
#[group(id = "traces")]
#[command(next_help_heading = "Telemetry")]
pub struct Settings {
    #[command(flatten)]
    pub otlp: otlp::Settings,

    /// Fraction of requests that are traced. Those that come with a sampled `traceparent` are preferred, within it
    #[arg(long, env = "FOREBAY_TRACE_SAMPLE", default_value = "0.1%", value_parser = fraction)]
    pub trace_sample: f64,
}

/// Where spans go, if anywhere.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Open>>);

#[derive(Debug)]
struct Open {
    dispatch: Dispatch,
    sampler: Sampler,
    stop: Stop,
    sending: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl Traces {
    /// Nothing is traced.
    pub fn off() -> Traces {
        Traces(None)
    }

    /// Starts sending spans as `service`, unless `OTEL_SERVICE_NAME` names it otherwise; [`Traces::off`] without an endpoint.
    ///
    /// # Errors
    /// An endpoint that is none. Whether anybody listens there shows only later.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn open(settings: &Settings, service: &str, env: &Env) -> anyhow::Result<Traces> {
        let Some(endpoint) = &settings.otlp.otlp_endpoint else { return Ok(Traces::off()) };
        let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint).build();
        let mut exporter = exporter.map_err(|error| otlp::refused(endpoint, &error))?;
        exporter.set_resource(&otlp::resource(service));
        let stop = Stop::new();
        let (queue, sending) = Queue::start(exporter, stop.clone());
        let provider = SdkTracerProvider::builder()
            .with_span_processor(queue)
            .with_id_generator(Ids(env.clone()))
            // What has a span was sampled.
            .with_sampler(Keep::AlwaysOn)
            .build();
        let sampler = Sampler::new(settings.trace_sample, env.nonce());
        let sending = Mutex::new(Some(sending));
        let dispatch = span::dispatch(provider.tracer("forebay"));
        Ok(Traces(Some(Arc::new(Open { dispatch, sampler, stop, sending }))))
    }

    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The span of a request that has just come; none where it is not sampled. `traceparent` reads that header of it.
    pub fn request<'r>(&self, name: &'static str, traceparent: impl FnOnce() -> Option<&'r str>) -> Spans {
        let Some(open) = &self.0 else { return Spans::default() };
        let parent = traceparent().and_then(context::parent);
        let asked = parent.as_ref().map_or(Asked::Nothing, |parent| match parent.is_sampled() {
            true => Asked::ToBeTraced,
            false => Asked::NotToBe,
        });
        if !open.sampler.takes(asked) {
            return Spans::default();
        }
        Spans(vec![span::begin(&open.dispatch, name, &SpanKind::Server, parent)])
    }

    /// The spans of a step that begins now: one below each of `parents`, at most [`STEP_TRACES_MAX`]. The first is linked to
    /// all others, and they to it.
    pub fn step(&self, name: &'static str, kind: &SpanKind, parents: impl IntoIterator<Item = TraceContext>) -> Spans {
        let Some(open) = &self.0 else { return Spans::default() };
        let mut distinct: Vec<TraceContext> = Vec::new();
        for parent in parents {
            if distinct.len() == STEP_TRACES_MAX {
                break;
            }
            if !distinct.contains(&parent) {
                distinct.push(parent);
            }
        }
        let Some((first, others)) = distinct.split_first() else { return Spans::default() };
        let begin = |parent: &TraceContext, linked: &[TraceContext]| {
            let span = span::begin(&open.dispatch, name, kind, Some(parent.remote()));
            linked.iter().for_each(|to| span.add_link(to.remote()));
            span
        };
        let mut spans = vec![begin(first, others)];
        spans.extend(others.iter().map(|parent| begin(parent, slice::from_ref(first))));
        Spans(spans)
    }

    /// Sends the spans that have ended, and waits for it a while.
    pub async fn close(&self) {
        let Some(open) = &self.0 else { return };
        open.stop.cancel();
        let sending = open.sending.lock().expect("no holder panics").take();
        let Some(sending) = sending else { return };
        if tokio::time::timeout(CLOSE_TIMEOUT, sending).await.is_err() {
            tracing::warn!("the collector of spans does not take the last of them within {CLOSE_TIMEOUT:?}");
        }
    }
}

/// Spans of one request or step, one in each trace; they end when this is dropped. None where nothing is sampled.
#[derive(Debug, Default)]
pub struct Spans(Vec<Span>);

impl Spans {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// For what follows from them.
    pub fn contexts(&self) -> impl Iterator<Item = TraceContext> + '_ {
        self.0.iter().map(|span| TraceContext::of(span.context().span().span_context()))
    }

    /// Adds attributes, which are made only where there is a span.
    pub fn describe<const N: usize>(&mut self, attributes: impl FnOnce() -> [Attribute; N]) {
        if self.0.is_empty() {
            return;
        }
        for Attribute { key, value, .. } in attributes() {
            self.0.iter().for_each(|span| span.set_attribute(key.clone(), value.clone()));
        }
    }

    /// Says that the work failed, and why.
    pub fn fail(&mut self, reason: &impl ToString) {
        self.0.iter().for_each(|span| span.set_status(Status::error(reason.to_string())));
    }
}

/// Ids of traces and spans, from the randomness that is handed in.
#[derive(Debug)]
struct Ids(Env);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        TraceId::from(self.0.nonce())
    }

    fn new_span_id(&self) -> SpanId {
        SpanId::from(self.0.nonce() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNLOOKED_AT: &str = "nobody looks where nothing is traced";

    #[test]
    fn off_looks_at_nothing_and_makes_nothing() {
        let off = Traces::off();
        let mut request = off.request("a request", || panic!("{UNLOOKED_AT}"));
        request.describe::<0>(|| panic!("{UNLOOKED_AT}"));
        let parents = std::iter::from_fn(|| panic!("{UNLOOKED_AT}"));
        let step = off.step("a step", &SpanKind::Internal, parents);
        assert!(request.is_empty() && step.is_empty());
        assert_eq!(encode(step.contexts()).capacity(), 0);
    }

    #[test]
    fn a_bad_endpoint_is_refused_by_the_name_of_the_setting() {
        let otlp = otlp::Settings { otlp_endpoint: Some("no url".into()), ..otlp::Settings::default() };
        let settings = Settings { otlp, trace_sample: 1.0 };
        let error = Traces::open(&settings, "a-test", &Env::system()).expect_err("no url");
        assert!(format!("{error:#}").contains("--otlp-endpoint"), "{error:#}");
    }
}
