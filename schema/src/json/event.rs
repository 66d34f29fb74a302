//! Reads one event.
//!
//! Which value fills a field: its canonical name before its aliases, these in the order of the table; `null` counts as
//! absent under every name of the contract. What else is there, and the candidates that lost, are extras.

use super::SyntaxError;
use super::scan::{Flaw, Scanner, Span, Token, unescape};
use crate::EventId;
use crate::reason::Reason;
use crate::stored::StoredEvent;
use crate::timestamp;
use crate::validate::{self, Rejection, Rules, Valid, wrong_type};
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

/// Names of the contract; those of one field stand together, the canonical one first.
#[rustfmt::skip]
const NAMES: [&str; 15] = [
    "event_id", "event_uuid", "uuid", "messageId",
    "event_name", "name", "event",
    "created_at", "timestamp", "time",
    "event_type", "source", "user_id", "session_id", "properties",
];
const EVENT_ID: Range<usize> = 0..4;
const EVENT_NAME: Range<usize> = 4..7;
const CREATED_AT: Range<usize> = 7..10;
const EVENT_TYPE: usize = 10;
const SOURCE: usize = 11;
const USER_ID: usize = 12;
const SESSION_ID: usize = 13;
const PROPERTIES: usize = 14;

/// A top-level field.
#[derive(Clone, Copy, Debug)]
struct Field {
    key: Span,
    value: Span,
}

/// Equal keys have equal hashes, however they are escaped.
type KeyHash = u64;

/// Reads events one after the other, keeping its buffers from one to the next.
#[derive(Debug, Default)]
pub struct EventReader {
    /// By place in [`NAMES`].
    candidates: [Option<Field>; NAMES.len()],
    extras: Vec<Field>,
    /// Of the extras, ascending.
    extra_keys: Vec<KeyHash>,
    /// First key of the contract that was given twice.
    duplicate: Option<Span>,
    flaw: Option<(Flaw, usize)>,
    /// Decoded strings and joined properties of the event at hand.
    decoded: String,
}

/// A value that was passed over and is still to be checked.
#[derive(Clone, Debug)]
pub(super) struct Scanned {
    pub(super) range: Range<usize>,
    is_object: bool,
}

/// The text of one event inside a larger one.
#[derive(Clone, Copy)]
struct Input<'a> {
    text: &'a str,
    /// Where `text` starts in the larger one, which is what ranges count from.
    start: usize,
}

impl<'a> Input<'a> {
    fn get(&self, range: Range<usize>) -> &'a str {
        &self.text[range.start - self.start..range.end - self.start]
    }
}

/// A string of the event: as it stands in the input, or decoded.
#[derive(Clone, Debug)]
enum Text {
    Input(Range<usize>),
    Decoded(Range<usize>),
}

/// An event that keeps the contract, not yet put together.
struct Checked {
    id: EventId,
    created_at: i64,
    event_name: Text,
    event_type: Option<Text>,
    source: Option<Text>,
    user_id: Option<Text>,
    session_id: Option<Text>,
    properties: Option<Text>,
}

