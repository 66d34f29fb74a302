//! Whether a stream still is what it was when it was opened.

use super::described::Described;
use super::{KinesisError, KinesisStream};
use crate::Change;

/// Looks in a row that may be refused before going on counts as unsafe, or without an answer before a person is told.
const LOOKS_MISSED_MAX: u32 = 10;

impl KinesisStream {
    /// Looks at the stream again and again, until `stop` or until it is no longer what it was. Where nobody answers, that ends
    /// no process: a gateway has its overflow queue, and owners their leases.
    ///
    /// # Errors
    /// Nobody may go on with this stream: a person must decide, and the message says what there is to do.
    pub async fn watch(&self, stop: impl Future<Output = ()>) -> Result<(), KinesisError> {
        let mut stop = std::pin::pin!(stop);
        let mut missed = 0;
        loop {
            tokio::select! {
                () = &mut stop => return Ok(()),
                () = tokio::time::sleep(self.watch_every) => {}
            }
            match self.check().await {
                Ok(()) => missed = 0,
                Err(KinesisError::Unavailable { stream, detail }) => {
                    missed += 1;
                    if missed == LOOKS_MISSED_MAX {
                        tracing::error!(stream, detail, "nobody says whether the stream is what it was: asking on");
                    }
                }
                Err(KinesisError::Refused { stream, detail }) => {
                    missed += 1;
                    if missed >= LOOKS_MISSED_MAX {
                        return Err(KinesisError::Unwatched { stream, looks: missed, detail });
                    }
                }
                Err(changed) => return Err(changed),
            }
        }
    }

    /// Compares the stream with what it was when it was opened. A retention that has grown is taken over.
    ///
    /// # Errors
    /// [`KinesisError::Unavailable`] and [`KinesisError::Refused`]: nothing is known. The others: as [`Self::watch`].
    pub async fn check(&self) -> Result<(), KinesisError> {
        let now = self.api.describe().await?;
        now.check(&self.api.stream)?;
        let was = self.described.read().expect("nobody panics while holding it").clone();
        compare(&self.api.stream, &was, &now)?;
        *self.described.write().expect("nobody panics while holding it") = now;
        Ok(())
    }
}

fn compare(stream: &str, was: &Described, now: &Described) -> Result<(), KinesisError> {
    if was.incarnation != now.incarnation {
        let (was, now) = (was.incarnation.clone(), now.incarnation.clone());
        return Err(KinesisError::MadeAgain { stream: stream.to_owned(), was, now });
    }
    if let Some(change) = was.description().changes(&now.description()).into_iter().next() {
        let advice = change.advice(stream);
        let Change { what, was, now, .. } = change;
        return Err(KinesisError::Changed { stream: stream.to_owned(), what, was, now, advice });
    }
    if was.encryption != now.encryption {
        let (stream, was, now) = (stream.to_owned(), was.encryption.clone(), now.encryption.clone());
        let advice = "check that every service may use the key, then start again".to_owned();
        return Err(KinesisError::Changed { stream, what: "encryption", was, now, advice });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_kinesis::types::RecordDistributionStrategy;
    use std::time::Duration;

    fn described() -> Described {
        Described {
            arn: "arn".into(),
            incarnation: "a1".into(),
            made_at: 0,
            mode: "ON_DEMAND".into(),
            retention: Duration::from_secs(24 * 3600),
            encryption: "NONE".into(),
            distribution: Some(RecordDistributionStrategy::UserPartitionKey),
            record_bytes_max: 1 << 20,
            is_active: true,
        }
    }

    #[test]
    fn what_records_rest_on_may_not_change() {
        let was = described();
        assert_eq!(compare("raw", &was, &was), Ok(()));
        let made_again = Described { incarnation: "a2".into(), ..described() };
        assert!(matches!(compare("raw", &was, &made_again), Err(KinesisError::MadeAgain { .. })));
        let hours = |hours: u64| Described { retention: Duration::from_secs(hours * 3600), ..described() };
        let changes = [
            (hours(12), "retention"),
            (Described { mode: "PROVISIONED".into(), ..described() }, "capacity mode"),
            (Described { encryption: "KMS".into(), ..described() }, "encryption"),
        ];
        for (now, expected) in changes {
            let changed = compare("raw", &was, &now);
            assert!(matches!(changed, Err(KinesisError::Changed { what, .. }) if what == expected), "{changed:?}");
        }
        assert_eq!(compare("raw", &was, &hours(48)), Ok(()), "more retention harms nobody");
    }

    #[test]
    fn a_stream_that_ignores_keys_is_refused() {
        let automatic = Described { distribution: Some(RecordDistributionStrategy::Auto), ..described() };
        assert!(matches!(automatic.check("raw"), Err(KinesisError::IgnoresKeys { .. })));
        assert_eq!(described().check("raw"), Ok(()));
    }
}
