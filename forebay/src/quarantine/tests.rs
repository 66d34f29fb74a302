//! From invalid events to repaired ones, with the whole pipeline in this process.

use super::*;
use crate::embedded::{self, Places};
use crate::generate::client::{Answer, Client, Target, Url, Verdict};
use crate::up::{self, UpArgs};
use bytes::Bytes;
use clap::Parser;
use compactor::snapshot;
use lake::parquet_file::{Columns, ObjectReader};
use schema::{EventId, Table, columns};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// Longest wait for the pipeline to start, or to settle an event.
const TIME_MAX: Duration = Duration::from_secs(60);
const LOOK_PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    args: QuarantineArgs,
}

/// Settings of one part of the pipeline.
#[derive(Debug, Parser)]
struct Settings<A: Args> {
    #[command(flatten)]
    settings: A,
}

fn settings<A: Args>(flags: &[&str]) -> A {
    Settings::parse_from(["up"].iter().chain(flags)).settings
}

fn up_args(data_dir: &Path) -> UpArgs {
    UpArgs {
        places: Places { data_dir: data_dir.to_owned(), lake: None },
        log: settings(&[]),
        shutdown_grace: TIME_MAX,
        missing_after: TIME_MAX,
        traces: settings(&[]),
        gateway: settings(&["--http-addr", "127.0.0.1:0", "--grpc-addr", "127.0.0.1:0"]),
        dedup: settings(&[]),
        writer: settings(&["--flush-interval", "100ms"]),
        compactor: settings(&[]),
    }
}

