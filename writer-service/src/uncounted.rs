//! Rows of quarantine that no gateway has counted: what other producers wrote, and what can't be read.
//!
//! Which they are is known where bodies are opened, and that is here. Reasons are those that this release knows.

use schema::Reason;
use schema::stored::StoredQuarantine;
use std::collections::BTreeMap;

/// The stage that counts what it finds invalid itself, with its source.
const GATEWAY: &str = "gateway";

/// The reason of what is no event at all.
pub(crate) const UNDECODABLE: &str = "undecodable";

/// Stands for reasons of other releases, so that nobody writes labels into records.
const OTHER: &str = "other";

/// How many there are, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Uncounted(BTreeMap<&'static str, u64>);

impl Uncounted {
    pub(crate) fn note(&mut self, item: &StoredQuarantine<'_>) {
        if item.stage != GATEWAY {
            let reason = reasons().find(|reason| *reason == item.reason).unwrap_or(OTHER);
            *self.0.entry(reason).or_default() += 1;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(reason, count)| (*reason, *count))
    }
}

/// All reasons that there can be.
pub(crate) fn reasons() -> impl Iterator<Item = &'static str> {
    Reason::ALL.into_iter().map(Reason::as_str).chain([UNDECODABLE, OTHER])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_gateway_found_is_counted_by_reasons_that_are_known() {
        let mut uncounted = Uncounted::default();
        for (stage, reason) in
            [("gateway", "bad_uuid"), ("dedup", "bad_uuid"), ("writer", UNDECODABLE), ("dedup", "a new one")]
        {
            uncounted.note(&StoredQuarantine { stage, reason, ..StoredQuarantine::default() });
        }
        assert_eq!(uncounted.iter().collect::<Vec<_>>(), [("bad_uuid", 1), (OTHER, 1), (UNDECODABLE, 1)]);
    }
}
