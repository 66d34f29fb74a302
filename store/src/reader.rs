//! Reading a log while another process writes it.

use crate::damage::Damage;
use crate::index::Index;
use crate::recover::{replay, report_missing};
use crate::segment::{self, Segment};
use crate::{StoreError, View};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// How far a reader has come.
#[derive(Debug, Default)]
struct Progress {
    segment: u32,
    end: u32,
    damages: Vec<Damage>,
}

/// A view of a data directory without its lock. It may run behind and show frames that a power cut could still take;
/// damage is listed, and reading up to it is an error.
#[derive(Debug)]
pub struct StoreReader {
    data_dir: PathBuf,
    view: Arc<View>,
    progress: Mutex<Progress>,
}

impl StoreReader {
    /// Reads what is there.
    pub fn open(data_dir: &Path) -> Result<StoreReader, StoreError> {
        let view = Arc::new(View::new(Index::default(), false));
        let reader = StoreReader { data_dir: data_dir.to_owned(), view, progress: Mutex::default() };
        reader.refresh()?;
        Ok(reader)
    }

    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    pub fn damages(&self) -> Vec<Damage> {
        self.progress.lock().expect("nobody panics while holding it").damages.clone()
    }

    /// Reads what was written since. Blocks on files: call it off the async threads.
    pub fn refresh(&self) -> Result<(), StoreError> {
        let context = format!("read the log in {}", self.data_dir.display());
        self.catch_up().map_err(StoreError::io(context))
    }

    fn catch_up(&self) -> io::Result<()> {
        let mut progress = self.progress.lock().expect("nobody panics while holding it");
        let mut index = self.view.index_mut();
        let numbers = segment::list(&self.data_dir)?;
        let last_written = segment::last_written(&self.data_dir, &numbers)?;
        let Some((&first, last_written)) = numbers.first().zip(last_written) else { return Ok(()) };
        for number in unread(&index, &progress, &numbers, last_written) {
            let Some(segment) = self.segment(&mut index, number)? else { continue };
            let from = if number == progress.segment { progress.end } else { 0 };
            let damages = &mut progress.damages;
            let last = number == last_written;
            let replayed = replay(&mut index, damages, &self.data_dir, &segment, from, last)?;
            index.segments.get_mut(&number).expect("just read").end = replayed.end;
            (progress.segment, progress.end) = (number, replayed.end);
        }
        // A live frame of a removed segment was written again before the removal, so it has been read by now.
        let kept = index.segments.split_off(&first.min(progress.segment));
        index.segments = kept;
        self.report_news(&mut index, &mut progress.damages);
        index.logs.values().for_each(|log| log.arrivals.notify_waiters());
        Ok(())
    }

    /// The segment, opened where it is not yet; `None` if retention has just removed it.
    fn segment(&self, index: &mut Index, number: u32) -> io::Result<Option<Segment>> {
        if let Some(segment) = index.segments.get(&number) {
            return Ok(Some(segment.clone()));
        }
        match segment::open(&self.data_dir, number, false) {
            Ok(segment) => {
                index.segments.insert(number, segment.clone());
                Ok(Some(segment))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reports missing segments that were not reported before.
    fn report_news(&self, index: &mut Index, damages: &mut Vec<Damage>) {
        let known: Vec<PathBuf> = damages.iter().map(|damage| damage.file.clone()).collect();
        let mut missing = Vec::new();
        report_missing(index, &mut missing, &self.data_dir, None);
        damages.extend(missing.into_iter().filter(|damage| !known.contains(&damage.file)));
    }
}

/// Segments with something new, up to `last_written`: to go beyond it would pass over what it may still get. The one that was being read may have been removed since; it is held open, so it is read to
/// its end all the same.
fn unread(index: &Index, progress: &Progress, numbers: &[u32], last_written: u32) -> Vec<u32> {
    let held = index.segments.contains_key(&progress.segment).then_some(progress.segment);
    let news = numbers.iter().copied().filter(|&number| progress.segment < number && number <= last_written);
    held.into_iter().chain(news).collect()
}
