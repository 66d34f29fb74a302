//! Making what AWS has to have, for development: real installations have infrastructure as code.

use crate::on_aws::OnAws;
use crate::settings::Cloud;
use anyhow::Context;
use clap::Args;
use ledger::dynamodb::{DynamoLedger, TableOptions};
use queue::sqs::{SqsSetup, setup as set_up_queue};
use service::Env;
use service::settings::duration;
use std::num::NonZeroU32;
use std::time::Duration;
use stream::kinesis::{Capacity, create};

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

    /// Leave the table without backups and without protection from deletion: for tests
    #[arg(long)]
    pub unguarded: bool,
}

/// Makes streams, table, bucket and queue, where they are not there yet. Safe to repeat.
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
    let queue = &names.overflow_queue;
    if !queue.is_empty() {
        let wanted = SqsSetup { name: queue.clone(), retention: how.overflow_retention, receives_max: None };
        set_up_queue(aws, &wanted).await.with_context(|| format!("create queue {queue}"))?;
        tracing::info!(queue, "ready");
    }
    Ok(())
}
