//! What a stream was set to, for whoever starts after somebody has set it otherwise.
//!
//! A process that runs sees its stream change. One that starts later does not: its retention may have been lowered meanwhile,
//! and what nobody had read be gone. So each stage keeps **notes** of its stream, a chain for each incarnation; the last
//! entry is what the stream is, as far as a person or nobody had to agree.
//!
//! They are not part of the geneses of shards: those are written once, and have no room for a retention that is raised, by
//! the product itself too, nor for a change that a person has accepted. An entry comes with each of these, and with a change
//! that is **refused**, which holds what nobody has agreed to: while the retention was short, records went. None comes
//! otherwise, so that nothing need ever be removed.
//!
//! The first entry says when readers **began**. What a stream that was there before had already lost by then is nothing that
//! they were to read. All of them together say for how long records were kept at a time: a retention that is raised brings
//! nothing back.

use crate::{OwnerError, PATIENCE};
use bytes::Bytes;
use ledger::{Entry, Ledger, LedgerError, Slot, append_until_decided, for_each_slot};
use prost::Message;
use schema::v1::StreamEntry;
use schema::{ChainId, record};
use service::{Env, Halt, Stop};
use std::sync::Arc;
use std::time::Duration;
use stream::{Change, Description, Stream};

/// How often it is looked whether the stream has become something else than is noted; free of calls where it has not.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How far the clocks of two workers may be apart.
const CLOCKS_APART_MICROS: i64 = 60_000_000;

/// The notes of one stream.
#[derive(Debug)]
pub struct Notes {
    chain: ChainId,
    stream: Arc<dyn Stream>,
    ledger: Arc<dyn Ledger>,
    env: Env,
    now: Description,
    /// It is known that the last entry says `now`.
    is_noted: bool,
}

impl Notes {
    /// Compares a stream with its notes, whose names start with `chains`; `None` for a stream that needs none.
    ///
    /// # Errors
    /// [`Halt`]: it was set otherwise, and nobody has said to go on all the same. Else there was no answer.
    pub async fn compare(
        chains: &str,
        stream: &Arc<dyn Stream>,
        ledger: &Arc<dyn Ledger>,
        env: &Env,
    ) -> anyhow::Result<Option<Notes>> {
        let chain = chain_of(chains, &**stream);
        // Read first: whoever noted more than is seen here would have seen it later.
        let noted = Noted::read(&**ledger, &chain).await.map_err(OwnerError::into_cause)?;
        let Some(now) = stream.describe().await.map_err(|error| OwnerError::from(error).into_cause())? else {
            return Ok(None);
        };
        let (stream, ledger, env) = (stream.clone(), ledger.clone(), env.clone());
        let mut notes = Notes { chain, stream, ledger, env, now, is_noted: false };
        if let Some(change) = noted.agreed().and_then(|was| unaccepted(&*notes.stream, &was, &notes.now)) {
            notes.note_refused(&noted).await.map_err(OwnerError::into_cause)?;
            return Err(refusal(notes.stream.name(), &change).into());
        }
        Ok(Some(notes))
    }

    /// Appends what nobody goes on with, unless the last entry says so.
    async fn note_refused(&mut self, noted: &Noted) -> Result<(), OwnerError> {
        match noted.0.last() {
            Some(last) if last.refused && description(last) == self.now => Ok(()),
            _ => self.append(noted.next(), true).await,
        }
    }

    /// Keeps the notes of a stream up to date, if it needs any, until `stop`.
    ///
    /// # Errors
    /// [`Halt`]: the notes can't be read.
    pub async fn keep(notes: Option<Notes>, stop: Stop) -> anyhow::Result<()> {
        match notes {
            Some(mut notes) => stop.run_until_cancelled(notes.keep_on()).await.unwrap_or(Ok(())),
            None => {
                stop.cancelled().await;
                Ok(())
            }
        }
    }

