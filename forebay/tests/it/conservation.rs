//! The audit that goes on: where all events are, from the chains alone.

use crate::audit::{drained, rewritten};
use crate::pipeline::{Pipeline, Running, said};
use dedup_service::chain;
use forebay::embedded::{self, Places};
use ledger::Ledger;
use ledger::embedded::EmbeddedLedger;
use schema::v1::{CleanRecord, Decision, Lane, Void, dedup_entry};
use schema::{Kind, Origin, Position, ShardId, record};
use service::Env;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use stream::ReadLimit;

/// Looks after which whatever is missing has been found: it must have been due at one and still be at a later one.
const LOOKS: u64 = 4;

/// Scrapes until something is missing: a minute's worth, for a machine that is busy.
const SCRAPES_MAX: u32 = 3000;

/// An audit that looks on and on, and where it shows what it sees.
struct Watching {
    audit: Running,
    addr: String,
}

impl Watching {
    fn start(pipeline: &Pipeline) -> Watching {
        let settings = ["--watch", "20ms", "--missing-after", "1ms", "--admin-addr", "127.0.0.1:0"];
        let mut audit = pipeline.spawn("audit", &settings);
        let line = audit.line_with("/metrics").unwrap_or_else(|| panic!("{}", pipeline.log("audit")));
        let addr = line.split('/').nth(2).expect("an address").to_string();
        Watching { audit, addr }
    }

