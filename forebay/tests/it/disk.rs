//! Disks that stop taking data.

use crate::conservation::get;
use crate::pipeline::Pipeline;
use std::time::Duration;

/// Blocks of 512 or 1024 bytes that a file may have: the log gets there within seconds, and nothing else does.
const BLOCKS: u32 = 1_024;

/// The generator's load.
const LOAD: [&str; 8] = ["--rate", "2000/s", "--batch", "25", "--connections", "6", "--invalid", "2%"];

const ACCEPTED: u16 = 202;
const UNAVAILABLE: u16 = 503;

/// Posts one event after the other until nobody answers any more; what was answered.
fn post_until_nobody_answers(pipeline: &Pipeline) -> Vec<u16> {
    let event = |number: u32| {
        format!(
            r#"{{"event_id":"0192f0c1-7b6d-7e1a-8a3b-{number:012x}","event_name":"disk:full","created_at":1700000000}}"#
        )
    };
    (0..).map_while(|number| pipeline.post(&event(number))).collect()
}

#[test]
fn a_log_that_cannot_grow_refuses_events_and_ends_the_process_and_what_was_acknowledged_is_there_afterwards() {
    let pipeline = Pipeline::new();
    let generator = pipeline.generate(&LOAD);
    let up = pipeline.up_in_small_files(BLOCKS, &[]);
    let answers = post_until_nobody_answers(&pipeline);
    let ended = up.wait();

    let told = pipeline.log("up");
    assert_eq!(ended.code(), Some(3), "{told}");
    let last =
        told.lines().rfind(|line| line.starts_with("forebay: ")).unwrap_or_else(|| panic!("no error in\n{told}"));
    assert!(last.contains("log/00000001.log") && last.contains("File too large"), "{last}");
    let accepted = answers.iter().take_while(|&&status| status == ACCEPTED).count();
    let (before, after) = answers.split_at(accepted);
    assert!(!before.is_empty() && !after.is_empty(), "{answers:?}");
    assert!(after.iter().all(|&status| status == UNAVAILABLE), "{answers:?}");

    let up = pipeline.up(&[]);
    std::thread::sleep(Duration::from_secs(2));
    assert!(generator.stop().success(), "{}", pipeline.log("generate"));
    pipeline.audit_acked(&["--wait", "40s"]).assert_clean();
    assert!(up.stop().success(), "{}", pipeline.log("up"));
    let audit = pipeline.audit_acked(&[]);
    audit.assert_clean();
    assert!(audit.figure("accepted") > 1_000, "hardly any load:\n{}", audit.text);
}

#[test]
fn the_disks_with_the_log_and_with_the_lake_are_both_watched() {
    let pipeline = Pipeline::new();
    let lake = pipeline.acked().with_file_name("elsewhere");
    let _up = pipeline.up(&["--lake", lake.to_str().expect("a plain path"), "--log-bytes-max", "1GiB"]);
    let shown = get(&pipeline.address());
    let value = |metric: &str, bound: &str| -> f64 {
        let name = format!("forebay_bound_{metric}{{bound=\"{bound}\"}} ");
        let value = shown.lines().find_map(|line| line.strip_prefix(&name));
        value.unwrap_or_else(|| panic!("no {name} in\n{shown}")).parse().expect("a number")
    };
    assert!(value("used", "disk_free_bytes") > 0.0 && value("used", "lake_disk_free_bytes") > 0.0, "{shown}");
    assert!(value("limit", "disk_free_bytes") <= value("limit", "lake_disk_free_bytes"), "{shown}");
    assert_eq!(value("limit", "lake_disk_free_bytes"), f64::from(1_u32 << 30), "{shown}");
}
