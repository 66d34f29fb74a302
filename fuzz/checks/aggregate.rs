//! Any message in the frame of the Kinesis Producer Library is understood; without the frame's checksum in place no
//! change of a seed would ever get as far as the message.

use md5::{Digest, Md5};

const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

/// How many events were understood.
pub(crate) fn check(message: &[u8]) -> usize {
    super::foreign_record::check(&[&MAGIC[..], message, Md5::digest(message).as_slice()].concat())
}
