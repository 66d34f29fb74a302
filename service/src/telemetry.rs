//! Logs on standard error, filtered by `RUST_LOG`, as text or as JSON.
//!
//! **Owner**: whoever works on a shard. What is logged meanwhile is within the owner's span, and so every line says of which
//! shard and chain it is, whoever logs it.

use anyhow::anyhow;
use std::io::IsTerminal;
use tracing::{Span, error_span};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

/// What tells the spans of owners from all else that a filter may turn off.
const OWNER: &str = "forebay::owner";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Starts logging for this process; `default_filter` applies where `RUST_LOG` says nothing.
pub fn init(format: LogFormat, default_filter: &str) -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.is_empty() => {
            EnvFilter::try_new(&text).map_err(|error| anyhow!("RUST_LOG={text}: {error}"))?
        }
        _ => EnvFilter::new(default_filter),
    };
    let base = tracing_subscriber::fmt()
        .with_env_filter(filter.add_directive(owners_always()))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => base.try_init(),
        // The list has the owner also where a library's span is the innermost one.
        LogFormat::Json => base.json().with_current_span(false).try_init(),
    }
    .map_err(|error| anyhow!("start logging: {error}"))
}

/// Within this, log lines have these fields. For the whole of an owner's work: it is entered at each poll, so that a span of
/// an event or a record would cost what they do themselves.
pub fn owner(stage: &str, shard: &str, chain: &str) -> Span {
    error_span!(target: OWNER, parent: None, "owner", stage, shard, chain)
}

/// A line that is logged at all says whose it is, whatever else `RUST_LOG` has in it.
fn owners_always() -> Directive {
    format!("{OWNER}=error").parse().expect("a target and a level")
}
