//! Splits a request body into events: one object, an array of them, or one a line.
//!
//! **Item**: what stands where an event should, valid or not. An array is walked as it is parsed, so where its grammar
//! breaks the whole body is refused; lines stand for themselves, and a broken one costs only itself.

use super::SyntaxError;
use super::event::{EventReader, Scanned};
use super::scan::Scanner;
use crate::validate::{ORIGINAL_BYTES_MAX, Rejection, Rules, Valid};
use memchr::{memchr_iter, memrchr};
use thiserror::Error;

/// How a body is laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// One object, or an array of objects.
    Json,
    /// One object a line; empty lines are passed over.
    Lines,
    /// Lines where the first one is a value of its own and more follow, else JSON.
    Unknown,
}

/// What every item of a body is measured by.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    pub rules: Rules,
    /// Unix time in microseconds.
    pub now: i64,
    pub items_max: usize,
}

/// What stands where an event should.
#[derive(Debug)]
pub struct Item<'a> {
    /// Place in the body, from 0.
    pub index: u32,
    /// As sent, without the whitespace around it.
    pub original: &'a [u8],
    pub outcome: Result<Valid<'a>, Rejection>,
}

/// What a body turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Walked {
    pub items: u32,
    /// The body was one event, not a batch of one.
    pub is_single: bool,
}

/// A body that is refused as a whole.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
pub enum BodyRefused {
    #[error("line {line}, column {column}: {error}")]
    Syntax { line: usize, column: usize, error: SyntaxError },
    #[error("event {index} has {bytes} bytes, more than the {ORIGINAL_BYTES_MAX} that even quarantine can keep")]
    ItemTooLarge { index: u32, bytes: usize },
    #[error("more than {items_max} events in one request")]
    TooMany { items_max: usize },
}

/// Calls `each` with every item of the body, in order.
///
/// # Errors
/// The body is refused as a whole; what `each` was called with until then counts for nothing.
pub fn for_each_item(
    reader: &mut EventReader,
    body: &[u8],
    layout: Layout,
    measure: &Measure,
    each: impl FnMut(Item<'_>),
) -> Result<Walked, BodyRefused> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut walk = Walk { body, measure, each, items: 0, places: Places::default() };
    let is_single = match layout {
        Layout::Lines => walk.lines(reader)?,
        Layout::Unknown if has_a_value_in_its_first_line(reader, body) => walk.lines(reader)?,
        Layout::Json | Layout::Unknown if body.trim_ascii_start().starts_with(b"[") => walk.array(reader)?,
        Layout::Json | Layout::Unknown => walk.one(reader)?,
    };
    Ok(Walked { items: walk.items, is_single })
}

fn has_a_value_in_its_first_line(reader: &mut EventReader, body: &[u8]) -> bool {
    let body = body.trim_ascii();
    let first_line = memchr::memchr(b'\n', body).map(|end| &body[..end]);
    first_line.is_some_and(|line| reader.scan_whole(line).is_ok())
}

struct Walk<'b, E> {
    body: &'b [u8],
    measure: &'b Measure,
    each: E,
    items: u32,
    places: Places,
}

