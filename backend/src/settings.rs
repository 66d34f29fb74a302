//! Settings that say what stands behind the ports.

use crate::embedded::Places;
use anyhow::ensure;
use clap::{Args, ValueEnum};
use schema::{Position, ShardId};
use service::settings::duration;
use std::num::NonZeroU32;
use std::time::Duration;

/// What stands behind the ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A data directory, held by one process at a time
    Embedded,
    /// Kinesis, DynamoDB, S3 and SQS, for any number of processes
    Aws,
}

/// Settings that say what stands behind the ports.
#[derive(Args, Clone, Debug)]
#[group(id = "backend-settings")]
#[command(next_help_heading = "Backend")]
pub struct Settings {
    /// What streams, ledger and lake are kept in
    #[arg(long, env = "FOREBAY_BACKEND", default_value = "embedded")]
    pub backend: Kind,

    #[command(flatten)]
    pub places: Places,

    /// Shards of each stream in the data directory; another number than before reshards them
    #[arg(long, env = "FOREBAY_SHARDS", default_value = "4")]
    pub shards: NonZeroU32,

    #[command(flatten)]
    pub cloud: Cloud,
}

/// Where AWS is, and what things are called there.
#[derive(Args, Clone, Debug)]
#[group(id = "cloud")]
pub struct Cloud {
    #[command(flatten)]
    pub names: Names,

    #[command(flatten)]
    pub aws: aws::Settings,
}

/// What things are called in AWS.
#[derive(Args, Clone, Debug)]
#[group(id = "aws-names")]
#[command(next_help_heading = "AWS resources")]
pub struct Names {
    /// Kinesis stream that gateways write
    #[arg(long, env = "FOREBAY_RAW_STREAM", default_value = "forebay-raw")]
    pub raw_stream: String,

    /// Kinesis stream that the dedup stage writes
    #[arg(long, env = "FOREBAY_CLEAN_STREAM", default_value = "forebay-clean")]
    pub clean_stream: String,

    /// DynamoDB table of chains and leases
    #[arg(long, env = "FOREBAY_TABLE", default_value = "forebay")]
    pub table: String,

    /// S3 bucket of the lake
    #[arg(long, env = "FOREBAY_BUCKET", default_value = "forebay-lake")]
    pub bucket: String,

    /// What the keys of the lake's objects start with, before a slash
    #[arg(long, env = "FOREBAY_BUCKET_PREFIX", default_value = "")]
    pub bucket_prefix: String,

    /// KMS key that objects are encrypted with: its id, ARN or alias [default: as the bucket has it]
    #[arg(long, env = "FOREBAY_KMS_KEY")]
    pub kms_key: Option<String>,

    /// Put the bucket's name into the path of URLs, as servers other than AWS mostly want it; on by itself with
    /// --aws-endpoint
    #[arg(long, env = "FOREBAY_S3_PATH_STYLE", default_value = "false", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub s3_path_style: bool,

    /// SQS queue for records that the raw stream refuses, by name or URL; empty for none
    #[arg(long, env = "FOREBAY_OVERFLOW_QUEUE", default_value = "forebay-overflow")]
    pub overflow_queue: String,

    /// SQS queue for tasks of the compactor, by name or URL; its dead letters are in the one of that name and `-dead`; empty
    /// for none
    #[arg(long, env = "FOREBAY_TASK_QUEUE", default_value = "forebay-tasks")]
    pub task_queue: String,

    /// Read each stream through a consumer with throughput of its own (enhanced fan-out), which costs more and is quicker
    #[arg(long, env = "FOREBAY_FAN_OUT", default_value = "false", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub fan_out: bool,

    /// Live with the loss of what followed this position, which a halt named: its shard is read on from the oldest record
    /// that is left. As SHARD:POSITION, or SHARD:start; may be given several times
    #[arg(long, env = "FOREBAY_ACCEPT_TRIMMED", value_delimiter = ',', value_parser = trimmed)]
    pub accept_trimmed: Vec<(ShardId, Position)>,

    /// Live with the loss of what nobody had read of these shards when the stream stopped listing them, as a warning named
    /// them: their children are read without waiting for them. May be given several times
    #[arg(long, env = "FOREBAY_ACCEPT_GONE", value_delimiter = ',', value_name = "SHARD", value_parser = shard)]
    pub accept_gone: Vec<ShardId>,

    /// Go on with a stream that has taken the place of the one of this incarnation, which a halt named: it was deleted and
    /// made again, or a stream of another name was meant. What nobody had read of the old one is not in the lake. May be
    /// given several times
    #[arg(long, env = "FOREBAY_ACCEPT_MADE_AGAIN", value_delimiter = ',', value_name = "INCARNATION", value_parser = incarnation)]
    pub accept_made_again: Vec<String>,

    /// Go on with a stream that was changed, which a halt named: its retention was lowered, or its capacity mode is another.
    /// As STREAM:NOW, of what it is now; once it is written down, the setting may go. May be given several times
    #[arg(long, env = "FOREBAY_ACCEPT_CHANGED", value_delimiter = ',', value_name = "STREAM:NOW", value_parser = changed)]
    pub accept_changed: Vec<(String, String)>,

    /// Retention of a stream is doubled up to this where a service has left more than 80% of it behind; beyond 7d, AWS
    /// bills each byte that is kept. 0s never raises it
    #[arg(long, env = "FOREBAY_RAISE_RETENTION", default_value = "7d", value_parser = duration)]
    pub raise_retention: Duration,

