//! `forebay setup`: makes what a backend has to have, for development.

use backend::{Cloud, SetUp, set_up};
use clap::{Args, Subcommand};
use service::Env;

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

/// Streams, table, bucket and queues on AWS, or on what stands in for it
///
/// Safe to repeat: what is there stays. Real installations have infrastructure as code instead.
#[derive(Args, Clone, Debug)]
struct OnAws {
    #[command(flatten)]
    how: SetUp,

    #[command(flatten)]
    cloud: Cloud,
}

/// Makes what was asked for.
///
/// # Errors
/// Something could not be made.
pub async fn run(args: SetupArgs, env: Env) -> anyhow::Result<()> {
    let What::Aws(OnAws { how, cloud }) = args.what;
    set_up(&cloud, &how, &env).await
}
