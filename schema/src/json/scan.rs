//! One pass over JSON text: checks the grammar and says where things are, and copies nothing.
//!
//! **Flaw**: something that the grammar allows and an event may not have. Scanning goes on past a flaw, so that one flawed
//! event in an array costs only itself; past a syntax error nothing can be said about what follows.

use super::SyntaxError;
use crate::validate::DEPTH_MAX;
use std::ops::Range;

/// What a value is, as its first byte tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Token {
    Object,
    Array,
    /// With escapes, or without: then the text between the quotes is the value.
    String {
        escaped: bool,
    },
    Number,
    True,
    False,
    Null,
}

/// Where a value stands, quotes and brackets included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) token: Token,
}

impl Span {
    pub(crate) fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// What stands between the quotes of a string.
    pub(crate) fn inner(&self) -> Range<usize> {
        self.start + 1..self.end - 1
    }

    pub(crate) fn is_escaped(&self) -> bool {
        self.token == Token::String { escaped: true }
    }
}

/// What the grammar allows and an event may not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flaw {
    TooDeep,
    /// Half of a surrogate pair: no text can hold it, and readers of the lake would stumble over it.
    LoneSurrogate,
}

#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// First flaw since it was last taken, and where.
    flaw: Option<(Flaw, usize)>,
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGHS: u64 = ONES << 7;

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8], at: usize) -> Scanner<'a> {
        Scanner { bytes, at, flaw: None }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn is_flawed(&self) -> bool {
        self.flaw.is_some()
    }

    pub(crate) fn take_flaw(&mut self) -> Option<(Flaw, usize)> {
        self.flaw.take()
    }

    /// First byte that is not whitespace; `None` at the end.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.at) {
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// Takes `byte` if it comes next.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let next = self.peek() == Some(byte);
        self.at += usize::from(next);
        next
    }

    #[inline]
    pub(crate) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), SyntaxError> {
        if self.take(byte) { Ok(()) } else { Err(self.error(expected)) }
    }

    pub(crate) fn error(&self, expected: &'static str) -> SyntaxError {
        SyntaxError { offset: self.at, expected, at_end: self.at >= self.bytes.len() }
    }

    /// Passes over one value.
    #[inline]
    pub(crate) fn value(&mut self) -> Result<Span, SyntaxError> {
        let first = self.peek();
        let start = self.at;
        let token = match first {
            Some(b'{' | b'[') => self.container()?,
            _ => self.scalar(first)?,
        };
        Ok(Span { start, end: self.at, token })
    }

    /// Passes over a string, a key for example.
    #[inline]
    pub(crate) fn string(&mut self, expected: &'static str) -> Result<Span, SyntaxError> {
        let start = self.peek().filter(|&byte| byte == b'"').map(|_| self.at);
        let start = start.ok_or_else(|| self.error(expected))?;
        let escaped = self.string_tail()?;
        Ok(Span { start, end: self.at, token: Token::String { escaped } })
    }

    #[inline]
    fn scalar(&mut self, first: Option<u8>) -> Result<Token, SyntaxError> {
        match first {
            Some(b'"') => Ok(Token::String { escaped: self.string_tail()? }),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal(b"true", Token::True),
            Some(b'f') => self.literal(b"false", Token::False),
            Some(b'n') => self.literal(b"null", Token::Null),
            _ => Err(self.error("a value")),
        }
    }

    fn literal(&mut self, word: &'static [u8], token: Token) -> Result<Token, SyntaxError> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.error("`true`, `false` or `null`"));
        }
        self.at += word.len();
        Ok(token)
    }

    fn number(&mut self) -> Result<Token, SyntaxError> {
        self.at += usize::from(self.byte() == Some(b'-'));
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(Token::Number)
    }

    fn digits(&mut self) -> Result<(), SyntaxError> {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.error("a digit")) } else { Ok(()) }
    }

    fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Passes over a string whose opening quote comes next; says whether it has escapes.
    #[inline]
    fn string_tail(&mut self) -> Result<bool, SyntaxError> {
        self.at += 1;
        let mut escaped = false;
        loop {
            self.plain_characters();
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.error("no raw control character within a string")),
                None => return Err(self.error("`\"` at the end of a string")),
            }
        }
    }

    /// Goes to the next quote, backslash or control character, eight bytes at a time.
    #[inline]
    fn plain_characters(&mut self) {
        while let Some(chunk) = self.bytes[self.at..].first_chunk::<8>() {
            let stops = stops(u64::from_le_bytes(*chunk));
            if stops != 0 {
                self.at += stops.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
        while self.byte().is_some_and(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
            self.at += 1;
        }
    }

    fn escape(&mut self) -> Result<(), SyntaxError> {
        let start = self.at;
        self.at += 1;
        match self.byte() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let unit = self.code_unit()?;
                if (0xd800..0xe000).contains(&unit) && !self.second_surrogate(unit)? {
                    self.note(Flaw::LoneSurrogate, start);
                }
            }
            _ => return Err(self.error("a valid escape")),
        }
        Ok(())
    }

    /// Reads `uXXXX`.
    fn code_unit(&mut self) -> Result<u16, SyntaxError> {
        let mut unit = 0;
        for place in 1..=4 {
            let digit = self.bytes.get(self.at + place).and_then(|&byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                self.at = self.bytes.len().min(self.at + place);
                return Err(self.error("four hex digits"));
            };
            unit = unit << 4 | digit as u16;
        }
        self.at += 5;
        Ok(unit)
    }

    /// Takes the second half of a pair, if `first` is a first half and the second follows.
    fn second_surrogate(&mut self, first: u16) -> Result<bool, SyntaxError> {
        if first >= 0xdc00 || !self.bytes[self.at..].starts_with(b"\\u") {
            return Ok(false);
        }
        let before = self.at;
        self.at += 1;
        let paired = (0xdc00..0xe000).contains(&self.code_unit()?);
        if !paired {
            self.at = before;
        }
        Ok(paired)
    }

    fn note(&mut self, flaw: Flaw, at: usize) {
        self.flaw.get_or_insert((flaw, at));
    }

    /// Passes over an object or array, however deep, without recursion.
    fn container(&mut self) -> Result<Token, SyntaxError> {
        let token = if self.byte() == Some(b'{') { Token::Object } else { Token::Array };
        let mut nesting = Nesting::default();
        self.open(&mut nesting);
        let mut fresh = true;
        loop {
            if !(fresh && self.take(nesting.closing())) {
                if nesting.in_object() {
                    self.string("a key in double quotes")?;
                    self.expect(b':', "`:`")?;
                }
                match self.peek() {
                    Some(b'{' | b'[') => {
                        self.open(&mut nesting);
                        fresh = true;
                        continue;
                    }
                    first => self.scalar(first)?,
                };
            } else if nesting.close() {
                return Ok(token);
            }
            loop {
                if self.take(b',') {
                    fresh = false;
                    break;
                }
                if !self.take(nesting.closing()) {
                    return Err(self.error(if nesting.in_object() { "`,` or `}`" } else { "`,` or `]`" }));
                }
                if nesting.close() {
                    return Ok(token);
                }
            }
        }
    }

    fn open(&mut self, nesting: &mut Nesting) {
        nesting.open(self.byte() == Some(b'{'));
        // The event itself is one level more.
        if nesting.depth + 1 > DEPTH_MAX {
            self.note(Flaw::TooDeep, self.at);
        }
        self.at += 1;
    }
}

