//! Reads the times that producers send, as Unix microseconds.
//!
//! A **text** is RFC 3339. A **number** is Unix time in seconds, milliseconds or microseconds, told apart by its size:
//! below 10^11 seconds (until the year 5138), below 10^14 milliseconds, below 10^17 microseconds.

/// 2000-01-01T00:00:00Z. What claims to be older comes from a clock that was never set.
pub const YEAR_2000_MICROS: i64 = 946_684_800_000_000;

const SECOND_MICROS: i64 = 1_000_000;

/// Reads `2026-11-20T08:30:00Z`, with `t`, a space, `z` or an offset as RFC 3339 allows, and up to nine decimals.
///
/// Decimals beyond the microsecond are cut off. A leap second (`:60` at the end of an hour) is read as the last
/// microsecond before it, so that it stays in its day.
pub fn parse_text(text: &str) -> Option<i64> {
    let (head, tail) = text.as_bytes().split_first_chunk::<19>()?;
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, byte)| head[at] != byte) || !matches!(head[10], b'T' | b't' | b' ') {
        return None;
    }
    let year = digits(&head[0..4])?;
    let (month, day) = (digits(&head[5..7])?, digits(&head[8..10])?);
    let (hour, minute, second) = (digits(&head[11..13])?, digits(&head[14..16])?, digits(&head[17..19])?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) || hour > 23 || minute > 59 {
        return None;
    }
    let (fraction, tail) = fraction_micros(tail)?;
    let (second, fraction) = match second {
        0..=59 => (second, fraction),
        60 if minute == 59 => (59, SECOND_MICROS - 1),
        _ => return None,
    };
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some((seconds - offset_seconds(tail)?) * SECOND_MICROS + fraction)
}

/// Reads a JSON number without exponent; decimals below the microsecond are cut off.
pub fn parse_number(text: &str) -> Option<i64> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, decimals) = text.split_once('.').map_or((text, ""), |(whole, decimals)| (whole, decimals));
    if whole.is_empty() || whole.len() > 17 {
        return None;
    }
    let unit_decimals = match whole.len() {
        ..=11 => 6,
        12..=14 => 3,
        _ => 0,
    };
    let mut micros = digits(whole.as_bytes())?;
    let mut decimals = decimals.bytes();
    for _ in 0..unit_decimals {
        micros = micros * 10 + decimals.next().map_or(Some(0), digit)?;
    }
    if !decimals.all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(if negative { -micros } else { micros })
}

fn fraction_micros(tail: &[u8]) -> Option<(i64, &[u8])> {
    const DECIMALS_MAX: usize = 9;
    let Some((b'.', tail)) = tail.split_first() else {
        return Some((0, tail));
    };
    let count = tail.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 || count > DECIMALS_MAX {
        return None;
    }
    let micros = (0..6).try_fold(0, |value, at| Some(value * 10 + if at < count { digit(tail[at])? } else { 0 }))?;
    Some((micros, &tail[count..]))
}

fn offset_seconds(tail: &[u8]) -> Option<i64> {
    match tail {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), hours @ .., b':', tens, ones] if hours.len() == 2 => {
            let (hours, minutes) = (digits(hours)?, digits(&[*tens, *ones])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = hours * 3600 + minutes * 60;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0i64, |value, &byte| Some(value * 10 + digit(byte)?))
}

fn digit(byte: u8) -> Option<i64> {
    byte.is_ascii_digit().then(|| i64::from(byte - b'0'))
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the proleptic Gregorian calendar. Source: <https://howardhinnant.github.io/date_algorithms.html>,
/// `days_from_civil`.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc_3339_texts_are_read_to_the_microsecond() {
        let read = [
            ("2000-01-01T00:00:00Z", YEAR_2000_MICROS),
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59.999999Z", -1),
            ("2026-11-20T08:30:00.5Z", 1_795_163_400_500_000),
            ("2026-11-20t08:30:00.123456789z", 1_795_163_400_123_456),
            ("2026-11-20 09:30:00+01:00", 1_795_163_400_000_000),
            ("2026-11-20T03:00:00-05:30", 1_795_163_400_000_000),
            ("2024-02-29T23:59:59-00:00", 1_709_251_199_000_000),
            ("2016-12-31T23:59:60Z", 1_483_228_799_999_999),
            ("2016-12-31T23:59:60.7Z", 1_483_228_799_999_999),
        ];
        for (text, micros) in read {
            assert_eq!(parse_text(text), Some(micros), "{text}");
        }
    }

    #[test]
    fn what_is_not_rfc_3339_is_refused() {
        for text in [
            "",
            "2026",
            "2026-11-20",
            "2026-11-20T08:30:00",
            "2026-11-20T08:30Z",
            "2026-11-20T08:30:00.Z",
            "2026-11-20T08:30:00.1234567890Z",
            "2026-11-20T08:30:00Zx",
            "2026-11-20T08:30:00+1:00",
            "2026-11-20T08:30:00+24:00",
            "2026-11-20T08:30:00+0100",
            "2026-02-29T08:30:00Z",
            "2026-13-01T08:30:00Z",
            "2026-11-00T08:30:00Z",
            "2026-11-20T24:00:00Z",
            "2026-11-20T08:60:00Z",
            "2026-11-20T08:30:60Z",
            "2026-11-20T08:59:61Z",
            "+026-11-20T08:30:00Z",
            "2026-11-2éT08:30:00Z",
            "1700000000",
        ] {
            assert_eq!(parse_text(text), None, "{text}");
        }
    }

    #[test]
    fn unix_times_are_told_apart_by_size() {
        let read = [
            ("1795163400", 1_795_163_400_000_000),
            ("1795163400.25", 1_795_163_400_250_000),
            ("1795163400.1234567", 1_795_163_400_123_456),
            ("1795163400123", 1_795_163_400_123_000),
            ("1795163400123.4567", 1_795_163_400_123_456),
            ("1795163400123456", 1_795_163_400_123_456),
            ("1795163400123456.9", 1_795_163_400_123_456),
            ("0", 0),
            ("-1.5", -1_500_000),
            ("99999999999", 99_999_999_999_000_000),
        ];
        for (text, micros) in read {
            assert_eq!(parse_number(text), Some(micros), "{text}");
        }
        for text in ["", "-", "1e9", "1795163400123456789", "1.2.3", "1.x", "true", "99999999999999999999999999"] {
            assert_eq!(parse_number(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_date_is_one_day_after_the_date_before(day in -700_000i64..3_000_000) {
            let (mut year, mut month, mut date) = (1970 + day / 366, 1, 1);
            while days_since_1970(year, month, date) < day && days_since_1970(year + 1, 1, 1) <= day { year += 1; }
            while month < 12 && days_since_1970(year, month + 1, 1) <= day { month += 1; }
            date += day - days_since_1970(year, month, 1);
            prop_assert_eq!(days_since_1970(year, month, date), day);
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = (parse_text(&text), parse_number(&text));
        }
    }
}
