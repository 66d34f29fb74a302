//! The way of spans out of the process: a bounded queue, and a task that sends what is in it.

use crate::Stop;
use crate::metrics::Set;
use opentelemetry::Context;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter as _, SpanProcessor};
use prometheus::IntCounterVec;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// Spans that wait to be sent, most: some 2 MB of memory. One that comes when it is full is dropped and counted.
const QUEUE_SPANS_MAX: usize = 4096;

/// Spans that are sent in one call, most.
const BATCH_SPANS_MAX: usize = 512;

/// How long spans gather before they are sent.
const GATHER: Duration = Duration::from_millis(200);

/// Spans by what became of them: `sent`, `refused` by the collector, `dropped` because the queue was full.
static SPANS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Spans by what became of them: `sent`, `refused` by the collector, `dropped` since the queue was full";
    Set::new("trace").counters("spans_total", &["outcome"], help)
});

fn count(outcome: &str, spans: usize) {
    SPANS.with_label_values(&[outcome]).inc_by(spans as u64);
}

/// Registers what is counted, so that it is shown before there is any span.
pub fn register() {
    ["sent", "refused", "dropped"].into_iter().for_each(|outcome| count(outcome, 0));
}

/// Takes spans that have ended.
#[derive(Debug)]
pub(super) struct Queue(mpsc::Sender<SpanData>);

impl Queue {
    /// Sends what comes through the queue, until `stop` and until it is empty then.
    pub(super) fn start(exporter: SpanExporter, stop: Stop) -> (Queue, AbortOnDropHandle<()>) {
        register();
        let (sender, inbox) = mpsc::channel(QUEUE_SPANS_MAX);
        (Queue(sender), AbortOnDropHandle::new(tokio::spawn(send(exporter, inbox, stop))))
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.0.try_send(span).is_err() {
            count("dropped", 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

async fn send(exporter: SpanExporter, mut inbox: mpsc::Receiver<SpanData>, stop: Stop) {
    let mut is_taken = true;
    loop {
        tokio::select! {
            () = stop.cancelled() => inbox.close(),
            () = tokio::time::sleep(GATHER) => {}
        }
        while let Some(batch) = next_batch(&mut inbox) {
            let spans = batch.len();
            let outcome = exporter.export(batch).await;
            count(if outcome.is_ok() { "sent" } else { "refused" }, spans);
            let was_taken = std::mem::replace(&mut is_taken, outcome.is_ok());
            if let Err(error) = outcome
                && was_taken
            {
                tracing::warn!(%error, "the collector at --otlp-endpoint does not take spans: they are dropped until it does");
            }
        }
        if inbox.is_closed() {
            return;
        }
    }
}

/// What waits, as far as one call takes it.
fn next_batch(inbox: &mut mpsc::Receiver<SpanData>) -> Option<Vec<SpanData>> {
    let batch: Vec<SpanData> = std::iter::from_fn(|| inbox.try_recv().ok()).take(BATCH_SPANS_MAX).collect();
    (!batch.is_empty()).then_some(batch)
}
