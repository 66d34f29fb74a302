use super::*;
use schema::json::batch::{Layout, Measure, for_each_item};
use schema::json::event::EventReader;
use schema::validate::Rules;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

const MIX: Mix = Mix { duplicates: 0.05, invalid: 0.01, late: 0.02, event_types: 5 };
const START_MS: i64 = 1_790_000_000_000;

fn timeline() -> Timeline {
    Timeline::spread(START_MS, 200_000, Duration::from_secs(7 * 86_400))
}

fn factory(seed: u64) -> Factory {
    Factory::new(seed, &MIX, timeline())
}

fn line(factory: &Factory, n: u64) -> (Vec<u8>, Made) {
    let mut out = Vec::new();
    let made = factory.write_event(&mut out, n);
    (out, made)
}

/// Why an event breaks the contract; an independent reading of it, without time bounds.
pub(crate) fn breaks(event: &[u8]) -> Option<&'static str> {
    let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(event) else { return Some("no object") };
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    if text("event_id").and_then(EventId::parse).is_none() {
        return Some("event_id");
    }
    if !text("event_name").is_some_and(|name| name.contains(':')) {
        return Some("event_name");
    }
    if !text("created_at").is_some_and(|time| time.len() == 24 && time.starts_with("20") && time < "2100") {
        return Some("created_at");
    }
    let texts = ["user_id", "session_id", "source"];
    let sound = texts.iter().all(|name| text(name).is_some()) && fields["properties"]["device"].is_object();
    (!sound).then_some("optional field")
}

#[test]
fn the_same_seed_makes_the_same_lines_in_any_order_and_another_seed_makes_others() {
    let (one, same, other) = (factory(7), factory(7), factory(8));
    for n in (0..2000).rev() {
        assert_eq!(line(&one, n), line(&same, n));
        assert_ne!(line(&one, n).0, line(&other, n).0, "line {n}");
    }
}

#[test]
fn shares_come_out_as_asked_for() {
    let factory = factory(1);
    let (mut copies, mut near, mut invalid) = (0, 0, 0);
    for n in 0..200_000 {
        match factory.made(n) {
            Made::Copy { of, .. } => {
                copies += 1;
                near += i32::from(n - of <= 100);
            }
            Made::Invalid(_) => invalid += 1,
            Made::Fresh(_) => {}
        }
    }
    assert!((9_700..10_300).contains(&copies), "{copies} copies");
    assert!((copies / 2..copies * 4 / 5).contains(&near), "{near} of {copies} copies are near");
    assert!((1_850..2_150).contains(&invalid), "{invalid} invalid");
}

#[test]
fn fresh_ids_differ_and_a_copy_is_its_original_byte_for_byte() {
    let factory = factory(2);
    let mut first: HashMap<EventId, Vec<u8>> = HashMap::new();
    for n in 0..50_000 {
        let (bytes, made) = line(&factory, n);
        match made {
            Made::Fresh(id) => assert_eq!(first.insert(id, bytes), None, "line {n}"),
            Made::Copy { id, of } => {
                assert!(of < n);
                assert_eq!(first.get(&id), Some(&bytes), "line {n}");
            }
            Made::Invalid(_) => {}
        }
    }
}

#[test]
fn valid_events_keep_the_contract_and_carry_the_id_they_claim() {
    let factory = factory(3);
    for n in 0..20_000 {
        let (bytes, made) = line(&factory, n);
        let Some(id) = made.id() else { continue };
        assert_eq!(breaks(&bytes), None, "{}", String::from_utf8_lossy(&bytes));
        assert_eq!(&bytes[13..49], id.canonical());
        assert_eq!((id.0 >> 76 & 15, id.0 >> 62 & 3), (7, 2), "version and variant of {id}");
    }
}

