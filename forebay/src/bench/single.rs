//! Part c: single events over 64 connections, against a bare handler and against `up`, in turns.
//!
//! **Round**: either server alone on the machine, fresh, for a while. **Template**: a request made before; only the event
//! id in it is new each time, so that the client costs the same with both and no event is a copy.

use super::BenchArgs;
use super::child::{Child, Usage};
use super::connection::{Connection, put_head};
use super::input::{self, MIX};
use super::path::{audit, runtime, start_up};
use super::report::{Report, Row};
use crate::generate::events::Mix;
use anyhow::{Context, ensure};
use schema::EventId;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 64;

const TEMPLATES: u64 = 4_096;

/// What comes before the id in an event that the generator makes.
const BEFORE_ID: &[u8] = br#"{"event_id":""#;

/// Ids of version 7 count up from here.
const FIRST_ID: u128 = 0x019b_76da_a800_7000_8000_0000_0000_0000;

/// One server in one round.
#[derive(Clone, Copy, Debug)]
struct Turn {
    requests_per_second: f64,
    /// All requests, those of the warm-up included.
    requests: u64,
    usage: Usage,
}

/// Measures both servers in turns, and adds a row for each.
pub(super) fn measure(args: &BenchArgs, dir: &Path, now: i64, report: &mut Report) -> anyhow::Result<()> {
    let load = Load { templates: templates(args.seed, now), next: AtomicU64::new(0), round_time: args.round_time };
    let (mut bare, mut up) = (Vec::new(), Vec::new());
    for round in 1..=args.rounds.get() {
        tracing::info!(round, "part c: single events");
        let flag = [OsStr::new("bench"), OsStr::new("--bare-server")];
        bare.push(load.turn(Child::start(&dir.join("bare.log"), &flag)?)?);
        let data_dir = dir.join(format!("single-{round}"));
        up.push(load.turn(start_up(&data_dir)?)?);
        audit(&data_dir)?;
        std::fs::remove_dir_all(&data_dir).context("make room")?;
    }
    report.single_ratio = Some(median(&up) / median(&bare));
    report.rows.push(row("bare handler, single events", &bare));
    report.rows.push(row("up, single events, durable", &up));
    Ok(())
}

fn row(what: &str, turns: &[Turn]) -> Row {
    let requests: u64 = turns.iter().map(|turn| turn.requests).sum();
    let cpu: Duration = turns.iter().map(|turn| turn.usage.cpu).sum();
    let each: Vec<String> = turns.iter().map(|turn| format!("{:.0}", turn.requests_per_second)).collect();
    Row {
        part: "c",
        what: what.to_string(),
        events: requests,
        cpu_seconds_per_million: cpu.as_secs_f64() * 1e6 / requests as f64,
        events_per_second: median(turns),
        peak_rss_bytes: turns.iter().map(|turn| turn.usage.peak_rss_bytes).max().unwrap_or(0),
        bytes_per_event: None,
        note: format!("median of {} requests/s at {CONNECTIONS} connections", each.join(", ")),
    }
}

fn median(turns: &[Turn]) -> f64 {
    let mut rates: Vec<f64> = turns.iter().map(|turn| turn.requests_per_second).collect();
    rates.sort_unstable_by(f64::total_cmp);
    let middle = rates.len() / 2;
    if rates.len().is_multiple_of(2) { (rates[middle - 1] + rates[middle]) / 2.0 } else { rates[middle] }
}

/// What all connections send.
#[derive(Debug)]
struct Load {
    templates: Vec<Template>,
    next: AtomicU64,
    round_time: Duration,
}

/// When answers count.
#[derive(Clone, Copy, Debug)]
struct Span {
    from: Instant,
    until: Instant,
}

impl Load {
    fn turn(&self, mut server: Child) -> anyhow::Result<Turn> {
        let addr = server.http_addr()?;
        let first = self.next.load(Ordering::Relaxed);
        let counted = runtime()?.block_on(self.post(addr))?;
        let requests = self.next.load(Ordering::Relaxed) - first;
        let usage = server.stop()?;
        Ok(Turn { requests_per_second: counted as f64 / self.round_time.as_secs_f64(), requests, usage })
    }

    /// Warms up, then counts the answers of a round.
    async fn post(&self, addr: SocketAddr) -> anyhow::Result<u64> {
        let from = Instant::now() + self.round_time / 10;
        let span = Span { from, until: from + self.round_time };
        let counts = futures::future::try_join_all((0..CONNECTIONS).map(|_| self.post_some(addr, span))).await?;
        Ok(counts.into_iter().sum())
    }

    async fn post_some(&self, addr: SocketAddr, span: Span) -> anyhow::Result<u64> {
        let mut connection = Connection::open(addr).await?;
        let (mut request, mut counted) = (Vec::new(), 0);
        loop {
            self.write_next(&mut request);
            let answer = connection.exchange(&request).await?;
            ensure!(answer.status == 202, "answered with {}: {}", answer.status, String::from_utf8_lossy(answer.body));
            let now = Instant::now();
            if now >= span.until {
                return Ok(counted);
            }
            counted += u64::from(now >= span.from);
        }
    }

    fn write_next(&self, request: &mut Vec<u8>) {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let template = &self.templates[(n % self.templates.len() as u64) as usize];
        let id = EventId(FIRST_ID + u128::from(n)).canonical();
        request.clear();
        request.extend_from_slice(&template.request);
        request[template.id_at..template.id_at + id.len()].copy_from_slice(&id);
    }
}

#[derive(Clone, Debug)]
struct Template {
    request: Vec<u8>,
    /// Where the event id is.
    id_at: usize,
}

/// Requests with one valid event each.
fn templates(seed: u64, now: i64) -> Vec<Template> {
    let factory = input::factory(seed, &Mix { duplicates: 0.0, invalid: 0.0, ..MIX }, TEMPLATES, now);
    let template = |n| {
        let (mut event, mut request) = (Vec::new(), Vec::new());
        factory.write_event(&mut event, n);
        put_head(&mut request, "application/json", event.len());
        let id_at = request.len() + BEFORE_ID.len();
        request.extend_from_slice(&event);
        Template { request, id_at }
    };
    (0..TEMPLATES).map(template).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_305_600_000_000;

    #[test]
    fn every_request_has_an_id_of_its_own_and_is_valid() {
        let load = Load { templates: templates(7, NOW), next: AtomicU64::new(0), round_time: Duration::from_secs(1) };
        let mut request = Vec::new();
        for n in [0, 1, TEMPLATES - 1, TEMPLATES, 3 * TEMPLATES + 5] {
            load.next.store(n, Ordering::Relaxed);
            load.write_next(&mut request);
            let text = std::str::from_utf8(&request).expect("text");
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
            let event: serde_json::Value = serde_json::from_str(body).expect("JSON");
            assert_eq!(event["event_id"], EventId(FIRST_ID + u128::from(n)).to_string());
        }
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let turn = |requests_per_second| Turn { requests_per_second, requests: 1, usage: Usage::default() };
        assert_eq!(median(&[turn(3.0), turn(1.0), turn(2.0)]), 2.0);
        assert_eq!(median(&[turn(4.0), turn(1.0)]), 2.5);
    }
}
