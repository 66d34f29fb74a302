//! Traces: what happened to a request's events on their way, as spans that are sent to a collector by OTLP.
//!
//! **Sampled**: a request that is traced, as few are. **Context**: a span in a sampled trace, as record headers carry it
//! across the streams. **Step**: work on a batch, in which several traces take part; each has a span of its own for it, and
//! these are linked. Where nothing is sampled there is no context, and without contexts there are no spans: nothing is
//! allocated, encoded or sent.

mod context;
mod export;
mod sampler;

pub use context::{CARRIED_BYTES_MAX, CARRIED_MAX, TraceContext, carried, encode};
pub use export::register;
pub use opentelemetry::trace::SpanKind;
pub use opentelemetry::{KeyValue as Attribute, StringValue, Value};

use crate::settings::fraction;
use crate::tasks::Misconfigured;
use crate::{Env, Stop};
use clap::Args;
use export::Queue;
use opentelemetry::Context;
use opentelemetry::trace::{Link, Span as _, SpanBuilder, SpanId, Status, TraceId, Tracer as _, TracerProvider as _};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator, Sampler as Keep, SdkTracer, SdkTracerProvider, Span, SpanExporter as _};
use sampler::{Asked, Sampler};
use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// Most traces that one step has spans for, however large its batch: a trace more is one without that step.
pub const STEP_TRACES_MAX: usize = 64;

/// How long a process that ends waits for the collector to take the last spans.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Settings of traces.
#[derive(Args, Clone, Debug)]
#[group(id = "traces")]
#[command(next_help_heading = "Traces")]
pub struct Settings {
    /// Where spans are sent, by OTLP over gRPC, as in http://127.0.0.1:4317 [default: nowhere, nothing is traced]
    #[arg(long, env = "FOREBAY_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,

    /// Fraction of requests that are traced. Those that come with a sampled `traceparent` are preferred, within it
    #[arg(long, env = "FOREBAY_TRACE_SAMPLE", default_value = "0.1%", value_parser = fraction)]
    pub trace_sample: f64,
}

/// Where spans go, if anywhere.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Open>>);

#[derive(Debug)]
struct Open {
    tracer: SdkTracer,
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
        let Some(endpoint) = &settings.otlp_endpoint else { return Ok(Traces::off()) };
        let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint).build();
        let mut exporter =
            exporter.map_err(|error| Misconfigured::because(format!("--otlp-endpoint {endpoint}: {error}")))?;
        exporter.set_resource(&resource(service));
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
        Ok(Traces(Some(Arc::new(Open { tracer: provider.tracer("forebay"), sampler, stop, sending }))))
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
        let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Server);
        let within = parent.map_or_else(Context::new, context::within);
        Spans(vec![open.tracer.build_with_context(builder, &within)])
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
        let span = |parent: &TraceContext, links: Vec<Link>| {
            let builder = SpanBuilder::from_name(name).with_kind(kind.clone()).with_links(links);
            open.tracer.build_with_context(builder, &context::within(parent.remote()))
        };
        let link = |to: &TraceContext| Link::with_context(to.remote());
        let mut spans = vec![span(first, others.iter().map(link).collect())];
        spans.extend(others.iter().map(|parent| span(parent, vec![link(first)])));
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
        self.0.iter().map(|span| TraceContext::of(span.span_context()))
    }

    /// Adds attributes, which are made only where there is a span.
    pub fn describe<const N: usize>(&mut self, attributes: impl FnOnce() -> [Attribute; N]) {
        if self.0.is_empty() {
            return;
        }
        let attributes = attributes();
        self.0.iter_mut().for_each(|span| span.set_attributes(attributes.clone()));
    }

    /// Says that the work failed, and why.
    pub fn fail(&mut self, reason: &impl ToString) {
        for span in &mut self.0 {
            span.set_status(Status::Error { description: Cow::Owned(reason.to_string()) });
        }
    }
}

/// Who sends the spans: by `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, and by what they leave out.
fn resource(service: &str) -> Resource {
    /// What the SDK calls a service that nobody has named.
    const NAMELESS: &str = "unknown_service";
    let found =
        Resource::builder().with_attribute(Attribute::new("service.version", env!("CARGO_PKG_VERSION"))).build();
    let name = found.get(&"service.name".into()).map(|name| name.to_string());
    if name.is_some_and(|name| !name.starts_with(NAMELESS)) {
        return found;
    }
    Resource::builder()
        .with_attribute(Attribute::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_service_name(service.to_owned())
        .build()
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
        let settings = Settings { otlp_endpoint: Some("no url".into()), trace_sample: 1.0 };
        let error = Traces::open(&settings, "a-test", &Env::system()).expect_err("no url");
        assert!(format!("{error:#}").contains("--otlp-endpoint"), "{error:#}");
    }
}
