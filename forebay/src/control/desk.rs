//! The holder's side.

use super::socket::{self, Door};
use super::{Answer, Failure, Request, cut, lines};
use crate::embedded::Embedded;
use anyhow::{Context, anyhow};
use compactor::Compactor;
use service::{Env, Halt, Stop};
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinSet;

/// Most calls at the same time; more wait to be let in.
const CALLS_MAX: usize = 8;

/// Longest wait for a caller to say what it wants, which it knows when it calls.
const REQUEST_WAIT_MAX: Duration = Duration::from_secs(5);

/// Longest wait for a caller to take a line: it must not hold up a drain.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);

/// Pause after a caller could not be let in: then files are short, and looking again at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What requests are carried out with.
#[derive(Clone, Debug)]
pub struct Hands {
    pub compactor: Compactor,
    pub ports: Embedded,
    pub env: Env,
}

/// Where the holder of a data directory takes calls.
#[derive(Debug)]
pub struct Desk {
    door: Option<Door>,
    /// Longest wait for a caller to say what it wants.
    pub(super) request_wait_max: Duration,
}

impl Desk {
    /// Opens in `data_dir`, whose lock this process has. Where no socket can be made, it stays shut, with a warning: the
    /// pipeline does not need it.
    pub fn open(data_dir: &Path) -> Desk {
        let opened = socket::listen(data_dir);
        if let Err(error) = &opened {
            let data_dir = data_dir.display();
            tracing::warn!(%data_dir, %error, "no control socket: `forebay compact` will not work until this process ends");
        }
        Desk { door: opened.ok(), request_wait_max: REQUEST_WAIT_MAX }
    }

    /// Takes calls until `stop`; what is under way then is abandoned, and its callers are told.
    ///
    /// # Errors
    /// A [`Halt`] that a request ran into, once its caller knows.
    pub async fn run(self, hands: Hands, stop: Stop) -> anyhow::Result<()> {
        let Some(door) = self.door else {
            stop.cancelled().await;
            return Ok(());
        };
        let (mut calls, mut outcome) = (JoinSet::new(), Ok(()));
        let closing = stop.child_token();
        let clerk = Clerk { hands, request_wait_max: self.request_wait_max, stop: closing.clone() };
        while outcome.is_ok() {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = calls.join_next() => outcome = flatten(ended),
                caller = door.listener.accept(), if calls.len() < CALLS_MAX => match caller {
                    Ok((stream, _)) => drop(calls.spawn(clerk.clone().serve(stream))),
                    Err(error) => {
                        tracing::warn!(%error, "could not let a caller in");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(door);
        closing.cancel();
        while let Some(ended) = calls.join_next().await {
            outcome = outcome.and(flatten(ended));
        }
        outcome
    }
}

fn flatten(ended: Result<anyhow::Result<()>, tokio::task::JoinError>) -> anyhow::Result<()> {
    ended.context("a call panicked")?
}

/// Who takes a call.
#[derive(Clone, Debug)]
struct Clerk {
    hands: Hands,
    request_wait_max: Duration,
    stop: Stop,
}

impl Clerk {
    /// Takes one call. Only what must stop the process is an error; everything else is the caller's to know.
    async fn serve(self, stream: UnixStream) -> anyhow::Result<()> {
        let (mut from, mut to) = stream.into_split();
        let work = self.work(&mut from, &mut to);
        let stopping = || Err(anyhow!("the holder is stopping: what it has done stays done, ask again later"));
        let outcome = self.stop.run_until_cancelled(work).await.unwrap_or_else(stopping);
        let last = match &outcome {
            Ok(()) => Answer::Done {},
            Err(error) => Answer::Error(Failure::of(error)),
        };
        if let Err(error) = tell(&mut to, &last).await {
            tracing::info!(%error, "the caller did not wait for the end");
        }
        outcome.or_else(|error| if is_halt(&error) { Err(error) } else { Ok(()) })
    }

    async fn work(&self, from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) -> anyhow::Result<()> {
        let mut from = BufReader::new(from);
        let request = request(&mut from, self.request_wait_max).await?;
        tracing::info!(?request, "called");
        tokio::select! {
            () = gone(&mut from) => Err(anyhow!("the caller hung up")),
            done = self.carry_out(&request, to) => done,
        }
    }

    async fn carry_out(&self, request: &Request, to: &mut OwnedWriteHalf) -> anyhow::Result<()> {
        let Hands { compactor, ports, env } = &self.hands;
        let lines = match request {
            Request::Compact(order) => {
                if compactor.is_busy() && !order.dry_run {
                    say(to, "another compaction is under way: waiting for it").await?;
                }
                order.carry_out(compactor).await?
            }
            Request::ForwardAgain(order) => order.carry_out(ports, env).await?,
        };
        for line in lines {
            say(to, &line).await?;
        }
        Ok(())
    }
}

async fn request(from: &mut BufReader<&mut OwnedReadHalf>, wait_max: Duration) -> anyhow::Result<Request> {
    let line = tokio::time::timeout(wait_max, lines::read(from)).await;
    let line = line.map_err(|_| anyhow!("no request came within {wait_max:?}"))?;
    Request::of_line(&line.context("read the request")?)
}

/// Resolves when the caller hangs up, or says more than one line, which no caller does.
async fn gone(from: &mut BufReader<&mut OwnedReadHalf>) {
    let _ = from.read_u8().await;
}

async fn say(to: &mut OwnedWriteHalf, text: &str) -> anyhow::Result<()> {
    tell(to, &Answer::Line(cut(text))).await.context("answer the caller")
}

async fn tell(to: &mut OwnedWriteHalf, answer: &Answer) -> io::Result<()> {
    let line = serde_json::to_vec(answer).expect("texts are JSON");
    tokio::time::timeout(ANSWER_WAIT_MAX, lines::write(to, line)).await?
}

fn is_halt(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<Halt>())
}
