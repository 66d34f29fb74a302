//! Numbers and times as text, without the formatting machinery: this is most of what making an event costs.

const DAY_MS: i64 = 86_400_000;

pub(super) fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

pub(super) fn put_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// As 16 lower-case hex digits.
pub(super) fn put_hex(out: &mut Vec<u8>, number: u64) {
    let digit = |k: u32| b"0123456789abcdef"[(number >> (60 - 4 * k) & 15) as usize];
    out.extend_from_slice(&std::array::from_fn::<u8, 16, _>(|k| digit(k as u32)));
}

/// Unix time in milliseconds as RFC 3339 in UTC. Years have four digits, which made-up times keep to.
pub(super) fn put_timestamp(out: &mut Vec<u8>, unix_ms: i64) {
    let (day, ms) = (unix_ms.div_euclid(DAY_MS), unix_ms.rem_euclid(DAY_MS));
    let (year, month, date) = civil(day);
    let two = |number: i64| [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8];
    let mut text = *b"0000-00-00T00:00:00.000Z";
    text[0..2].copy_from_slice(&two(year / 100));
    text[2..4].copy_from_slice(&two(year));
    text[5..7].copy_from_slice(&two(month));
    text[8..10].copy_from_slice(&two(date));
    text[11..13].copy_from_slice(&two(ms / 3_600_000));
    text[14..16].copy_from_slice(&two(ms / 60_000 % 60));
    text[17..19].copy_from_slice(&two(ms / 1000 % 60));
    text[20] = b'0' + (ms / 100 % 10) as u8;
    text[21..23].copy_from_slice(&two(ms));
    out.extend_from_slice(&text);
}

/// Year, month and day of a day counted from 1970-01-01. Source: `civil_from_days` in
/// <https://howardhinnant.github.io/date_algorithms.html>
fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, date)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(put: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        put(&mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_writes_them() {
        for number in [0, 1, 9, 10, 99, 12_345, u64::MAX] {
            assert_eq!(written(|out| put_decimal(out, number)), number.to_string());
            assert_eq!(written(|out| put_hex(out, number)), format!("{number:016x}"));
        }
    }

    #[test]
    fn times_are_written_as_date_writes_them() {
        // date -u -d @SECONDS +%FT%T
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_868_799_120, "2000-02-29T23:59:59.120Z"),
            (1_767_225_600_000, "2026-01-01T00:00:00.000Z"),
            (4_107_542_399_001, "2100-02-28T23:59:59.001Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(written(|out| put_timestamp(out, unix_ms)), text);
        }
    }
}
