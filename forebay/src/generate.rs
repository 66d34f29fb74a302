//! `forebay generate`: made-up events at a steady rate, sent until they are acknowledged.
//!
//! **Batch**: events that share a request. **Connection**: takes the next batch that is due, sends it until it is
//! acknowledged, records its ids in the ledger file, and only then counts it. What the gateway says of each event is held
//! against what the generator knows of it: a **mismatch** fails the run. **Directly**: past all gateways, into the stream.

use crate::acked::{Lines, Recorder};
use anyhow::{Context, bail};
use backend::{Cloud, OnAws};
use bytes::Bytes;
use client::{Client, Key, Target, Url};
use deliver::{Delivered, Patience, deliver};
use direct::Direct;
use events::{EVENT_TYPES_MAX, Factory, Made, Mix, Timeline};
use outcome::Outcome;
use rate::{Rate, count};
use schedule::{Batch, Load, Schedule};
use service::{Env, Stop, settings};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use stream::Stream;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub mod client;
pub mod deliver;
mod direct;
pub mod events;
mod outcome;
mod progress;
pub mod rate;
mod schedule;
mod tally;
mod tls;

pub use tally::{Acknowledged, Counts, Summary, Tally};

/// Most events of a batch and most connections: what one gateway still takes.
const BATCH_EVENTS_MAX: u64 = 10_000;
const CONNECTIONS_MAX: u64 = 1_024;

/// Batch unless set, where the rate fills it within a second.
const BATCH_EVENTS: u64 = 100;

/// About the bytes of an event, so that a batch's buffer need not grow.
const EVENT_BYTES: usize = 450;

/// Most events that are copies: a copy needs an original nearby.
const DUPLICATES_MAX: f64 = 0.9;

/// Spacing of the event times where there is no rate: faster than any run, so that no event is from the future.
const TIMES_WITHOUT_RATE: (u64, Duration) = (1_000_000, Duration::from_secs(1));

/// First and longest pause before a batch is sent again, and how long a stopped run waits for answers.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
const AFTER_STOP: Duration = Duration::from_secs(5);

/// Sends made-up events, a million an hour unless told otherwise, for as long as it runs.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What takes the events: a gateway, or the raw stream itself, where they are as a producer without a gateway puts
    /// them there
    #[arg(long, default_value = "gateway")]
    pub to: To,

    /// Where to: http://HOST:PORT or https://HOST:PORT, or with the path as well
    #[arg(long, env = "FOREBAY_URL", default_value = "http://127.0.0.1:8080")]
    pub url: Url,

    /// Write key
    #[arg(long, env = "FOREBAY_KEY", hide_env_values = true)]
    pub key: Option<Key>,

    /// Believe a gateway's certificate by the issuers in this file, in PEM [default: those that the system believes]
    #[arg(long, env = "FOREBAY_CA_CERT", value_name = "FILE")]
    pub ca_cert: Option<PathBuf>,

    /// Events in a time, as in 300/s, 60k/m, 1M/h
    #[arg(long, default_value = "1M/h")]
    pub rate: Rate,

    /// As fast as batches are acknowledged, in place of a rate
    #[arg(long, conflicts_with = "rate")]
    pub max: bool,

    /// Stop after so many events, as in 50k, 2M
    #[arg(long, value_parser = count)]
    pub total: Option<u64>,

    /// Stop after this time, as in 30s, 2h
    #[arg(long, value_parser = settings::duration)]
    pub duration: Option<Duration>,

    /// Events in a request [default: 100, or as many as happen within a second]
    #[arg(long)]
    pub batch: Option<NonZeroU64>,

    /// Connections that send at the same time
    #[arg(long, default_value = "8")]
    pub connections: NonZeroU64,

    /// Share of events that are copies of earlier ones
    #[arg(long, default_value = "0%", value_parser = settings::fraction)]
    pub duplicates: f64,

    /// Share of events that break the contract, in many ways
    #[arg(long, default_value = "0%", value_parser = settings::fraction)]
    pub invalid: f64,

    /// Share of events that happened up to 7 days ago
    #[arg(long, default_value = "0%", value_parser = settings::fraction)]
    pub late: f64,

    /// How long ago the events happened, as in 24h: a day that is over can be compacted
    #[arg(long, default_value = "0s", value_parser = settings::duration)]
    pub ago: Duration,

    /// Distinct event types, the first ones more often
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=i64::from(EVENT_TYPES_MAX)))]
    pub event_types: u32,

    /// The same seed makes the same events [default: drawn anew]
    #[arg(long)]
    pub seed: Option<u64>,

    /// Append each acknowledged id to this file, synced before it is counted
    #[arg(long)]
    pub ledger: Option<PathBuf>,

    /// How long a batch is sent again before the run fails
    #[arg(long, default_value = "5m", value_parser = settings::duration)]
    pub retry_for: Duration,

    /// Where the raw stream is, for `--to kinesis`
    #[command(flatten)]
    pub cloud: Cloud,
}

