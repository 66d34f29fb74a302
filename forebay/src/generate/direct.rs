//! The way past the gateways: into the raw stream, as producers put events there who know nothing of Forebay.
//!
//! **Alone**: a record that is one event. **Together**: a record that is a JSON array of events. Batches take turns. Some
//! invalid events are no JSON, and would spoil an array; one is an array, and alone would be taken for several events. A
//! record goes where its first event belongs, by the event's id as partition key; the others of an array may belong
//! elsewhere, and it is for the dedup stage to bring them home.

use super::client::{Answer, Quarantined};
use super::deliver::{Delivered, Patience};
use super::events::{Flaw, Made};
use super::tally::Tally;
use bytes::Bytes;
use schema::EventId;
use schema::validate::quarantine_id;
use service::Stop;
use std::sync::Arc;
use stream::{AppendError, NewRecord, Stream};
use tokio::time::Instant;

/// Most events and bytes of an array: well below what a record may have.
const ARRAY_EVENTS_MAX: usize = 500;
const ARRAY_BYTES_MAX: usize = 512 << 10;

/// A producer of its own.
#[derive(Debug)]
pub(super) struct Direct {
    stream: Arc<dyn Stream>,
    /// How the next batch goes.
    together: bool,
}

/// An event as it was made.
#[derive(Clone, Copy)]
struct Item<'a> {
    line: &'a [u8],
    made: Made,
}

impl Item<'_> {
    /// By what it is told from others: by its id, or, without one that is valid, by what it will be called in quarantine.
    fn id(&self) -> EventId {
        self.made.id().unwrap_or_else(|| quarantine_id(None, self.line))
    }

    fn goes_together(&self, turn: bool) -> bool {
        match self.made {
            Made::Invalid(Flaw::CutOff | Flaw::NotUtf8) => false,
            Made::Invalid(Flaw::NotAnObject) => true,
            _ => turn,
        }
    }
}

impl Direct {
    pub(super) fn new(stream: Arc<dyn Stream>) -> Direct {
        Direct { stream, together: false }
    }

    /// Puts a batch, until all of it is taken or patience is over. What is said of invalid events is what the dedup stage
    /// will say.
    pub(super) async fn deliver(
        &mut self,
        lines: &[u8],
        made: &[Made],
        patience: Patience,
        tally: &Tally,
        stop: &Stop,
    ) -> Delivered {
        let items: Vec<Item<'_>> = split(lines, made).collect();
        let records = records(&items, self.together);
        self.together = !self.together;
        let mut last = "not sent".to_string();
        let taken = patience.bound(self.put(records, patience, tally, &mut last), stop).await;
        match taken {
            Some(true) => Delivered::Acknowledged { answer: answer(&items), at: Instant::now() },
            _ => Delivered::GaveUp { last },
        }
    }

    /// Puts records until all are taken; false where one never will be.
    async fn put(&self, mut records: Vec<NewRecord>, patience: Patience, tally: &Tally, last: &mut String) -> bool {
        let mut pause = patience.pause_first;
        loop {
            let outcomes = self.stream.append(records.clone()).await;
            let (mut left, mut is_hopeless) = (Vec::new(), false);
            for (record, outcome) in records.into_iter().zip(outcomes) {
                let Err(error) = outcome else { continue };
                *last = error.to_string();
                is_hopeless |= matches!(error, AppendError::TooLarge { .. });
                left.push(record);
            }
            if left.is_empty() || is_hopeless {
                return left.is_empty();
            }
            tally.unanswered();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(patience.pause_max);
            records = left;
        }
    }
}

/// Each event of a batch, without its newline.
fn split<'a>(lines: &'a [u8], made: &'a [Made]) -> impl Iterator<Item = Item<'a>> {
    lines.split(|&byte| byte == b'\n').zip(made).map(|(line, &made)| Item { line, made })
}

