//! The file of what was acknowledged: the generator's own memory of it, against which the lake is audited.
//!
//! Text, one line per id, appended after the answer and synced before anybody counts it:
//!
//! ```text
//! # run seed 7, …                                         a remark
//! a 019b76da-a800-7c3e-9d5f-0d6f5b1d4c11                  accepted: the event id
//! q 5f0c2a77-1d3b-8e21-a6a0-2f9f6f1f7d10 bad_timestamp    quarantined: the quarantine id and the reason
//! u 12                                                    quarantined, but the answer was too long to name their ids
//! a 019b76da-a8~                                          torn: a run was killed here and a later one went on
//! ```
//!
//! A last line without its newline is **torn** and counts for nothing. Whoever opens the file to go on marks it with `~`;
//! nothing is ever cut off. A line may be there several times: copies of an event are acknowledged, too.

use anyhow::{Context, bail};
use schema::EventId;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

mod recorder;

pub use recorder::{Recorder, RecorderError};

const ACCEPTED: &[u8] = b"a ";
const QUARANTINED: &[u8] = b"q ";
const UNLISTED: &[u8] = b"u ";
const REMARK: u8 = b'#';
const TORN: u8 = b'~';

/// Bytes of an id as text.
const ID_BYTES: usize = 36;

/// Bytes of an accepted line: mark, id, newline.
const ACCEPTED_LINE_BYTES: u64 = 2 + ID_BYTES as u64 + 1;

/// Most bytes of a line. A longer one means that this is some other file.
const LINE_BYTES_MAX: usize = 1024;

/// Most bytes of a reason that are kept: reason codes are short words.
const REASON_BYTES_MAX: usize = 64;

/// What a file says was acknowledged. About 16 bytes an id.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Ids of accepted events, ascending, each once.
    pub accepted: Vec<EventId>,
    /// Quarantine ids of invalid events, ascending, each once.
    pub quarantined: Vec<EventId>,
    /// Quarantined lines by reason.
    pub reasons: BTreeMap<String, u64>,
    /// Quarantined events whose ids no answer named.
    pub unlisted: u64,
}

/// Reads a whole file; one that a run still writes is read up to its last whole line.
///
/// # Errors
/// A line that no run writes, named by its number: the file is damaged, or it is another file.
pub fn read(path: &Path) -> anyhow::Result<Ledger> {
    let file = File::open(path).with_context(|| format!("open the ledger file {}", path.display()))?;
    let bytes = file.metadata().context("look at the ledger file")?.len();
    let mut ledger = Ledger::default();
    ledger.accepted.reserve_exact(usize::try_from(bytes / ACCEPTED_LINE_BYTES)?);
    let mut lines = BufReader::new(file);
    let (mut line, mut number) = (Vec::new(), 0u64);
    loop {
        line.clear();
        number += 1;
        let in_file = || format!("read line {number} of {}", path.display());
        lines.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line).with_context(in_file)?;
        if line.len() >= LINE_BYTES_MAX {
            bail!("line {number} of {} is too long for a ledger file", path.display());
        }
        if line.pop() != Some(b'\n') {
            break;
        }
        ledger.take(&line).with_context(in_file)?;
    }
    for ids in [&mut ledger.accepted, &mut ledger.quarantined] {
        ids.sort_unstable();
        ids.dedup();
    }
    Ok(ledger)
}

impl Ledger {
    fn take(&mut self, line: &[u8]) -> anyhow::Result<()> {
        if line.last() == Some(&TORN) || line.first() == Some(&REMARK) {
            return Ok(());
        }
        let text = std::str::from_utf8(line).context("the line is not UTF-8")?;
        let rest = text.get(2..).unwrap_or_default();
        let (id, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        if line.starts_with(UNLISTED) {
            self.unlisted += id.parse::<u64>().with_context(|| format!("`{text}` names no count"))?;
            return Ok(());
        }
        let id =
            EventId::parse(id).filter(|_| id.len() == ID_BYTES).with_context(|| format!("`{text}` names no id"))?;
        match &line[..2] {
            ACCEPTED => self.accepted.push(id),
            QUARANTINED => {
                self.quarantined.push(id);
                match self.reasons.get_mut(reason) {
                    Some(count) => *count += 1,
                    None => _ = self.reasons.insert(reason.to_string(), 1),
                }
            }
            _ => bail!("`{text}` starts with no known mark"),
        }
        Ok(())
    }
}

/// Lines to append together: what one answer acknowledged.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lines(Vec<u8>);

impl Lines {
    pub fn accepted(&mut self, id: EventId) {
        self.0.extend_from_slice(ACCEPTED);
        self.0.extend_from_slice(&id.canonical());
        self.0.push(b'\n');
    }

