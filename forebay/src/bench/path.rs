//! Part a: from HTTP batches to `live/` Parquet, streams and ledger synced before each answer.

use super::bytes_below;
use super::child::Child;
use super::connection::{Connection, put_head};
use super::input::{BATCH_EVENTS, Input};
use super::report::Row;
use crate::generate::client;
use anyhow::{Context, bail, ensure};
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime;

/// Pause after an answer that asks to send again, and most tries of a batch: half a minute of refusals altogether.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
const TRIES_MAX: u32 = 1_500;

/// How long `up` may take to drain: the lake may be a good deal behind the answers.
const SHUTDOWN_GRACE: &str = "30m";

/// What the answers said, altogether.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Answered {
    accepted: u64,
    quarantined: u64,
    /// Answers that asked to send again.
    put_off: u64,
}

/// Posts the input to an `up` of its own, and leaves the lake in `data_dir`.
pub(super) fn measure(input: &Input, data_dir: &Path, connections: NonZeroUsize) -> anyhow::Result<Row> {
    let mut up = start_up(data_dir)?;
    let addr = up.http_addr()?;
    let start = Instant::now();
    let answered = runtime()?.block_on(post_all(input, addr, connections))?;
    let acknowledged_after = start.elapsed();
    let usage = up.stop()?;
    let drained_after = start.elapsed();
    check(input, answered)?;
    audit(data_dir)?;
    let events = input.counts.events();
    let live_bytes = bytes_below(&data_dir.join("lake/live/events"))?;
    Ok(Row {
        part: "a",
        what: format!("HTTP batches of {BATCH_EVENTS} to live/"),
        events,
        cpu_seconds_per_million: usage.cpu.as_secs_f64() * 1e6 / events as f64,
        events_per_second: events as f64 / drained_after.as_secs_f64(),
        peak_rss_bytes: usage.peak_rss_bytes,
        bytes_per_event: Some(live_bytes as f64 / input.counts.fresh as f64),
        note: format!(
            "acknowledged at {:.0}/s over {connections} connections, {} answers said later",
            events as f64 / acknowledged_after.as_secs_f64(),
            answered.put_off
        ),
    })
}

/// Starts `up` on free ports.
pub(super) fn start_up(data_dir: &Path) -> anyhow::Result<Child> {
    let log = data_dir.with_extension("up.log");
    let any_port = OsStr::new("127.0.0.1:0");
    let mut args = ["up", "--http-addr", "", "--grpc-addr", "", "--data-dir", "", "--shutdown-grace", SHUTDOWN_GRACE]
        .map(OsStr::new);
    (args[2], args[4], args[6]) = (any_port, any_port, data_dir.as_os_str());
    Child::start(&log, &args)
}

/// Fails unless each event is in the lake once.
pub(super) fn audit(data_dir: &Path) -> anyhow::Result<()> {
    let log = data_dir.with_extension("audit.log");
    let args = [OsStr::new("audit"), OsStr::new("--data-dir"), data_dir.as_os_str()];
    Child::start(&log, &args)?.finish().context("audit the lake")?;
    Ok(())
}

/// The load's own runtime, on the thread that blocks on it.
pub(super) fn runtime() -> anyhow::Result<runtime::Runtime> {
    runtime::Builder::new_current_thread().enable_all().build().context("start the load")
}

async fn post_all(input: &Input, addr: SocketAddr, connections: NonZeroUsize) -> anyhow::Result<Answered> {
    let next = AtomicUsize::new(0);
    let posts = (0..connections.get()).map(|_| post_some(input, &next, addr));
    let answered = futures::future::try_join_all(posts).await?;
    Ok(answered.into_iter().fold(Answered::default(), |sum, one| Answered {
        accepted: sum.accepted + one.accepted,
        quarantined: sum.quarantined + one.quarantined,
        put_off: sum.put_off + one.put_off,
    }))
}

/// Posts the next batch, and the next, over one connection.
async fn post_some(input: &Input, next: &AtomicUsize, addr: SocketAddr) -> anyhow::Result<Answered> {
    let mut connection = Connection::open(addr).await?;
    let (mut request, mut answered) = (Vec::new(), Answered::default());
    loop {
        let batch = next.fetch_add(1, Ordering::Relaxed);
        if batch >= input.batches() {
            return Ok(answered);
        }
        request.clear();
        put_head(&mut request, "application/x-ndjson", input.batch_bytes(batch));
        input.read_batch(batch, &mut request)?;
        post(&mut connection, &request, &mut answered).await.with_context(|| format!("post batch {batch}"))?;
    }
}

/// Sends until it is acknowledged.
async fn post(connection: &mut Connection, request: &[u8], answered: &mut Answered) -> anyhow::Result<()> {
    for _ in 0..TRIES_MAX {
        let answer = connection.exchange(request).await?;
        match answer.status {
            202 | 422 => {
                let answer: client::Answer = serde_json::from_slice(answer.body).context("read the answer")?;
                answered.accepted += answer.accepted;
                answered.quarantined += answer.quarantined.len() as u64;
                return Ok(());
            }
            429 | 503 => answered.put_off += 1,
            status => bail!("it was answered with {status}: {}", String::from_utf8_lossy(answer.body)),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    bail!("it was put off {TRIES_MAX} times");
}

fn check(input: &Input, answered: Answered) -> anyhow::Result<()> {
    let counts = input.counts;
    ensure!(
        (answered.accepted, answered.quarantined) == (counts.fresh + counts.copies, counts.invalid),
        "the answers do not fit the input: {answered:?} of {counts:?}"
    );
    Ok(())
}
