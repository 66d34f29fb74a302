//! The caller's side.

use super::{Answer, Request, lines, socket};
use anyhow::Context;
use std::fmt;
use std::path::Path;
use tokio::io::BufReader;
use tokio::net::UnixStream;

/// A holder that takes calls.
#[derive(Debug)]
pub struct Holder {
    stream: UnixStream,
}

/// Reaches the holder of a data directory; `None` where there is none, or where it takes no calls.
pub async fn reach(data_dir: &Path) -> anyhow::Result<Option<Holder>> {
    let connected = socket::connect(data_dir).await;
    let stream = connected.with_context(|| format!("call the holder of {}", data_dir.display()))?;
    Ok(stream.map(|stream| Holder { stream }))
}

impl Holder {
    /// Has a request done by who holds the directory, and prints what it says of it; `how` tells the caller about it.
    ///
    /// # Errors
    /// As [`Holder::ask`].
    pub async fn do_it(self, request: &Request, how: &str) -> anyhow::Result<()> {
        eprintln!("{self} is at work on this data directory: it does this{how}");
        self.ask(request, |line| println!("{line}")).await
    }

    /// Has a request done; `show` is given each line to print.
    ///
    /// # Errors
    /// Those of the work, and a holder that went away before it was through: what was done stays done.
    pub async fn ask(self, request: &Request, mut show: impl FnMut(&str)) -> anyhow::Result<()> {
        const LOST: &str =
            "the holder of the data directory hung up before it was through; what it has done stays done";
        let (from, mut to) = self.stream.into_split();
        lines::write(&mut to, request.to_line()).await.context(LOST)?;
        let mut from = BufReader::new(from);
        loop {
            let line = lines::read(&mut from).await.context(LOST)?;
            let answer =
                serde_json::from_slice(&line).context("understand the holder's answer: is it another release?")?;
            match answer {
                Answer::Line(text) => show(&text),
                Answer::Done {} => return Ok(()),
                Answer::Error(failure) => return Err(failure.into_error()),
            }
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stream.peer_cred().ok().and_then(|peer| peer.pid()) {
            Some(process) => write!(f, "process {process}"),
            None => write!(f, "another process"),
        }
    }
}
