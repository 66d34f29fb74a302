//! Part b: compaction of the lake that part a left.

use super::bytes_below;
use super::child::Child;
use super::input::Input;
use super::path::audit;
use super::report::Row;
use std::ffi::OsStr;
use std::path::Path;
use std::time::Instant;

pub(super) fn measure(input: &Input, data_dir: &Path) -> anyhow::Result<Row> {
    let log = data_dir.with_extension("compact.log");
    let args = [OsStr::new("compact"), OsStr::new("--all"), OsStr::new("--data-dir"), data_dir.as_os_str()];
    let start = Instant::now();
    let usage = Child::start(&log, &args)?.finish()?;
    let took = start.elapsed();
    audit(data_dir)?;
    let rows = input.counts.rows();
    let [live_bytes, final_bytes] =
        ["live", "final"].map(|root| bytes_below(&data_dir.join("lake").join(root).join("events")));
    let per_event = |bytes: u64| bytes as f64 / input.counts.fresh as f64;
    Ok(Row {
        part: "b",
        what: "compaction of that, live/ to final/".to_string(),
        events: rows,
        cpu_seconds_per_million: usage.cpu.as_secs_f64() * 1e6 / rows as f64,
        events_per_second: rows as f64 / took.as_secs_f64(),
        peak_rss_bytes: usage.peak_rss_bytes,
        bytes_per_event: Some(per_event(final_bytes?)),
        note: format!("from {:.1} bytes an event", per_event(live_bytes?)),
    })
}
