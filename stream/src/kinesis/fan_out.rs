//! Enhanced fan-out: Kinesis pushes the records of a shard to a **consumer** of its own throughput.
//!
//! **Subscription**: one shard's records for one consumer, for at most five minutes. A consumer has one subscription for a
//! shard: a second one takes its place. What was pushed and not taken waits in the window of the connection, which bounds
//! it.

use super::Api;
use super::cursor::{Answer, Start};
use super::read::{Looked, date_time, record};
use aws::{Aws, Failure};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::StalledStreamProtectionConfig;
use aws_sdk_kinesis::operation::subscribe_to_shard::SubscribeToShardOutput;
use aws_sdk_kinesis::types::{
    ConsumerStatus, ShardIteratorType, StartingPosition, SubscribeToShardEvent, SubscribeToShardEventStream,
};
use schema::ShardId;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout_at};

/// How long another subscription of the same consumer to the same shard is refused.
/// Source: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_SubscribeToShard.html>
pub(super) const SUBSCRIBE_EVERY: Duration = Duration::from_secs(5);

/// How old a subscription may become: Kinesis ends it after five minutes, and where its end was lost on the way nothing else
/// would tell.
/// Source: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_SubscribeToShard.html>
const AGE_MAX: Duration = Duration::from_secs(310);

/// How long a subscription may say nothing: events come every few seconds, without records where there are none, so that a
/// connection without any is dead.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(40);

/// Looks at a consumer that was just registered, and the pause between two: then its reader polls on for now.
const REGISTER_LOOKS_MAX: u32 = 5;
const REGISTER_LOOK_EVERY: Duration = Duration::from_millis(200);

/// Pause between two warnings that it does not work.
const WARN_EVERY: Duration = Duration::from_secs(600);

/// A consumer, registered when it is first subscribed to a shard: who only appends needs none.
#[derive(Debug)]
pub(super) struct FanOut {
    /// Of its own, so that what waits in its connection holds up nothing else.
    client: Client,
    api: Api,
    stream_arn: String,
    consumer: String,
    silence_max: Duration,
    consumer_arn: OnceCell<String>,
    warned_at: Mutex<Option<Instant>>,
}

/// Records on their way.
#[derive(Debug)]
pub(super) struct Subscription {
    output: SubscribeToShardOutput,
    life: Life,
}

/// When a subscription began, and when it gave something last.
#[derive(Clone, Copy, Debug)]
struct Life {
    began: Instant,
    heard_at: Instant,
}

impl Life {
    fn begin() -> Life {
        let now = Instant::now();
        Life { began: now, heard_at: now }
    }

    fn is_over(&self, silence_max: Duration) -> bool {
        self.began.elapsed() >= AGE_MAX || self.heard_at.elapsed() >= silence_max
    }
}

impl FanOut {
    pub(super) fn new(aws: &Aws, api: &Api, stream_arn: &str, consumer: String, silence_max: Duration) -> FanOut {
        // A quiet shard is no stalled download.
        let config = aws_sdk_kinesis::config::Builder::from(&aws.config)
            .interceptor(aws::Outcomes)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        FanOut {
            client: Client::from_conf(config.build()),
            api: api.clone(),
            stream_arn: stream_arn.to_owned(),
            consumer,
            silence_max,
            consumer_arn: OnceCell::new(),
            warned_at: Mutex::default(),
        }
    }

    /// Registers the consumer, unless it is; gives its ARN once it can be used.
    async fn register(&self) -> Result<String, Failure> {
        let (api, stream, consumer) = (&self.api, &self.stream_arn, &self.consumer);
        api.calls.repeat(async || api.register_once(stream, consumer).await).await?;
        for _ in 0..REGISTER_LOOKS_MAX {
            match api.calls.repeat(async || api.consumer(stream, consumer).await).await? {
                Some((arn, ConsumerStatus::Active)) => return Ok(arn),
                _ => sleep(REGISTER_LOOK_EVERY).await,
            }
        }
        Err(Failure::Unavailable(format!("consumer {consumer} is not active yet")))
    }

    /// Says why a shard is polled instead; now and then, as every reader tries again soon.
    pub(super) fn warn(&self, shard: &ShardId, failure: &Failure) {
        let mut warned_at = self.warned_at.lock().expect("nobody panics while holding it");
        if warned_at.is_none_or(|at| at.elapsed() > WARN_EVERY) {
            *warned_at = Some(Instant::now());
            let (stream, consumer) = (&self.api.stream, &self.consumer);
            tracing::warn!(stream, consumer, %shard, %failure, "--fan-out does not work now: reading by polling");
        }
    }