/// What takes the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum To {
    Gateway,
    Kinesis,
}

impl Args {
    /// Refuses what can't be meant.
    fn check(&self) -> anyhow::Result<()> {
        if self.duplicates + self.invalid > 1.0 {
            bail!("--duplicates and --invalid are more than 100% together");
        }
        if self.duplicates > DUPLICATES_MAX {
            bail!("--duplicates is at most {}%: copies need originals", DUPLICATES_MAX * 100.0);
        }
        if self.batch.is_some_and(|batch| batch.get() > BATCH_EVENTS_MAX) {
            bail!("--batch is at most {BATCH_EVENTS_MAX}");
        }
        if self.connections.get() > CONNECTIONS_MAX {
            bail!("--connections is at most {CONNECTIONS_MAX}");
        }
        if self.duration.is_some_and(|duration| duration.is_zero()) {
            bail!("--duration is zero: nothing would be sent");
        }
        if !self.max && self.duration.is_some_and(|duration| self.rate.count_in(duration) == 0) {
            bail!("--duration is too short for one event at --rate");
        }
        Ok(())
    }

    fn load(&self) -> Load {
        let rate = (!self.max).then_some(self.rate);
        let within_a_second = rate.map_or(BATCH_EVENTS, |rate| rate.count_in(Duration::from_secs(1)));
        let batch_events = self.batch.map_or(within_a_second.clamp(1, BATCH_EVENTS), NonZeroU64::get);
        Load { rate, batch_events, total: self.total, duration: self.duration }
    }

    fn factory(&self, seed: u64, now_micros: i64) -> Factory {
        let Args { duplicates, invalid, late, event_types, .. } = *self;
        let (events, per) = TIMES_WITHOUT_RATE;
        let rate = if self.max { Rate::new(events, per) } else { self.rate };
        let ago_ms = i64::try_from(self.ago.as_millis()).unwrap_or(i64::MAX);
        let timeline = Timeline { start_ms: now_micros.div_euclid(1000).saturating_sub(ago_ms), rate };
        Factory::new(seed, &Mix { duplicates, invalid, late, event_types }, timeline)
    }

    async fn way(&self, env: &Env) -> anyhow::Result<Way> {
        match self.to {
            To::Gateway => {
                let target = Target::new(&self.url, self.key.as_ref(), self.ca_cert.as_deref())?;
                Ok(Way::Gateway(Arc::new(target)))
            }
            To::Kinesis => Ok(Way::Stream(OnAws::open(&self.cloud, env).await?.raw().await?)),
        }
    }

    fn place(&self) -> String {
        match self.to {
            To::Gateway => self.url.to_string(),
            To::Kinesis => format!("the stream {}", self.cloud.names.raw_stream),
        }
    }

    fn patience(&self) -> Patience {
        Patience { pause_first: PAUSE_FIRST, pause_max: PAUSE_MAX, tried_for: self.retry_for, after_stop: AFTER_STOP }
    }
}

/// Sends events until the total or the duration is reached, or until `stop`.
///
/// A run that began ends with a summary, whatever happened; [`Summary::is_clean`] says whether all went as it should.
///
/// # Errors
/// Settings that can't be meant; a ledger file that can't be opened. Nothing has been sent then.
pub async fn run(args: Args, env: Env, stop: Stop) -> anyhow::Result<Summary> {
    args.check()?;
    let patience = args.patience();
    run_with(&args, patience, &env, stop).await
}

async fn run_with(args: &Args, patience: Patience, env: &Env, stop: Stop) -> anyhow::Result<Summary> {
    let seed = args.seed.unwrap_or_else(|| env.nonce() as u64);
    let recorder = match &args.ledger {
        Some(path) => Some(open_recorder(path.clone(), args, seed).await?),
        None => None,
    };
    let way = args.way(env).await?;
    eprintln!("sending to {} with --seed {seed}", args.place());
    let start = Instant::now();
    let run = Arc::new(Run {
        factory: args.factory(seed, env.now()),
        schedule: Schedule::new(args.load(), start),
        way,
        recorder,
        patience,
        tally: Tally::default(),
        stop: stop.child_token(),
    });
    let mut connections = JoinSet::new();
    for _ in 0..args.connections.get() {
        connections.spawn(run.clone().serve_connection());
    }
    tokio::select! {
        () = progress::show(&run.tally, run.schedule.events()) => unreachable!("progress is shown until dropped"),
        () = join(connections) => {}
    }
    Ok(Summary { seed, took: start.elapsed(), ledger: args.ledger.clone(), counts: run.tally.counts() })
}

