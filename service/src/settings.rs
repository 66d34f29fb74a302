//! Readers for the values of settings: what can't be meant can't be parsed.

use std::time::Duration;

/// Reads `10s`, `5m`, `24h`, `1h 30m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

/// Reads a number of bytes: `65536`, `256KiB`, `64MB`, `1.5GiB`.
pub fn bytes(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    let number: f64 = number.parse().map_err(|_| format!("`{text}` is not a number of bytes, as in 64MiB"))?;
    let bytes = number * unit_bytes(unit.trim())?;
    if bytes.fract() != 0.0 || bytes >= 2f64.powi(52) {
        return Err(format!("`{text}` is not a whole number of bytes below 4 PiB"));
    }
    Ok(bytes as usize)
}

fn unit_bytes(unit: &str) -> Result<f64, String> {
    let (k, ki) = (1000f64, 1024f64);
    Ok(match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => k,
        "kib" => ki,
        "m" | "mb" => k * k,
        "mib" => ki * ki,
        "g" | "gb" => k * k * k,
        "gib" => ki * ki * ki,
        _ => return Err(format!("unit `{unit}` is none of B, KB, KiB, MB, MiB, GB, GiB")),
    })
}

/// Reads `5%` or `0.05` as a fraction from 0 to 1.
pub fn fraction(text: &str) -> Result<f64, String> {
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let value: f64 = number.trim().parse().map_err(|_| format!("`{text}` is not a fraction, as in 5% or 0.05"))?;
    let value = value / scale;
    (0.0..=1.0).contains(&value).then_some(value).ok_or(format!("`{text}` is not between 0 and 100%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_sizes_are_read_with_their_units() {
        let read =
            [("65536", 65536), ("256KiB", 262_144), ("64MB", 64_000_000), ("1.5GiB", 1_610_612_736), ("2 kb", 2000)];
        for (text, expected) in read {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "x", "-1", "1.5", "5 parsecs", "9e99", "1e3"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fractions_are_read_as_percent_or_number() {
        assert_eq!(fraction("5%"), Ok(0.05));
        assert_eq!(fraction("1"), Ok(1.0));
        for text in ["101%", "-1", "2", "x%", "NaN"] {
            assert!(fraction(text).is_err(), "{text}");
        }
    }
}