impl<E: FnMut(Item<'_>)> Walk<'_, E> {
    fn one(&mut self, reader: &mut EventReader) -> Result<bool, BodyRefused> {
        let scanned = reader.scan_whole(self.body).map_err(|error| self.refuse(error))?;
        self.emit(reader, &scanned)?;
        Ok(true)
    }

    fn array(&mut self, reader: &mut EventReader) -> Result<bool, BodyRefused> {
        let mut scanner = Scanner::new(self.body, 0);
        scanner.expect(b'[', "`[`").map_err(|error| self.refuse(error))?;
        if !scanner.take(b']') {
            loop {
                let scanned = reader.scan(&mut scanner, self.body).map_err(|error| self.refuse(error))?;
                self.emit(reader, &scanned)?;
                if !scanner.take(b',') {
                    break scanner.expect(b']', "`,` or `]`").map_err(|error| self.refuse(error))?;
                }
            }
        }
        match scanner.peek() {
            None => Ok(false),
            Some(_) => Err(self.refuse(scanner.error("nothing after the array"))),
        }
    }

    fn lines(&mut self, reader: &mut EventReader) -> Result<bool, BodyRefused> {
        let body = self.body;
        let mut start = 0;
        for end in memchr_iter(b'\n', body).chain([body.len()]) {
            let line = body[start..end].trim_ascii();
            if !line.is_empty() {
                let leading = body[start..end].len() - body[start..end].trim_ascii_start().len();
                self.line(reader, start + leading, line)?;
            }
            start = end + 1;
        }
        Ok(false)
    }

    fn line(&mut self, reader: &mut EventReader, start: usize, line: &[u8]) -> Result<(), BodyRefused> {
        let index = self.admit(line.len())?;
        let outcome = match reader.scan_whole(line) {
            Ok(scanned) => reader.check(line, &scanned, &self.measure.rules, self.measure.now),
            Err(error) => Err(reader.not_json(line, error)),
        };
        let outcome = outcome.map_err(|rejection| self.places.tell(self.body, start, rejection));
        (self.each)(Item { index, original: line, outcome });
        Ok(())
    }

    fn emit(&mut self, reader: &mut EventReader, scanned: &Scanned) -> Result<(), BodyRefused> {
        let original = &self.body[scanned.range.clone()];
        let index = self.admit(original.len())?;
        let outcome = reader.check(self.body, scanned, &self.measure.rules, self.measure.now);
        let outcome = outcome.map_err(|rejection| self.places.tell(self.body, 0, rejection));
        (self.each)(Item { index, original, outcome });
        Ok(())
    }

    /// Gives the next item its index.
    fn admit(&mut self, bytes: usize) -> Result<u32, BodyRefused> {
        let index = self.items;
        let items_max = self.measure.items_max;
        if bytes > ORIGINAL_BYTES_MAX {
            return Err(BodyRefused::ItemTooLarge { index, bytes });
        }
        if index as usize >= items_max {
            return Err(BodyRefused::TooMany { items_max });
        }
        self.items += 1;
        Ok(index)
    }

    fn refuse(&mut self, error: SyntaxError) -> BodyRefused {
        let (line, column) = self.places.locate(self.body, error.offset);
        BodyRefused::Syntax { line, column, error }
    }
}

/// Turns ascending offsets into lines and columns, looking at every byte once.
#[derive(Default)]
struct Places {
    seen: usize,
    newlines: usize,
}

impl Places {
    /// Line and column in bytes, both from 1.
    fn locate(&mut self, body: &[u8], offset: usize) -> (usize, usize) {
        let offset = offset.min(body.len());
        self.newlines += memchr_iter(b'\n', &body[self.seen.min(offset)..offset]).count();
        self.seen = self.seen.max(offset);
        let line_start = memrchr(b'\n', &body[..offset]).map_or(0, |newline| newline + 1);
        (self.newlines + 1, offset - line_start + 1)
    }

    /// Puts line and column before the message of a rejection that is about a place in the text.
    fn tell(&mut self, body: &[u8], start: usize, mut rejection: Rejection) -> Rejection {
        if let Some(at) = rejection.at.take() {
            let (line, column) = self.locate(body, start + at);
            rejection.message = format!("line {line}, column {column}: {}", rejection.message);
        }
        rejection
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;
    use proptest::prelude::*;

    const MEASURE: Measure = Measure {
        rules: Rules { event_bytes_max: 1000, ahead_micros_max: 0, age_micros_max: None },
        now: 1_795_163_400_000_000,
        items_max: 5,
    };

    fn event(k: u32) -> String {
        format!(r#"{{"event_id":"0192f0c1-7b6d-7e1a-8a3b-{k:012}","event_name":"a:b","created_at":1795163400}}"#)
    }

    /// Originals, and the reasons of those that are rejected.
    type Seen = Vec<(String, Option<Reason>)>;

    fn walk(body: impl AsRef<[u8]>, layout: Layout) -> Result<(Seen, bool), BodyRefused> {
        let mut seen = Seen::new();
        let walked = for_each_item(&mut EventReader::default(), body.as_ref(), layout, &MEASURE, |item| {
            assert_eq!(item.index as usize, seen.len());
            let reason = item.outcome.err().map(|rejection| rejection.reason);
            seen.push((String::from_utf8_lossy(item.original).into_owned(), reason));
        })?;
        Ok((seen, walked.is_single))
    }

    fn valid(k: u32) -> (String, Option<Reason>) {
        (event(k), None)
    }

    #[test]
    fn one_object_is_single_and_an_array_is_not() {
        assert_eq!(walk(format!(" {} ", event(1)), Layout::Json), Ok((vec![valid(1)], true)));
        assert_eq!(walk(format!(" [ {} ] ", event(1)), Layout::Json), Ok((vec![valid(1)], false)));
        assert_eq!(
            walk(format!("[{},{}]", event(1), event(2)), Layout::Unknown),
            Ok((vec![valid(1), valid(2)], false))
        );
        assert_eq!(walk("[ ]", Layout::Json), Ok((vec![], false)));
    }

    #[test]
    fn lines_end_with_or_without_newline_and_may_be_empty() {
        let body = format!("\r\n{}\r\n\n  {}", event(1), event(2));
        assert_eq!(walk(&body, Layout::Lines), Ok((vec![valid(1), valid(2)], false)));
        assert_eq!(walk(&body, Layout::Unknown), Ok((vec![valid(1), valid(2)], false)));
        assert_eq!(walk("", Layout::Lines), Ok((vec![], false)));
    }

    #[test]
    fn text_of_several_lines_that_is_one_value_is_one_event() {
        let pretty = event(1).replace(',', ",\n");
        assert_eq!(walk(&pretty, Layout::Unknown), Ok((vec![(pretty, None)], true)));
    }

    #[test]
    fn a_bad_line_costs_only_itself() {
        let mut body = format!("{}\n{{\"a\":\n7\n", event(1)).into_bytes();
        body.extend_from_slice(b"{\"\xff\":1}\n");
        body.extend_from_slice(event(2).as_bytes());
        let (seen, _) = walk(body, Layout::Lines).expect("lines");
        let reasons: Vec<_> = seen.into_iter().map(|(_, reason)| reason).collect();
        let (bad_json, bad_type, bad_utf8) = (Some(Reason::BadJson), Some(Reason::BadType), Some(Reason::BadUtf8));
        assert_eq!(reasons, [None, bad_json, bad_type, bad_utf8, None]);
    }

    #[test]
    fn flawed_events_in_an_array_cost_only_themselves() {
        let body = format!(r#"[{{"a":"\ud800"}},{},{{"a":{}0{}}}]"#, event(1), "[".repeat(80), "]".repeat(80));
        let (seen, _) = walk(body, Layout::Json).expect("an array");
        let reasons: Vec<_> = seen.into_iter().map(|(_, reason)| reason).collect();
        assert_eq!(reasons, [Some(Reason::BadJson), None, Some(Reason::TooDeep)]);
    }

    #[test]
    fn broken_grammar_refuses_the_body_with_line_and_column() {
        let broken = [
            ("", 1, 1),
            ("{\"a\":1", 1, 7),
            ("[{\"a\":1},\n {\"b\" 2}]", 2, 7),
            ("[1,", 1, 4),
            ("[1]\n\n x", 3, 2),
            ("{} {}", 1, 4),
        ];
        for (body, line, column) in broken {
            match walk(body, Layout::Json) {
                Err(BodyRefused::Syntax { line: l, column: c, .. }) => assert_eq!((l, c), (line, column), "{body}"),
                other => panic!("{body}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_message_about_a_place_names_line_and_column_of_the_body() {
        let body = format!("{}\n\n  {{\"a\" 1}}\n[\n{{\"a\":x}}", event(1));
        let mut messages = Vec::new();
        for_each_item(&mut EventReader::default(), body.as_bytes(), Layout::Lines, &MEASURE, |item| {
            messages.extend(item.outcome.err().map(|rejection| rejection.message));
        })
        .expect("lines");
        let expected = [
            "line 3, column 8: expected `:`",
            "line 4, column 2: expected a value, and the text ends",
            "line 5, column 6: expected a value",
        ];
        assert_eq!(messages, expected);
    }

    #[test]
    fn what_even_quarantine_cannot_keep_refuses_the_body() {
        let keep = format!("\"{}\"", "x".repeat(ORIGINAL_BYTES_MAX - 2));
        let (seen, _) = walk(&keep, Layout::Lines).expect("lines");
        assert_eq!(seen[0].1, Some(Reason::TooLarge));
        let lose = format!("1\n\"{}\"", "x".repeat(ORIGINAL_BYTES_MAX - 1));
        assert_eq!(
            walk(lose, Layout::Lines),
            Err(BodyRefused::ItemTooLarge { index: 1, bytes: ORIGINAL_BYTES_MAX + 1 })
        );
        assert_eq!(walk("[1,1,1,1,1,1]", Layout::Json), Err(BodyRefused::TooMany { items_max: 5 }));
    }

    proptest! {
        #[test]
        fn any_body_is_walked_or_refused(body: Vec<u8>) {
            for layout in [Layout::Json, Layout::Lines, Layout::Unknown] {
                let _ = walk(&body, layout);
            }
        }
    }
}