/// High bits of the bytes at which a run of plain characters may stop; the lowest one set is exact.
fn stops(chunk: u64) -> u64 {
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word;
    let quotes = zero_bytes(chunk ^ (ONES * u64::from(b'"')));
    let backslashes = zero_bytes(chunk ^ (ONES * u64::from(b'\\')));
    let controls = chunk.wrapping_sub(ONES * 0x20) & !chunk;
    (quotes | backslashes | controls) & HIGHS
}

/// Which containers are open: a bit each, set for an object.
#[derive(Default)]
struct Nesting {
    depth: usize,
    /// The innermost 64, last one lowest.
    innermost: u64,
    /// The others, in words of 64.
    outer: Vec<u64>,
}

impl Nesting {
    fn open(&mut self, object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.outer.push(self.innermost);
        }
        self.innermost = self.innermost << 1 | u64::from(object);
        self.depth += 1;
    }

    /// Closes the innermost; says whether it was the last.
    fn close(&mut self) -> bool {
        self.innermost >>= 1;
        self.depth -= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.innermost = self.outer.pop().expect("a word was pushed when this depth was passed");
        }
        self.depth == 0
    }

    fn in_object(&self) -> bool {
        self.innermost & 1 == 1
    }

    fn closing(&self) -> u8 {
        if self.in_object() { b'}' } else { b']' }
    }
}

