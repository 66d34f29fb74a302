//! How a command reaches the process that holds its data directory.
//!
//! **Holder**: the process that has the lock of a data directory; one that is `up` sits at a **desk**, behind a Unix
//! **socket** in the directory. **Call**: one line of JSON, a request and the caller's version. **Answer**: lines of JSON,
//! text for the caller to print, and as the last one that it is done, or why not. A caller that hangs up gives up what it
//! asked for. A socket proves nothing: the lock says who holds the directory.

mod ask;
mod desk;
mod lines;
mod socket;

pub use ask::{Holder, reach};
pub use desk::{Desk, Hands};

use crate::{compact, forward_again};
use anyhow::anyhow;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use service::Halt;
use std::borrow::Cow;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Most bytes of a line, its newline included.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Most bytes of a text in an answer: what is longer is cut. Two of them fit a line even where JSON makes six bytes of one.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// What a holder may be asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    Compact(compact::Order),
    ForwardAgain(forward_again::Order),
}

/// A call, as it travels.
#[derive(Debug, Serialize, Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    version: Cow<'a, str>,
    #[serde(borrow)]
    request: &'a RawValue,
}

/// A line of an answer, as it travels.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Line(String),
    Done {},
    Error(Failure),
}

/// Why a request was not done.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Failure {
    message: String,
    /// The check of the protocol that failed: the caller ends as halted, too.
    halt: Option<String>,
}

impl Request {
    fn to_line(&self) -> Vec<u8> {
        const WHY: &str = "texts, numbers and flags are JSON";
        let request = serde_json::value::to_raw_value(self).expect(WHY);
        serde_json::to_vec(&Call { version: VERSION.into(), request: &request }).expect(WHY)
    }

    /// Reads a call.
    ///
    /// # Errors
    /// What can't be understood of it, with both versions where they are known.
    fn of_line(line: &[u8]) -> anyhow::Result<Request> {
        let call: Call<'_> = serde_json::from_slice(line).map_err(|error| anyhow!("this is no call: {error}"))?;
        serde_json::from_str(call.request.get()).map_err(|error| {
            anyhow!("forebay {VERSION} does not understand this request of forebay {}: {error}", call.version)
        })
    }
}

impl Failure {
    fn of(error: &anyhow::Error) -> Failure {
        let causes: Vec<_> = error.chain().collect();
        let halt = causes.iter().position(|cause| cause.is::<Halt>());
        let told: Vec<String> = causes[..halt.unwrap_or(causes.len())].iter().map(ToString::to_string).collect();
        let halt = halt.and_then(|at| causes[at].downcast_ref()).map(|Halt(reason)| cut(reason));
        Failure { message: cut(&told.join(": ")), halt }
    }

    fn into_error(self) -> anyhow::Error {
        match self.halt {
            Some(reason) if self.message.is_empty() => Halt(reason).into(),
            Some(reason) => anyhow::Error::from(Halt(reason)).context(self.message),
            None => anyhow!(self.message),
        }
    }
}

/// The start of a text, as much of it as an answer takes.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_string()
}

#[cfg(test)]
mod tests;
