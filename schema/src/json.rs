//! JSON → events: one pass, nothing copied but escaped strings and fields that move into `properties`.
//!
//! **Candidate**: a field that may fill a place of the contract, under its canonical name or an alias. **Extra**: a
//! top-level field that fills none, and joins `properties` as it was written.

pub mod batch;
pub mod event;
pub(crate) mod scan;

use std::fmt;

/// Where the grammar of JSON breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SyntaxError {
    /// In bytes from the start of the text.
    pub offset: usize,
    expected: &'static str,
    at_end: bool,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SyntaxError { expected, at_end, .. } = self;
        write!(f, "expected {expected}{}", if *at_end { ", and the text ends" } else { "" })
    }
}

impl std::error::Error for SyntaxError {}