#[test]
fn every_flaw_occurs_breaks_the_contract_and_no_two_invalid_events_are_the_same() {
    let factory = Factory::new(4, &Mix { invalid: 1.0, ..MIX }, timeline());
    let (mut seen, mut flaws) = (HashSet::new(), [0; Flaw::ALL.len()]);
    for n in 0..20_000 {
        let (bytes, made) = line(&factory, n);
        let Made::Invalid(flaw) = made else { panic!("line {n} is valid") };
        assert!(breaks(&bytes).is_some(), "{flaw:?}: {}", String::from_utf8_lossy(&bytes));
        assert!(!bytes.contains(&b'\n'));
        assert!(seen.insert(bytes), "line {n} has been there");
        flaws[flaw as usize] += 1;
    }
    assert!(flaws.iter().all(|&count| count > 1000), "{flaws:?}");
}

#[test]
fn an_event_has_about_410_bytes() {
    let factory = factory(5);
    let mut out = Vec::new();
    for n in 0..10_000 {
        factory.write_line(&mut out, n);
    }
    assert!((3_950_000..4_250_000).contains(&out.len()), "{} bytes", out.len());
}

#[test]
fn times_follow_the_timeline_and_late_ones_reach_back_a_week() {
    let factory = Factory::new(6, &Mix { duplicates: 0.0, invalid: 0.0, late: 0.25, event_types: 1 }, timeline());
    let mut late = 0;
    for n in 0..20_000 {
        let (bytes, _) = line(&factory, n);
        let value: Value = serde_json::from_slice(&bytes).expect("valid");
        let due = START_MS + timeline().rate.time_of(n).as_millis() as i64;
        let shown = |ms: i64| {
            let mut text = Vec::new();
            put_timestamp(&mut text, ms);
            String::from_utf8(text).expect("ASCII")
        };
        let at = value["created_at"].as_str().expect("a time").to_string();
        assert!(shown(due - LATE_MS - 2000) <= at && at <= shown(due));
        late += i32::from(at < shown(due - 2000));
    }
    assert!((4_600..5_400).contains(&late), "{late} late");
}

#[test]
fn five_types_have_13_names_and_the_first_type_leads() {
    let factory = Factory::new(7, &Mix { duplicates: 0.0, invalid: 0.0, ..MIX }, timeline());
    let mut names: HashMap<String, u32> = HashMap::new();
    for n in 0..20_000 {
        let value: Value = serde_json::from_slice(&line(&factory, n).0).expect("valid");
        *names.entry(value["event_name"].as_str().expect("a name").to_string()).or_default() += 1;
    }
    assert_eq!(names.len(), 13);
    let count_of =
        |prefix: &str| names.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, n)| n).sum::<u32>();
    assert!(count_of("page:") > 2 * count_of("checkout:"));
}

#[test]
fn any_number_of_types_can_be_asked_for() {
    let factory = Factory::new(8, &Mix { event_types: 1000, ..MIX }, timeline());
    assert_eq!(factory.types.iter().collect::<HashSet<_>>().len(), 1000);
    for n in 0..1000 {
        line(&factory, n);
    }
}

#[test]
fn the_event_contract_takes_what_is_valid_and_refuses_each_flaw_for_its_reason() {
    const LINES: u64 = 20_000;
    let factory = Factory::new(9, &Mix { invalid: 0.5, ..MIX }, timeline());
    let mut body = Vec::new();
    let made: Vec<Made> = (0..LINES).map(|n| factory.write_line(&mut body, n)).collect();
    let now = (START_MS + 8 * DAY_MS) * 1000;
    let rules = Rules { event_bytes_max: 1 << 18, ahead_micros_max: 0, age_micros_max: None };
    let measure = Measure { rules, now, items_max: LINES as usize };
    let mut items = made.iter();
    for_each_item(&mut EventReader::default(), &body, Layout::Lines, &measure, |item| {
        let made = items.next().expect("an item a line");
        let found = item.outcome.map(|valid| valid.id).map_err(|rejection| rejection.reason);
        let expected = match made {
            Made::Fresh(id) | Made::Copy { id, .. } => Ok(*id),
            Made::Invalid(flaw) => Err(flaw.reason()),
        };
        assert_eq!(found, expected, "{made:?}: {}", String::from_utf8_lossy(item.original));
    })
    .expect("lines are never refused as a whole");
    assert_eq!(items.next(), None);
}