    /// Waits until a writer has taken what came behind the lost events.
    fn until_some_are_missing(&self) {
        for _ in 0..SCRAPES_MAX {
            if self.shown().value("forebay_missing_events") > 0 {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("nothing is missing: {}", self.shown().0);
    }

    /// What it shows once it has looked often enough.
    fn shown(&self) -> Shown {
        loop {
            let shown = Shown(get(&self.addr));
            if shown.value("forebay_conservation_looks_total") >= LOOKS {
                return shown;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

struct Shown(String);

impl Shown {
    fn value(&self, metric: &str) -> u64 {
        let line = self.0.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
        let line = line.unwrap_or_else(|| panic!("no {metric} in\n{}", self.0));
        line.trim().parse().expect("a whole number")
    }

    fn state(&self, state: &str) -> u64 {
        self.value(&format!("forebay_conserved_events{{state=\"{state}\"}}"))
    }

    #[track_caller]
    fn assert_conserved(&self) {
        let states: u64 = ["live", "quarantined", "void", "in_flight"].map(|state| self.state(state)).iter().sum();
        assert_eq!(self.state("numbered"), states + self.value("forebay_missing_events"), "{}", self.0);
    }
}

/// What is served at `/metrics`.
pub(crate) fn get(addr: &str) -> String {
    let mut socket = TcpStream::connect(addr).expect("it listens");
    write!(socket, "GET /metrics HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").expect("a request");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn every_numbered_event_is_live_or_in_quarantine_once_a_pipeline_has_drained() {
    let pipeline = drained();
    let audit = pipeline.audit(&[]);
    let watching = Watching::start(&pipeline);
    let shown = watching.shown();
    shown.assert_conserved();
    assert_eq!(shown.value("forebay_missing_events"), 0, "{}", shown.0);
    assert_eq!(shown.state("in_flight"), 0, "{}", shown.0);
    assert_eq!(shown.state("live"), audit.figure("unique"), "{}", shown.0);
    assert_eq!(shown.state("quarantined"), audit.figure("quarantined"), "{}", shown.0);
    assert_eq!(shown.state("duplicate"), audit.figure("duplicates"), "{}", shown.0);
    assert_eq!(shown.value("forebay_ledger_broken_chains"), 0, "{}", shown.0);
    assert!(pipeline.run("audit", &["--check-health", &watching.addr]).status.success(), "{}", shown.0);
    assert!(watching.audit.stop().success(), "{}", pipeline.log("audit"));
    assert!(!pipeline.run("audit", &["--check-health", &watching.addr]).status.success(), "nobody is there");
}

#[test]
fn what_no_writer_has_read_is_in_flight_and_not_missing() {
    let pipeline = Pipeline::new();
    let up = pipeline.up(&["--flush-interval", "600s", "--flush-rows", "1000000"]);
    pipeline.generate_all("500", &[]);
    up.kill();
    let watching = Watching::start(&pipeline);
    let shown = watching.shown();
    shown.assert_conserved();
    assert_eq!(shown.value("forebay_missing_events"), 0, "{}", shown.0);
    assert!(watching.audit.stop().success(), "{}", pipeline.log("audit"));
}

/// Place in a clean shard of the record that is lost.
const LOST: usize = 1;

/// Events were decided and acknowledged by the clean stream, and it lost one of its records before a writer came.
async fn without_a_clean_record() -> Pipeline {
    losing_a_clean_record(&drained()).await
}

async fn losing_a_clean_record(whole: &Pipeline) -> Pipeline {
    let is_lost = |shard: &ShardId, place: usize| shard.as_str().starts_with("clean") && place == LOST;
    let case =
        rewritten(whole, |chain| chain.as_str().starts_with("dedup/"), |shard, place| !is_lost(shard, place)).await;
    fs::remove_dir_all(case.lake()).expect("a lake");
    case
}

/// The same, where the dedup stage had given these events up: what is lost are their tombstones.
async fn without_a_tombstone() -> Pipeline {
    let whole = drained();
    let case = losing_a_clean_record(&whole).await;
    let places = Places { data_dir: whole.data_dir(), lake: None };
    let (old, _reader) = embedded::open_read_only(&places).expect("a data directory");
    let options = embedded::options("a test", &Env::system());
    let store = embedded::take(&case.data_dir(), options).await.expect("a free directory");
    let ledger = EmbeddedLedger::new(store.clone());
    for shard in old.clean.shards().await.expect("shards") {
        let limit = ReadLimit { records_max: 10, bytes_max: 1 << 30, wait: Duration::ZERO };
        let page = old.clean.read(&shard.id, &Position::start(), limit).await.expect("records");
        let lost = page.records.into_iter().nth(LOST).map(|record| record::decode_clean(record.bytes));
        give_up(&ledger, &lost.expect("a record is lost").expect("a clean record")).await;
    }
    store.close();
    case
}

/// Appends what the dedup stage says of a record that the clean stream never takes.
async fn give_up(ledger: &EmbeddedLedger, lost: &CleanRecord) {
    let chain = Origin::new(&lost.origin).chain();
    let (number, head) = chain::head(ledger, &chain).await.expect("a chain").expect("a decision");
    let count = record::count(&lost.ids) as u64;
    let after = |kind: Kind, lane: Option<Lane>| {
        let lane = lane.expect("a lane");
        let voids = if lost.kind == kind as i32 { count } else { 0 };
        Some(Lane {
            first_ordinal: lane.first_ordinal + u64::from(lane.count),
            sum_through: lane.sum_through,
            voids_through: lane.voids_through.map(|through| through + voids),
            ..Lane::default()
        })
    };
    let (kind, first_ordinal, ids) = (lost.kind, lost.first_ordinal, lost.ids.clone());
    let decision = Decision {
        from: head.to.clone(),
        records: 0,
        met: 0,
        duplicates: 0,
        strays: 0,
        events: after(Kind::Events, head.events),
        quarantine: after(Kind::Quarantine, head.quarantine),
        voids: vec![Void { kind, first_ordinal, ids, reason: "too large".to_owned() }],
        forwarded_through: number + 1,
        ..head
    };
    let entry = chain::encode(1, dedup_entry::Entry::Decision(decision));
    ledger.append(&chain, number + 1, entry).await.expect("a free slot");
}

#[tokio::test(flavor = "multi_thread")]
async fn tombstones_that_were_lost_are_forwarded_again() {
    let case = without_a_tombstone().await;
    let up = case.up(&["--flush-interval", "1s"]);
    let ask = || {
        let answer = case.run("forward-again", &[]);
        assert!(answer.status.success(), "{}", said(&answer.stderr));
        said(&answer.stdout)
    };
    assert!(ask().starts_with("forwarded "));
    case.audit(&["--wait"]).assert_clean();
    assert!(ask().starts_with("nothing to forward"));
    assert!(up.stop().success(), "{}", case.log("up"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_record_that_was_lost_is_forwarded_again() {
    let case = without_a_clean_record().await;
    let nobody = case.run("forward-again", &[]);
    assert!(!nobody.status.success() && said(&nobody.stderr).contains("start it"), "{}", said(&nobody.stderr));
    let up = case.up(&["--flush-interval", "1s"]);
    let ask = |args: &[&str]| {
        let answer = case.run("forward-again", args);
        assert!(answer.status.success(), "{}", said(&answer.stderr));
        said(&answer.stdout)
    };
    assert!(ask(&["--dry-run"]).starts_with("would forward "));
    assert!(ask(&[]).starts_with("forwarded "));
    case.audit(&["--wait"]).assert_clean();
    assert!(ask(&[]).starts_with("nothing to forward"));
    assert!(up.stop().success(), "{}", case.log("up"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_record_that_was_lost_is_missing() {
    let case = without_a_clean_record().await;
    let up = case.up(&["--flush-interval", "100ms"]);
    let watching = Watching::start(&case);
    watching.until_some_are_missing();
    assert!(up.stop().success(), "{}", case.log("up"));
    let shown = watching.shown();
    shown.assert_conserved();
    assert!(shown.state("live") > 0, "{}", shown.0);
    assert!(!watching.audit.stop().success(), "{}", case.log("audit"));
    assert!(case.log("audit").contains("events are in no object"), "{}", case.log("audit"));
}