    pub fn quarantined(&mut self, quarantine_id: EventId, reason: &str) {
        self.0.extend_from_slice(QUARANTINED);
        self.0.extend_from_slice(&quarantine_id.canonical());
        self.0.push(b' ');
        let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        self.0.extend(reason.bytes().filter(word).take(REASON_BYTES_MAX));
        self.0.push(b'\n');
    }

    pub fn unlisted(&mut self, count: u64) {
        writeln!(self.0, "u {count}").expect("a Vec takes every write");
    }

    /// A line for people; what would end it or mark it as torn is replaced.
    pub fn remark(&mut self, text: &str) {
        let text: String = text.chars().map(|c| if c.is_control() || c == '~' { ' ' } else { c }).take(200).collect();
        writeln!(self.0, "# {text}").expect("a Vec takes every write");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn id(number: u128) -> EventId {
        EventId(number << 64 | 1 << 40 | number)
    }

    /// Everything a run writes, as the recorder appends it.
    fn some_lines() -> Vec<u8> {
        let mut lines = Lines::default();
        lines.remark("run seed 7~\n");
        lines.accepted(id(2));
        lines.quarantined(id(9), "bad uuid~\n");
        lines.accepted(id(1));
        lines.unlisted(3);
        lines.accepted(id(2));
        lines.0
    }

    #[test]
    fn each_id_is_read_once_and_in_order() {
        let path = tempfile::NamedTempFile::new().expect("a file");
        fs::write(&path, some_lines()).expect("write");
        let ledger = read(path.path()).expect("own lines");
        assert_eq!(ledger.accepted, [id(1), id(2)]);
        assert_eq!(ledger.quarantined, [id(9)]);
        assert_eq!(ledger.reasons, BTreeMap::from([("baduuid".to_string(), 1)]));
        assert_eq!(ledger.unlisted, 3);
    }

    #[test]
    fn a_file_cut_off_anywhere_is_read_up_to_its_last_whole_line_and_goes_on() {
        let whole = some_lines();
        let directory = tempfile::tempdir().expect("a directory");
        for cut in 0..=whole.len() {
            let path = directory.path().join(format!("cut-{cut}"));
            let kept = whole[..cut].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            fs::write(&path, &whole[..cut]).expect("write");
            let torn = read(&path).expect("a torn tail is no damage");

            fs::write(directory.path().join("kept"), &whole[..kept]).expect("write");
            assert_eq!(torn, read(&directory.path().join("kept")).expect("whole lines"), "cut at {cut}");

            let recorder = Recorder::open(&path).expect("goes on");
            let mut more = Lines::default();
            more.accepted(id(77));
            recorder.record_blocking(more).expect("appends");
            drop(recorder);
            let mut expected = torn.accepted.clone();
            expected.push(id(77));
            assert_eq!(read(&path).expect("marked").accepted, expected, "cut at {cut}");
            assert!(fs::read(&path).expect("read").starts_with(&whole[..cut]), "nothing is cut off");
        }
    }

    #[test]
    fn a_damaged_line_is_named_by_its_number() {
        let path = tempfile::NamedTempFile::new().expect("a file");
        let long = "x".repeat(5000);
        for broken in ["a 123", "b 019b76da-a800-7c3e-9d5f-0d6f5b1d4c11", "u many", "", "a", "a\u{e9}", &long] {
            fs::write(&path, format!("# fine\n{broken}\n")).expect("write");
            let error = format!("{:#}", read(path.path()).expect_err(broken));
            assert!(error.contains("line 2"), "{error}");
        }
    }
}
