use super::*;
use crate::embedded::Embedded;
use anyhow::Context;
use async_trait::async_trait;
use clap::Parser;
use compactor::{Compactor, Config, Labour, Parts};
use lake::local::LocalLake;
use ledger::embedded::EmbeddedLedger;
use ledger::{Entry, Lease, LeaseError, Ledger, LedgerError, Slot};
use schema::{ChainId, Day};
use service::{Env, Rules, Stop};
use std::fs;
use std::future::pending;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use stream::embedded::EmbeddedStream;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

/// A ledger that never answers: whoever works with it is at work for ever.
#[derive(Debug)]
struct Mute;

#[async_trait]
impl Ledger for Mute {
    async fn append(&self, _: &ChainId, _: u64, _: Entry) -> Result<(), LedgerError> {
        pending().await
    }
    async fn load(&self, _: &ChainId, _: u64, _: usize) -> Result<Vec<Slot>, LedgerError> {
        pending().await
    }
    async fn head(&self, _: &ChainId) -> Result<Option<Slot>, LedgerError> {
        pending().await
    }
    async fn chains(&self, _: &str) -> Result<Vec<ChainId>, LedgerError> {
        pending().await
    }
    async fn trim(&self, _: &ChainId, _: u64) -> Result<(), LedgerError> {
        pending().await
    }
    async fn acquire(&self, _: &str, _: &str, _: Option<&Lease>) -> Result<Lease, LeaseError> {
        pending().await
    }
    async fn renew(&self, _: &Lease) -> Result<Lease, LeaseError> {
        pending().await
    }
    async fn release(&self, _: &Lease) -> Result<(), LeaseError> {
        pending().await
    }
    async fn leases(&self, _: &str) -> Result<Vec<Lease>, LedgerError> {
        pending().await
    }
}

#[derive(Parser)]
struct Defaults {
    #[command(flatten)]
    config: Config,
}

/// A desk in a folder of its own.
#[derive(Debug)]
struct House {
    _folder: TempDir,
    data_dir: PathBuf,
    hands: Hands,
    stop: Stop,
    desk: JoinHandle<anyhow::Result<()>>,
}

impl House {
    /// A desk whose compactor finds nothing to do.
    async fn idle() -> House {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(&folder.path().join("log"), crate::embedded::options("a test", &Env::system()));
        let ledger = EmbeddedLedger::new(Arc::new(store.expect("an empty log")));
        House::with(folder, "data", Arc::new(ledger)).await
    }

    /// A desk whose compactor is never through.
    async fn busy() -> House {
        House::with(tempfile::tempdir().expect("a temporary folder"), "data", Arc::new(Mute)).await
    }

    async fn with(folder: TempDir, data_dir: &str, ledger: Arc<dyn Ledger>) -> House {
        let data_dir = folder.path().join(data_dir);
        fs::create_dir_all(&data_dir).expect("a folder");
        let lake = LocalLake::open(folder.path().join("lake")).expect("an empty lake");
        let store = Store::open(&folder.path().join("streams"), crate::embedded::options("a test", &Env::system()));
        let store = Arc::new(store.expect("an empty log"));
        let stream = async |name| {
            let opened = EmbeddedStream::open(&store, name, NonZeroU32::MIN, "r1").await;
            Arc::new(opened.expect("an empty stream"))
        };
        let ports = Embedded { raw: stream("raw").await, clean: stream("clean").await, ledger, lake: Arc::new(lake) };
        let parts = Parts {
            ledger: ports.ledger.clone(),
            lake: ports.lake.clone(),
            env: Env::system(),
            config: Defaults::parse_from(["a test"]).config,
            labour: Labour::OnPool,
            rules: Rules::default(),
        };
        let (hands, stop) = (Hands { compactor: Compactor::of(parts), ports, env: Env::system() }, Stop::new());
        let desk = tokio::spawn(Desk::open(&data_dir).run(hands.clone(), stop.clone()));
        House { _folder: folder, data_dir, hands, stop, desk }
    }

    async fn holder(&self) -> Holder {
        reach(&self.data_dir).await.expect("the socket may be opened").expect("somebody listens")
    }

    /// Has everything compacted; what is said.
    async fn compact(&self) -> anyhow::Result<Vec<String>> {
        let mut lines = Vec::new();
        self.holder().await.ask(&everything(), |line| lines.push(line.to_string())).await?;
        Ok(lines)
    }

    /// Says something that is not a caller's own; the answer as text.
    async fn say(&self, bytes: &[u8]) -> String {
        let stream = socket::connect(&self.data_dir).await.expect("a socket");
        let mut stream = stream.expect("somebody listens");
        stream.write_all(bytes).await.expect("the desk listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("the desk answers");
        answer
    }

    async fn until_busy_is(&self, busy: bool) {
        while self.hands.compactor.is_busy() != busy {
            tokio::task::yield_now().await;
        }
    }

    async fn close(self) {
        self.stop.cancel();
        self.desk.await.expect("the desk does not panic").expect("it was asked to stop");
        assert!(!socket_of(&self.data_dir).exists());
    }
}

fn everything() -> Request {
    Request::Compact(compact::Order { date: None, all: true, dry_run: false })
}

fn socket_of(data_dir: &Path) -> PathBuf {
    data_dir.join("control.sock")
}

#[tokio::test]
async fn a_request_is_done_and_its_lines_come_back() {
    let house = House::idle().await;
    let lines = house.compact().await.expect("there is nothing to do");
    assert_eq!(lines, ["0 plans: 0 live objects, 0 rows -> 0 final objects, 0 rows dropped"]);
    house.close().await;
}

#[tokio::test]
async fn a_path_that_is_too_long_for_a_socket_is_no_obstacle_on_linux() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let deep = "a-folder-with-a-long-name/".repeat(8);
    let house = House::with(folder, &deep, Arc::new(Mute)).await;
    assert_eq!(socket_of(&house.data_dir).exists(), cfg!(target_os = "linux"));
    assert_eq!(reach(&house.data_dir).await.expect("no error either way").is_some(), cfg!(target_os = "linux"));
    house.close().await;
}

