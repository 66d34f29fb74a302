//! Places in a shard.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The sequence number of a record: a decimal of any length, compared by value, with meaning only inside its shard.
///
/// The empty position comes before every record. Zeros in front, with which some servers fill up to a width, are kept: the
/// server may compare texts.
#[derive(Clone)]
pub struct Position(Arc<str>);

impl Position {
    /// Before the first record.
    pub fn start() -> Position {
        Position(Arc::from(""))
    }

    pub fn from_number(number: u64) -> Position {
        Position(Arc::from(number.to_string()))
    }

    /// Reads decimal digits; the empty text is the start.
    pub fn parse(text: &str) -> Option<Position> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| Position(Arc::from(text)))
    }

    pub fn is_start(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digits that count. Zero keeps one.
    fn digits(&self) -> &str {
        let significant = self.0.trim_start_matches('0');
        if significant.is_empty() { &self.0[..self.0.len().min(1)] } else { significant }
    }
}

impl Ord for Position {
    fn cmp(&self, other: &Position) -> Ordering {
        let (a, b) = (self.digits(), other.digits());
        a.len().cmp(&b.len()).then_with(|| a.cmp(b))
    }
}

impl PartialEq for Position {
    fn eq(&self, other: &Position) -> bool {
        self.digits() == other.digits()
    }
}

impl Eq for Position {}

impl Hash for Position {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digits().hash(state);
    }
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Position) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(if self.is_start() { "start" } else { &self.0 })
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn positions_may_be_longer_than_any_integer() {
        let a = Position::parse("49590338271490256608559692538361571095921575989136588898").expect("digits");
        let b = Position::parse("49590338271490256608559692540925702759324208523137515618").expect("digits");
        assert!(Position::start() < a && a < b);
    }

    #[test]
    fn what_is_not_a_decimal_is_refused() {
        for text in ["-1", "1.5", "a", " 1"] {
            assert_eq!(Position::parse(text), None, "{text}");
        }
    }

    #[test]
    fn zeros_in_front_are_kept_and_do_not_count() {
        let [padded, plain, less] = ["0019", "19", "00018"].map(|text| Position::parse(text).expect("digits"));
        assert_eq!((padded.as_str(), &padded), ("0019", &plain));
        assert!(less < padded && less < plain);
        let [zero, zeros] = ["0", "000"].map(|text| Position::parse(text).expect("digits"));
        assert_eq!(zero, zeros);
        assert!(Position::start() < zeros && zeros < less && !zeros.is_start());
    }

    proptest! {
        #[test]
        fn positions_are_ordered_as_their_numbers(a: u64, b: u64) {
            prop_assert_eq!(Position::from_number(a).cmp(&Position::from_number(b)), a.cmp(&b));
            let text = Position::from_number(a);
            prop_assert_eq!(Position::parse(text.as_str()), Some(text));
        }
    }
}
