//! Counts what every call to AWS came to, where all clients pass: see [`crate::Aws::connect`].

use crate::failure::THROTTLED;
use crate::metrics::METRICS;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::FinalizerInterceptorContextRef;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// Codes by which the services answer what was asked, though the answer is no: a condition that does not hold, an
/// iterator that was used too late.
const ANSWERS: [&str; 2] = ["ConditionalCheckFailedException", "ExpiredIteratorException"];

/// Statuses by which S3 answers what was asked: nothing is there, something is there already.
const ANSWER_STATUSES: [u16; 3] = [304, 404, 412];

/// What a call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    /// All or some of it was refused for now.
    Throttled,
    Refused,
    /// No answer, or one that says nothing of the call.
    Failed,
}

impl Outcome {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Throttled => "throttled",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
        }
    }

    /// Judges an answer by its status and its body, as far as that was read.
    fn of(status: u16, body: &str) -> Outcome {
        let says = |codes: &[&str]| codes.iter().any(|code| body.contains(code));
        if status >= 400 && says(&THROTTLED) {
            Outcome::Throttled
        } else if says(&ANSWERS) || (ANSWER_STATUSES.contains(&status) && !body.contains("NoSuchBucket")) {
            Outcome::Ok
        } else {
            match status {
                200..300 => Outcome::Ok,
                429 => Outcome::Throttled,
                400..500 if status != 408 => Outcome::Refused,
                _ => Outcome::Failed,
            }
        }
    }

    /// Judges the answer to a PutRecords that was taken: each of its records may have been refused.
    fn of_records(body: &str) -> Outcome {
        let all_taken = body.contains("\"FailedRecordCount\":0");
        if !all_taken && THROTTLED.iter().any(|code| body.contains(code)) { Outcome::Throttled } else { Outcome::Ok }
    }
}

/// Looks at every answer that the clients of a process get.
#[derive(Clone, Copy, Debug)]
pub struct Outcomes;

impl Intercept for Outcomes {
    fn name(&self) -> &'static str {
        "Outcomes"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(call) = settings.load::<Metadata>() else { return Ok(()) };
        let outcome = match context.response() {
            None => Outcome::Failed,
            Some(answer) => {
                let body = std::str::from_utf8(answer.body().bytes().unwrap_or_default()).unwrap_or_default();
                let is_taken = answer.status().is_success();
                match context.output_or_error() {
                    Some(Ok(_)) if call.name() == "PutRecords" => Outcome::of_records(body),
                    Some(Ok(_)) => Outcome::Ok,
                    _ if is_taken => Outcome::Failed,
                    _ => Outcome::of(answer.status().as_u16(), body),
                }
            }
        };
        let service = call.service().to_ascii_lowercase();
        METRICS.calls.with_label_values(&[&service, call.name(), outcome.name()]).inc();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_from_a_refusal_and_both_from_a_failure() {
        let throttled = r#"{"__type":"ProvisionedThroughputExceededException"}"#;
        for (status, body, outcome) in [
            (200, "", Outcome::Ok),
            (400, r#"{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}"#, Outcome::Ok),
            (412, "<Error><Code>PreconditionFailed</Code></Error>", Outcome::Ok),
            (404, "", Outcome::Ok),
            (404, "<Error><Code>NoSuchBucket</Code></Error>", Outcome::Refused),
            (400, throttled, Outcome::Throttled),
            (503, "<Error><Code>SlowDown</Code></Error>", Outcome::Throttled),
            (403, "<Error><Code>AccessDenied</Code></Error>", Outcome::Refused),
            (500, "", Outcome::Failed),
        ] {
            assert_eq!(Outcome::of(status, body), outcome, "{status} {body}");
        }
    }

    #[test]
    fn records_that_were_throttled_make_their_call_one_that_was() {
        let part = r#"{"FailedRecordCount":1,"Records":[{"ErrorCode":"ProvisionedThroughputExceededException"}]}"#;
        assert_eq!(Outcome::of_records(part), Outcome::Throttled);
        assert_eq!(Outcome::of_records(r#"{"FailedRecordCount":0,"Records":[]}"#), Outcome::Ok);
    }
}
