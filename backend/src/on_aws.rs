//! Kinesis, DynamoDB, S3 and SQS.

use crate::settings::{Cloud, Names};
use crate::{Kept, TaskQueues};
use anyhow::Context;
use aws::{Aws, Prices, Summary};
use lake::Lake;
use lake::s3::{S3Lake, S3Options};
use ledger::Ledger;
use ledger::dynamodb::DynamoLedger;
use queue::sqs::{DeadLetters, SqsQueue, dead_letters_of};
use service::{Env, Halt, Misconfigured, Tasks};
use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use stream::Stream;
use stream::kinesis::{KinesisError, KinesisOptions, KinesisStream};

/// Ports to AWS, opened when they are asked for.
#[derive(Debug)]
pub struct OnAws {
    aws: Aws,
    names: Names,
    path_style: bool,
    raw: OnceLock<Arc<KinesisStream>>,
    clean: OnceLock<Arc<KinesisStream>>,
}

impl OnAws {
    /// Finds AWS; nothing is asked of it yet.
    ///
    /// # Errors
    /// Settings that contradict each other.
    pub async fn open(cloud: &Cloud, env: &Env) -> Result<OnAws, Misconfigured> {
        cloud.check().map_err(Misconfigured::because)?;
        let aws = Aws::connect(&cloud.aws, env.nonce() as u64).await;
        let path_style = cloud.names.s3_path_style || cloud.aws.endpoint.is_some();
        let names = cloud.names.clone();
        Ok(OnAws { aws, names, path_style, raw: OnceLock::new(), clean: OnceLock::new() })
    }

    pub(crate) fn aws(&self) -> &Aws {
        &self.aws
    }

    pub(crate) fn lake_options(&self) -> S3Options {
        S3Options {
            prefix: self.names.bucket_prefix.clone(),
            kms_key: self.names.kms_key.clone(),
            path_style: self.path_style,
            ..S3Options::of_bucket(&self.names.bucket)
        }
    }

    /// # Errors
    /// It is not there, can't be used as it is, or nobody answers.
    pub async fn raw(&self) -> anyhow::Result<Arc<dyn Stream>> {
        self.stream(&self.raw, &self.names.raw_stream, "forebay-dedup").await
    }

    /// # Errors
    /// As [`OnAws::raw`].
    pub async fn clean(&self) -> anyhow::Result<Arc<dyn Stream>> {
        self.stream(&self.clean, &self.names.clean_stream, "forebay-writer").await
    }

    async fn stream(
        &self,
        opened: &OnceLock<Arc<KinesisStream>>,
        name: &str,
        reader: &str,
    ) -> anyhow::Result<Arc<dyn Stream>> {
        if let Some(stream) = opened.get() {
            return Ok(stream.clone());
        }
        let fan_out = self.names.fan_out.then(|| reader.to_owned());
        let names = self.names.clone();
        let Names { accept_trimmed, accept_gone, accept_made_again, accept_changed, .. } = names;
        let Names { raise_retention, stream_check_every, .. } = names;
        let options = KinesisOptions {
            fan_out,
            accept_trimmed,
            accept_gone,
            accept_made_again,
            accept_changed,
            retention_max: raise_retention,
            watch_every: stream_check_every,
            ..KinesisOptions::new(name)
        };
        let stream = KinesisStream::open(&self.aws, options).await.map_err(judge)?;
        Ok(opened.get_or_init(|| Arc::new(stream)).clone())
    }

    /// A stream of another name than settings have, to be read from what arrived at `since`, in Unix microseconds, or from
    /// its oldest record on.
    ///
    /// # Errors
    /// As [`OnAws::raw`].
    pub async fn other_stream(&self, name: &str, since: Option<i64>) -> anyhow::Result<Arc<dyn Stream>> {
        let options = KinesisOptions { since, ..KinesisOptions::new(name) };
        Ok(Arc::new(KinesisStream::open(&self.aws, options).await.map_err(judge)?))
    }

    /// # Errors
    /// As [`OnAws::raw`].
    pub async fn ledger(&self) -> anyhow::Result<Arc<dyn Ledger>> {
        let table = &self.names.table;
        let ledger = DynamoLedger::open(&self.aws, table).await.with_context(|| format!("open the ledger {table}"))?;
        Ok(Arc::new(ledger))
    }

