//! Reading segments into the index: at open, and by readers as the log grows.

use crate::damage::{Damage, What};
use crate::frame::{Body, Place};
use crate::index::Index;
use crate::scan::{Found, Scan};
use crate::segment::{self, Segment};
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A stretch of a segment that is not frames.
struct Stretch {
    place: Place,
    what: What,
}

/// What reading one segment came to.
#[derive(Debug)]
pub(crate) struct Replayed {
    /// One past the last whole frame.
    pub(crate) end: u32,
    /// Bytes after the end, left by a commit that was never answered.
    pub(crate) torn_bytes: u32,
    /// Bytes of the file, zeros after the end included.
    length: u32,
}

/// Reads `segment` from offset `from` on. In the last segment, bad bytes that no later frame knows to have been durable
/// are a torn tail; everywhere else they are damage.
pub(crate) fn replay(
    index: &mut Index,
    damages: &mut Vec<Damage>,
    data_dir: &Path,
    segment: &Segment,
    from: u32,
    last: bool,
) -> io::Result<Replayed> {
    let mut scan = Scan::new(segment, from)?;
    let length = scan.length();
    let (mut end, mut synced_through) = (from, None);
    let mut report = |index: &mut Index, stretch: Stretch| {
        index.lose(stretch.place, &stretch.what);
        damages.push(damage(data_dir, stretch));
    };
    while let Some(found) = scan.next()? {
        match found {
            Found::Frame { place, header, name, payload } => {
                let (kind, number, aux) = (header.kind, header.number, header.aux);
                index.apply(place, &Body { kind, name, number, aux, payload });
                end = place.offset + place.bytes;
            }
            Found::Bad { offset, bytes, name } => {
                let durable = match synced_through {
                    Some(known) => known,
                    None => *synced_through.insert(Scan::new(segment, offset + bytes)?.synced_through()?),
                };
                if last && offset >= durable {
                    let torn_bytes = scan.bytes_left_behind(offset)?;
                    return Ok(Replayed { end: offset, torn_bytes, length });
                }
                if is_frame(segment, offset)? {
                    // It was being written beside this reader while its bytes were read; now it is whole.
                    (scan, synced_through) = (Scan::new(segment, offset)?, None);
                    continue;
                }
                let place = Place { segment: segment.number, offset, bytes };
                report(index, Stretch { place, what: name.map_or(What::Unknown, What::Payload) });
                end = offset + bytes;
            }
        }
    }
    let sealed = index.segments.get(&segment.number).is_some_and(|segment| segment.sealed_at.is_some());
    if !last && !sealed {
        let place = Place { segment: segment.number, offset: end, bytes: 0 };
        report(index, Stretch { place, what: What::CutOff });
    }
    Ok(Replayed { end, torn_bytes: 0, length })
}

/// Whether a sound frame stands at `offset` now.
fn is_frame(segment: &Segment, offset: u32) -> io::Result<bool> {
    Ok(matches!(Scan::new(segment, offset)?.next()?, Some(Found::Frame { .. })))
}

/// Notes the segments below `end` that should be there and are not; where there is no `end`, those below the last.
pub(crate) fn report_missing(index: &mut Index, damages: &mut Vec<Damage>, data_dir: &Path, end: Option<u32>) {
    let last = index.segments.last_key_value().map(|(number, _)| *number);
    let Some(end) = end.or(last) else { return };
    let missing: Vec<u32> = (index.first_segment..end).filter(|number| !index.segments.contains_key(number)).collect();
    for number in missing {
        let place = Place { segment: number, offset: 0, bytes: 0 };
        index.lose(place, &What::Missing);
        damages.push(damage(data_dir, Stretch { place, what: What::Missing }));
    }
}

fn damage(data_dir: &Path, stretch: Stretch) -> Damage {
    let Stretch { place, what } = stretch;
    let file = segment::path(data_dir, place.segment);
    Damage { file, offset: place.offset.into(), bytes: place.bytes.into(), what }
}

/// What opening a log found.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) index: Index,
    pub(crate) damages: Vec<Damage>,
}

/// Reads the whole log for writing: cuts a torn tail off, and makes what it found durable before anyone sees it.
pub(crate) fn recover(data_dir: &Path) -> io::Result<Recovered> {
    let (mut index, mut damages) = (Index::default(), Vec::new());
    let numbers = segment::list(data_dir)?;
    let last_written = segment::last_written(data_dir, &numbers)?;
    for &number in numbers.iter().take_while(|number| Some(**number) <= last_written) {
        let segment = segment::open(data_dir, number, true)?;
        index.segments.insert(number, segment.clone());
        let last = Some(number) == last_written;
        let replayed = replay(&mut index, &mut damages, data_dir, &segment, 0, last)?;
        if replayed.end < replayed.length {
            cut_off(data_dir, &segment, &replayed)?;
        }
        if last {
            segment.file.sync_all()?;
        }
        index.segments.get_mut(&number).expect("just put there").end = replayed.end;
    }
    remove_leftovers(&mut index, &mut damages, data_dir)?;
    let next = index.segments.values().last().filter(|last| last.sealed_at.is_some()).map(|last| last.number + 1);
    let end = next.filter(|next| !numbers.contains(next)).map(|next| next + 1);
    report_missing(&mut index, &mut damages, data_dir, end);
    index.settle_doubt();
    Ok(Recovered { index, damages })
}

fn cut_off(data_dir: &Path, segment: &Segment, replayed: &Replayed) -> io::Result<()> {
    if replayed.torn_bytes > 0 {
        let file = segment::path(data_dir, segment.number);
        tracing::warn!(
            file = %file.display(),
            offset = replayed.end,
            bytes = replayed.torn_bytes,
            "cutting off a torn tail: a commit that was never answered"
        );
    }
    segment.file.set_len(replayed.end.into())
}

/// Removes segments that retention had given up when the process ended.
fn remove_leftovers(index: &mut Index, damages: &mut Vec<Damage>, data_dir: &Path) -> io::Result<()> {
    let kept = index.segments.split_off(&index.first_segment);
    let leftovers = std::mem::replace(&mut index.segments, kept);
    for number in leftovers.into_keys() {
        let path = segment::path(data_dir, number);
        index.damaged_segments.remove(&number);
        damages.retain(|damage| damage.file != path);
        segment::remove(data_dir, number)?;
    }
    Ok(())
}

/// Copies damaged bytes to a directory of their own, so that they survive retention and repair.
pub(crate) fn set_aside(data_dir: &Path, damages: &[Damage]) -> io::Result<()> {
    let dir = data_dir.join("damaged");
    fs::create_dir_all(&dir)?;
    for damage in damages.iter().filter(|damage| damage.bytes > 0) {
        let mut bytes = vec![0; damage.bytes as usize];
        fs::File::open(&damage.file)?.read_exact_at(&mut bytes, damage.offset)?;
        fs::write(copy_path(&dir, damage), bytes)?;
    }
    segment::sync_dir(&dir)
}

fn copy_path(dir: &Path, damage: &Damage) -> PathBuf {
    let stem = damage.file.file_stem().expect("segments have names").to_string_lossy();
    dir.join(format!("{stem}-{}.bytes", damage.offset))
}
