//! The promise, in as many worlds as a test run has time for.

use simulation::{Keep, PROTOCOL, Report, Scenario, Statistics, first_that_shows, for_each_seed, run, schedule_of};
use std::path::Path;

/// Seeds of each kind of world; nights run many more.
const SEEDS: u64 = 64;

fn holds(name: &str) -> Statistics {
    let scenario = Scenario::named(name).expect("the scenario exists");
    let (mut complaints, mut statistics) = (Vec::new(), Statistics::new());
    for_each_seed(
        0..SEEDS,
        |_| scenario,
        |report: Report| {
            if !report.findings.is_empty() {
                complaints.push(format!("{}\n  its schedule is in {}", report.complaint(), kept_schedule(&report)));
            }
            report.statistics.iter().for_each(|(what, count)| *statistics.entry(what).or_default() += count);
        },
    );
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    statistics
}

/// Writes down what happened in the world of a report, and where.
fn kept_schedule(report: &Report) -> String {
    let name = format!("schedule-{}-{}.txt", report.scenario.name, report.seed);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, schedule_of(report).join("\n")).expect("the target directory can be written");
    path.display().to_string()
}

/// What every kind of world must have met, or its verdict says little.
const MET: &[(&str, u64)] = &[
    ("accepted", 40 * SEEDS),
    ("copies", 60 * SEEDS),
    ("conflicts", SEEDS),
    ("kills", 10 * SEEDS),
    ("pauses", 10 * SEEDS),
    ("stops", SEEDS),
    ("reshards", 2 * SEEDS),
    ("strays", SEEDS),
    ("refused calls", 5 * SEEDS),
    ("lost answers", 5 * SEEDS),
    ("late landings", 5 * SEEDS),
    ("partial appends", SEEDS),
    ("lost races", 5 * SEEDS),
    ("owners that forwarded again", SEEDS),
    ("owners that derived again", SEEDS),
    ("plans", 2 * SEEDS),
    ("swept objects", SEEDS),
    ("owners that linger", 50 * SEEDS),
    ("outages", SEEDS / 2),
    ("calls amid an outage", 20 * SEEDS),
    ("owners that lost patience", SEEDS / 2),
    ("voided events", SEEDS / 4),
    ("voided events that came again", 3),
    ("owners that recalled voids", 3),
    ("foreign records", 1),
    ("resurrected objects", 1),
];

fn assert_met(statistics: &Statistics) {
    for (what, least) in MET {
        let count = statistics.get(what).copied().unwrap_or(0);
        assert!(count >= *least, "only {count} {what}: {statistics:?}");
    }
}

#[test]
fn the_promise_holds_with_an_endless_window() {
    assert_met(&holds("protocol"));
}

#[test]
fn the_promise_holds_where_every_owner_has_a_window_of_its_own() {
    let statistics = holds("windows-varied");
    assert_met(&statistics);
    assert!(statistics["excused duplicates"] > 0, "{statistics:?}");
}

#[test]
fn the_promise_holds_where_producers_use_any_key() {
    assert_met(&holds("keys-arbitrary"));
}

#[test]
fn the_promise_holds_with_a_window_of_an_hour() {
    let statistics = holds("window-of-an-hour");
    assert_met(&statistics);
    assert!(statistics["excused duplicates"] > 0, "{statistics:?}");
}

#[test]
fn the_promise_holds_where_the_window_has_too_little_memory() {
    let statistics = holds("window-cramped");
    assert_met(&statistics);
    assert!(statistics["excused duplicates"] > 0, "{statistics:?}");
}

#[test]
fn a_seed_gives_the_same_schedule_every_time() {
    for (seed, scenario) in (1_000..).zip(PROTOCOL) {
        let (once, again) = (run(seed, *scenario, Keep::Lines), run(seed, *scenario, Keep::Lines));
        let differs = once.schedule.iter().zip(&again.schedule).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(once.schedule_hash, again.schedule_hash, "seed {seed}");
        assert_eq!(once.statistics, again.statistics, "seed {seed}");
        assert_eq!(once.schedule_hash, run(seed, *scenario, Keep::HashOnly).schedule_hash, "seed {seed}");
    }
}

#[test]
fn another_seed_gives_another_schedule() {
    let [one, other] = [1, 2].map(|seed| run(seed, PROTOCOL[0], Keep::HashOnly).schedule_hash);
    assert_ne!(one, other);
}

/// Each rule of PROTOCOL.md's table of rules switched off.
mod switched_off {
    use super::*;

    /// Seeds within which a missing rule must show.
    const SEEDS_MAX: u64 = 300;

    const LOSS_LIVE: &str = "loss live";
    const DUP_LIVE: &str = "dup live";
    const LOSS_FINAL: &str = "loss final";
    const DUP_FINAL: &str = "dup final";

    /// A rule that is missing shows in one of these ways, which that table names: in events, and not only in an owner that
    /// halts or an audit that complains.
    fn breaks(name: &str, ways: &[&str]) -> Report {
        let scenario = Scenario::named(name).expect("the scenario exists");
        let report = first_that_shows(ways, 0..SEEDS_MAX, scenario);
        let report = report.unwrap_or_else(|| panic!("{SEEDS_MAX} seeds did not show {ways:?}: {name}"));
        println!("{name}: {}", report.complaint());
        report
    }

