//! Walking through a segment, frame by frame and around what is broken.

use crate::frame::{FrameName, HEADER_BYTES, Header, MAGIC, Place};
use crate::segment::Segment;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes read at a time.
const WINDOW_BYTES: usize = 1 << 20;

/// What stands next in a segment.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    Frame {
        place: Place,
        header: Header,
        name: &'a str,
        payload: &'a [u8],
    },
    /// Bytes that are no frame, or a frame whose payload is broken.
    Bad {
        offset: u32,
        bytes: u32,
        name: Option<FrameName>,
    },
}

enum Verdict {
    Good(Header),
    BadPayload(Header),
    BadHeader,
}

/// A walk through one segment, over what it held when the walk began.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    segment: &'a Segment,
    length: u32,
    at: u32,
    window: Vec<u8>,
    window_at: u32,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(segment: &'a Segment, from: u32) -> io::Result<Scan<'a>> {
        let length = segment.file.metadata()?.len();
        let length = u32::try_from(length).map_err(|_| io::Error::other("a segment of more than 4 GiB"))?;
        Ok(Scan { segment, length, at: from, window: Vec::new(), window_at: 0 })
    }

    pub(crate) fn length(&self) -> u32 {
        self.length
    }

    pub(crate) fn next(&mut self) -> io::Result<Option<Found<'_>>> {
        let offset = self.at;
        if offset >= self.length {
            return Ok(None);
        }
        let found = match self.judge(offset)? {
            Verdict::Good(header) => return self.take(offset, header).map(Some),
            Verdict::BadPayload(header) => {
                // The header is sound, so its length is too: nothing inside the payload may pass for a frame.
                let bytes = (header.frame_bytes() as u32).min(self.length - offset);
                let name = header.name(self.bytes(offset, HEADER_BYTES + header.name_bytes)?).to_owned();
                Found::Bad { offset, bytes, name: Some(FrameName { kind: header.kind, name, number: header.number }) }
            }
            Verdict::BadHeader => {
                let next = self.next_header(offset + 1)?;
                Found::Bad { offset, bytes: next - offset, name: None }
            }
        };
        if let Found::Bad { offset, bytes, .. } = &found {
            self.at = offset + bytes;
        }
        Ok(Some(found))
    }

    /// The furthest offset that a frame in the rest of the walk knows to have been durable.
    pub(crate) fn synced_through(mut self) -> io::Result<u32> {
        let mut furthest = 0;
        while let Some(found) = self.next()? {
            if let Found::Frame { header, .. } = found {
                furthest = furthest.max(header.synced_through);
            }
        }
        Ok(furthest)
    }

    /// Bytes from `offset` on up to the last one that is not zero: what is left of a commit, and not room made ahead.
    pub(crate) fn bytes_left_behind(&mut self, offset: u32) -> io::Result<u32> {
        let (mut at, mut last) = (offset, offset);
        while at < self.length {
            let bytes = self.bytes(at, WINDOW_BYTES)?;
            let count = bytes.len() as u32;
            last = bytes.iter().rposition(|&byte| byte != 0).map_or(last, |place| at + place as u32 + 1);
            at += count;
        }
        Ok(last - offset)
    }

    fn take(&mut self, offset: u32, header: Header) -> io::Result<Found<'_>> {
        let frame_bytes = header.frame_bytes();
        self.at = offset + frame_bytes as u32;
        let place = Place { segment: self.segment.number, offset, bytes: frame_bytes as u32 };
        let bytes = self.bytes(offset, frame_bytes)?;
        let payload = &bytes[HEADER_BYTES + header.name_bytes..];
        Ok(Found::Frame { place, header, name: header.name(bytes), payload })
    }

    fn judge(&mut self, offset: u32) -> io::Result<Verdict> {
        let Some(header) = self.header(offset)? else { return Ok(Verdict::BadHeader) };
        let frame = self.bytes(offset, header.frame_bytes())?;
        let payload = &frame[HEADER_BYTES + header.name_bytes..];
        Ok(if header.payload_is(payload) { Verdict::Good(header) } else { Verdict::BadPayload(header) })
    }

    /// The header at `offset`, if it is one that was written there.
    fn header(&mut self, offset: u32) -> io::Result<Option<Header>> {
        let Some(header) = Header::read(self.bytes(offset, HEADER_BYTES)?) else { return Ok(None) };
        let segment = self.segment.number;
        let bytes = self.bytes(offset, HEADER_BYTES + header.name_bytes)?;
        Ok(Some(header).filter(|header| header.is_at(bytes, segment, offset)))
    }

    /// Where the next sound header stands, from `offset` on; the end if there is none.
    fn next_header(&mut self, mut offset: u32) -> io::Result<u32> {
        while offset < self.length {
            let bytes = self.bytes(offset, WINDOW_BYTES)?;
            let (length, magic) = (bytes.len() as u32, bytes.windows(MAGIC.len()).position(|four| four == MAGIC));
            match magic {
                None if length < MAGIC.len() as u32 => break,
                None => offset += length - (MAGIC.len() as u32 - 1),
                Some(skip) => {
                    offset += skip as u32;
                    if self.header(offset)?.is_some() {
                        return Ok(offset);
                    }
                    offset += 1;
                }
            }
        }
        Ok(self.length)
    }

    /// The bytes from `offset` on, `count` of them or as many as there are.
    fn bytes(&mut self, offset: u32, count: usize) -> io::Result<&[u8]> {
        let count = count.min((self.length.saturating_sub(offset)) as usize);
        let held = offset >= self.window_at && (offset - self.window_at) as usize + count <= self.window.len();
        if !held {
            let wanted = count.max(WINDOW_BYTES).min((self.length.saturating_sub(offset)) as usize);
            self.window.resize(wanted, 0);
            self.segment.file.read_exact_at(&mut self.window, offset.into())?;
            self.window_at = offset;
        }
        let start = (offset - self.window_at) as usize;
        Ok(&self.window[start..start + count])
    }
}
