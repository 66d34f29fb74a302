//! `forebay quarantine`: what was not taken into the lake, and its way back.
//!
//! **Item**: one quarantined event, its **original** bytes as they were sent. **Filter**: which items are meant.
//! **Patch**: a change to one top-level field of an original. **Repaired**: an original with its patches, ready to send.

use clap::{Args, Subcommand};
use service::{Env, Stop};

mod filter;
mod items;
mod ls;
mod patch;
mod repair;
mod replay;
mod resend;

/// Lists what is in quarantine, or sends it again, repaired
#[derive(Args, Clone, Debug)]
pub struct QuarantineArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
#[allow(clippy::large_enum_variant)] // One of them is made, once.
enum Command {
    Ls(ls::LsArgs),
    Replay(replay::ReplayArgs),
}

/// Does one of them. True where nothing is left that a person should look at.
///
/// Reads the data directory while another process may write it.
pub async fn run(args: QuarantineArgs, env: Env, stop: Stop) -> anyhow::Result<bool> {
    match args.command {
        Command::Ls(args) => ls::run(&args, &env, &stop).await.map(|()| true),
        Command::Replay(args) => replay::run(&args, &env, &stop).await,
    }
}

/// The start of bytes that may be anything, on one line.
fn excerpt(bytes: &[u8]) -> String {
    const EXCERPT_BYTES_MAX: usize = 240;
    let (shown, more) = bytes.split_at(bytes.len().min(EXCERPT_BYTES_MAX));
    let text = String::from_utf8_lossy(shown);
    let mut line: String = text.chars().map(|char| if char.is_control() { '·' } else { char }).collect();
    if !more.is_empty() {
        line.push_str(&format!("… ({} more bytes)", more.len()));
    }
    line
}

#[cfg(test)]
mod tests;
