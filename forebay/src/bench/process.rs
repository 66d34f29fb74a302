//! What the kernel says of a process: `/proc/<pid>`.

use anyhow::Context;
use std::time::Duration;

/// Length of a tick of the times in `/proc/<pid>/stat`. Source: proc_pid_stat(5) and `USER_HZ`, 100 on all that we run on.
const TICK: Duration = Duration::from_millis(10);

/// User and system time of all threads of a process, up to its end; a process that nobody has waited for yet keeps them.
pub(super) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    read_cpu_time(&stat).with_context(|| format!("understand {path}"))
}

/// Most memory that a process had in use so far; `None` once it is ending.
pub(super) fn peak_rss_bytes(pid: u32) -> Option<u64> {
    read_peak_rss(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// Fields 14 and 15; the second, the name in brackets, may hold blanks and brackets.
fn read_cpu_time(stat: &str) -> Option<Duration> {
    let (_, from_third) = stat.rsplit_once(')')?;
    let mut times = from_third.split_whitespace().skip(11).map(str::parse::<u32>);
    let ticks = times.next()?.ok()?.checked_add(times.next()?.ok()?)?;
    Some(TICK * ticks)
}

fn read_peak_rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let rest = "S 1 2 3 0 -1 4194304 100 200 0 0 150 25 7 8 20 0 3 0 99";
        for name in ["forebay", "a b) S 1 (c"] {
            assert_eq!(read_cpu_time(&format!("42 ({name}) {rest}")), Some(Duration::from_millis(1750)), "{name}");
        }
        for stat in ["", "42 (forebay", "42 (forebay) S 1 2", "42 (x) S 1 2 3 0 -1 4 1 2 0 0 a b"] {
            assert_eq!(read_cpu_time(stat), None, "{stat}");
        }
    }

    #[test]
    fn the_peak_is_found_among_the_lines() {
        assert_eq!(read_peak_rss("Name:\tx\nVmPeak:\t  9 kB\nVmHWM:\t   12 kB\nVmRSS:\t 3 kB\n"), Some(12 << 10));
        assert_eq!(read_peak_rss("Name:\tx\nState:\tZ (zombie)\n"), None);
    }

    #[test]
    fn this_process_has_used_memory_and_its_time_can_be_read() {
        assert!(peak_rss_bytes(std::process::id()).is_some_and(|bytes| bytes > 100_000));
        assert!(cpu_time(std::process::id()).is_ok());
    }
}
