//! What an owner sends: what is decided to the clean stream, and strays back into the raw one.

use super::Owner;
use crate::batch::Unit;
use crate::dedup::{self, Forward};
use crate::metrics::METRICS;
use ownership::{OwnerError, RETRY_PAUSE};
use schema::v1::RawRecord;
use schema::{HashKey, record};
use service::traces::{self, Attribute, SpanKind, Spans};
use service::{Halt, Rule, Stop};
use stream::{AppendError, NewRecord};

impl Owner {
    /// Puts the strays of `units` into the raw stream again until they are acknowledged (PROTOCOL rule 10a); false where it
    /// was asked to stop and they still were not.
    pub(super) async fn send_home(
        &mut self,
        strays: Vec<(HashKey, RawRecord)>,
        units: &[Unit],
        stop: &Stop,
    ) -> Result<bool, OwnerError> {
        let encode = |(point, stray): &(HashKey, RawRecord)| NewRecord { point: *point, bytes: record::encode(stray) };
        let mut left: Vec<NewRecord> = strays.iter().map(encode).collect();
        while !left.is_empty() {
            left = self.send_home_once(left).await?;
            if left.is_empty() {
                break;
            }
            if self.reading_on.is_over(stop) {
                return Ok(false);
            }
            let now = self.parts.env.now();
            self.note_lag(units.first().map(|unit| ownership::age(unit.arrived_at, now)).unwrap_or_default()).await;
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        Ok(true)
    }

    /// Gives back those that the stream did not take.
    async fn send_home_once(&mut self, strays: Vec<NewRecord>) -> Result<Vec<NewRecord>, OwnerError> {
        let results = self.parts.raw.append(strays.clone()).await;
        let mut left = Vec::new();
        for (stray, result) in strays.into_iter().zip(results) {
            match result {
                Ok(_) => METRICS.strays.inc(),
                Err(AppendError::TooLarge { .. }) => {
                    return Err(Halt(format!("shard {}: a stray no longer fits the raw stream", self.shard.id)).into());
                }
                Err(error) => {
                    METRICS.stray_failures.inc();
                    if !std::mem::replace(&mut self.strays_fail, true) {
                        tracing::warn!(%error, "the raw stream takes no strays: nothing is decided until it does");
                    }
                    left.push(stray);
                }
            }
        }
        self.strays_fail &= !left.is_empty();
        Ok(left)
    }

    /// Sends the outbox once; what is acknowledged leaves it (PROTOCOL rule 12).
    pub(super) async fn forward(&mut self) -> Result<(), OwnerError> {
        let point = |forward: &Forward| match self.parts.rules.keeps(Rule::FixedPoint) {
            true => self.state.point,
            false => HashKey(self.parts.env.nonce() ^ u128::from(forward.record.first_ordinal)),
        };
        let records = self
            .outbox
            .iter()
            .map(|forward| NewRecord { point: point(forward), bytes: record::encode(&forward.record) })
            .collect();
        let mut spans = self.forwarding();
        let results = self.parts.clean.append(records).await;
        let mut unsendable = Vec::new();
        let mut kept = Vec::new();
        for (forward, result) in std::mem::take(&mut self.outbox).into_iter().zip(results) {
            match result {
                Ok(_) => {}
                Err(AppendError::TooLarge { .. }) => unsendable.push(forward),
                Err(error) => {
                    METRICS.forward_failures.inc();
                    spans.fail(&error);
                    if !std::mem::replace(&mut self.forwards_fail, true) {
                        tracing::warn!(%error, entry = forward.entry, "the clean stream takes no records: they are sent until it does");
                    }
                    kept.push(forward);
                }
            }
        }
        self.forwards_fail &= !kept.is_empty();
        self.outbox = kept;
        if unsendable.is_empty() { Ok(()) } else { self.void(unsendable).await }
    }

    /// Gives up on records that the clean stream never takes, visibly (PROTOCOL rule 16).
    async fn void(&mut self, unsendable: Vec<Forward>) -> Result<(), OwnerError> {
        let mut voids = Vec::new();
        for mut forward in unsendable {
            let events = record::count(&forward.record.ids);
            tracing::error!(
                entry = forward.entry,
                origin = forward.record.origin,
                ordinal = forward.record.first_ordinal,
                events,
                "events can't be sent: they are void"
            );
            METRICS.voided.inc_by(events as u64);
            let (void, tombstone) = dedup::void(&forward, "the clean record is larger than the stream takes");
            forward.record = tombstone;
            self.outbox.push(forward);
            voids.push(void);
        }
        let entry = self.state.give_up(voids);
        self.append(entry).await?;
        // Other entries may have accepted the same ids, so it takes them all to tell which are known.
        self.load_window(self.state.windows.floor(), i32::MAX).await?;
        Ok(())
    }

    /// Spans of sending the outbox, in the traces that it carries.
    fn forwarding(&self) -> Spans {
        let sampled = self.outbox.iter().flat_map(|forward| traces::carried(&forward.record.trace_context));
        let mut spans = self.parts.env.traces.step("forward", &SpanKind::Producer, sampled);
        spans.describe(|| {
            [
                Attribute::new("forebay.chain", self.state.chain.to_string()),
                Attribute::new("forebay.records", self.outbox.len() as i64),
            ]
        });
        spans
    }
}
