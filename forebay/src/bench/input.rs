//! The events that are posted: an NDJSON file, the same for the same seed and start.

use crate::generate::events::{Factory, Made, Mix, Timeline};
use anyhow::Context;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// Events of a request.
pub(super) const BATCH_EVENTS: u64 = 100;

/// What the events are like: 13 names, and nothing late, since they are spread over a week anyhow.
pub(super) const MIX: Mix = Mix { duplicates: 0.05, invalid: 0.01, late: 0.0, event_types: 5 };

/// Event times end at the start of the run, so that none is from the future and none too old.
const SPAN: Duration = Duration::from_secs(7 * 86_400);

const WRITE_BYTES: usize = 1 << 20;

/// A file of events, cut into batches.
#[derive(Debug)]
pub(super) struct Input {
    file: File,
    /// Where the batches end in the file.
    ends: Vec<u64>,
    pub counts: Counts,
}

/// What the lines of a file are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub fresh: u64,
    pub copies: u64,
    pub invalid: u64,
}

impl Counts {
    fn add(&mut self, made: Made) {
        match made {
            Made::Fresh(_) => self.fresh += 1,
            Made::Copy { .. } => self.copies += 1,
            Made::Invalid(_) => self.invalid += 1,
        }
    }

    pub(super) fn events(&self) -> u64 {
        self.fresh + self.copies + self.invalid
    }

    /// Rows that the lake has in the end, quarantine included.
    pub(super) fn rows(&self) -> u64 {
        self.fresh + self.invalid
    }
}

impl Input {
    /// Makes `events` events that happened in the week before `now`, in microseconds.
    pub(super) fn make(path: &Path, seed: u64, events: u64, now: i64) -> anyhow::Result<Input> {
        let factory = factory(seed, &MIX, events, now);
        let context = || format!("write {}", path.display());
        let file = File::options().read(true).write(true).create_new(true).open(path).with_context(context)?;
        let mut out = BufWriter::with_capacity(WRITE_BYTES, &file);
        let (mut batch, mut ends, mut counts, mut end) = (Vec::new(), Vec::new(), Counts::default(), 0);
        for first in (0..events).step_by(BATCH_EVENTS as usize) {
            batch.clear();
            for n in first..events.min(first + BATCH_EVENTS) {
                counts.add(factory.write_line(&mut batch, n));
            }
            out.write_all(&batch).with_context(context)?;
            end += batch.len() as u64;
            ends.push(end);
        }
        out.flush().with_context(context)?;
        drop(out);
        Ok(Input { file, ends, counts })
    }

    pub(super) fn batches(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    pub(super) fn batch_bytes(&self, batch: usize) -> usize {
        (self.ends[batch] - self.start(batch)) as usize
    }

    /// Appends the lines of a batch.
    pub(super) fn read_batch(&self, batch: usize, out: &mut Vec<u8>) -> anyhow::Result<()> {
        let place = out.len();
        out.resize(place + self.batch_bytes(batch), 0);
        self.file.read_exact_at(&mut out[place..], self.start(batch)).context("read the input")
    }

    fn start(&self, batch: usize) -> u64 {
        batch.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}

/// Makes events that happened in the week before `now`.
pub(super) fn factory(seed: u64, mix: &Mix, events: u64, now: i64) -> Factory {
    let start_ms = now.div_euclid(1000) - SPAN.as_millis() as i64;
    Factory::new(seed, mix, Timeline::spread(start_ms, events, SPAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_305_600_000_000;

    #[test]
    fn batches_are_the_lines_of_the_file_and_the_same_each_time() {
        let dir = tempfile::tempdir().expect("a folder");
        let input = Input::make(&dir.path().join("a"), 7, 1_234, NOW).expect("made");
        let mut lines = Vec::new();
        (0..input.batches()).for_each(|batch| input.read_batch(batch, &mut lines).expect("read"));
        assert_eq!(input.batches(), 13);
        assert_eq!(lines.iter().filter(|&&byte| byte == b'\n').count(), 1_234);
        assert_eq!((lines.len() as u64, input.counts.events()), (input.bytes(), 1_234));
        Input::make(&dir.path().join("b"), 7, 1_234, NOW).expect("made");
        assert_eq!(std::fs::read(dir.path().join("a")).expect("a"), std::fs::read(dir.path().join("b")).expect("b"));
    }

    #[test]
    fn events_are_as_long_as_promised_with_the_promised_shares() {
        let dir = tempfile::tempdir().expect("a folder");
        let input = Input::make(&dir.path().join("a"), 7, 20_000, NOW).expect("made");
        let Counts { copies, invalid, .. } = input.counts;
        assert!((380..440).contains(&(input.bytes() / 20_000)), "{} bytes", input.bytes());
        assert!((900..1_100).contains(&copies) && (150..250).contains(&invalid), "{:?}", input.counts);
    }
}
