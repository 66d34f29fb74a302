//! Places in a shard.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// The sequence number of a record: a decimal of any length, ordered by value, with meaning only inside its shard.
///
/// The empty position comes before every record.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Position(Arc<str>);

impl Position {
    /// Before the first record.
    pub fn start() -> Position {
        Position(Arc::from(""))
    }

    pub fn from_number(number: u64) -> Position {
        Position(Arc::from(number.to_string()))
    }

    /// Reads decimal digits without leading zeros; the empty text is the start.
    pub fn parse(text: &str) -> Option<Position> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let leading_zero = text.len() > 1 && text.starts_with('0');
        (digits && !leading_zero).then(|| Position(Arc::from(text)))
    }

    pub fn is_start(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for Position {
    fn cmp(&self, other: &Position) -> Ordering {
        let (a, b) = (&self.0, &other.0);
        a.len().cmp(&b.len()).then_with(|| a.cmp(b))
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
        for text in ["-1", "1.5", "a", "01", " 1"] {
            assert_eq!(Position::parse(text), None, "{text}");
        }
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