async fn open_recorder(path: PathBuf, args: &Args, seed: u64) -> anyhow::Result<Recorder> {
    let opened = tokio::task::spawn_blocking(move || Recorder::open(&path)).await;
    let recorder = opened.context("open the ledger file")?.context("open --ledger")?;
    let mut lines = Lines::default();
    lines.remark(&format!("run --seed {seed} --duplicates {} --invalid {}", args.duplicates, args.invalid));
    recorder.record(lines).await?;
    Ok(recorder)
}

async fn join(mut connections: JoinSet<()>) {
    while let Some(ended) = connections.join_next().await {
        ended.expect("no connection panics");
    }
}

/// Where connections lead.
#[derive(Clone, Debug)]
enum Way {
    Gateway(Arc<Target>),
    Stream(Arc<dyn Stream>),
}

/// One connection.
#[derive(Debug)]
enum Connection {
    Gateway(Client),
    Direct(Direct),
}

impl Way {
    fn connection(&self) -> Connection {
        match self {
            Way::Gateway(target) => Connection::Gateway(Client::new(target.clone())),
            Way::Stream(stream) => Connection::Direct(Direct::new(stream.clone())),
        }
    }
}

/// What the connections share.
#[derive(Debug)]
struct Run {
    factory: Factory,
    schedule: Schedule,
    way: Way,
    recorder: Option<Recorder>,
    patience: Patience,
    tally: Tally,
    stop: Stop,
}

impl Run {
    /// Sends batches until none is left, until `stop`, or until the run has failed.
    async fn serve_connection(self: Arc<Run>) {
        let mut connection = self.way.connection();
        let mut made = Vec::new();
        while let Some(batch) = self.next_batch().await {
            if let Err(failure) = self.send(&mut connection, batch, &mut made).await {
                self.tally.failed(format!("{failure:#}"));
                self.stop.cancel();
            }
        }
    }

    /// The next batch, at the time it is due.
    async fn next_batch(&self) -> Option<Batch> {
        if self.stop.is_cancelled() {
            return None;
        }
        let batch = self.schedule.next(Instant::now())?;
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            () = tokio::time::sleep_until(batch.due) => Some(batch),
        }
    }

    async fn send(&self, connection: &mut Connection, batch: Batch, made: &mut Vec<Made>) -> anyhow::Result<()> {
        let bytes = self.write(batch, made);
        let sent = Instant::now();
        let Run { patience, tally, stop, .. } = self;
        let delivered = match connection {
            Connection::Gateway(client) => deliver(client, bytes, *patience, tally, stop).await,
            Connection::Direct(direct) => direct.deliver(&bytes, made, *patience, tally, stop).await,
        };
        match delivered {
            Delivered::Acknowledged { answer, at } => {
                let Outcome { lines, mismatch } = Outcome::of(made, &answer);
                if let Some(recorder) = &self.recorder {
                    recorder.record(lines).await?;
                }
                self.tally.acknowledged(acknowledged(batch, made, answer.accepted, sent, at));
                mismatch.map_or(Ok(()), |mismatch| bail!("{batch}: {mismatch}"))
            }
            Delivered::Refused { status, body } => bail!("{batch}: refused with {status}: {body}"),
            Delivered::GaveUp { last } => {
                self.tally.unacknowledged(batch.events);
                if self.stop.is_cancelled() {
                    return Ok(());
                }
                bail!("{batch}: not acknowledged within {:?}; the last try: {last}", self.patience.tried_for)
            }
        }
    }

    fn write(&self, batch: Batch, made: &mut Vec<Made>) -> Bytes {
        let mut lines = Vec::with_capacity(batch.events as usize * EVENT_BYTES);
        made.clear();
        made.extend((batch.first..batch.first + batch.events).map(|n| self.factory.write_line(&mut lines, n)));
        Bytes::from(lines)
    }
}

fn acknowledged(batch: Batch, made: &[Made], accepted: u64, sent: Instant, at: Instant) -> Acknowledged {
    Acknowledged {
        accepted,
        quarantined: batch.events.saturating_sub(accepted),
        copies: made.iter().filter(|made| matches!(made, Made::Copy { .. })).count() as u64,
        from_due: at.saturating_duration_since(batch.due),
        from_sent: at.saturating_duration_since(sent),
    }
}

#[cfg(test)]
mod tests;
