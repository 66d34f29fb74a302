//! What records of the source are in the stream that they are fed into.

use anyhow::bail;
use bytes::Bytes;
use schema::record::{RecordError, decode_clean, decode_raw, encode};
use schema::v1::RawRecord;
use schema::{ShardId, foreign, record};
use stream::{NewRecord, Record};

/// Records to put, and what they come of.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) records: Vec<NewRecord>,
    pub(super) counts: Counts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Records of the source.
    pub(super) read: u64,
    /// Those of them that are by other producers.
    pub(super) foreign: u64,
    /// Records that were put, or would be.
    pub(super) fed: u64,
    /// Their events, invalid ones included.
    pub(super) events: u64,
    pub(super) bytes: u64,
    /// When the oldest of them was received, in Unix microseconds.
    pub(super) oldest: Option<i64>,
}

impl Counts {
    pub(super) fn add(&mut self, other: Counts) {
        let Counts { read, foreign, fed, events, bytes, oldest } = other;
        self.read += read;
        self.foreign += foreign;
        self.fed += fed;
        self.events += events;
        self.bytes += bytes;
        self.oldest = [self.oldest, oldest].into_iter().flatten().min();
    }
}

impl Batch {
    /// Takes a record of the source as it is. One that another producer wrote is taken as what the dedup stage would have
    /// made of it there: when it arrived tells how old its events are, and in another stream it arrives anew.
    ///
    /// # Errors
    /// What a person has to look at: a record of a newer release, or of a stream that is no raw one.
    pub(super) fn take(&mut self, shard: &ShardId, taken: &Record) -> anyhow::Result<()> {
        self.counts.read += 1;
        let Record { position, arrived_at, bytes } = taken;
        match decode_raw(bytes.clone()) {
            Ok(raw) => self.put(&raw, bytes.clone()),
            Err(error @ RecordError::Version(_)) => {
                bail!("shard {shard} has at {position} a {error}: feed it with a newer release")
            }
            Err(_) if decode_clean(bytes.clone()).is_ok() => bail!(
                "shard {shard} has a clean record at {position}, so --from-stream is no raw stream; if it is, and somebody \
                 has put that one there, go on with --after {shard}:{position}"
            ),
            Err(_) => {
                self.counts.foreign += 1;
                foreign::translate(bytes, *arrived_at).iter().for_each(|raw| self.put(raw, encode(raw)));
            }
        }
        Ok(())
    }

    /// Goes where its first event belongs; the others of its events may belong elsewhere, since the streams' shards differ,
    /// and it is for the dedup stage to bring them home (PROTOCOL rule 10a).
    fn put(&mut self, raw: &RawRecord, bytes: Bytes) {
        let Some(first) = record::ids(&raw.ids).next() else { return };
        self.counts.add(Counts {
            fed: 1,
            events: record::count(&raw.ids) as u64,
            bytes: bytes.len() as u64,
            oldest: Some(raw.received_at),
            ..Counts::default()
        });
        self.records.push(NewRecord { point: first.hash(), bytes });
    }
}
