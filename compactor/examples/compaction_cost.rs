//! What compaction costs: `cargo run --release -p compactor --example compaction_cost -- [rows] [memory]`.
//!
//! Makes live objects of a week of analytics events, then compacts them, and shows the processor time of that alone.

use compactor::{Compactor, Config, Selection};
use lake::layout::ObjectName;
use lake::local::LocalLake;
use lake::{Lake, parquet_file};
use ledger::embedded::EmbeddedLedger;
use ledger::{Entry, Ledger};
use schema::rows::{RowPlace, Rows};
use schema::stored::StoredEvent;
use schema::v1::{Announcement, LakeObject, WriterEntry, WriterGenesis, writer_entry};
use schema::{ChainId, Day, EventId, Origin, ShardId, Table, record};
use service::settings::bytes;
use service::{Env, Health};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Options, Store};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DAYS: u64 = 7;
const FIRST_DAY: i32 = 20_000;
const ROWS_PER_ENTRY: u64 = 100_000;
const NAMES: [&str; 13] = [
    "page:view",
    "page:leave",
    "click:button",
    "click:link",
    "cart:add",
    "cart:remove",
    "order:placed",
    "login:ok",
    "login:failed",
    "search:query",
    "video:play",
    "video:stop",
    "app:error",
];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let rows: u64 = args.next().map_or(Ok(2_000_000), |text| text.parse())?;
    let memory_bytes_max = bytes(&args.next().unwrap_or("512MiB".to_string())).map_err(anyhow::Error::msg)?;
    let dir = tempfile::tempdir()?;
    let store = Store::open(&dir.path().join("log"), Options::new(Arc::new(|| 0), "a measurement"))?;
    let ledger: Arc<dyn Ledger> = Arc::new(EmbeddedLedger::new(Arc::new(store)));
    let lake: Arc<dyn Lake> = Arc::new(LocalLake::open(dir.path().join("lake"))?);
    write(&*ledger, &*lake, rows).await?;
    let live = stored_bytes(&*lake, "live/").await?;

    let spill_dir = Some(dir.path().join("spill"));
    let day = Duration::from_secs(86_400);
    let config =
        Config { object_bytes: 256 << 20, memory_bytes_max, spill_dir, grace: day, keep_announcements: 7 * day };
    let compactor = Compactor::new(config, ledger, lake.clone(), Env::system(), &Health::default());
    // From here on the peak is that of the compaction. Source: `proc_pid_clear_refs(5)`.
    std::fs::write("/proc/self/clear_refs", "5")?;
    println!("{} before", status("VmRSS")?);
    let (before, started) = (cpu_seconds()?, Instant::now());
    let summary = compactor.compact(Selection::All).await?;
    let (cpu, wall) = (cpu_seconds()? - before, started.elapsed().as_secs_f64());
    println!("{summary}");
    let millions = rows as f64 / 1e6;
    println!("{:.2} CPU-seconds per million rows, {wall:.1} s in all", cpu / millions);
    let made = stored_bytes(&*lake, "final/").await?;
    println!(
        "{:.1} bytes a row in live objects, {:.1} in final ones",
        live as f64 / rows as f64,
        made as f64 / rows as f64
    );
    println!("{}", status("VmHWM")?);
    Ok(())
}

async fn write(ledger: &dyn Ledger, lake: &dyn Lake, rows: u64) -> anyhow::Result<()> {
    let chain = ChainId::writer("a1", &ShardId::new("clean-0"), 0);
    append(ledger, &chain, 0, writer_entry::Entry::Genesis(WriterGenesis::default())).await?;
    for number in 1..=rows.div_ceil(ROWS_PER_ENTRY) {
        let from = (number - 1) * ROWS_PER_ENTRY;
        let mut days: Vec<Rows> = (0..DAYS).map(|_| Rows::new(Table::Events)).collect();
        for k in from..rows.min(from + ROWS_PER_ENTRY) {
            push(&mut days[(scrambled(k) % DAYS) as usize], k);
        }
        let mut objects = Vec::new();
        for (day, rows) in (FIRST_DAY..).zip(days) {
            let (bytes, identity) = parquet_file::encode(rows);
            let key = ObjectName::live(Table::Events, Day(day), &chain, number, 0).key();
            lake.create(&key, bytes).await?;
            let (table, rows_hash) =
                (Table::Events.name().to_string(), identity.rows_hash.to_be_bytes().to_vec().into());
            objects.push(LakeObject { key, table, date: day, rows: identity.rows, rows_hash });
        }
        let announcement = Announcement { objects, done_through: number + 1, ..Announcement::default() };
        append(ledger, &chain, number, writer_entry::Entry::Announcement(announcement)).await?;
    }
    Ok(())
}

fn push(rows: &mut Rows, k: u64) {
    let dice = scrambled(k);
    let origin = Origin::new(format!("a1/raw-{}/0", dice % 4));
    let day = i64::from(FIRST_DAY) + (dice % DAYS) as i64;
    let created_at = day * 86_400_000_000 + (k as i64 * 40_000 + (dice >> 40) as i64 % 3_000_000) % 86_400_000_000;
    let id = EventId(u128::from(scrambled(dice)) << 64 | u128::from(dice));
    let properties = format!(
        r#"{{"url":"https://shop.example/{}/{}","referrer":"https://search.example/","viewport":{{"w":{},"h":{}}},"ms":{},"items":[{{"sku":"{:x}","n":{}}}],"experiment":"b{}","consent":true}}"#,
        dice % 50,
        dice % 9000,
        800 + dice % 1200,
        600 + dice % 500,
        dice % 4000,
        dice % 100_000,
        dice % 5,
        dice % 3,
    );
    let (user, session) = (format!("user-{}", dice % 50_000), format!("{:016x}", dice / 20 % 1_000_000));
    let place = RowPlace { origin: &origin, ordinal: k, id, received_at: created_at + 1_000_000 };
    let event = StoredEvent {
        event_name: NAMES[(dice >> 20) as usize % NAMES.len()],
        event_type: None,
        created_at,
        source: Some("web"),
        user_id: Some(&user),
        session_id: Some(&session),
        properties: &properties,
    };
    rows.push_event(&place, &event);
}

/// SplitMix64, <https://prng.di.unimi.it/splitmix64.c>.
fn scrambled(k: u64) -> u64 {
    let z = k.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

async fn append(ledger: &dyn Ledger, chain: &ChainId, number: u64, entry: writer_entry::Entry) -> anyhow::Result<()> {
    let bytes = record::encode(&WriterEntry { entry: Some(entry) });
    Ok(ledger.append(chain, number, Entry { nonce: number.into(), bytes }).await?)
}

async fn stored_bytes(lake: &dyn Lake, prefix: &str) -> anyhow::Result<u64> {
    Ok(lake.list(prefix).await?.iter().map(|object| object.bytes).sum())
}

/// User and system time of this process. Source: `proc_pid_stat(5)`, fields 14 and 15, in hundredths of a second.
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: Vec<f64> = after_name.split_whitespace().skip(11).take(2).filter_map(|text| text.parse().ok()).collect();
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

fn status(field: &str) -> anyhow::Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    Ok(status.lines().find(|line| line.starts_with(field)).unwrap_or_default().to_string())
}
