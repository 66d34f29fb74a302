//! What a stream is set to, and whether it still is.
//!
//! **Change**: something of a stream that is no longer what it was, and that nobody may go on with unless a person means it.
//! A retention that has grown is none.

use std::time::Duration;

/// What a stream is set to, as far as its readers rest on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Who splits and merges its shards, in the words of the backend.
    pub capacity_mode: String,
    /// How long a record can be read; whole hours.
    pub retention: Duration,
}

/// What was and what is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub what: &'static str,
    pub was: String,
    /// By this a person accepts it: see [`crate::Stream::goes_on_as`].
    pub now: String,
    meaning: &'static str,
}

impl Description {
    pub fn retention_hours(&self) -> u64 {
        self.retention.as_secs() / 3600
    }

    /// In what a stream that was `self` and is `now` has changed.
    pub fn changes(&self, now: &Description) -> Vec<Change> {
        let mut changes = Vec::new();
        if now.retention < self.retention {
            let hours = |description: &Description| format!("{}h", description.retention_hours());
            let meaning = "records that nobody has read may be gone: raise it again, then start again";
            changes.push(Change { what: "retention", was: hours(self), now: hours(now), meaning });
        }
        if now.capacity_mode != self.capacity_mode {
            let (was, now) = (self.capacity_mode.clone(), now.capacity_mode.clone());
            changes.push(Change { what: "capacity mode", was, now, meaning: "limits and cost are others" });
        }
        changes
    }
}

impl Change {
    /// What it means for a stream of this name, and what a person can do.
    pub fn advice(&self, stream: &str) -> String {
        let Change { now, meaning, .. } = self;
        format!("{meaning}; if it was meant, start again, its readers with --accept-changed {stream}:{now}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(capacity_mode: &str, hours: u64) -> Description {
        Description { capacity_mode: capacity_mode.to_owned(), retention: Duration::from_secs(hours * 3600) }
    }

    #[test]
    fn less_retention_and_another_capacity_mode_are_changes_and_more_retention_is_none() {
        let was = of("ON_DEMAND", 48);
        for (now, expected) in [
            (of("ON_DEMAND", 48), &[][..]),
            (of("ON_DEMAND", 96), &[]),
            (of("ON_DEMAND", 24), &[("retention", "48h", "24h")]),
            (of("PROVISIONED", 96), &[("capacity mode", "ON_DEMAND", "PROVISIONED")]),
            (of("PROVISIONED", 24), &[("retention", "48h", "24h"), ("capacity mode", "ON_DEMAND", "PROVISIONED")]),
        ] {
            let changes = was.changes(&now);
            let told: Vec<_> = changes.iter().map(|change| (change.what, &*change.was, &*change.now)).collect();
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn a_change_says_how_a_person_accepts_it() {
        let advice = of("ON_DEMAND", 48).changes(&of("ON_DEMAND", 24))[0].advice("raw");
        assert!(
            advice.contains("may be gone: raise it again") && advice.ends_with("--accept-changed raw:24h"),
            "{advice}"
        );
    }
}