/// Appends the text of an escaped string to `out`; `inner` is what stands between the quotes.
///
/// # Panics
/// If `inner` did not pass the scanner without a flaw.
pub(crate) fn unescape(inner: &str, out: &mut String) {
    let mut rest = inner;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let escape = rest.as_bytes()[at + 1];
        rest = &rest[at + 2..];
        out.push(match escape {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => take_unicode(&mut rest),
            literal => char::from(literal),
        });
    }
    out.push_str(rest);
}

fn take_unicode(rest: &mut &str) -> char {
    let mut unit = || {
        let (digits, tail) = rest.split_at(4);
        *rest = tail.strip_prefix("\\u").filter(|_| is_first_surrogate(digits)).unwrap_or(tail);
        u16::from_str_radix(digits, 16).expect("the scanner saw four hex digits")
    };
    let first = unit();
    let units = [first, if (0xd800..0xdc00).contains(&first) { unit() } else { 0 }];
    char::decode_utf16(units).next().and_then(Result::ok).expect("the scanner saw whole pairs only")
}

fn is_first_surrogate(digits: &str) -> bool {
    matches!(digits.as_bytes(), [b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B', ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accepts(text: &str) -> bool {
        let mut scanner = Scanner::new(text.as_bytes(), 0);
        scanner.value().is_ok() && scanner.peek().is_none() && scanner.take_flaw().is_none()
    }

    fn string_value(text: &str) -> Option<String> {
        let mut scanner = Scanner::new(text.as_bytes(), 0);
        let span = scanner.string("a string").ok()?;
        let whole = scanner.peek().is_none() && scanner.take_flaw().is_none();
        let mut value = String::new();
        whole.then(|| unescape(&text[span.inner()], &mut value)).map(|()| value)
    }

    /// Text made of the pieces JSON is made of, valid now and then.
    fn nearly_json() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\"a\"",
            "\"a\":",
            "1",
            "-",
            "0",
            ".5",
            "e3",
            "true",
            "false",
            "null",
            " ",
            "\n",
            "\t",
            "\\n",
            "\\\"",
            "\\u0041",
            "\\ud83d",
            "\\ude00",
            "é",
            "\u{1}",
            "{\"k\":1}",
            "[1,2]",
            "x",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn scanner_and_serde_json_accept_the_same_texts(text in nearly_json()) {
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            let grammatical = theirs.map_or_else(|error| error.to_string().contains("number out of range"), |_| true);
            prop_assert_eq!(accepts(&text), grammatical, "{}", text);
        }

        #[test]
        fn strings_read_as_serde_json_reads_them(inner in r#"([a-z"é😀 ]|\\["\\/bfnrt]|\\u00[0-9a-f]{2}|\\u[dD][89aB][0-9a-f]{2}|\\u[dD][c-fC][0-9]{2}|\\u2028|\\u\+123){0,12}"#) {
            let text = format!("\"{inner}\"");
            prop_assert_eq!(string_value(&text), serde_json::from_str::<String>(&text).ok(), "{}", text);
        }

        #[test]
        fn the_first_stop_is_found_wherever_it_is(bytes: Vec<u8>) {
            let mut scanner = Scanner::new(&bytes, 0);
            scanner.plain_characters();
            let expected = bytes.iter().position(|&byte| byte < b' ' || byte == b'"' || byte == b'\\');
            prop_assert_eq!(scanner.at(), expected.unwrap_or(bytes.len()));
        }

        #[test]
        fn any_bytes_are_scanned_without_a_panic(bytes: Vec<u8>) {
            let _ = Scanner::new(&bytes, 0).value();
        }
    }

    #[test]
    fn nesting_is_passed_over_however_deep_and_noted_beyond_the_bound() {
        for depth in [DEPTH_MAX - 1, DEPTH_MAX, 200, 100_000] {
            let text = format!("{}{}", "[{\"a\":".repeat(depth / 2), "[".repeat(depth % 2));
            let text = format!("{text}0{}{}", "]".repeat(depth % 2), "}]".repeat(depth / 2));
            let mut scanner = Scanner::new(text.as_bytes(), 0);
            assert!(scanner.value().is_ok() && scanner.peek().is_none(), "depth {depth}");
            assert_eq!(scanner.take_flaw().is_some(), depth + 1 > DEPTH_MAX, "depth {depth}");
        }
    }
}