#[tokio::test]
async fn nobody_is_reached_where_nobody_listens() {
    let house = House::idle().await;
    house.stop.cancel();
    house.desk.await.expect("no panic").expect("it was asked to stop");
    assert!(reach(&house.data_dir).await.expect("no error").is_none());
    drop(std::os::unix::net::UnixListener::bind(socket_of(&house.data_dir)).expect("a free path"));
    assert!(socket_of(&house.data_dir).exists(), "left over");
    assert!(reach(&house.data_dir).await.expect("no error").is_none());
    assert!(reach(Path::new("/nonexistent")).await.expect("no error").is_none());
}

#[tokio::test]
async fn what_is_not_understood_is_named_with_both_versions() {
    let house = House::idle().await;
    let answer = house.say(b"{\"version\":\"9.9.9\",\"request\":{\"brew\":{\"cups\":2}}}\n").await;
    assert!(answer.starts_with(r#"{"error":{"message":"#) && answer.ends_with('\n'), "{answer}");
    for part in ["brew", "9.9.9", VERSION, "compact"] {
        assert!(answer.contains(part), "no {part} in {answer}");
    }
    let unknown_flag = b"{\"version\":\"9.9.9\",\"request\":{\"compact\":{\"all\":true,\"date\":null,\"dry_run\":false,\"fast\":true}}}\n";
    let answer = house.say(unknown_flag).await;
    assert!(answer.contains("fast") && answer.contains("9.9.9"), "{answer}");
    assert!(house.say(b"GET / HTTP/1.1\r\n").await.contains("this is no call"));
    house.close().await;
}

#[tokio::test]
async fn a_line_that_is_too_long_is_refused() {
    let house = House::idle().await;
    let answer = house.say(&vec![b' '; LINE_BYTES_MAX]).await;
    assert!(answer.contains("a line of more than 65536 bytes"), "{answer}");
    house.close().await;
}

#[tokio::test]
async fn a_caller_that_says_nothing_is_shown_out() {
    let mut house = House::busy().await;
    house.desk.abort();
    assert!((&mut house.desk).await.is_err(), "it was not asked to stop");
    let mut impatient = Desk::open(&house.data_dir);
    impatient.request_wait_max = Duration::from_millis(1);
    house.desk = tokio::spawn(impatient.run(house.hands.clone(), house.stop.clone()));
    let answer = house.say(b"").await;
    assert!(answer.contains("no request came within 1ms"), "{answer}");
    house.close().await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_gives_up_what_it_asked_for() {
    let house = House::busy().await;
    let mut stream = socket::connect(&house.data_dir).await.expect("a socket").expect("somebody listens");
    lines::write(&mut stream, everything().to_line()).await.expect("the desk listens");
    house.until_busy_is(true).await;
    drop(stream);
    house.until_busy_is(false).await;
    house.close().await;
}

#[tokio::test]
async fn a_second_compaction_waits_and_a_stop_ends_both_with_a_word() {
    let house = House::busy().await;
    let holder = house.holder().await;
    let first = tokio::spawn(async move { holder.ask(&everything(), |_| ()).await });
    house.until_busy_is(true).await;

    let (said, mut heard) = tokio::sync::mpsc::channel(1);
    let holder = house.holder().await;
    let say = move |line: &str| said.try_send(line.to_string()).expect("it is the only line");
    let second = tokio::spawn(async move { holder.ask(&everything(), say).await });
    assert_eq!(heard.recv().await.expect("a line"), "another compaction is under way: waiting for it");

    house.stop.cancel();
    for call in [first, second] {
        let error = call.await.expect("no panic").expect_err("it was not through");
        assert!(error.to_string().contains("the holder is stopping"), "{error:#}");
    }
    house.close().await;
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(socket_of(folder.path()), "mine").expect("a file");
    let desk = Desk::open(folder.path());
    let stop = Stop::new();
    stop.cancel();
    desk.run(House::busy().await.hands, stop).await.expect("it does without");
    assert_eq!(fs::read_to_string(socket_of(folder.path())).expect("a file"), "mine");
}

#[test]
fn a_failure_is_told_with_its_causes_and_a_halt_stays_one() {
    let told = |error: &anyhow::Error| Failure::of(error).into_error();
    let plain = anyhow!("the disk is full").context("compact");
    assert_eq!(format!("{:#}", told(&plain)), "compact: the disk is full");
    let halt = Err::<(), _>(Halt("rows differ".to_string())).context("compact").expect_err("it is one");
    assert_eq!(format!("{:#}", told(&halt)), "compact: halt: rows differ");
    assert!(told(&halt).chain().any(|cause| cause.is::<Halt>()));
    assert!(told(&Halt("bare".to_string()).into()).is::<Halt>());
    let long = anyhow!("é".repeat(TEXT_BYTES_MAX));
    assert_eq!(Failure::of(&long).message.len(), TEXT_BYTES_MAX);
}

#[test]
fn a_request_is_read_as_it_was_written() {
    for date in [None, Some(Day(20_000))] {
        let request = Request::Compact(compact::Order { date, all: date.is_none(), dry_run: true });
        assert_eq!(Request::of_line(&request.to_line()).expect("its own line"), request);
    }
    let request = Request::ForwardAgain(forward_again::Order { dry_run: true });
    assert_eq!(Request::of_line(&request.to_line()).expect("its own line"), request);
}
