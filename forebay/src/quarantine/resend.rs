//! Sends repaired events in batches, each until it is acknowledged, and counts what the gateway says.

use crate::generate::Tally;
use crate::generate::client::{Answer, Client};
use crate::generate::deliver::{Delivered, Patience, deliver};
use anyhow::bail;
use bytes::Bytes;
use service::Stop;
use std::collections::BTreeMap;
use std::time::Duration;

/// Most events and bytes of a batch, whichever is reached first; one event more may fit the bytes.
const BATCH_EVENTS_MAX: u64 = 500;
const BATCH_BYTES_MAX: usize = 1 << 20;

/// A gateway that restarts is waited for; one that is gone is not.
const PATIENCE: Patience = Patience {
    pause_first: Duration::from_millis(50),
    pause_max: Duration::from_secs(2),
    tried_for: Duration::from_secs(60),
    after_stop: Duration::from_secs(5),
};

/// What became of the events that were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub accepted: u64,
    /// Those that are still invalid, by reason.
    pub quarantined: BTreeMap<String, u64>,
    /// Still invalid ones that the answer did not list.
    pub unlisted: u64,
}

#[derive(Debug)]
pub(super) struct Resender {
    client: Client,
    stop: Stop,
    tally: Tally,
    batch: Vec<u8>,
    batch_events: u64,
    pub sent: Sent,
}

impl Resender {
    pub(super) fn new(client: Client, stop: Stop) -> Resender {
        let (tally, sent) = (Tally::default(), Sent::default());
        Resender { client, stop, tally, batch: Vec::new(), batch_events: 0, sent }
    }

    /// Adds an event, and sends the batch if it is full.
    pub(super) async fn add(&mut self, event: &[u8]) -> anyhow::Result<()> {
        self.batch.extend_from_slice(event);
        self.batch.push(b'\n');
        self.batch_events += 1;
        if self.batch_events < BATCH_EVENTS_MAX && self.batch.len() < BATCH_BYTES_MAX {
            return Ok(());
        }
        self.flush().await
    }

    /// Sends what waits.
    pub(super) async fn flush(&mut self) -> anyhow::Result<()> {
        if self.batch_events == 0 {
            return Ok(());
        }
        if self.stop.is_cancelled() {
            bail!("stopped before all events were sent");
        }
        let batch = Bytes::from(std::mem::take(&mut self.batch));
        match deliver(&mut self.client, batch, PATIENCE, &self.tally, &self.stop).await {
            Delivered::Acknowledged { answer, .. } => self.sent.count(self.batch_events, &answer),
            Delivered::Refused { status, body } => bail!("the gateway refused the events with {status}: {body}"),
            Delivered::GaveUp { last } => bail!("the events were not acknowledged; the last try: {last}"),
        }
        self.batch_events = 0;
        Ok(())
    }
}

impl Sent {
    fn count(&mut self, events: u64, answer: &Answer) {
        let listed = answer.quarantined.len() as u64;
        self.accepted += answer.accepted;
        self.unlisted += events.saturating_sub(answer.accepted + listed);
        for quarantined in &answer.quarantined {
            *self.quarantined.entry(quarantined.reason.clone()).or_default() += 1;
        }
    }

    pub(super) fn still_invalid(&self) -> u64 {
        self.quarantined.values().sum::<u64>() + self.unlisted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::client::Quarantined;

    #[test]
    fn an_answer_that_lists_only_some_is_counted_in_full() {
        let quarantined = Quarantined { index: 1, quarantine_id: "q".into(), reason: "too_old".into() };
        let mut sent = Sent::default();
        sent.count(10, &Answer { accepted: 7, quarantined: vec![quarantined] });
        assert_eq!((sent.accepted, sent.unlisted, sent.still_invalid()), (7, 2, 3));
    }
}
