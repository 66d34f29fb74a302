//! `forebay setup`: makes what a backend has to have, for development.

use backend::{Kind, Names, SetUp, set_up};
use clap::{Args, Subcommand};
use service::{Env, Misconfigured};
use std::num::NonZeroU32;
use std::path::PathBuf;

/// Makes what has to be there before services start
#[derive(Args, Clone, Debug)]
pub struct SetupArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, Subcommand)]
#[allow(clippy::large_enum_variant)] // One of them is made, once.
enum What {
    Aws(OnAws),
}

/// Streams, table, bucket and queue on AWS, or on what stands in for it
///
/// Safe to repeat: what is there stays. Real installations have infrastructure as code instead.
#[derive(Args, Clone, Debug)]
struct OnAws {
    #[command(flatten)]
    how: SetUp,

    #[command(flatten)]
    names: Names,

    #[command(flatten)]
    aws: aws::Settings,
}

/// Makes what was asked for.
///
/// # Errors
/// Something could not be made.
pub async fn run(args: SetupArgs, env: Env) -> anyhow::Result<()> {
    let What::Aws(OnAws { how, names, aws }) = args.what;
    let (data_dir, shards) = (PathBuf::new(), NonZeroU32::MIN);
    let settings = backend::Settings { backend: Kind::Aws, data_dir, lake: None, shards, names, aws };
    settings.check().map_err(Misconfigured::because)?;
    set_up(&settings, &how, &env).await
}
