//! Logs on standard error, filtered by `RUST_LOG`, as text or as JSON.

use anyhow::anyhow;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

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
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => base.try_init(),
        LogFormat::Json => base.json().try_init(),
    }
    .map_err(|error| anyhow!("start logging: {error}"))
}