    pub(super) async fn subscribe(&self, shard: &ShardId, start: &Start) -> Result<Subscription, Failure> {
        let consumer_arn = self.consumer_arn.get_or_try_init(|| self.register()).await?;
        self.api.called("SubscribeToShard");
        let subscribe = self.client.subscribe_to_shard().consumer_arn(consumer_arn).shard_id(shard.as_str());
        let answer = subscribe.starting_position(starting(start)).send().await;
        let answer = answer.map_err(|error| Failure::of(&error))?;
        Ok(Subscription { output: answer, life: Life::begin() })
    }

    /// Waits for records until `deadline`.
    pub(super) async fn next(&self, subscription: &mut Subscription, deadline: Instant) -> Looked {
        // Between two frames of the connection, so nothing is lost when the time is over.
        let Ok(event) = timeout_at(deadline, subscription.output.event_stream.recv()).await else {
            return if subscription.life.is_over(self.silence_max) { Looked::Expired } else { Looked::Nothing };
        };
        subscription.life.heard_at = Instant::now();
        match event {
            Ok(Some(SubscribeToShardEventStream::SubscribeToShardEvent(event))) => {
                self.api.retrieved("SubscribeToShard", &event.records);
                answer(event).map_or(Looked::Expired, Looked::Answer)
            }
            Ok(Some(_)) => Looked::Nothing,
            Ok(None) | Err(_) => Looked::Expired,
        }
    }
}

fn answer(event: SubscribeToShardEvent) -> Option<Answer> {
    let records = event.records.into_iter().map(record).collect::<Option<_>>()?;
    // Named only with the last records of a closed shard.
    let children = event.child_shards.unwrap_or_default();
    let children: Vec<ShardId> = children.into_iter().map(|child| ShardId::new(child.shard_id)).collect();
    let behind = Duration::from_millis(u64::try_from(event.millis_behind_latest).unwrap_or(0));
    Some(Answer { records, iterator: None, end: (!children.is_empty()).then_some(children), behind })
}

fn starting(start: &Start) -> StartingPosition {
    let position = StartingPosition::builder();
    let position = match start {
        Start::Horizon => position.r#type(ShardIteratorType::TrimHorizon),
        Start::Since(at) => position.r#type(ShardIteratorType::AtTimestamp).timestamp(date_time(*at)),
        Start::At(at) => position.r#type(ShardIteratorType::AtSequenceNumber).sequence_number(at.as_str()),
        Start::After(after) => position.r#type(ShardIteratorType::AfterSequenceNumber).sequence_number(after.as_str()),
    };
    position.build().expect("it has a type")
}

impl Api {
    async fn register_once(&self, stream: &str, name: &str) -> Result<(), Failure> {
        self.called("RegisterStreamConsumer");
        match self.client.register_stream_consumer().stream_arn(stream).consumer_name(name).send().await {
            Ok(_) => Ok(()),
            Err(error) if aws::code(&error) == "ResourceInUseException" => Ok(()),
            Err(error) => Err(Failure::of(&error)),
        }
    }

    async fn consumer(&self, stream: &str, name: &str) -> Result<Option<(String, ConsumerStatus)>, Failure> {
        self.called("DescribeStreamConsumer");
        match self.client.describe_stream_consumer().stream_arn(stream).consumer_name(name).send().await {
            Ok(answer) => Ok(answer.consumer_description.map(|found| (found.consumer_arn, found.consumer_status))),
            Err(error) if aws::code(&error) == "ResourceNotFoundException" => Ok(None),
            Err(error) => Err(Failure::of(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_subscription_that_says_nothing_is_over_and_so_is_one_that_goes_on_for_ever() {
        let mut life = Life::begin();
        for _ in 0..AGE_MAX.as_secs() / SILENCE_MAX.as_secs() {
            tokio::time::advance(SILENCE_MAX - Duration::from_millis(1)).await;
            assert!(!life.is_over(SILENCE_MAX));
            life.heard_at = Instant::now();
        }
        tokio::time::advance(AGE_MAX - life.began.elapsed()).await;
        assert!(life.is_over(SILENCE_MAX), "it is too old");
        let silent = Life::begin();
        tokio::time::advance(SILENCE_MAX).await;
        assert!(silent.is_over(SILENCE_MAX));
    }
}
