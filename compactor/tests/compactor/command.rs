//! The `compactor` binary on a data directory: what one process plans, another does.

use crate::house::{House, row};
use lake::layout::{FINAL, LIVE};
use rustix::process::{Pid, Signal, kill_process};
use schema::{Day, Table};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Over by any clock.
const PAST: Day = Day(20_000);

/// Longest wait for a process to have worked.
const PATIENCE: Duration = Duration::from_secs(60);

fn binary(house: &House) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_compactor"));
    command.env_clear().arg("--data-dir").arg(house.path("log")).arg("--lake").arg(house.path("lake"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

/// Plans, and gives what was printed.
fn plan(house: &House) -> String {
    let output = binary(house).arg("plan").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_string()
}

/// Parquet files below a folder.
fn objects(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { objects(&path) } else { vec![path] };
    entries.flat_map(below).filter(|path| path.extension().is_some_and(|name| name == "parquet")).collect()
}

/// A data directory that nobody holds, with two types of a past day in two live objects.
async fn left_house() -> House {
    let house = House::new();
    for shard in 0..2u32 {
        let id = |k: u128| u128::from(shard) * 10 + k;
        let rows = [row(id(1), "page", 1, "a", id(1) as u64), row(id(2), "user", 2, "a", id(2) as u64)];
        house.write_of(Table::Events, PAST, shard, &rows).await;
    }
    house.leave();
    house
}

#[tokio::test]
async fn what_one_process_plans_another_does_and_planning_twice_is_harmless() {
    let house = left_house().await;
    assert_eq!(plan(&house), "1 plans appended, 0 open already, 2 tasks sent");
    assert_eq!(plan(&house), "0 plans appended, 1 open already, 2 tasks sent");
    assert!(objects(&house.path("lake").join(FINAL)).is_empty(), "who plans does not work");

    let worker = binary(&house).arg("work").spawn().unwrap();
    let start = Instant::now();
    while objects(&house.path("lake")).len() < 5 {
        assert!(start.elapsed() < PATIENCE, "two finals and a dropped beside two lives: not made");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    kill_process(Pid::from_child(&worker), Signal::TERM).unwrap();
    let output = worker.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));

    assert_eq!(objects(&house.path("lake").join(FINAL)).len(), 2);
    assert_eq!(plan(&house), "0 plans appended, 0 open already, 0 tasks sent");
    assert_eq!(objects(&house.path("lake").join(LIVE)).len(), 2, "their grace is not over");
}

#[tokio::test]
async fn a_plan_that_is_through_says_so_in_its_log() {
    let output = binary(&left_house().await).arg("plan").output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains("past days are planned, swept and trimmed"), "{log}");
}

#[tokio::test]
async fn a_halt_within_a_task_ends_the_process_with_its_own_code_and_names_chain_and_plan() {
    let house = left_house().await;
    plan(&house);
    let [live, ..] = objects(&house.path("lake").join(LIVE)).try_into().unwrap_or([const { PathBuf::new() }; 2]);
    std::fs::remove_file(live).unwrap();
    let output = binary(&house).arg("work").output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    let last = said.lines().last().unwrap();
    let named = format!("halt: chain plan/events/{PAST}, plan 0: live/events/");
    assert!(last.starts_with("compactor: ") && last.contains(&named), "{last}");
}

#[tokio::test]
async fn without_a_command_it_takes_tasks_too() {
    let house = left_house().await;
    plan(&house);
    let nightly = binary(&house).spawn().unwrap();
    let start = Instant::now();
    while objects(&house.path("lake").join(FINAL)).len() < 2 {
        assert!(start.elapsed() < PATIENCE, "nothing was made");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    kill_process(Pid::from_child(&nightly), Signal::TERM).unwrap();
    let output = nightly.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn its_help_names_what_it_can_do() {
    let output = binary(&House::new()).arg("--help").output().unwrap();
    let help = said(&output);
    for named in ["plan:", "work:", "run:", "--task-queue", "--task-attempts <", "[default: run]"] {
        assert!(help.contains(named), "{named}: {help}");
    }
}
