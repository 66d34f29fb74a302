//! Many worlds, on all processors: each is a function of its seed alone, so it does not matter where it runs.

use crate::run::{Report, run};
use crate::scenario::Scenario;
use crate::world::Keep;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs the worlds of `seeds` and shows each report, in no particular order.
pub fn for_each_seed(seeds: Range<u64>, scenario_of: impl Fn(u64) -> Scenario + Sync, each: impl FnMut(Report) + Send) {
    let (next, each) = (AtomicU64::new(seeds.start), Mutex::new(each));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let report = run(seed, scenario_of(seed), Keep::HashOnly);
                    (each.lock().expect("nobody panics while showing a report"))(report);
                }
            });
        }
    });
}

/// The first of `seeds` whose world breaks the promise in one of these ways, as `loss live` or `dup final`.
pub fn first_that_shows(ways: &[&str], seeds: Range<u64>, scenario: Scenario) -> Option<Report> {
    let mut reports = seeds.map(|seed| run(seed, scenario, Keep::HashOnly));
    reports.find(|report| report.shows(ways))
}

/// The schedule of a world that has been judged: step, actor, call and what became of it, line by line.
pub fn schedule_of(report: &Report) -> Vec<String> {
    run(report.seed, report.scenario, Keep::Lines).schedule
}
