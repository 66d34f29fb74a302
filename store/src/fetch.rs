//! Reading frames back: from memory where they are recent, else from their segment.

use crate::FetchError;
use crate::frame::{HEADER_BYTES, Header, Kind, Place};
use bytes::Bytes;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// What a frame holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub number: u64,
    /// Of a record: when it arrived. Of a slot: its nonce.
    pub aux: u128,
    pub bytes: Bytes,
}

#[derive(Debug)]
pub(crate) enum Source {
    Memory(Frame),
    Disk { file: Arc<File>, place: Place, kind: Kind, number: u64 },
}

/// Frames to read.
#[derive(Debug, Default)]
pub struct Fetch {
    sources: Vec<Source>,
    stopped: Option<FetchError>,
}

/// Frames that were read, and why there are no more of them if that is not for a limit.
#[derive(Debug)]
pub struct Fetched {
    pub frames: Vec<Frame>,
    pub stopped: Option<FetchError>,
}

impl Fetch {
    pub(crate) fn stopped(error: FetchError) -> Fetch {
        Fetch { sources: Vec::new(), stopped: Some(error) }
    }

    pub(crate) fn stop(&mut self, error: FetchError) {
        self.stopped = Some(error);
    }

    pub(crate) fn push(&mut self, source: Source) {
        self.sources.push(source);
    }

    pub(crate) fn len(&self) -> usize {
        self.sources.len()
    }

    /// Nothing to read and nothing wrong.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.stopped.is_none()
    }

    /// Reads them. What is in memory is there at once; files are read off the async threads, since they may be cold.
    pub async fn load(self) -> Fetched {
        if self.sources.iter().all(|source| matches!(source, Source::Memory(_))) {
            return self.load_blocking();
        }
        match tokio::task::spawn_blocking(|| self.load_blocking()).await {
            Ok(fetched) => fetched,
            Err(error) => Fetched { frames: Vec::new(), stopped: Some(FetchError::Io(error.to_string())) },
        }
    }

    /// Reads them on this thread.
    pub fn load_blocking(self) -> Fetched {
        let mut frames = Vec::with_capacity(self.sources.len());
        for source in self.sources {
            match source.load() {
                Ok(frame) => frames.push(frame),
                Err(error) => return Fetched { frames, stopped: Some(error) },
            }
        }
        Fetched { frames, stopped: self.stopped }
    }
}

impl Source {
    fn load(self) -> Result<Frame, FetchError> {
        match self {
            Source::Memory(frame) => Ok(frame),
            Source::Disk { file, place, kind, number } => load(&file, place, kind, number),
        }
    }
}

/// Reads a frame back and checks that it is the one that was asked for.
fn load(file: &File, place: Place, kind: Kind, number: u64) -> Result<Frame, FetchError> {
    let mut bytes = vec![0; place.bytes as usize];
    file.read_exact_at(&mut bytes, place.offset.into()).map_err(|error| FetchError::Io(error.to_string()))?;
    let sound = Header::read(&bytes).filter(|header| {
        header.is_at(&bytes, place.segment, place.offset)
            && (header.kind, header.number, header.frame_bytes()) == (kind, number, bytes.len())
            && header.payload_is(&bytes[HEADER_BYTES + header.name_bytes..])
    });
    let Some(header) = sound else {
        let detail = format!("checksum mismatch at offset {} of segment {}", place.offset, place.segment);
        return Err(FetchError::Damaged { number, detail });
    };
    let bytes = Bytes::from(bytes).slice(HEADER_BYTES + header.name_bytes..);
    Ok(Frame { number, aux: header.aux, bytes })
}
