//! Contexts: on the wire of HTTP, as W3C has them, and in record headers.

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// Most contexts that one record carries: at the fractions that are usual hardly any has two, and a header is small.
pub const CARRIED_MAX: usize = 4;

const TRACE_ID_BYTES: usize = 16;
const SPAN_ID_BYTES: usize = 8;
const CONTEXT_BYTES: usize = TRACE_ID_BYTES + SPAN_ID_BYTES;

/// Most bytes of a header that contexts take.
pub const CARRIED_BYTES_MAX: usize = CARRIED_MAX * CONTEXT_BYTES;

/// A span of a sampled trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: [u8; TRACE_ID_BYTES],
    span: [u8; SPAN_ID_BYTES],
}

impl TraceContext {
    pub(super) fn of(context: &SpanContext) -> TraceContext {
        TraceContext { trace: context.trace_id().to_bytes(), span: context.span_id().to_bytes() }
    }

    /// As the parent of a span here.
    pub(super) fn remote(&self) -> SpanContext {
        let (trace, span) = (TraceId::from_bytes(self.trace), SpanId::from_bytes(self.span));
        SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::NONE)
    }
}

/// What a record header carries for these: at most [`CARRIED_MAX`] of them.
pub fn encode(contexts: impl Iterator<Item = TraceContext>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for TraceContext { trace, span } in contexts.take(CARRIED_MAX) {
        bytes.extend_from_slice(&trace);
        bytes.extend_from_slice(&span);
    }
    bytes
}

/// Reads what [`encode`] wrote. Somebody else's bytes give at most [`CARRIED_MAX`] contexts, and never an error: traces are
/// no reason to stop.
pub fn carried(bytes: &[u8]) -> impl Iterator<Item = TraceContext> + '_ {
    let (contexts, _) = bytes.as_chunks::<CONTEXT_BYTES>();
    let read = |bytes: &[u8; CONTEXT_BYTES]| {
        let (trace, span) = bytes.split_at(TRACE_ID_BYTES);
        let lengths = "a context is both ids";
        TraceContext { trace: trace.try_into().expect(lengths), span: span.try_into().expect(lengths) }
    };
    contexts.iter().take(CARRIED_MAX).map(read).filter(|context| context.remote().is_valid())
}

/// The span that a `traceparent` names; `None` where it names none.
pub(super) fn parent(traceparent: &str) -> Option<SpanContext> {
    let found = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers { traceparent });
    Some(found.span().span_context().clone()).filter(SpanContext::is_valid)
}

/// Where a span below `parent` is started.
pub(super) fn within(parent: SpanContext) -> Context {
    Context::new().with_remote_span_context(parent)
}

struct Headers<'r> {
    traceparent: &'r str,
}

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == "traceparent").then_some(self.traceparent)
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(trace: u8, span: u8) -> TraceContext {
        TraceContext { trace: [trace; TRACE_ID_BYTES], span: [span; SPAN_ID_BYTES] }
    }

    #[test]
    fn contexts_are_read_back_up_to_the_bound() {
        let contexts: Vec<TraceContext> = (1..10).map(|k| context(k, k + 1)).collect();
        let bytes = encode(contexts.iter().copied());
        assert_eq!(bytes.len(), CARRIED_BYTES_MAX);
        assert_eq!(carried(&bytes).collect::<Vec<_>>(), contexts[..CARRIED_MAX]);
    }

    #[test]
    fn nothing_sampled_is_no_bytes() {
        let none = encode(std::iter::empty());
        assert_eq!((none.len(), none.capacity(), carried(&none).count()), (0, 0, 0));
    }

    #[test]
    fn foreign_bytes_give_few_contexts_and_no_error() {
        assert_eq!(carried(&[7; CONTEXT_BYTES - 1]).count(), 0);
        assert_eq!(carried(&[0; CONTEXT_BYTES]).count(), 0, "zeros are no ids");
        assert_eq!(carried(&[7; 100 * CONTEXT_BYTES]).count(), CARRIED_MAX);
    }

    #[test]
    fn a_traceparent_is_read_as_w3c_has_it() {
        let sampled = parent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").expect("a valid one");
        assert_eq!((sampled.is_sampled(), sampled.span_id().to_string().as_str()), (true, "b7ad6b7169203331"));
        assert!(!parent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00").expect("a valid one").is_sampled());
        for none in ["", "00-0-0-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "é"] {
            assert_eq!(parent(none), None, "{none}");
        }
    }
}