impl EventReader {
    /// Reads `bytes` as one event and nothing else.
    ///
    /// # Errors
    /// The outer: the bytes are not one JSON value. The inner: they are one, but no event.
    pub fn read<'a>(
        &'a mut self,
        bytes: &'a [u8],
        rules: &Rules,
        now: i64,
    ) -> Result<Result<Valid<'a>, Rejection>, SyntaxError> {
        let scanned = self.scan_whole(bytes)?;
        Ok(self.check(bytes, &scanned, rules, now))
    }

    /// Passes over `bytes`, which must be one value.
    pub(super) fn scan_whole(&mut self, bytes: &[u8]) -> Result<Scanned, SyntaxError> {
        let mut scanner = Scanner::new(bytes, 0);
        let scanned = self.scan(&mut scanner, bytes)?;
        match scanner.peek() {
            None => Ok(scanned),
            Some(_) => Err(scanner.error("nothing after the value")),
        }
    }

    /// Passes over the value at the scanner's place and notes what it is made of.
    pub(super) fn scan(&mut self, scanner: &mut Scanner<'_>, bytes: &[u8]) -> Result<Scanned, SyntaxError> {
        self.forget();
        let is_object = scanner.peek() == Some(b'{');
        let start = scanner.at();
        let scanned = if is_object { self.scan_object(scanner, bytes) } else { scanner.value().map(|_| ()) };
        self.flaw = scanner.take_flaw();
        scanned.map(|()| Scanned { range: start..scanner.at(), is_object })
    }

    /// For text in which scanning stopped.
    pub(super) fn not_json(&self, bytes: &[u8], error: SyntaxError) -> Rejection {
        let Ok(text) = simdutf8::basic::from_utf8(bytes) else {
            return not_utf8(bytes);
        };
        let rejection = Rejection::new(Reason::BadJson, "", text, error.to_string()).at(error.offset);
        Rejection { event_id: self.id_as_sent(Input { text, start: 0 }), ..rejection }
    }

    fn forget(&mut self) {
        self.candidates = [None; NAMES.len()];
        self.extras.clear();
        self.duplicate = None;
        self.decoded.clear();
    }

    fn scan_object(&mut self, scanner: &mut Scanner<'_>, bytes: &[u8]) -> Result<(), SyntaxError> {
        scanner.expect(b'{', "`{`")?;
        if scanner.take(b'}') {
            return Ok(());
        }
        loop {
            let key = scanner.string("a key in double quotes")?;
            scanner.expect(b':', "`:`")?;
            let value = scanner.value()?;
            // A flawed event is rejected as a whole, and its strings may not decode.
            if !scanner.is_flawed() {
                self.note(Field { key, value }, bytes);
            }
            if !scanner.take(b',') {
                return scanner.expect(b'}', "`,` or `}`");
            }
        }
    }

    fn note(&mut self, field: Field, bytes: &[u8]) {
        let raw = &bytes[field.key.inner()];
        let place = if field.key.is_escaped() { self.place_of_escaped(raw) } else { place_of(raw) };
        match place {
            Some(place) if self.candidates[place].is_some() => {
                self.duplicate.get_or_insert(field.key);
            }
            Some(place) => self.candidates[place] = Some(field),
            None => self.extras.push(field),
        }
    }

    fn place_of_escaped(&mut self, raw: &[u8]) -> Option<usize> {
        unescape(std::str::from_utf8(raw).ok()?, &mut self.decoded);
        let place = place_of(self.decoded.as_bytes());
        self.decoded.clear();
        place
    }

    /// Checks what was scanned last against the contract.
    pub(super) fn check<'a>(
        &'a mut self,
        bytes: &'a [u8],
        scanned: &Scanned,
        rules: &Rules,
        now: i64,
    ) -> Result<Valid<'a>, Rejection> {
        let Range { start, end } = scanned.range;
        let Ok(text) = simdutf8::basic::from_utf8(&bytes[start..end]) else {
            return Err(not_utf8(&bytes[start..end]));
        };
        let input = Input { text, start };
        match self.check_text(input, scanned.is_object, rules, now) {
            Ok(checked) => Ok(self.put_together(input, &checked)),
            Err(rejection) => Err(Rejection { event_id: self.id_as_sent(input), ..rejection }),
        }
    }

    fn check_text(&mut self, input: Input<'_>, is_object: bool, rules: &Rules, now: i64) -> Result<Checked, Rejection> {
        rules.check_size(input.text.len())?;
        self.check_shape(input, is_object)?;
        let id = self.event_id(input)?;
        let event_name = self.event_name(input)?;
        let created_at = self.created_at(input, rules, now)?;
        let event_type = self.optional(input, EVENT_TYPE)?;
        if let Some(text) = &event_type {
            validate::event_type(self.get(input, text))?;
        }
        Ok(Checked {
            id,
            event_name,
            created_at,
            event_type,
            source: self.optional(input, SOURCE)?,
            user_id: self.optional(input, USER_ID)?,
            session_id: self.optional(input, SESSION_ID)?,
            properties: self.properties(input)?,
        })
    }

    fn check_shape(&self, input: Input<'_>, is_object: bool) -> Result<(), Rejection> {
        if let Some((flaw, at)) = self.flaw {
            return Err(flawed(flaw).at(at));
        }
        if !is_object {
            return Err(Rejection::new(Reason::BadType, "", input.text, "an event is a JSON object".into()));
        }
        self.duplicate.map_or(Ok(()), |key| Err(duplicate(input.get(key.inner()))))
    }

    /// The chosen value of a field with aliases; the other values become extras.
    fn choose(&mut self, places: Range<usize>) -> Option<Span> {
        let mut chosen = None;
        for field in self.candidates[places].iter().flatten().filter(|field| field.value.token != Token::Null) {
            if chosen.is_none() {
                chosen = Some(field.value);
            } else {
                self.extras.push(*field);
            }
        }
        chosen
    }

    fn event_id(&mut self, input: Input<'_>) -> Result<EventId, Rejection> {
        let span = self.choose(EVENT_ID).ok_or_else(|| validate::missing("event_id"))?;
        let text = self.string(input, span);
        let text = text.ok_or_else(|| validate::bad_uuid(input.get(span.range()), "`event_id` is not a string"))?;
        validate::event_id(self.get(input, &text))
    }

    fn event_name(&mut self, input: Input<'_>) -> Result<Text, Rejection> {
        let span = self.choose(EVENT_NAME).ok_or_else(|| validate::missing("event_name"))?;
        let text = self.string(input, span);
        let text =
            text.ok_or_else(|| validate::bad_event_name(input.get(span.range()), "`event_name` is not a string"))?;
        validate::event_name(self.get(input, &text))?;
        Ok(text)
    }

    fn created_at(&mut self, input: Input<'_>, rules: &Rules, now: i64) -> Result<i64, Rejection> {
        let span = self.choose(CREATED_AT).ok_or_else(|| validate::missing("created_at"))?;
        let raw = input.get(span.range());
        let micros = match self.string(input, span) {
            Some(text) => timestamp::parse_text(self.get(input, &text)),
            None if span.token == Token::Number => timestamp::parse_number(raw),
            None => None,
        };
        let micros = micros.ok_or_else(|| validate::bad_timestamp(raw))?;
        rules.check_time(micros, now, raw)?;
        Ok(micros)
    }

    fn optional(&mut self, input: Input<'_>, place: usize) -> Result<Option<Text>, Rejection> {
        let Some(span) = self.choose(place..place + 1) else {
            return Ok(None);
        };
        let text = self.string(input, span);
        text.map(Some).ok_or_else(|| wrong_type(NAMES[place], input.get(span.range()), "a string"))
    }

    /// `properties` as sent, with the extras behind its own fields.
    fn properties(&mut self, input: Input<'_>) -> Result<Option<Text>, Rejection> {
        let sent = self.choose(PROPERTIES..PROPERTIES + 1);
        if let Some(span) = sent.filter(|span| span.token != Token::Object) {
            return Err(wrong_type("properties", input.get(span.range()), "an object"));
        }
        if self.extras.is_empty() {
            return Ok(sent.map(|span| Text::Input(span.range())));
        }
        let sent = sent.map_or("{}", |span| input.get(span.range()));
        self.check_extras(input, sent)?;
        Ok(Some(self.join(input, sent)))
    }

    /// Refuses extras whose key is given twice, here or inside `sent`.
    fn check_extras(&mut self, input: Input<'_>, sent: &str) -> Result<(), Rejection> {
        let EventReader { extras, extra_keys, decoded, .. } = self;
        extras.sort_unstable_by_key(|field| field.key.start);
        extra_keys.clear();
        extra_keys
            .extend(extras.iter().map(|field| key_hash(input.get(field.key.inner()), field.key.is_escaped(), decoded)));
        extra_keys.sort_unstable();
        if let Some(twice) = extra_keys.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]) {
            let is_twice =
                |field: &&Field| key_hash(input.get(field.key.inner()), field.key.is_escaped(), decoded) == twice;
            let key = extras.iter().find(is_twice).map_or("", |field| input.get(field.key.inner()));
            return Err(duplicate(key));
        }
        for_each_key(sent, |key, escaped| match extra_keys.binary_search(&key_hash(key, escaped, decoded)) {
            Ok(_) => Err(duplicate(key)),
            Err(_) => Ok(()),
        })
    }

    fn join(&mut self, input: Input<'_>, sent: &str) -> Text {
        let EventReader { extras, decoded, .. } = self;
        let start = decoded.len();
        let open = sent.strip_suffix('}').expect("the scanner saw an object");
        decoded.push_str(open);
        let mut is_first = open[1..].trim_ascii().is_empty();
        for Field { key, value } in extras.iter() {
            if !is_first {
                decoded.push(',');
            }
            is_first = false;
            decoded.push_str(input.get(key.range()));
            decoded.push(':');
            decoded.push_str(input.get(value.range()));
        }
        decoded.push('}');
        Text::Decoded(start..decoded.len())
    }

    /// `None` for what is not a string.
    fn string(&mut self, input: Input<'_>, span: Span) -> Option<Text> {
        match span.token {
            Token::String { escaped: false } => Some(Text::Input(span.inner())),
            Token::String { escaped: true } => {
                let start = self.decoded.len();
                unescape(input.get(span.inner()), &mut self.decoded);
                Some(Text::Decoded(start..self.decoded.len()))
            }
            _ => None,
        }
    }

    fn get<'a>(&'a self, input: Input<'a>, text: &Text) -> &'a str {
        match text {
            Text::Input(range) => input.get(range.clone()),
            Text::Decoded(range) => &self.decoded[range.clone()],
        }
    }

    fn put_together<'a>(&'a self, input: Input<'a>, checked: &Checked) -> Valid<'a> {
        let optional = |text: &Option<Text>| text.as_ref().map(|text| self.get(input, text));
        Valid {
            id: checked.id,
            event: StoredEvent {
                event_name: self.get(input, &checked.event_name),
                event_type: optional(&checked.event_type),
                created_at: checked.created_at,
                source: optional(&checked.source),
                user_id: optional(&checked.user_id),
                session_id: optional(&checked.session_id),
                properties: optional(&checked.properties).unwrap_or_default(),
            },
        }
    }

    fn id_as_sent(&self, input: Input<'_>) -> String {
        let field = self.candidates[EVENT_ID].iter().flatten().find(|field| field.value.token != Token::Null);
        let text = field.map_or("", |field| input.get(field.value.range()));
        validate::excerpt(text.trim_matches('"')).to_string()
    }
}

