//! Making a stream, and changing its shards by hand: for development, tests and operators.

use super::{Api, KinesisError, KinesisStream};
use aws::{Aws, Failure};
use aws_sdk_kinesis::types::{RecordDistributionStrategy, ScalingType, StreamMode, StreamModeDetails};
use schema::{HashKey, ShardId};
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Longest wait for a change of a stream; splitting a few hundred shards takes minutes.
const CHANGE_WAIT_MAX: Duration = Duration::from_secs(600);

/// Time between two looks at a stream that is changing; ten of them may be described in a second.
/// Source: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_DescribeStreamSummary.html>
const CHANGE_LOOK_EVERY: Duration = Duration::from_millis(200);

/// Longest retention.
/// Source: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_IncreaseStreamRetentionPeriod.html>
const RETENTION_HOURS_MAX: u64 = 8760;

/// What a stream can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// Kinesis splits and merges shards by itself.
    OnDemand,
    /// This many shards until somebody changes it.
    Provisioned { shards: NonZeroU32 },
}

/// Makes a stream, unless there is one of this name, and raises its retention to `retention` where it is shorter; comes
/// back when it can be used. Of a stream that exists, capacity stays as it is.
pub async fn create(aws: &Aws, name: &str, capacity: Capacity, retention: Duration) -> Result<(), KinesisError> {
    let api = Api::new(aws, name.to_owned());
    api.call(async || api.create_once(capacity).await).await?;
    api.wait_until_active().await?;
    api.raise_retention(retention).await
}

impl KinesisStream {
    /// Has records kept for at least `retention`, in whole hours (PROTOCOL rule 17).
    pub async fn raise_retention(&self, retention: Duration) -> Result<(), KinesisError> {
        self.api.raise_retention(retention).await?;
        self.check().await
    }

    /// Closes `shard`; two go on, the second from point `at`.
    pub async fn split(&self, shard: &ShardId, at: HashKey) -> Result<(), KinesisError> {
        let api = &self.api;
        let split = async {
            api.called("SplitShard");
            let split = api.client.split_shard().stream_name(&api.stream).shard_to_split(shard.as_str());
            split.new_starting_hash_key(at.0.to_string()).send().await.map(drop).map_err(|error| Failure::of(&error))
        };
        self.change(split).await
    }

    /// Closes two neighbours; one goes on.
    pub async fn merge(&self, a: &ShardId, b: &ShardId) -> Result<(), KinesisError> {
        let api = &self.api;
        let merge = async {
            api.called("MergeShards");
            let merge = api.client.merge_shards().stream_name(&api.stream).shard_to_merge(a.as_str());
            merge.adjacent_shard_to_merge(b.as_str()).send().await.map(drop).map_err(|error| Failure::of(&error))
        };
        self.change(merge).await
    }

    /// Has Kinesis split or merge shards until `count` are open; at most twice, at least half of those now.
    pub async fn reshard(&self, count: NonZeroU32) -> Result<(), KinesisError> {
        let api = &self.api;
        let target = i32::try_from(count.get()).unwrap_or(i32::MAX);
        let update = async {
            api.called("UpdateShardCount");
            let update = api.client.update_shard_count().stream_name(&api.stream).target_shard_count(target);
            let update = update.scaling_type(ScalingType::UniformScaling);
            update.send().await.map(drop).map_err(|error| Failure::of(&error))
        };
        self.change(update).await
    }

    /// Changes the shards; comes back when the change is done. Not repeated: a change that was made twice is another one.
    async fn change(&self, change: impl Future<Output = Result<(), Failure>>) -> Result<(), KinesisError> {
        change.await.map_err(|failure| KinesisError::of(&self.api.stream, &failure))?;
        self.api.wait_until_active().await?;
        self.lineage.shards_now().await.map(drop).map_err(|error| {
            let stream = self.api.stream.clone();
            KinesisError::Unavailable { stream, detail: error.to_string() }
        })
    }
}

impl Api {
    /// Makes a call that may be made twice.
    async fn call<F>(&self, call: impl FnMut() -> F) -> Result<(), KinesisError>
    where
        F: Future<Output = Result<(), Failure>>,
    {
        self.calls.repeat(call).await.map_err(|failure| KinesisError::of(&self.stream, &failure))
    }

    async fn create_once(&self, capacity: Capacity) -> Result<(), Failure> {
        let create = self.client.create_stream().stream_name(&self.stream);
        let create = match capacity {
            Capacity::OnDemand => {
                let by_key = RecordDistributionStrategy::UserPartitionKey;
                create.stream_mode_details(mode(StreamMode::OnDemand)).record_distribution_strategy(by_key)
            }
            Capacity::Provisioned { shards } => {
                let shards = i32::try_from(shards.get()).unwrap_or(i32::MAX);
                create.stream_mode_details(mode(StreamMode::Provisioned)).shard_count(shards)
            }
        };
        self.called("CreateStream");
        match create.send().await {
            Ok(_) => Ok(()),
            Err(error) if aws::code(&error) == "ResourceInUseException" => Ok(()),
            Err(error) => Err(Failure::of(&error)),
        }
    }

    async fn wait_until_active(&self) -> Result<(), KinesisError> {
        let started = Instant::now();
        while !self.describe().await?.is_active {
            if started.elapsed() > CHANGE_WAIT_MAX {
                let detail = format!("it is not active after {CHANGE_WAIT_MAX:?}");
                return Err(KinesisError::Unavailable { stream: self.stream.clone(), detail });
            }
            sleep(CHANGE_LOOK_EVERY).await;
        }
        Ok(())
    }

    async fn raise_retention(&self, retention: Duration) -> Result<(), KinesisError> {
        let hours = retention.as_secs().div_ceil(3600).min(RETENTION_HOURS_MAX);
        let raise = async || {
            // A lost answer may mean that it is raised already.
            if self.describe().await.is_ok_and(|now| now.retention >= Duration::from_secs(hours * 3600)) {
                return Ok(());
            }
            self.called("IncreaseStreamRetentionPeriod");
            let raise = self.client.increase_stream_retention_period().stream_name(&self.stream);
            let raise = raise.retention_period_hours(i32::try_from(hours).expect("it is bounded"));
            raise.send().await.map(drop).map_err(|error| Failure::of(&error))
        };
        self.call(raise).await?;
        self.wait_until_active().await
    }
}

fn mode(mode: StreamMode) -> StreamModeDetails {
    StreamModeDetails::builder().stream_mode(mode).build().expect("it has a mode")
}
