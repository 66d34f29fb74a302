//! Says in the log which sources send many invalid events, for whoever watches logs and no metrics.
//!
//! **Surge**: since the last look more than one event in twenty of a source was invalid.

use crate::metrics::METRICS;
use service::Stop;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::sleep;

/// Pause between two looks: a source has one line in it at most.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Of so many events of a source, one may be invalid.
const ONE_IN: u64 = 20;

/// Most sources that a look tells of, those with the most invalid events: a log is no place for a thousand of them.
const TOLD_MAX: usize = 20;

/// Events of a source since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) accepted: u64,
    pub(crate) quarantined: u64,
}

/// What each source has sent.
pub(crate) type Sources = BTreeMap<String, Sent>;

/// Looks until `stop`.
pub(crate) async fn watch(stop: Stop) -> anyhow::Result<()> {
    let mut before = METRICS.sources();
    while stop.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
        let now = METRICS.sources();
        for (source, Sent { accepted, quarantined }) in surges(&before, &now) {
            tracing::warn!(source, quarantined, accepted, "a source sends many invalid events");
        }
        before = now;
    }
    Ok(())
}

/// Sources with a surge between two looks, and what each sent meanwhile; those with the most invalid events first.
fn surges<'a>(before: &Sources, now: &'a Sources) -> Vec<(&'a str, Sent)> {
    let mut surges: Vec<(&str, Sent)> = now
        .iter()
        .map(|(source, sent)| (source.as_str(), sent.since(before.get(source).copied().unwrap_or_default())))
        .filter(|(_, sent)| sent.is_surge())
        .collect();
    surges.sort_by_key(|(_, sent)| Reverse(sent.quarantined));
    surges.truncate(TOLD_MAX);
    surges
}

impl Sent {
    fn since(self, before: Sent) -> Sent {
        Sent {
            accepted: self.accepted.saturating_sub(before.accepted),
            quarantined: self.quarantined.saturating_sub(before.quarantined),
        }
    }

    fn is_surge(self) -> bool {
        self.quarantined.saturating_mul(ONE_IN) > self.accepted.saturating_add(self.quarantined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Answer;
    use schema::EventId;
    use schema::validate::Rules;

    fn sources(sent: &[(&str, u64, u64)]) -> Sources {
        let source = |&(name, accepted, quarantined): &(&str, u64, u64)| (name.into(), Sent { accepted, quarantined });
        sent.iter().map(source).collect()
    }

    #[test]
    fn a_source_is_told_of_where_more_than_one_event_in_twenty_is_invalid() {
        let now = sources(&[("app", 95, 5), ("idle", 0, 0), ("till", 0, 1), ("web", 94, 6)]);
        let (web, till) = (Sent { accepted: 94, quarantined: 6 }, Sent { accepted: 0, quarantined: 1 });
        assert_eq!(surges(&Sources::default(), &now), [("web", web), ("till", till)]);
    }

    #[test]
    fn what_a_source_sent_before_the_last_look_does_not_count() {
        let before = sources(&[("app", 0, 100), ("web", 1_000, 0)]);
        let now = sources(&[("app", 10, 100), ("web", 1_000, 7)]);
        assert_eq!(surges(&before, &now), [("web", Sent { accepted: 0, quarantined: 7 })]);
        assert_eq!(surges(&now, &now), []);
    }

    #[test]
    fn of_many_sources_those_with_the_most_invalid_events_are_told_of() {
        let names: Vec<String> = (0..1_000).map(|k| format!("source {k}")).collect();
        let now: Vec<(&str, u64, u64)> = names.iter().zip(1..).map(|(name, count)| (name.as_str(), 0, count)).collect();
        let now = sources(&now);
        let told = surges(&Sources::default(), &now);
        assert_eq!((told.len(), told[0].0), (TOLD_MAX, "source 999"));
    }

    #[test]
    fn invalid_events_of_all_reasons_are_counted_together_by_source() {
        let mut answer = Answer::default();
        answer.accept();
        for event_bytes_max in [0, 100] {
            let rules = Rules { event_bytes_max, ahead_micros_max: 0, age_micros_max: None };
            let rejection = schema::protobuf::read(b"\n\x01x", &rules, 0).expect_err("beyond the bound, and no event");
            answer.quarantine(0, rejection, EventId(1));
        }
        assert_eq!(answer.reasons().count(), 2);
        METRICS.count(Some("a shop"), &answer);
        METRICS.expect("a shop that sends nothing");
        let sources = METRICS.sources();
        assert_eq!(sources["a shop"], Sent { accepted: 1, quarantined: 2 });
        assert_eq!(sources["a shop that sends nothing"], Sent::default());
    }
}