fn place_of(key: &[u8]) -> Option<usize> {
    NAMES.iter().position(|name| name.as_bytes() == key)
}

fn key_hash(key: &str, escaped: bool, scratch: &mut String) -> KeyHash {
    if !escaped {
        return xxh3_64(key.as_bytes());
    }
    let start = scratch.len();
    unescape(key, scratch);
    let hash = xxh3_64(&scratch.as_bytes()[start..]);
    scratch.truncate(start);
    hash
}

/// Calls `each` with every key of an object that was scanned before, and whether it is escaped.
fn for_each_key(object: &str, mut each: impl FnMut(&str, bool) -> Result<(), Rejection>) -> Result<(), Rejection> {
    const SCANNED: &str = "the object was scanned before";
    let mut scanner = Scanner::new(object.as_bytes(), 0);
    scanner.expect(b'{', "`{`").expect(SCANNED);
    while scanner.peek() == Some(b'"') {
        let key = scanner.string("a key").expect(SCANNED);
        each(&object[key.inner()], key.is_escaped())?;
        scanner.expect(b':', "`:`").expect(SCANNED);
        scanner.value().expect(SCANNED);
        scanner.take(b',');
    }
    Ok(())
}

fn duplicate(key: &str) -> Rejection {
    let key = validate::excerpt(key).to_string();
    let message = format!("`{key}` is given twice");
    Rejection::new(Reason::DuplicateField, key, "", message)
}

