//! `forebay compact`: compaction on demand.

use crate::embedded::{self, LogConfig, Places};
use anyhow::{Context, bail};
use clap::Args;
use compactor::{Compactor, Selection};
use schema::Day;
use service::{Env, Health};

/// Merges live objects into final ones, on a data directory that no `up` is using
#[derive(Args, Clone, Debug)]
pub struct CompactArgs {
    #[command(flatten)]
    pub places: Places,
    #[command(flatten)]
    pub log: LogConfig,

    /// Only this day of events, as YYYY-MM-DD
    #[arg(long, value_parser = day, conflicts_with = "all")]
    pub date: Option<Day>,

    /// Today and days to come as well; default: days that are over
    #[arg(long)]
    pub all: bool,

    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub compactor: compactor::Config,
}

fn day(text: &str) -> Result<Day, String> {
    Day::parse(text).ok_or_else(|| format!("`{text}` is no day as in 2026-11-22"))
}

impl CompactArgs {
    fn selection(&self) -> Selection {
        match (self.date, self.all) {
            (Some(day), _) => Selection::Day(day),
            (None, true) => Selection::All,
            (None, false) => Selection::Past,
        }
    }
}

/// Compacts, or says what there is to compact.
pub async fn run(args: CompactArgs, env: Env) -> anyhow::Result<()> {
    let selection = args.selection();
    if args.dry_run {
        let (embedded, _reader) = embedded::open_read_only(&args.places)?;
        let compactor = Compactor::new(args.compactor, embedded.ledger, embedded.lake, env, &Health::default());
        let previews = compactor.dry_run(selection).await?;
        previews.iter().for_each(|preview| println!("{preview}"));
        if previews.is_empty() {
            println!("nothing to compact");
        }
        return Ok(());
    }
    if !args.places.data_dir.exists() {
        bail!("{} does not exist: name the data directory with --data-dir", args.places.data_dir.display());
    }
    let opened = embedded::open(&args.places, &args.log, &env).await;
    let (embedded, store) = opened.context("`up` compacts by itself each night; stop it to compact by hand")?;
    let compactor = Compactor::new(args.compactor, embedded.ledger, embedded.lake, env, &Health::default());
    let outcome = compactor.compact(selection).await;
    tokio::task::spawn_blocking(move || store.close()).await?;
    println!("{}", outcome?);
    Ok(())
}
