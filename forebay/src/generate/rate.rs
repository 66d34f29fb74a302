//! How many, and how fast: `2M`, `300/s`, `1M/h`, `0.3/s`.
//!
//! A **rate** is kept as the two whole numbers it is written with, so that the due time of an event has no rounding that
//! adds up over days.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Fastest rate that can be asked for: above it the gaps between events vanish in the clock's own step.
const PER_SECOND_MAX: u64 = 100_000_000;

/// So many events in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    events: u64,
    per: Duration,
}

impl Rate {
    /// # Panics
    /// If either is zero.
    pub fn new(events: u64, per: Duration) -> Rate {
        assert!(events > 0 && !per.is_zero(), "a rate of {events} events in {per:?}");
        Rate { events, per }
    }

    /// Time from the start until `count` events are due.
    pub fn time_of(&self, count: u64) -> Duration {
        let nanos = u128::from(count) * self.per.as_nanos() / u128::from(self.events);
        let seconds = u64::try_from(nanos / NANOS_PER_SECOND).unwrap_or(u64::MAX);
        Duration::new(seconds, (nanos % NANOS_PER_SECOND) as u32)
    }

    /// How many events are due within `time`.
    pub fn count_in(&self, time: Duration) -> u64 {
        let count = time.as_nanos().saturating_mul(u128::from(self.events)) / self.per.as_nanos();
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let example = "as in 300/s, 60k/m or 1M/h";
        let (events, unit) = text.split_once('/').ok_or(format!("`{text}` names no unit of time, {example}"))?;
        let seconds = match unit.trim() {
            "s" => 1,
            "m" | "min" => 60,
            "h" => 3600,
            "d" => 86_400,
            other => return Err(format!("unit `{other}` is none of s, m, h, d, {example}")),
        };
        let (events, times) = ratio(events)?;
        let seconds = times.checked_mul(seconds).ok_or(format!("`{text}` has too many places"))?;
        if events / seconds > PER_SECOND_MAX {
            return Err(format!("`{text}` is above {PER_SECOND_MAX}/s"));
        }
        Ok(Rate::new(events, Duration::from_secs(seconds)))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} events/s", self.events as f64 / self.per.as_secs_f64())
    }
}

/// Reads a whole number above zero: `50000`, `50_000`, `50k`, `1.5M`, `2G`.
pub fn count(text: &str) -> Result<u64, String> {
    match parts(text) {
        Some((number, 1)) => Ok(number),
        _ => Err(format!("`{}` is not a whole number above zero, as in 50000, 50k or 2M", text.trim())),
    }
}

/// Reads a number above zero as a fraction: `0.3` is 3 in 10.
fn ratio(text: &str) -> Result<(u64, u64), String> {
    parts(text).ok_or(format!("`{}` is not a number above zero, as in 0.3, 300 or 2M", text.trim()))
}

/// A number above zero with its unit, as numerator and denominator; the latter is 1 for a whole number, else a power of ten.
fn parts(text: &str) -> Option<(u64, u64)> {
    let text = text.trim();
    let (digits, scale) = match text.chars().last()? {
        'k' | 'K' => (&text[..text.len() - 1], 1_000),
        'M' | 'm' => (&text[..text.len() - 1], 1_000_000),
        'G' | 'g' => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1),
    };
    scaled(&digits.replace('_', ""), scale).filter(|&(number, _)| number > 0)
}

/// `whole[.fraction]` times `scale`.
fn scaled(digits: &str, scale: u64) -> Option<(u64, u64)> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    if whole.is_empty() || !fraction.bytes().chain(whole.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let tenths = 10u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = fraction.parse::<u64>().ok()?.checked_mul(scale)?;
    let whole = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    if part.is_multiple_of(tenths) {
        return Some((whole.checked_add(part / tenths)?, 1));
    }
    Some((whole.checked_mul(tenths)?.checked_add(part)?, tenths))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_with_their_units() {
        for (text, expected) in [
            ("1", 1),
            ("50_000", 50_000),
            ("50k", 50_000),
            ("2M", 2_000_000),
            ("1.5M", 1_500_000),
            ("3G", 3_000_000_000),
        ] {
            assert_eq!(count(text), Ok(expected), "{text}");
        }
        for text in ["", "0", "k", "-1", "1.5", "1.2345k", "1e6", ".5k", "1.k", "99999999999G", "2MM"] {
            assert!(count(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_read_with_their_unit_of_time() {
        let read = [("300/s", 300, 1), ("60k/m", 60_000, 60), ("1M/h", 1_000_000, 3600), ("24/d", 24, 86_400)];
        for (text, events, seconds) in read {
            assert_eq!(text.parse(), Ok(Rate::new(events, Duration::from_secs(seconds))), "{text}");
        }
        for text in ["300", "0/s", "0.0/s", "/s", "./s", "300/", "300/fortnight", "-1/s", "1e-3/s", "1G/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn slow_rates_have_a_fraction() {
        for (text, events, seconds) in
            [("0.3/s", 3, 10), ("0.05/m", 5, 6000), ("1.5/h", 15, 36_000), ("1.2345k/s", 12_345, 10)]
        {
            let rate: Rate = text.parse().expect(text);
            assert_eq!(rate.time_of(events), Duration::from_secs(seconds), "{text}");
        }
    }

    #[test]
    fn due_times_do_not_drift() {
        let rate: Rate = "1M/h".parse().expect("a rate");
        assert_eq!(rate.time_of(1_000_000 * 24 * 365), Duration::from_secs(3600 * 24 * 365));
        assert_eq!(rate.time_of(1), Duration::from_micros(3600));
        for count in [0, 1, 7, 999, 123_456_789] {
            let within = rate.count_in(rate.time_of(count) + Duration::from_nanos(1));
            assert_eq!(within, count);
        }
    }
}
