//! Tells a person at once what DynamoDB refuses for good: access denied, no such table, a request that can't be.
//!
//! Callers take a refusal for an outage and try again, since a policy or a table can be put right under them. That must not
//! look like silence.

use aws::Failure;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// Pause between two lines about one operation: callers try again many times a second.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// When each operation was told of last. There are a handful of operations.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals(Arc<Mutex<BTreeMap<&'static str, Instant>>>);

impl Refusals {
    /// Tells of a failure that is a refusal; gives it back with what was refused.
    pub(super) fn note(&self, table: &str, operation: &'static str, failure: Failure) -> Failure {
        let Failure::Refused(said) = failure else { return failure };
        if self.is_due(operation) {
            tracing::error!(
                table,
                operation,
                said,
                "DynamoDB refuses: nothing is written that this is for; look at the policy of this process's role, the \
                 table's name, and its key"
            );
        }
        Failure::Refused(format!("{operation} on table {table}: {said}"))
    }

    fn is_due(&self, operation: &'static str) -> bool {
        let mut told = self.0.lock().expect("nobody panics while holding it");
        let is_due = told.get(operation).is_none_or(|at| at.elapsed() >= TELL_EVERY);
        if is_due {
            told.insert(operation, Instant::now());
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_operation_that_is_refused_is_told_of_once_a_minute() {
        let refusals = Refusals::default();
        assert!(refusals.is_due("PutItem") && !refusals.is_due("PutItem") && refusals.is_due("Query"));
        tokio::time::advance(TELL_EVERY).await;
        assert!(refusals.is_due("PutItem"));
    }

    #[test]
    fn a_refusal_names_what_was_refused_and_what_passes_stays_what_it_is() {
        let note = |failure| Refusals::default().note("forebay", "PutItem", failure);
        let denied = note(Failure::Refused("AccessDeniedException, status 400".to_owned()));
        assert_eq!(denied.to_string(), "refused: PutItem on table forebay: AccessDeniedException, status 400");
        let silent = Failure::Unavailable("timeout".to_owned());
        assert_eq!(note(silent.clone()), silent);
    }
}