    async fn keep_on(&mut self) -> anyhow::Result<()> {
        loop {
            match self.note().await {
                Ok(()) => {}
                Err(OwnerError::Halt(halt)) => return Err(halt.into()),
                Err(error) => {
                    let stream = self.stream.name();
                    tracing::warn!(stream, %error, "what the stream is set to could not be noted, trying again");
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Appends what the stream is, unless the last entry says so. What has changed in a way that nobody has accepted is not
    /// noted: the watch over the stream tells a person, or another worker has seen a raise that is still to be seen here.
    async fn note(&mut self) -> Result<(), OwnerError> {
        let kept_for = self.stream.kept_for().unwrap_or_default();
        if self.is_noted && kept_for <= self.now.retention {
            return Ok(());
        }
        self.now.retention = self.now.retention.max(kept_for);
        self.is_noted = false;
        let noted = Noted::read(&*self.ledger, &self.chain).await?;
        self.is_noted = noted.0.last().is_some_and(|last| !last.refused && description(last) == self.now);
        let may_agree = noted.agreed().is_none_or(|was| unaccepted(&*self.stream, &was, &self.now).is_none());
        if self.is_noted || !may_agree {
            return Ok(());
        }
        self.append(noted.next(), false).await
    }

    /// Appends entry `number`; where another worker was first, the next look goes on from theirs.
    async fn append(&mut self, number: u64, refused: bool) -> Result<(), OwnerError> {
        let (stream, hours) = (self.stream.name(), self.now.retention_hours());
        let Description { capacity_mode, .. } = self.now.clone();
        let appended_at = self.env.now();
        let stream_name = stream.to_owned();
        let said = StreamEntry { stream: stream_name, capacity_mode, retention_hours: hours, appended_at, refused };
        let entry = Entry { nonce: self.env.nonce(), bytes: record::encode(&said) };
        match append_until_decided(&*self.ledger, &self.chain, number, entry, PATIENCE).await {
            Err(LedgerError::Taken { .. }) => Ok(()),
            decided => {
                decided?;
                tracing::info!(stream, mode = said.capacity_mode, hours, refused, "noted what the stream is set to");
                if number == 0 {
                    tracing::info!(
                        stream,
                        "nobody has read this stream before: its readers begin with the oldest record"
                    );
                }
                self.is_noted = !refused;
                Ok(())
            }
        }
    }
}

/// All entries of a chain of notes, from the first.
#[derive(Debug)]
struct Noted(Vec<StreamEntry>);

impl Noted {
    async fn read(ledger: &dyn Ledger, chain: &ChainId) -> Result<Noted, OwnerError> {
        let mut slots = Vec::new();
        for_each_slot(ledger, chain, 0, |slot| {
            slots.push(slot);
            Ok(())
        })
        .await?;
        let read = |slot: Slot| read(chain, slot.number, slot.entry.bytes);
        Ok(Noted(slots.into_iter().map(read).collect::<Result<_, Halt>>()?))
    }

    /// What the stream is, as far as a person or nobody had to agree.
    fn agreed(&self) -> Option<Description> {
        self.0.iter().rev().find(|note| !note.refused).map(description)
    }

    /// The number of the next entry.
    fn next(&self) -> u64 {
        self.0.len() as u64
    }
}

fn description(note: &StreamEntry) -> Description {
    Description { capacity_mode: note.capacity_mode.clone(), retention: kept_for(note) }
}

/// For how long a stream has kept records, by its notes: when that was noted first, and what it was then.
#[derive(Debug)]
pub(crate) struct History(Vec<(i64, Duration)>);

impl History {
    pub(crate) async fn read(chains: &str, stream: &dyn Stream, ledger: &dyn Ledger) -> Result<History, OwnerError> {
        let Noted(notes) = Noted::read(ledger, &chain_of(chains, stream)).await?;
        Ok(History(notes.iter().map(|note| (note.appended_at, kept_for(note))).collect()))
    }

    /// When readers began; `None` where nothing is noted.
    pub(crate) fn began(&self) -> Option<i64> {
        self.0.first().map(|(noted_at, _)| *noted_at)
    }

    /// The shortest retention from `at` on, as far as it is noted: a raise counts only once it is.
    pub(crate) fn least_since(&self, at: i64) -> Option<Duration> {
        let at = at.saturating_sub(CLOCKS_APART_MICROS);
        let later = self.0.iter().position(|(noted_at, _)| *noted_at > at).unwrap_or(self.0.len());
        self.0[later.saturating_sub(1)..].iter().map(|(_, kept_for)| *kept_for).min()
    }
}

fn kept_for(note: &StreamEntry) -> Duration {
    Duration::from_secs(note.retention_hours.saturating_mul(3600))
}

fn chain_of(chains: &str, stream: &dyn Stream) -> ChainId {
    ChainId::new(format!("{chains}{}", stream.incarnation()))
}

fn read(chain: &ChainId, number: u64, bytes: Bytes) -> Result<StreamEntry, Halt> {
    StreamEntry::decode(bytes).map_err(|_| {
        Halt(format!("chain {chain}, entry {number} can't be read: a newer release wrote it, or it is damaged"))
    })
}

/// The first change that nobody has said to go on with.
fn unaccepted(stream: &dyn Stream, was: &Description, now: &Description) -> Option<Change> {
    was.changes(now).into_iter().find(|change| !stream.goes_on_as(&change.now))
}

fn refusal(stream: &str, change: &Change) -> Halt {
    let (Change { what, was, now, .. }, advice) = (change, change.advice(stream));
    Halt(format!("the {what} of stream {stream} was {was} when its readers noted it and is {now}: {advice}"))
}