    /// # Errors
    /// As [`OnAws::raw`].
    pub async fn lake(&self) -> anyhow::Result<Arc<dyn Lake>> {
        let bucket = &self.names.bucket;
        let lake = S3Lake::open(&self.aws, self.lake_options()).await;
        Ok(Arc::new(lake.with_context(|| format!("open the lake in bucket {bucket}"))?))
    }

    /// The queue of records that the raw stream refused; `None` where settings name none.
    ///
    /// # Errors
    /// As [`OnAws::raw`].
    pub async fn overflow(&self) -> anyhow::Result<Option<Kept>> {
        let name = &self.names.overflow_queue;
        if name.is_empty() {
            return Ok(None);
        }
        let queue = SqsQueue::open(&self.aws, name).await.with_context(|| format!("open the overflow queue {name}"))?;
        let retention = Some(queue.retention());
        Ok(Some(Kept { queue: Arc::new(queue), retention }))
    }

    pub(crate) async fn tasks(&self, attempts_max: NonZeroU32) -> anyhow::Result<Option<TaskQueues>> {
        let name = &self.names.task_queue;
        if name.is_empty() {
            return Ok(None);
        }
        let tasks = SqsQueue::open(&self.aws, name).await.with_context(|| format!("open the task queue {name}"))?;
        check_receives(name, tasks.dead_letters(), attempts_max)?;
        let dead = dead_letters_of(name);
        let dead = SqsQueue::open(&self.aws, &dead).await.with_context(|| format!("open the dead letters {dead}"))?;
        Ok(Some(TaskQueues { tasks: Arc::new(tasks), dead: Arc::new(dead) }))
    }

    pub(crate) fn watch(&self, tasks: &mut Tasks) {
        for stream in [&self.raw, &self.clean].into_iter().filter_map(OnceLock::get) {
            let stream = stream.clone();
            tasks.spawn("the watch over a stream", |stop| async move {
                stream.watch(stop.cancelled()).await.map_err(judge)
            });
        }
    }
}

impl Drop for OnAws {
    /// A process that ends says what its calls have cost.
    fn drop(&mut self) {
        let counts = self.aws.meter.counts();
        if !counts.is_empty() {
            let spent = Summary::of(&counts, &Prices::us_east_1());
            tracing::info!(%spent, "calls to AWS");
        }
    }
}

/// Refuses a queue that takes a task away while its workers would still try it: it would go without its reason. One more
/// receive than attempts is for a task that ends its workers, so that another can say so.
fn check_receives(queue: &str, dead: Option<&DeadLetters>, attempts_max: NonZeroU32) -> Result<(), Misconfigured> {
    let Some(DeadLetters { receives_max, .. }) = dead else { return Ok(()) };
    if *receives_max > attempts_max.get() {
        return Ok(());
    }
    Err(Misconfigured::because(format_args!(
        "--task-attempts is {attempts_max}, and --task-queue {queue} gives a task up when it was received {receives_max} \
         times, by the maxReceiveCount of its redrive policy: set --task-attempts lower or maxReceiveCount higher, as \
         `forebay setup aws --task-receives` does"
    )))
}

/// A stream that is another one than it was needs a person; one that does not answer only needs time.
fn judge(error: KinesisError) -> anyhow::Error {
    match error {
        KinesisError::MadeAgain { .. } | KinesisError::Changed { .. } | KinesisError::IgnoresKeys { .. } => {
            Halt(error.to_string()).into()
        }
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_gives_tasks_up_before_their_workers_do_is_refused_by_name() {
        let check = |receives_max, attempts_max| {
            let dead = DeadLetters { queue: "arn:aws:sqs:::tasks-dead".to_string(), receives_max };
            check_receives("tasks", Some(&dead), NonZeroU32::new(attempts_max).unwrap())
        };
        assert_eq!(check(6, 5), Ok(()));
        let refused = check(5, 5).unwrap_err().to_string();
        for named in ["--task-attempts is 5", "--task-queue tasks", "maxReceiveCount"] {
            assert!(refused.contains(named), "{refused}");
        }
    }
}
