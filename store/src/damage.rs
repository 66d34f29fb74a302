//! Damage: bytes that were durable once and can't be read now.

use crate::frame::FrameName;
use std::fmt;
use std::path::PathBuf;

/// A stretch of a segment that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub file: PathBuf,
    pub offset: u64,
    /// Length of the stretch; 0 where what is missing left no bytes.
    pub bytes: u64,
    pub(crate) what: What,
}

/// What is known about the loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The header can be read, the payload can't.
    Payload(FrameName),
    /// The header can't be read: it may have been anything.
    Unknown,
    /// The file ends before its seal: what followed is unknown.
    CutOff,
    /// The whole file is gone.
    Missing,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { file, offset, bytes, what } = self;
        let file = file.display();
        match what {
            What::Payload(name) => write!(f, "{file}: {bytes} bytes at offset {offset} are damaged: {name}"),
            What::Unknown => write!(f, "{file}: {bytes} bytes at offset {offset} are damaged: unknown content"),
            What::CutOff => write!(f, "{file}: cut off at offset {offset}: what followed is lost"),
            What::Missing => write!(f, "{file}: the file is missing"),
        }
    }
}
