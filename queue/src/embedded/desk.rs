//! Who holds which message: the part of a queue that is in memory.

use super::QueueBounds;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// Longest visibility: what SQS takes as well. Source:
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
const VISIBILITY_MAX: Duration = Duration::from_secs(12 * 60 * 60);

/// One handing-out of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) number: u64,
    /// Which time it is handed out, from 1 up.
    pub(super) delivery: u32,
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.number, self.delivery)
    }
}

impl Receipt {
    pub(super) fn parse(text: &str) -> Option<Receipt> {
        let (number, delivery) = text.split_once('-')?;
        Some(Receipt { number: number.parse().ok()?, delivery: delivery.parse().ok()? })
    }
}

#[derive(Clone, Copy, Debug)]
struct Message {
    bytes: usize,
    deliveries: u32,
    /// Held until then; ready where `None`.
    held_until: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct Desk {
    messages: BTreeMap<u64, Message>,
    ready: BTreeSet<u64>,
    /// Held messages by the end of their visibility.
    held: BTreeSet<(Instant, u64)>,
    /// Messages and bytes, those on their way into the store included.
    count: usize,
    bytes: usize,
}

impl Desk {
    pub(super) fn new(waiting: Vec<(u64, usize)>) -> Desk {
        let mut desk = Desk::default();
        for (number, bytes) in waiting {
            desk.count += 1;
            desk.bytes += bytes;
            desk.arrive(number, bytes);
        }
        desk
    }

    pub(super) fn depth(&self) -> usize {
        self.messages.len()
    }

    /// Sets room aside for a message that is about to be sent.
    pub(super) fn reserve(&mut self, bytes: usize, bounds: QueueBounds) -> bool {
        let fits = self.count < bounds.messages_max && self.bytes + bytes <= bounds.bytes_max;
        if fits {
            self.count += 1;
            self.bytes += bytes;
        }
        fits
    }

    /// Gives back the room of messages that did not make it.
    pub(super) fn give_up(&mut self, lengths: &[usize]) {
        self.count -= lengths.len();
        self.bytes -= lengths.iter().sum::<usize>();
    }

    pub(super) fn arrive(&mut self, number: u64, bytes: usize) {
        self.messages.insert(number, Message { bytes, deliveries: 0, held_until: None });
        self.ready.insert(number);
    }

    /// Hands out the oldest ready messages; where there is none, says when the next one gets ready.
    pub(super) fn hand_out(
        &mut self,
        count_max: usize,
        now: Instant,
        visibility: Duration,
    ) -> (Vec<Receipt>, Option<Instant>) {
        self.release_until(now);
        let until = now + visibility.min(VISIBILITY_MAX);
        let mut receipts = Vec::new();
        while receipts.len() < count_max {
            let Some(number) = self.ready.pop_first() else { break };
            let message = self.messages.get_mut(&number).expect("what is ready is there");
            message.deliveries = message.deliveries.saturating_add(1);
            message.held_until = Some(until);
            self.held.insert((until, number));
            receipts.push(Receipt { number, delivery: message.deliveries });
        }
        (receipts, self.held.first().map(|(until, _)| *until))
    }

    fn release_until(&mut self, now: Instant) {
        while self.held.first().is_some_and(|(until, _)| *until <= now) {
            let (_, number) = self.held.pop_first().expect("looked at just now");
            self.messages.get_mut(&number).expect("what is held is there").held_until = None;
            self.ready.insert(number);
        }
    }

    pub(super) fn holds(&self, receipt: Receipt, now: Instant) -> bool {
        self.messages.get(&receipt.number).is_some_and(|message| {
            message.deliveries == receipt.delivery && message.held_until.is_some_and(|until| until > now)
        })
    }

    /// Hides a message for `visibility` from now on; false where the receipt has expired.
    pub(super) fn extend(&mut self, receipt: Receipt, now: Instant, visibility: Duration) -> bool {
        if !self.holds(receipt, now) {
            return false;
        }
        let until = now + visibility.min(VISIBILITY_MAX);
        let message = self.messages.get_mut(&receipt.number).expect("it is held");
        if let Some(before) = message.held_until.replace(until) {
            self.held.remove(&(before, receipt.number));
        }
        self.held.insert((until, receipt.number));
        true
    }

    pub(super) fn remove(&mut self, number: u64) {
        let Some(message) = self.messages.remove(&number) else { return };
        self.ready.remove(&number);
        if let Some(until) = message.held_until {
            self.held.remove(&(until, number));
        }
        self.give_up(&[message.bytes]);
    }
}
