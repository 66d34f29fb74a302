//! What an answer says of each event of a batch, held against what the generator knows of it.

use super::client::{Answer, Quarantined};
use super::events::Made;
use crate::acked::Lines;
use schema::EventId;

/// What goes into the ledger file, and what was not as it should be.
#[derive(Debug)]
pub(super) struct Outcome {
    pub lines: Lines,
    /// The first of them is enough: a gateway that misjudges one event misjudges many.
    pub mismatch: Option<String>,
}

impl Outcome {
    /// All events but the quarantined ones were accepted. A long list of quarantined events may end early.
    pub(super) fn of(made: &[Made], answer: &Answer) -> Outcome {
        let mut outcome = Outcome { lines: Lines::default(), mismatch: None };
        let mut listed = answer.quarantined.iter().peekable();
        let (mut accepted, mut unlisted) = (Vec::with_capacity(made.len()), 0);
        for (place, made) in made.iter().enumerate() {
            let quarantined = listed.next_if(|listed| listed.index == place as u64);
            match (made.id(), quarantined) {
                (Some(id), None) => accepted.push(id),
                (None, None) => unlisted += 1,
                (id, Some(quarantined)) => outcome.quarantined(place, id, quarantined),
            }
        }
        if let Some(beyond) = listed.next() {
            outcome.differs(format!("the answer quarantines event {} of {}", beyond.index, made.len()));
        }
        if accepted.len() as u64 != answer.accepted {
            outcome.differs(format!(
                "{} events were to be accepted, the answer says {}",
                accepted.len(),
                answer.accepted
            ));
            return outcome;
        }
        accepted.into_iter().for_each(|id| outcome.lines.accepted(id));
        if unlisted > 0 {
            outcome.unlisted(made, answer, unlisted);
        }
        outcome
    }

    fn quarantined(&mut self, place: usize, valid: Option<EventId>, quarantined: &Quarantined) {
        let Quarantined { quarantine_id, reason, .. } = quarantined;
        if let Some(id) = valid {
            self.differs(format!("event {place} ({id}) is valid and was quarantined as {reason}"));
        }
        match EventId::parse(quarantine_id) {
            Some(id) => self.lines.quarantined(id, reason),
            None => self.differs(format!("`{quarantine_id}` of event {place} is not a quarantine id")),
        }
    }

    /// Only events after the last listed one may be missing from the list.
    fn unlisted(&mut self, made: &[Made], answer: &Answer, unlisted: u64) {
        let listed_through = answer.quarantined.last().map_or(0, |last| last.index as usize + 1);
        let skipped = made.iter().take(listed_through).filter(|made| made.id().is_none()).count();
        if answer.quarantined.is_empty() || skipped > answer.quarantined.len() {
            self.differs(format!("{unlisted} invalid events are neither accepted nor listed as quarantined"));
        }
        self.lines.unlisted(unlisted);
    }

    fn differs(&mut self, mismatch: String) {
        self.mismatch.get_or_insert(mismatch);
    }
}

#[cfg(test)]
mod tests {
    use super::super::events::Flaw;
    use super::*;

    const VALID: [Made; 2] = [Made::Fresh(EventId(1)), Made::Copy { id: EventId(2), of: 0 }];
    const INVALID: Made = Made::Invalid(Flaw::BadUuid);

    fn batch() -> Vec<Made> {
        vec![VALID[0], INVALID, VALID[1], INVALID, INVALID]
    }

    fn answer(accepted: u64, listed: &[u64]) -> Answer {
        let quarantined = |&index: &u64| Quarantined {
            index,
            quarantine_id: EventId(u128::from(index)).to_string(),
            reason: "bad_uuid".to_string(),
        };
        Answer { accepted, quarantined: listed.iter().map(quarantined).collect() }
    }

    #[test]
    fn an_answer_that_agrees_gives_a_line_for_each_event() {
        let outcome = Outcome::of(&batch(), &answer(2, &[1, 3, 4]));
        assert_eq!(outcome.mismatch, None);
        let mut expected = Lines::default();
        [1, 3, 4].iter().for_each(|&id| expected.quarantined(EventId(id), "bad_uuid"));
        [1, 2].iter().for_each(|&id| expected.accepted(EventId(id)));
        assert_eq!(outcome.lines, expected);
    }

    #[test]
    fn a_list_that_ends_early_leaves_a_count() {
        let outcome = Outcome::of(&batch(), &answer(2, &[1]));
        assert_eq!(outcome.mismatch, None);
        let mut expected = Lines::default();
        expected.quarantined(EventId(1), "bad_uuid");
        [1, 2].iter().for_each(|&id| expected.accepted(EventId(id)));
        expected.unlisted(2);
        assert_eq!(outcome.lines, expected);
    }

    #[test]
    fn what_does_not_agree_is_a_mismatch() {
        for (accepted, listed) in [
            (2, &[][..]),       // nothing listed at all
            (2, &[3, 4]),       // one left out before the last
            (3, &[1, 3, 4]),    // an invalid event accepted
            (1, &[0, 1, 3, 4]), // a valid event quarantined
            (0, &[1, 3, 4]),    // counts that don't add up
            (2, &[1, 3, 4, 9]), // no such event
        ] {
            let outcome = Outcome::of(&batch(), &answer(accepted, listed));
            assert!(outcome.mismatch.is_some(), "{accepted} {listed:?}");
        }
        let mut nameless = answer(2, &[1, 3, 4]);
        nameless.quarantined[1].quarantine_id = "?".to_string();
        assert!(Outcome::of(&batch(), &nameless).mismatch.is_some());
    }
}