    /// How often it is checked that a stream is still the one that was opened
    #[arg(long, env = "FOREBAY_STREAM_CHECK_EVERY", default_value = "60s", value_parser = duration)]
    pub stream_check_every: Duration,
}

fn shard(text: &str) -> Result<ShardId, String> {
    if text.is_empty() { Err("it names no shard".to_string()) } else { Ok(ShardId::new(text)) }
}

fn incarnation(text: &str) -> Result<String, String> {
    let is_one = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_one { Ok(text.to_string()) } else { Err("it is no incarnation: those are letters and digits".to_string()) }
}

fn changed(text: &str) -> Result<(String, String), String> {
    match text.split_once(':').filter(|(stream, now)| !stream.is_empty() && !now.is_empty()) {
        Some((stream, now)) => Ok((stream.to_string(), now.to_string())),
        None => Err("it is not STREAM:NOW, as forebay-raw:24h or forebay-raw:PROVISIONED".to_string()),
    }
}

fn trimmed(text: &str) -> Result<(ShardId, Position), String> {
    let wrong = || {
        "it is not SHARD:POSITION, as shardId-000000000000:49590338271490256608559692538361571095921575989136588898, nor \
         SHARD:start"
            .to_string()
    };
    match text.strip_suffix(":start").filter(|shard| !shard.is_empty()) {
        Some(shard) => Ok((ShardId::new(shard), Position::start())),
        None => place(text).filter(|(_, position)| !position.is_start()).ok_or_else(wrong),
    }
}

/// Reads SHARD:POSITION.
pub fn place(text: &str) -> Option<(ShardId, Position)> {
    let (shard, position) = text.split_once(':').filter(|(shard, _)| !shard.is_empty())?;
    Some((ShardId::new(shard), Position::parse(position)?))
}

impl Cloud {
    /// # Errors
    /// Settings that contradict each other.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let Cloud { names, aws } = self;
        ensure!(
            names.raw_stream != names.clean_stream,
            "--raw-stream and --clean-stream are both {}: what was decided would be decided again",
            names.raw_stream
        );
        ensure!(
            names.overflow_queue.is_empty() || names.overflow_queue != names.task_queue,
            "--overflow-queue and --task-queue are both {}: a worker would take records for tasks",
            names.task_queue
        );
        ensure!(
            !names.stream_check_every.is_zero(),
            "--stream-check-every is 0s: the streams would be looked at all the time"
        );
        ensure!(!aws.call_timeout.is_zero(), "--aws-call-timeout is 0s: no call would have time for an answer");
        let named = [
            ("--raw-stream", &names.raw_stream),
            ("--clean-stream", &names.clean_stream),
            ("--table", &names.table),
            ("--bucket", &names.bucket),
        ];
        for (setting, name) in named {
            ensure!(!name.is_empty(), "{setting} is empty");
        }
        ensure!(
            aws.call_deadline + aws.call_timeout < ledger::keeper::LEASE_TERM,
            "--aws-call-deadline {:?} and --aws-call-timeout {:?} together reach the term of a lease, {:?}: a worker would \
             lose its shards while it waits for an answer",
            aws.call_deadline,
            aws.call_timeout,
            ledger::keeper::LEASE_TERM
        );
        ensure!(
            aws.call_deadline + ledger::PATIENCE.longest() < ledger::keeper::LEASE_TERM,
            "--aws-call-deadline {:?} and the {:?} for which an owner begins to append anew together reach the term of a \
             lease, {:?}: an owner would still append when its shard is another worker's",
            aws.call_deadline,
            ledger::PATIENCE.longest(),
            ledger::keeper::LEASE_TERM
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        settings: Settings,
    }

    fn check(args: &[&str]) -> Result<(), String> {
        let parsed = Only::try_parse_from(["service"].iter().chain(args)).map_err(|error| error.to_string())?;
        parsed.settings.cloud.check().map_err(|error| error.to_string())
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&["--backend", "aws", "--fan-out", "--s3-path-style=false"]), Ok(()));
        assert_eq!(check(&["--backend", "aws", "--overflow-queue", "", "--task-queue", ""]), Ok(()));
        assert_eq!(check(&["--backend", "aws", "--aws-call-deadline", "24s", "--aws-call-timeout", "1s"]), Ok(()));
        let refused = [
            (&["--backend", "aws", "--clean-stream", "forebay-raw"][..], "--raw-stream and --clean-stream"),
            (&["--backend", "aws", "--table", ""], "--table is empty"),
            (&["--backend", "aws", "--task-queue", "forebay-overflow"], "--overflow-queue and --task-queue"),
            (&["--backend", "aws", "--aws-call-deadline", "28s"], "term of a lease"),
            (&["--backend", "aws", "--aws-call-deadline", "25s", "--aws-call-timeout", "5s"], "--aws-call-timeout 5s"),
            (&["--backend", "aws", "--aws-call-deadline", "25s", "--aws-call-timeout", "1s"], "5s for which an owner"),
            (&["--backend", "aws", "--stream-check-every", "0s"], "--stream-check-every"),
            (&["--backend", "aws", "--aws-call-timeout", "0s"], "--aws-call-timeout"),
            (&["--backend", "aws", "--accept-made-again", "raw/1"], "--accept-made-again"),
            (&["--backend", "aws", "--accept-changed", "forebay-raw"], "--accept-changed"),
            (&["--backend", "gcp"], "gcp"),
        ];
        for (args, expected) in refused {
            let error = check(args).unwrap_err();
            assert!(error.contains(expected), "{args:?}: {error}");
        }
    }
}
