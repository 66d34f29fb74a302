//! Sends one batch until it is acknowledged: the client's half of «at least once».

use super::client::{Answer, Client, Verdict};
use super::tally::Tally;
use bytes::Bytes;
use hyper::StatusCode;
use service::Stop;
use std::ops::ControlFlow;
use std::time::Duration;
use tokio::time::Instant;

/// Longest wait that a gateway can ask for. A longer one is taken for a mistake.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// How a batch is sent again.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// First pause; each further one is twice as long.
    pub pause_first: Duration,
    pub pause_max: Duration,
    /// How long a batch is tried altogether.
    pub tried_for: Duration,
    /// How long it is still tried after the run was asked to stop.
    pub after_stop: Duration,
}

/// What became of a batch.
#[derive(Debug)]
pub enum Delivered {
    Acknowledged { answer: Answer, at: Instant },
    Refused { status: StatusCode, body: String },
    GaveUp { last: String },
}

/// Sends `batch` until it is acknowledged or refused, or until patience is over.
pub async fn deliver(client: &mut Client, batch: Bytes, patience: Patience, tally: &Tally, stop: &Stop) -> Delivered {
    let give_up = Instant::now() + patience.tried_for;
    let mut last = "not sent".to_string();
    let mut attempts = Attempts { client, batch, patience, give_up, tally, last: &mut last };
    let delivered = patience.bound(attempts.run(), stop).await;
    delivered.flatten().unwrap_or(Delivered::GaveUp { last })
}

impl Patience {
    /// What comes of `attempts`, unless patience is over before.
    pub(super) async fn bound<T>(&self, attempts: impl Future<Output = T>, stop: &Stop) -> Option<T> {
        let stopped = async {
            stop.cancelled().await;
            tokio::time::sleep(self.after_stop).await;
        };
        tokio::select! {
            biased;
            outcome = attempts => Some(outcome),
            () = tokio::time::sleep(self.tried_for) => None,
            () = stopped => None,
        }
    }
}

struct Attempts<'a> {
    client: &'a mut Client,
    batch: Bytes,
    patience: Patience,
    give_up: Instant,
    tally: &'a Tally,
    last: &'a mut String,
}

impl Attempts<'_> {
    /// `None` where the next attempt would come too late.
    async fn run(&mut self) -> Option<Delivered> {
        let mut pause = self.patience.pause_first;
        loop {
            let asked = match self.attempt().await {
                ControlFlow::Break(delivered) => return Some(delivered),
                ControlFlow::Continue(asked) => asked.unwrap_or_default(),
            };
            let wait = asked.min(RETRY_AFTER_MAX).max(pause);
            if Instant::now() + wait > self.give_up {
                return None;
            }
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(self.patience.pause_max);
        }
    }

    /// Goes on with the wait that the gateway asked for, if it did.
    async fn attempt(&mut self) -> ControlFlow<Delivered, Option<Duration>> {
        let (status, verdict) = match self.client.post(self.batch.clone()).await {
            Ok(answered) => answered,
            Err(error) => {
                self.tally.unanswered();
                *self.last = error.to_string();
                return ControlFlow::Continue(None);
            }
        };
        self.tally.answered(status);
        *self.last = format!("status {status}");
        match verdict {
            Verdict::Acknowledged(answer) => ControlFlow::Break(Delivered::Acknowledged { answer, at: Instant::now() }),
            Verdict::Refused { body } => ControlFlow::Break(Delivered::Refused { status, body }),
            Verdict::Again { wait } => ControlFlow::Continue(wait),
        }
    }
}