fn flawed(flaw: Flaw) -> Rejection {
    let (reason, message) = match flaw {
        Flaw::TooDeep => (Reason::TooDeep, format!("nesting is deeper than {} levels", validate::DEPTH_MAX)),
        Flaw::LoneSurrogate => (Reason::BadJson, "an escape is half of a surrogate pair".to_string()),
    };
    Rejection::new(reason, "", "", message)
}

/// Checks that a text is one JSON object within the bounds of an event.
pub(crate) fn check_object(text: &str) -> Result<(), Rejection> {
    let mut scanner = Scanner::new(text.as_bytes(), 0);
    let syntax = |error: SyntaxError| {
        let message = format!("`properties` is not JSON: byte {}: {error}", error.offset);
        Rejection::new(Reason::BadJson, "properties", text, message)
    };
    let span = scanner.value().map_err(syntax)?;
    if scanner.peek().is_some() {
        return Err(syntax(scanner.error("nothing after the object")));
    }
    if let Some((flaw, _)) = scanner.take_flaw() {
        return Err(Rejection { field: "properties".into(), ..flawed(flaw) });
    }
    if span.token != Token::Object {
        return Err(wrong_type("properties", text, "an object"));
    }
    Ok(())
}

/// For bytes that are no text; the excerpt shows what can be shown.
fn not_utf8(bytes: &[u8]) -> Rejection {
    let start = &bytes[..bytes.len().min(validate::EXCERPT_BYTES_MAX)];
    Rejection::new(Reason::BadUtf8, "", &String::from_utf8_lossy(start), "the bytes are not UTF-8".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const NOW: i64 = 1_795_163_400_000_000;
    const RULES: Rules = Rules { event_bytes_max: 262_144, ahead_micros_max: 300_000_000, age_micros_max: None };
    const ID: &str = "0192f0c1-7b6d-7e1a-8a3b-1234567890ab";

    /// An event with the given fields instead of, or next to, those of a valid one.
    fn event(fields: &[(&str, Value)]) -> String {
        let mut event = json!({"event_id": ID, "event_name": "page:view", "created_at": "2026-11-20T08:30:00Z"});
        for (name, value) in fields {
            event[name] = value.clone();
        }
        event.to_string()
    }

    fn with_valid<T>(text: &str, see: impl FnOnce(Valid<'_>) -> T) -> T {
        let mut reader = EventReader::default();
        let outcome = reader.read(text.as_bytes(), &RULES, NOW).expect("JSON");
        see(outcome.unwrap_or_else(|rejection| panic!("{text}: {rejection:?}")))
    }

    fn rejection(text: impl AsRef<[u8]>) -> Rejection {
        let mut reader = EventReader::default();
        reader.read(text.as_ref(), &RULES, NOW).expect("JSON").expect_err("an invalid event")
    }

    fn properties(text: &str) -> String {
        with_valid(text, |valid| valid.event.properties.to_string())
    }

    #[test]
    fn every_field_of_the_contract_is_read() {
        let text = r#" { "event_id" : "0192F0C17B6D7E1A8A3B1234567890AB", "event_name":"a\u003ab", "created_at":1795163400.5,
            "event_type":"t", "source":"web", "user_id":"u\"1", "session_id":null, "properties": {"k" : [1, 2.50]} } "#;
        with_valid(text, |valid| {
            assert_eq!(valid.id.to_string(), ID);
            let expected = StoredEvent {
                event_name: "a:b",
                event_type: Some("t"),
                created_at: NOW + 500_000,
                source: Some("web"),
                user_id: Some("u\"1"),
                session_id: None,
                properties: r#"{"k" : [1, 2.50]}"#,
            };
            assert_eq!(valid.event, expected);
        });
    }

    #[test]
    fn a_canonical_name_wins_over_aliases_and_these_win_in_order() {
        let other = "11111111-2222-4333-8444-555555555555";
        let all = format!(
            r#"{{"messageId":"m","uuid":"x","event_id":"{ID}","event":"e","name":"a:b","time":1,"created_at":1795163400}}"#
        );
        with_valid(&all, |valid| {
            assert_eq!((valid.id.to_string().as_str(), valid.event.event_name), (ID, "a:b"));
            assert_eq!(valid.event.properties, r#"{"messageId":"m","uuid":"x","event":"e","time":1}"#);
        });
        let nulls = format!(r#"{{"event_id":null,"uuid":"{other}","event":"a:b","name":null,"time":1795163400}}"#);
        with_valid(&nulls, |valid| {
            assert_eq!((valid.id.to_string().as_str(), valid.event.properties), (other, ""));
        });
    }

    #[test]
    fn other_fields_join_the_properties_as_they_were_written() {
        let start = format!(r#"{{"event_id":"{ID}","event_name":"a:b","created_at":1795163400"#);
        let joined = [
            ("", ""),
            (r#","properties":{}"#, "{}"),
            (r#","properties":null"#, ""),
            (r#","x" : 1.0"#, r#"{"x":1.0}"#),
            (r#","x":null,"properties":{ }"#, r#"{ "x":null}"#),
            (r#","\u0078":[ 1 ],"properties":{"a":1 },"y":"é""#, r#"{"a":1 ,"\u0078":[ 1 ],"y":"é"}"#),
        ];
        for (fields, expected) in joined {
            assert_eq!(properties(&format!("{start}{fields}}}")), expected, "{fields}");
        }
    }

    #[test]
    fn a_field_that_is_given_twice_is_refused() {
        let start = format!(r#"{{"event_id":"{ID}","event_name":"a:b","created_at":1795163400"#);
        let twice = [
            (r#","event_id":"x""#, "event_id"),
            (r#","event_n\u0061me":"c:d""#, "event_n\\u0061me"),
            (r#","user_id":null,"user_id":null"#, "user_id"),
            (r#","x":1,"x":1"#, "x"),
            (r#","x":1,"\u0078":1"#, "x"),
            (r#","x":1,"properties":{"a":1,"x":2}"#, "x"),
            (r#","uuid":1,"properties":{"uuid":2}"#, "uuid"),
        ];
        for (fields, field) in twice {
            let rejection = rejection(format!("{start}{fields}}}"));
            assert_eq!((rejection.reason, &*rejection.field), (Reason::DuplicateField, field), "{fields}");
            assert_eq!(rejection.event_id, ID);
        }
        assert_eq!(properties(&format!(r#"{start},"properties":{{"a":1,"a":2}}}}"#)), r#"{"a":1,"a":2}"#);
    }

    #[test]
    fn what_breaks_the_contract_is_rejected_with_reason_field_and_value() {
        use Reason::*;
        let broken = [
            ("event_id", json!(null), MissingField),
            ("event_id", json!(7), BadUuid),
            ("event_id", json!("x"), BadUuid),
            ("event_id", json!("00000000-0000-0000-0000-000000000000"), BadUuid),
            ("event_name", json!(null), MissingField),
            ("event_name", json!("page"), BadEventName),
            ("event_name", json!({"a": 1}), BadEventName),
            ("created_at", json!(null), MissingField),
            ("created_at", json!("yesterday"), BadTimestamp),
            ("created_at", json!("1795163400"), BadTimestamp),
            ("created_at", json!(true), BadTimestamp),
            ("created_at", json!(1e30), BadTimestamp),
            ("created_at", json!("2027-11-20T08:30:00Z"), InTheFuture),
            ("created_at", json!("1999-12-31T23:59:59Z"), TooOld),
            ("created_at", json!(0), TooOld),
            ("event_type", json!(""), BadType),
            ("event_type", json!(1), BadType),
            ("source", json!(["web"]), BadType),
            ("user_id", json!(42), BadType),
            ("session_id", json!(false), BadType),
            ("properties", json!("{}"), BadType),
            ("properties", json!([]), BadType),
        ];
        for (field, value, reason) in broken {
            let rejection = rejection(event(&[(field, value.clone())]));
            assert_eq!((rejection.reason, &*rejection.field), (reason, field), "{field}: {value}");
            let shown = rejection.value.trim_matches('"');
            assert!(reason == MissingField || value.to_string().contains(shown), "{field}: {value}: {shown}");
        }
    }

    #[test]
    fn what_is_no_event_at_all_is_rejected_as_a_whole() {
        use Reason::*;
        let deep =
            event(&[("properties", json!({"a": 0}))]).replace("0}", &format!("{}{}}}", "[".repeat(63), "]".repeat(63)));
        let surrogate = event(&[("user_id", json!("SURROGATE"))]).replace("SURROGATE", "\\ud83d");
        let mut not_utf8 = event(&[("user_id", json!("?"))]).into_bytes();
        let at = not_utf8.iter().position(|&byte| byte == b'?').expect("the user");
        not_utf8[at] = 0xff;
        let large = event(&[("user_id", json!("x".repeat(262_144)))]);
        let broken = [
            (b"7".to_vec(), BadType),
            (b"[]".to_vec(), BadType),
            (b"null".to_vec(), BadType),
            (b"{}".to_vec(), MissingField),
            (deep.into_bytes(), TooDeep),
            (surrogate.into_bytes(), BadJson),
            (not_utf8, BadUtf8),
            (large.into_bytes(), TooLarge),
        ];
        for (text, reason) in broken {
            let rejection = rejection(&text);
            assert_eq!(rejection.reason, reason, "{}", String::from_utf8_lossy(&text[..text.len().min(300)]));
            assert!(rejection.value.len() <= validate::EXCERPT_BYTES_MAX);
        }
    }

    #[test]
    fn the_deepest_allowed_nesting_and_nul_characters_pass() {
        let text = event(&[("user_id", json!("a\u{0}b")), ("properties", json!({"a": 0}))]);
        let text = text.replace("0}", &format!("{}{}}}", "[".repeat(62), "]".repeat(62)));
        assert_eq!(with_valid(&text, |valid| valid.event.user_id.map(str::to_string)), Some("a\0b".to_string()));
    }

    /// JSON values as producers might send them anywhere.
    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<i32>().prop_map(|number| Value::from(f64::from(number) / 4.0)),
            ".{0,12}".prop_map(Value::from),
            Just(json!(ID)),
            Just(json!("a:b")),
            Just(json!(1_795_163_400)),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(".{0,4}", inner, 0..4).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn values_arrive_as_serde_json_reads_them(
            user_id in ".{0,30}",
            extras in prop::collection::btree_map("x.{0,5}", value(), 0..4),
            own in prop::collection::btree_map("[a-w].{0,5}", value(), 0..4),
        ) {
            let mut fields: Vec<(&str, Value)> = extras.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
            fields.push(("user_id", json!(user_id)));
            fields.push(("properties", json!(own)));
            with_valid(&event(&fields), |valid| {
                assert_eq!(valid.event.user_id, Some(user_id.as_str()));
                let read: Value = serde_json::from_str(valid.event.properties).expect("JSON");
                let expected: serde_json::Map<String, Value> = own.into_iter().chain(extras).collect();
                assert_eq!(read, Value::from(expected));
            });
        }

        #[test]
        fn whatever_the_fields_are_an_event_is_taken_or_rejected(
            fields in prop::collection::vec((prop::sample::select(NAMES.to_vec()), value()), 0..6),
        ) {
            let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
            let text = format!("{{{}}}", fields.join(","));
            let mut reader = EventReader::default();
            if let Ok(valid) = reader.read(text.as_bytes(), &RULES, NOW).expect("JSON") {
                let properties = valid.event.properties;
                prop_assert!(properties.is_empty() || serde_json::from_str::<serde_json::Map<String, Value>>(properties).is_ok());
            }
        }
    }
}
