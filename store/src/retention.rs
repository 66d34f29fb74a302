//! Retention: the oldest segments go once everything in them is consumed; what still lives in them is written again at the
//! tail first.
//!
//! Segments go oldest first only, so that the log has no holes and a hole is damage.

use crate::draft::{Moved, Work};
use crate::fetch::{Fetch, Source};
use crate::index::Index;
use crate::live::Live;
use crate::{Store, StoreError};
use std::sync::Arc;
use std::time::Duration;

/// Frames moved at a time: bounded by what one commit takes.
const MOVED_AT_A_TIME: usize = 256;

/// Bytes moved at a time.
const MOVED_BYTES_MAX: usize = 4 << 20;

/// Slots looked at in one go: a fraction of a millisecond, for which commits wait.
const SLOTS_AT_A_TIME: usize = 16_384;

/// What a pass of retention did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    pub segments_dropped: u64,
    /// Frames that were written again.
    pub frames_moved: u64,
}

impl Store {
    /// Drops the oldest segments whose records are all consumed, if they are older than [`crate::Options::retain_for`]
    /// or the log is larger than [`crate::Options::log_bytes_max`].
    ///
    /// `now` in Unix microseconds. A segment with damage that still matters is never dropped, nor what comes after it.
    ///
    /// # Errors
    /// [`StoreError::Io`]: a live frame can't be read back; its segment stays.
    pub async fn enforce_retention(&self, now: i64) -> Result<Retained, StoreError> {
        let mut retained = Retained::default();
        self.submit(Work::Nothing, 0).await?;
        let candidates = candidates(&self.view().index(), self.cut(now));
        for segment in candidates {
            retained.frames_moved += self.move_live(segment).await?;
            let answers = self.submit(Work::Drop(segment), 0).await?;
            if answers.iter().any(Result::is_err) {
                break;
            }
            retained.segments_dropped += 1;
            tracing::info!(segment, "dropped a segment that is consumed");
        }
        Ok(retained)
    }

    fn cut(&self, now: i64) -> Cut {
        let (retain_for, log_bytes_max) = self.retention();
        Cut { sealed_before: now.saturating_sub(micros(retain_for)), log_bytes_max }
    }

    async fn move_live(&self, segment: u32) -> Result<u64, StoreError> {
        let live = self.live_in(segment).await;
        let mut moved = 0;
        for some in chunks(&live) {
            let frames = self.read_live(some).await?;
            let bytes = frames.iter().map(|frame| frame.live.place.bytes as usize).sum();
            let answers = self.submit(Work::Move(frames), bytes).await?;
            moved += answers.iter().filter(|answer| answer.is_ok()).count() as u64;
        }
        Ok(moved)
    }

    /// What lives in `segment`, and won't move by itself. Commits wait while the index is looked at, so it is let go of
    /// again and again.
    async fn live_in(&self, segment: u32) -> Vec<Live> {
        if self.view().index().live.of(segment).frames == 0 {
            return Vec::new();
        }
        let mut live = self.view().index().notes_and_messages_in(segment);
        let chains: Vec<Arc<str>> = self.view().index().chains.keys().cloned().collect();
        for chain in chains {
            let mut rest = Some(0);
            while let Some(from) = rest {
                let (found, next) = self.view().index().slots_in(segment, &chain, from, SLOTS_AT_A_TIME);
                live.extend(found);
                rest = next;
                tokio::task::yield_now().await;
            }
        }
        live
    }

    async fn read_live(&self, live: &[Live]) -> Result<Vec<Moved>, StoreError> {
        let mut fetch = Fetch::default();
        for Live { kind, number, place, .. } in live {
            let file = self.view().index().segments.get(&place.segment).map(|segment| segment.file.clone());
            let Some(file) = file else { continue };
            fetch.push(Source::Disk { file, place: *place, kind: *kind, number: *number });
        }
        let fetched = fetch.load().await;
        if let Some(error) = fetched.stopped {
            let source = std::io::Error::other(error);
            return Err(StoreError::Io {
                context: "read a frame that must not go with its segment".to_owned(),
                source,
            });
        }
        let moved = live.iter().cloned().zip(fetched.frames);
        Ok(moved.map(|(live, frame)| Moved { live, aux: frame.aux, bytes: frame.bytes }).collect())
    }
}

/// What makes a consumed segment superfluous.
#[derive(Clone, Copy, Debug)]
struct Cut {
    sealed_before: i64,
    log_bytes_max: u64,
}

/// Segments that may go, oldest first: all that are old enough, and then as many as the size asks for, unless more than
/// half of their bytes would only be written again.
fn candidates(index: &Index, cut: Cut) -> Vec<u32> {
    let tail = index.segments.last_key_value().map_or(0, |(number, _)| *number);
    let free = |number: u32| number < tail && index.is_consumed(number) && !index.must_keep(number);
    let oldest: Vec<_> = index.segments.values().take_while(|segment| free(segment.number)).collect();
    let aged = oldest.iter().take_while(|segment| segment.sealed_at.is_some_and(|at| at <= cut.sealed_before)).count();
    let log_bytes: u64 = index.segments.values().map(|segment| u64::from(segment.end)).sum();
    let (mut bytes, mut live_bytes, mut sized) = (0, 0, 0);
    for (count, segment) in oldest.iter().enumerate() {
        if log_bytes - bytes <= cut.log_bytes_max {
            break;
        }
        bytes += u64::from(segment.end);
        live_bytes += index.live.of(segment.number).bytes;
        if live_bytes * 2 <= bytes {
            sized = count + 1;
        }
    }
    oldest.iter().take(aged.max(sized)).map(|segment| segment.number).collect()
}

fn chunks(live: &[Live]) -> impl Iterator<Item = &[Live]> {
    let mut rest = live;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |live: &&Live| {
            bytes += live.place.bytes as usize;
            bytes <= MOVED_BYTES_MAX
        };
        let count = rest.iter().take(MOVED_AT_A_TIME).take_while(fits).count().max(1).min(rest.len());
        let (some, tail) = rest.split_at(count);
        rest = tail;
        (!some.is_empty()).then_some(some)
    })
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
