//! What the span of a request says.

use crate::answer::Answer;
use crate::refusal::Refusal;
use service::traces::{Attribute, Spans};

/// The header by which a producer names its own span.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// Says what became of a request.
pub(crate) fn tell(spans: &mut Spans, outcome: &Result<Answer, Refusal>) {
    match outcome {
        Ok(answer) => spans.describe(|| {
            [
                Attribute::new("http.response.status_code", i64::from(answer.status().as_u16())),
                Attribute::new("forebay.events.accepted", answer.accepted() as i64),
                Attribute::new("forebay.events.quarantined", answer.quarantined() as i64),
            ]
        }),
        Err(refusal) => refused(spans, refusal),
    }
}

/// Says why a request was refused: what its client is told, which is nothing of its body.
pub(crate) fn refused(spans: &mut Spans, refusal: &Refusal) {
    let (status, _) = refusal.status();
    spans.describe(|| [Attribute::new("http.response.status_code", i64::from(status.as_u16()))]);
    spans.fail(&status);
}
