//! Days: what the lake is partitioned by.

use std::fmt;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A UTC day, counted from 1970-01-01.
///
/// Its text is `YYYY-MM-DD`; days before year 0 or after year 9999 have a text too, but it does not read back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i32);

impl Day {
    /// The day of a Unix time in microseconds.
    pub fn of(micros: i64) -> Day {
        let days = micros.div_euclid(MICROS_PER_DAY);
        Day(i32::try_from(days).expect("64 bits of microseconds span 214 million days"))
    }

    /// The first microsecond of the day.
    pub fn start_micros(self) -> i64 {
        i64::from(self.0) * MICROS_PER_DAY
    }

    /// Reads `YYYY-MM-DD`; `None` for any other shape and for days that no calendar has.
    pub fn parse(text: &str) -> Option<Day> {
        let bytes: &[u8; 10] = text.as_bytes().try_into().ok()?;
        if bytes[4] != b'-' || bytes[7] != b'-' {
            return None;
        }
        let day = Day::of_date(digits(&bytes[..4])?, digits(&bytes[5..7])?, digits(&bytes[8..])?);
        (day.to_string() == text).then_some(day)
    }

    /// Howard Hinnant's `days_from_civil`, <https://howardhinnant.github.io/date_algorithms.html>.
    fn of_date(year: i32, month: i32, day: i32) -> Day {
        let year = if month <= 2 { year - 1 } else { year };
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Day(era * DAYS_PER_ERA + day_of_era - DAYS_BEFORE_1970)
    }

    /// Year, month and day: `civil_from_days` of the same source.
    fn date(self) -> (i32, i32, i32) {
        let days = self.0 + DAYS_BEFORE_1970;
        let (era, day_of_era) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        (era * 400 + year_of_era + i32::from(month <= 2), month, day)
    }
}

/// Days of the 400 years after which the Gregorian calendar repeats.
const DAYS_PER_ERA: i32 = 146_097;

/// Days from 0000-03-01 to 1970-01-01.
const DAYS_BEFORE_1970: i32 = 719_468;

fn digits(bytes: &[u8]) -> Option<i32> {
    bytes.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i32::from(byte - b'0')))
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl fmt::Debug for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_days_have_their_names() {
        for (days, text) in [(0, "1970-01-01"), (-1, "1969-12-31"), (11_016, "2000-02-29"), (20_779, "2026-11-22")] {
            assert_eq!(Day(days).to_string(), text);
            assert_eq!(Day::parse(text), Some(Day(days)));
        }
    }

    #[test]
    fn a_day_that_no_calendar_has_is_refused() {
        for text in
            ["", "2026-02-29", "2026-13-01", "2026-00-10", "2026-1-01", "2026-11-31", "+026-11-22", "2026-11-2é"]
        {
            assert_eq!(Day::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_last_microsecond_of_a_day_belongs_to_it() {
        let day = Day::parse("2026-11-22").expect("a day");
        assert_eq!(Day::of(day.start_micros()), day);
        assert_eq!(Day::of(day.start_micros() - 1), Day(day.0 - 1));
    }

    proptest! {
        #[test]
        fn days_of_four_digit_years_read_back(days in -719_528i32..2_932_896) {
            prop_assert_eq!(Day::parse(&Day(days).to_string()), Some(Day(days)));
        }

        #[test]
        fn every_time_has_a_day_with_a_text(micros: i64) {
            let day = Day::of(micros);
            prop_assert!(day.start_micros().checked_sub(micros).is_none_or(|gap| gap <= 0));
            prop_assert!(day.to_string().len() >= 10);
        }
    }
}
