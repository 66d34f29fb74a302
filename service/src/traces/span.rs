//! Spans as `tracing` has them, and the way from there to OpenTelemetry.
//!
//! They go through a dispatch of their own, which takes nothing else and is the default of a thread only while a span of
//! ours begins: log lines stay out of traces and spans out of the log, and no callsite but ours is looked at. No span is
//! ever entered: it lasts until it is dropped, wherever that is, so that one thread can be at work in many traces at once.

use super::context::within;
use opentelemetry::trace::{SpanContext, SpanKind};
use opentelemetry_sdk::trace::SdkTracer;
use tracing::dispatcher::with_default;
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Metadata, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;

/// What tells our spans from all else that `tracing` is told.
const TARGET: &str = "forebay::trace";

/// Takes what [`begin`] begins, and gives it to `tracer` when it has ended.
pub(super) fn dispatch(tracer: SdkTracer) -> Dispatch {
    let is_ours = |metadata: &Metadata<'_>| metadata.is_span() && metadata.target() == TARGET;
    // A span says what it is described with, and nothing of the code that it comes from.
    let spans = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_context_activation(false)
        .with_level(false)
        .with_location(false)
        .with_target(false)
        .with_threads(false)
        .with_tracked_inactivity(false);
    let ours = filter_fn(is_ours).with_max_level_hint(LevelFilter::INFO);
    Dispatch::new(tracing_subscriber::registry().with(spans).with(ours))
}

/// Begins a span: below `parent`, or else a trace.
pub(super) fn begin(dispatch: &Dispatch, name: &'static str, kind: &SpanKind, parent: Option<SpanContext>) -> Span {
    let span = with_default(
        dispatch,
        || info_span!(target: TARGET, parent: None, "span", "otel.name" = name, "otel.kind" = ?kind),
    );
    if let Some(parent) = parent {
        let placed = span.set_parent(within(parent));
        debug_assert!(placed.is_ok(), "{name} has only just begun: {placed:?}");
    }
    span
}
