//! Record bodies: length-delimited messages, compressed once by the gateway and opened once by the writer.

use crate::stored::{Messages, StoredError};
use crate::v1;
use bytes::Bytes;
use thiserror::Error;
use v1::Codec;

/// Most bytes of a body before compression: what a reader must be ready to hold.
pub const PLAIN_BYTES_MAX: usize = 8 << 20;

/// Bodies shorter than this are stored plain: building the tables of so small a frame, and reading them again, costs more
/// than the bytes that it saves.
const COMPRESS_FROM_BYTES: usize = 2 << 10;

/// zstd level of bodies where nobody chose another one. Higher levels cost more than the bytes they save.
pub const LEVEL: i32 = 1;

/// A body that can't be opened.
#[derive(Debug, Error)]
pub enum BodyError {
    #[error("the body claims {claimed} bytes, more than the {PLAIN_BYTES_MAX} that a body may have")]
    TooLarge { claimed: usize },
    #[error("the body names codec {0}, which this version does not know")]
    Codec(i32),
    #[error("the body does not decompress: {0}")]
    Broken(String),
    #[error("the body holds {found} bytes where its header says {claimed}")]
    Length { claimed: usize, found: usize },
    #[error("message {index} of the body is broken: {error}")]
    Message { index: usize, error: StoredError },
}

/// Compresses bodies, keeping its tables from one to the next.
pub struct BodyPacker {
    zstd: zstd::bulk::Compressor<'static>,
}

impl std::fmt::Debug for BodyPacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BodyPacker")
    }
}

impl Default for BodyPacker {
    fn default() -> BodyPacker {
        BodyPacker::new(LEVEL)
    }
}

impl BodyPacker {
    /// Compresses at a level of zstd: below 0 faster, and larger.
    pub fn new(level: i32) -> BodyPacker {
        BodyPacker { zstd: zstd::bulk::Compressor::new(level).expect("zstd takes any level for the nearest it has") }
    }

    /// Packs `count` length-delimited messages.
    ///
    /// # Panics
    /// If `plain` is longer than [`PLAIN_BYTES_MAX`].
    pub fn pack(&mut self, plain: &[u8], count: u32) -> v1::Body {
        assert!(plain.len() <= PLAIN_BYTES_MAX, "a body of {} bytes", plain.len());
        let compressed = if plain.len() < COMPRESS_FROM_BYTES {
            None
        } else {
            self.zstd.compress(plain).ok().filter(|out| out.len() < plain.len())
        };
        let codec = if compressed.is_some() { Codec::Zstd } else { Codec::Plain };
        v1::Body {
            codec: codec.into(),
            plain_bytes: plain.len() as u32,
            count,
            dropped: Vec::new(),
            bytes: compressed.map_or_else(|| Bytes::copy_from_slice(plain), Bytes::from),
        }
    }
}

/// Opens bodies, keeping its tables from one to the next.
pub struct BodyOpener {
    zstd: zstd::bulk::Decompressor<'static>,
}

impl std::fmt::Debug for BodyOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BodyOpener")
    }
}

impl Default for BodyOpener {
    fn default() -> BodyOpener {
        BodyOpener { zstd: zstd::bulk::Decompressor::new().expect("no dictionary to load") }
    }
}

impl BodyOpener {
    /// Gives the plain bytes of a body.
    pub fn open(&mut self, body: &v1::Body) -> Result<Bytes, BodyError> {
        let claimed = body.plain_bytes as usize;
        if claimed > PLAIN_BYTES_MAX {
            return Err(BodyError::TooLarge { claimed });
        }
        let plain = match Codec::try_from(body.codec) {
            Ok(Codec::Plain) => body.bytes.clone(),
            Ok(Codec::Zstd) => {
                let plain = self.zstd.decompress(&body.bytes, claimed);
                Bytes::from(plain.map_err(|error| BodyError::Broken(error.to_string()))?)
            }
            Err(_) => return Err(BodyError::Codec(body.codec)),
        };
        if plain.len() != claimed {
            return Err(BodyError::Length { claimed, found: plain.len() });
        }
        Ok(plain)
    }
}

/// Calls `each` with the index among the carried and the message, for each message that the record carries.
pub fn for_each_carried<'a>(
    body: &v1::Body,
    plain: &'a [u8],
    mut each: impl FnMut(usize, &'a [u8]) -> Result<(), StoredError>,
) -> Result<usize, BodyError> {
    let mut dropped = body.dropped.iter().peekable();
    let mut carried = 0;
    for (index, message) in Messages::new(plain).enumerate() {
        let broken = |error| BodyError::Message { index, error };
        let message = message.map_err(broken)?;
        if dropped.next_if(|&&place| place as usize == index).is_some() {
            continue;
        }
        each(carried, message).map_err(broken)?;
        carried += 1;
    }
    Ok(carried)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_body_opens_to_what_was_packed(plain in proptest::collection::vec(0u8..4, 0..4000)) {
            let body = BodyPacker::default().pack(&plain, 1);
            let opened = BodyOpener::default().open(&body).expect("own body");
            prop_assert_eq!(opened.as_ref(), plain.as_slice());
        }

        #[test]
        fn a_damaged_body_is_refused_and_never_panics(bytes: Vec<u8>, codec in 0i32..3, plain_bytes in 0u32..200) {
            let body = v1::Body { codec, plain_bytes, count: 1, dropped: vec![], bytes: Bytes::from(bytes) };
            if let Ok(plain) = BodyOpener::default().open(&body) {
                prop_assert_eq!(plain.len(), plain_bytes as usize);
            }
        }
    }

    #[test]
    fn a_claimed_size_beyond_the_bound_is_refused_before_anything_is_allocated() {
        let body = v1::Body { codec: Codec::Zstd.into(), plain_bytes: u32::MAX, ..Default::default() };
        assert!(matches!(BodyOpener::default().open(&body), Err(BodyError::TooLarge { .. })));
    }
}