/// A pipeline on a folder of its own.
struct Pipeline {
    dir: TempDir,
    url: String,
    stop: Stop,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Pipeline {
    async fn start() -> Pipeline {
        let dir = tempfile::tempdir().expect("a folder");
        let args = up_args(dir.path());
        let stop = Stop::new();
        let signal = stop.clone().cancelled_owned();
        let running = tokio::spawn(up::run(args, Env::system(), || signal));
        let url = within(|| async { holder_url(dir.path()) }).await;
        Pipeline { dir, url, stop, running }
    }

    fn places(&self) -> Places {
        Places { data_dir: self.dir.path().to_owned(), lake: None }
    }

    async fn post(&self, lines: &[&str]) -> Answer {
        let url: Url = self.url.parse().expect("a URL");
        let mut client = Client::new(Arc::new(Target::new(&url, None, None).expect("a target")));
        match client.post(Bytes::from(lines.join("\n"))).await.expect("an answer") {
            (_, Verdict::Acknowledged(answer)) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// The ids of a table, ascending, as soon as there are so many.
    async fn ids(&self, table: Table, count: usize) -> Vec<String> {
        within(|| async {
            let ids = ids(&self.places(), table).await;
            (ids.len() >= count).then_some(ids)
        })
        .await
    }

    /// Runs `quarantine` with these flags.
    async fn quarantine(&self, flags: &[&str]) -> anyhow::Result<bool> {
        let data_dir = ["--data-dir", self.dir.path().to_str().expect("text")];
        let args = Cli::try_parse_from(["quarantine"].iter().chain(flags).chain(&data_dir))?.args;
        run(args, Env::system(), Stop::new()).await
    }

    async fn replay(&self, flags: &[&str]) -> anyhow::Result<bool> {
        let flags: Vec<&str> = [&["replay", "--url", &self.url], flags].concat();
        self.quarantine(&flags).await
    }

    /// Drains, and reads what is in the lake in the end.
    async fn drained(self) -> (Vec<String>, Vec<String>) {
        self.stop.cancel();
        self.running.await.expect("no panic").expect("drained");
        let places = Places { data_dir: self.dir.path().to_owned(), lake: None };
        (ids(&places, Table::Events).await, ids(&places, Table::Quarantine).await)
    }
}

/// Where `up` on this directory serves HTTP, as the lock says.
fn holder_url(data_dir: &Path) -> Option<String> {
    let lock = std::fs::read_to_string(data_dir.join("LOCK")).ok()?;
    lock.trim_end().rsplit_once(", ").map(|(_, last)| last.to_string()).filter(|last| last.starts_with("http://"))
}

async fn within<T, F: Future<Output = Option<T>>>(look: impl Fn() -> F) -> T {
    let looking = async {
        loop {
            match look().await {
                Some(found) => return found,
                None => tokio::time::sleep(LOOK_PAUSE).await,
            }
        }
    };
    tokio::time::timeout(TIME_MAX, looking).await.expect("in time")
}

async fn ids(places: &Places, table: Table) -> Vec<String> {
    let (opened, _reader) = embedded::open_read_only(places).expect("a data directory");
    let snapshot = snapshot(opened.ledger.as_ref(), opened.lake.as_ref()).await.expect("a snapshot");
    let mut ids = Vec::new();
    for key in snapshot.objects().filter(|key| key.contains(&format!("/{table}/"))) {
        let lake = opened.lake.as_ref();
        let mut reader = ObjectReader::open(lake, table, key, Columns::All).await.expect("an object");
        while let Some(rows) = reader.next_batch(lake).await.expect("rows") {
            let column = columns::text(&rows, table.id_column()).expect("ids");
            ids.extend(column.iter().flatten().map(str::to_string));
        }
    }
    ids.sort_unstable();
    ids
}

const GOOD: &str =
    r#"{"event_id":"019b76da-a800-7c3e-9d5f-000000000001","event_name":"page:view","created_at":1700000000}"#;
const NAMELESS: [&str; 2] = [
    r#"{"event_id":"019b76da-a800-7c3e-9d5f-000000000002","event_name":"page_view","created_at":1700000000}"#,
    r#"{"event_id":"019b76da-a800-7c3e-9d5f-000000000003","event_name":"page_view","created_at":1700000000}"#,
];
const NO_UUID: &str = r#"{"event_id":"seven","event_name":"page:view","created_at":1700000000}"#;
const CUT_OFF: &str = r#"{"event_id":"019b76da-a800-7c3e-9d5f-000000000004","#;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_repaired_is_in_the_lake_once_however_often_it_is_replayed() {
    let pipeline = Pipeline::start().await;
    let answer = pipeline.post(&[GOOD, NAMELESS[0], NAMELESS[1], NO_UUID, CUT_OFF]).await;
    assert_eq!((answer.accepted, answer.quarantined.len()), (1, 4));
    let quarantined = pipeline.ids(Table::Quarantine, 4).await;
    assert!(pipeline.quarantine(&["ls"]).await.expect("listed"));

    let name = ["--where", "reason=bad_event_name", "--patch", "event_name=page:view"];
    let new_id = ["--where", "reason=bad_uuid", "--patch", "event_id=@new"];
    assert!(pipeline.replay(&[&name[..], &["--dry-run"]].concat()).await.expect("shown"));
    for _ in 0..2 {
        assert!(pipeline.replay(&name).await.expect("replayed"));
        assert!(pipeline.replay(&new_id).await.expect("replayed"));
    }

    let (events, quarantine) = pipeline.drained().await;
    let no_uuid = quarantine_id_of(&answer, 3);
    let repaired = patch::new_id(no_uuid).to_string();
    let mut expected: Vec<String> = (1..=3).map(|k| format!("019b76da-a800-7c3e-9d5f-00000000000{k}")).collect();
    expected.push(repaired);
    expected.sort_unstable();
    assert_eq!(events, expected);
    assert_eq!(quarantine, quarantined);
}

fn quarantine_id_of(answer: &Answer, index: u64) -> EventId {
    let quarantined = answer.quarantined.iter().find(|quarantined| quarantined.index == index).expect("listed");
    EventId::parse(&quarantined.quarantine_id).expect("a UUID")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_repaired_makes_the_replay_unclean() {
    let pipeline = Pipeline::start().await;
    pipeline.post(&[NO_UUID, CUT_OFF]).await;
    pipeline.ids(Table::Quarantine, 2).await;
    assert!(!pipeline.replay(&["--where", "reason=bad_json"]).await.expect("nothing to send"));
    assert!(!pipeline.replay(&["--where", "reason=bad_uuid"]).await.expect("quarantined again"));
    assert!(pipeline.replay(&["--where", "reason=too_old"]).await.expect("nothing is meant"));
    let (events, quarantine) = pipeline.drained().await;
    assert_eq!((events.len(), quarantine.len()), (0, 2));
}

#[tokio::test]
async fn a_folder_without_data_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let flags = ["quarantine", "ls", "--data-dir", dir.path().to_str().expect("text")];
    let args = Cli::parse_from(flags).args;
    let error = run(args, Env::system(), Stop::new()).await.expect_err("no data");
    assert!(error.to_string().contains("no data directory"), "{error:#}");
}

#[test]
fn an_excerpt_is_one_short_line_whatever_the_bytes() {
    assert_eq!(excerpt(b"{\"a\":\n1}\x1b[2J"), "{\"a\":·1}·[2J");
    assert_eq!(excerpt(b"\xff"), "\u{fffd}");
    assert!(excerpt(&[b'x'; 1000]).ends_with("xx… (760 more bytes)"));
}