    /// As [`breaks`], and the product's own audit says one of these.
    fn breaks_and_is_told(name: &str, ways: &[&str], told: &[&str]) {
        let report = breaks(name, ways);
        assert!(report.shows(told), "the audit does not say {told:?}: {}", report.complaint());
    }

    #[test]
    fn a_plan_chain_without_compare_and_swap_breaks_the_promise() {
        breaks_and_is_told(
            "plan-chain-without-cas",
            &[LOSS_FINAL, DUP_FINAL],
            &["forebay audit: unbalanced plan", "forebay audit: missing"],
        );
    }

    #[test]
    fn a_dedup_chain_without_compare_and_swap_breaks_the_promise() {
        breaks("dedup-chain-without-cas", &[LOSS_LIVE, DUP_LIVE, LOSS_FINAL]);
    }

    #[test]
    fn taking_a_conflict_for_created_breaks_the_promise() {
        breaks_and_is_told("conflict-taken-as-created", &[LOSS_LIVE, LOSS_FINAL], &["forebay audit: missing object"]);
    }

    #[test]
    fn restoring_a_chain_from_a_backup_breaks_the_promise() {
        breaks("chain-restored-from-a-backup", &[LOSS_LIVE, DUP_LIVE, LOSS_FINAL]);
    }

    /// Rules inside the services can be switched off in builds with debug assertions only.
    #[cfg(debug_assertions)]
    mod in_the_services {
        use super::{DUP_LIVE, LOSS_FINAL, LOSS_LIVE, breaks, breaks_and_is_told};

        #[test]
        fn acting_before_the_decision_is_recorded_breaks_the_promise() {
            breaks("act-before-the-decision-is-recorded", &[LOSS_LIVE, DUP_LIVE, LOSS_FINAL]);
        }

        #[test]
        fn not_forwarding_the_head_entry_again_breaks_the_promise() {
            breaks_and_is_told("head-entry-not-forwarded-again", &[LOSS_LIVE, LOSS_FINAL], &["forebay audit: missing"]);
        }

        #[test]
        fn saying_forwarded_too_early_breaks_the_promise() {
            breaks("forwarded-through-too-early", &[LOSS_LIVE, LOSS_FINAL]);
        }

        #[test]
        fn a_high_water_mark_instead_of_an_interval_set_breaks_the_promise() {
            breaks_and_is_told(
                "high-water-mark-instead-of-interval-set",
                &[LOSS_LIVE, LOSS_FINAL],
                &["forebay audit: missing"],
            );
        }

        #[test]
        fn naming_parts_by_index_while_packing_differs_breaks_the_promise() {
            breaks("parts-named-by-index-while-packing-differs", &[LOSS_LIVE, DUP_LIVE, LOSS_FINAL]);
        }

        #[test]
        fn sets_that_are_not_inherited_break_the_promise() {
            breaks_and_is_told("sets-not-inherited", &[DUP_LIVE], &["forebay audit: twice"]);
        }

        #[test]
        fn a_child_before_its_parents_end_breaks_the_promise() {
            breaks("child-before-parents-end", &[LOSS_LIVE, DUP_LIVE, LOSS_FINAL]);
        }

        #[test]
        fn random_routing_breaks_the_promise() {
            breaks_and_is_told("random-routing", &[DUP_LIVE], &["forebay audit: twice"]);
        }

        #[test]
        fn deciding_strays_where_they_land_breaks_the_promise() {
            breaks_and_is_told("strays-decided-where-they-land", &[DUP_LIVE], &["forebay audit: accepted twice"]);
        }

        #[test]
        fn dropping_strays_breaks_the_promise() {
            breaks_and_is_told("strays-dropped", &[LOSS_LIVE, LOSS_FINAL], &["forebay audit: acknowledged, not there"]);
        }

        #[test]
        fn an_end_that_does_not_wait_for_strays_breaks_the_promise() {
            breaks("end-not-waiting-for-strays", &[LOSS_LIVE, LOSS_FINAL]);
        }

        #[test]
        fn putting_strays_under_the_old_point_breaks_the_promise() {
            breaks("strays-under-the-old-point", &[LOSS_LIVE, LOSS_FINAL]);
        }

        #[test]
        fn pruning_the_window_at_its_width_breaks_the_promise() {
            breaks("window-pruned-at-its-width", &[DUP_LIVE]);
        }

        #[test]
        fn announcing_after_the_upload_breaks_the_promise() {
            breaks_and_is_told("announce-after-upload", &[DUP_LIVE], &["forebay audit: stray object"]);
        }

        #[test]
        fn not_finishing_what_was_announced_breaks_the_promise() {
            breaks_and_is_told(
                "announced-never-finished",
                &[LOSS_LIVE, LOSS_FINAL],
                &["forebay audit: missing object"],
            );
        }

        #[test]
        fn planning_from_a_listing_breaks_the_promise() {
            breaks("plans-from-a-listing", &[LOSS_FINAL]);
        }

        #[test]
        fn a_window_that_is_not_inherited_breaks_the_promise() {
            breaks_and_is_told("window-not-inherited", &[DUP_LIVE], &["forebay audit: accepted twice"]);
        }

        #[test]
        fn an_end_before_all_is_forwarded_breaks_the_promise() {
            breaks("end-before-all-is-forwarded", &[LOSS_LIVE, LOSS_FINAL]);
        }
    }
}