/// The records that carry a batch.
fn records(items: &[Item<'_>], together: bool) -> Vec<NewRecord> {
    let (joined, alone): (Vec<Item<'_>>, Vec<Item<'_>>) = items.iter().partition(|item| item.goes_together(together));
    let single = |item: &Item<'_>| NewRecord { point: item.id().hash(), bytes: Bytes::copy_from_slice(item.line) };
    alone.iter().map(single).chain(arrays(&joined)).collect()
}

fn arrays(items: &[Item<'_>]) -> Vec<NewRecord> {
    let mut arrays: Vec<(EventId, Vec<u8>)> = Vec::new();
    let mut events = 0;
    for item in items {
        match arrays.last_mut() {
            Some((_, array)) if events < ARRAY_EVENTS_MAX && array.len() + item.line.len() < ARRAY_BYTES_MAX => {
                array.push(b',');
                array.extend_from_slice(item.line);
                events += 1;
            }
            _ => {
                arrays.push((item.id(), [b"[", item.line].concat()));
                events = 1;
            }
        }
    }
    let record = |(first, mut array): (EventId, Vec<u8>)| {
        array.push(b']');
        NewRecord { point: first.hash(), bytes: array.into() }
    };
    arrays.into_iter().map(record).collect()
}

/// What a gateway would have answered to these events.
fn answer(items: &[Item<'_>]) -> Answer {
    let mut answer = Answer { accepted: 0, quarantined: Vec::new() };
    for (index, item) in (0..).zip(items) {
        match item.made {
            Made::Invalid(flaw) => {
                let reason = flaw.reason().as_str().to_string();
                answer.quarantined.push(Quarantined { index, quarantine_id: item.id().to_string(), reason });
            }
            Made::Fresh(_) | Made::Copy { .. } => answer.accepted += 1,
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::super::events::{Factory, Mix, Timeline};
    use super::super::rate::Rate;
    use super::*;
    use schema::{Kind, foreign, record};
    use std::collections::BTreeSet;
    use std::time::Duration;

    const START_MS: i64 = 1_790_000_000_000;
    const EVENTS: u64 = 2_000;

    fn batch() -> (Vec<u8>, Vec<Made>) {
        let timeline = Timeline { start_ms: START_MS, rate: Rate::new(EVENTS, Duration::from_secs(1)) };
        let mix = Mix { duplicates: 0.05, invalid: 0.3, late: 0.0, event_types: 5 };
        let factory = Factory::new(3, &mix, timeline);
        let mut lines = Vec::new();
        let made = (0..EVENTS).map(|n| factory.write_line(&mut lines, n)).collect();
        (lines, made)
    }

    /// Ids by kind, as the dedup stage finds them in the records.
    fn found(records: &[NewRecord]) -> BTreeSet<(bool, EventId)> {
        let parts = records.iter().flat_map(|record| foreign::translate(&record.bytes, (START_MS + 10_000) * 1000));
        let ids = |part: schema::v1::RawRecord| {
            let is_event = part.kind == Kind::Events as i32;
            record::ids(&part.ids).map(|id| (is_event, id)).collect::<Vec<_>>()
        };
        parts.flat_map(ids).collect()
    }

    #[test]
    fn the_dedup_stage_understands_each_event_as_it_was_made_alone_and_together() {
        let (lines, made) = batch();
        let items: Vec<Item<'_>> = split(&lines, &made).collect();
        let meant: BTreeSet<(bool, EventId)> = items.iter().map(|item| (item.made.id().is_some(), item.id())).collect();
        for together in [false, true] {
            assert_eq!(found(&records(&items, together)), meant, "together: {together}");
        }
    }

    #[test]
    fn arrays_stay_within_their_bounds_and_go_where_their_first_event_belongs() {
        let (lines, made) = batch();
        let items: Vec<Item<'_>> = split(&lines, &made).filter(|item| item.made.id().is_some()).collect();
        let arrays = records(&items, true);
        assert_eq!(arrays.len(), items.len().div_ceil(ARRAY_EVENTS_MAX));
        for (array, first) in arrays.iter().zip(items.iter().step_by(ARRAY_EVENTS_MAX)) {
            assert!(array.bytes.len() <= ARRAY_BYTES_MAX && array.point == first.id().hash());
        }
    }

    #[test]
    fn an_answer_names_each_invalid_event_in_its_place() {
        let (lines, made) = batch();
        let items: Vec<Item<'_>> = split(&lines, &made).collect();
        let Answer { accepted, quarantined } = answer(&items);
        assert_eq!(accepted + quarantined.len() as u64, EVENTS);
        assert!(quarantined.iter().all(|listed| made[listed.index as usize].id().is_none()));
    }
}
