//! Making what AWS has to have, for development: real installations have infrastructure as code.

use crate::on_aws::OnAws;
use crate::settings::{Cloud, Names};
use anyhow::Context;
use aws::Aws;
use clap::Args;
use ledger::dynamodb::{DynamoLedger, TableOptions};
use queue::sqs::{SqsSetup, setup as set_up_queue};
use service::Env;
use service::settings::duration;
use std::num::NonZeroU32;
use std::time::Duration;
use stream::kinesis::{Capacity, create};

/// How long a compaction task waits for a worker. It is a hint: the next planning sends what is left of it again.
const TASK_RETENTION: Duration = Duration::from_secs(4 * 86_400);

/// How often a record that overflowed is handed out before it goes to the dead letters.
///
/// Without these, SQS would throw away what was acknowledged and what no drainer can read, as it does with whatever has
/// waited for the retention; among the dead letters it is kept for 14 days, for a person, or for a version that reads it.
/// A drainer leaves such a message hidden for a minute, so that it gets there within two hours. A record that can be read
/// is received once in the life of a drainer, however long the stream refuses it, and so does not come near this.
///
/// What is put back from there after the dedup window is no longer known for a copy, if it is one.
const OVERFLOW_RECEIVES_MAX: NonZeroU32 = NonZeroU32::new(100).expect("100 is not 0");

/// How things in AWS are made.
#[derive(Args, Clone, Debug)]
#[group(id = "set-up")]
pub struct SetUp {
    /// Shards of each stream [default: on-demand streams, whose shards Kinesis itself splits and merges]
    #[arg(id = "stream-shards", long = "stream-shards", env = "FOREBAY_STREAM_SHARDS")]
    pub shards: Option<NonZeroU32>,

    /// How long streams keep records
    #[arg(long, env = "FOREBAY_STREAM_RETENTION", default_value = "7d", value_parser = duration)]
    pub stream_retention: Duration,

    /// How long the overflow queue keeps records: less than the dedup window
    #[arg(long, env = "FOREBAY_OVERFLOW_RETENTION", default_value = "12h", value_parser = duration)]
    pub overflow_retention: Duration,

    /// How often a compaction task is handed out before SQS itself puts it among the dead letters; above --task-attempts of
    /// the compactors, or these do not start
    #[arg(long, env = "FOREBAY_TASK_RECEIVES", default_value = "10")]
    pub task_receives: NonZeroU32,

    /// Leave the table without backups and without protection from deletion: for tests
    #[arg(long)]
    pub unguarded: bool,
}

/// Makes streams, table, bucket and queues, where they are not there yet. Safe to repeat.
///
/// # Errors
/// Something could not be made; what it was stands in front.
pub async fn set_up(cloud: &Cloud, how: &SetUp, env: &Env) -> anyhow::Result<()> {
    let made = OnAws::open(cloud, env).await?;
    let (aws, names) = (made.aws(), &cloud.names);
    for stream in [&names.raw_stream, &names.clean_stream] {
        let capacity = how.shards.map_or(Capacity::OnDemand, |shards| Capacity::Provisioned { shards });
        let created = create(aws, stream, capacity, how.stream_retention).await;
        created.with_context(|| format!("create stream {stream}"))?;
        tracing::info!(stream, "ready");
    }
    let guarded = !how.unguarded;
    let options = TableOptions { point_in_time_recovery: guarded, deletion_protection: guarded };
    let table = &names.table;
    DynamoLedger::create_table(aws, table, options).await.with_context(|| format!("create table {table}"))?;
    tracing::info!(table, "ready");
    let bucket = &names.bucket;
    let created = lake::s3::setup(aws, made.lake_options()).await;
    created.with_context(|| format!("create bucket {bucket}"))?;
    tracing::info!(bucket, "ready");
    set_up_queues(aws, names, how).await
}

/// Makes the queues that have a name, each with one for its dead letters.
async fn set_up_queues(aws: &Aws, names: &Names, how: &SetUp) -> anyhow::Result<()> {
    let wanted = [
        (&names.overflow_queue, how.overflow_retention, OVERFLOW_RECEIVES_MAX),
        (&names.task_queue, TASK_RETENTION, how.task_receives),
    ];
    for (queue, retention, receives_max) in wanted.into_iter().filter(|(queue, ..)| !queue.is_empty()) {
        let wanted = SqsSetup { name: queue.clone(), retention, receives_max: Some(receives_max) };
        set_up_queue(aws, &wanted).await.with_context(|| format!("create queue {queue}"))?;
        tracing::info!(queue, "ready");
    }
    Ok(())
}
