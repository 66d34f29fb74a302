//! Any bytes are walked as a batch of protobuf events or refused; what is accepted is what the generated types read.

use prost::Message;
use schema::reason::Reason;
use schema::stored::{Messages, StoredError, StoredEvent};
use schema::validate::Rules;
use schema::{protobuf, v1};

const NOW: i64 = 1_795_163_400_000_000;
const RULES: Rules = Rules { event_bytes_max: 262_144, ahead_micros_max: 300_000_000, age_micros_max: None };

/// How many events are accepted.
pub(crate) fn check(body: &[u8]) -> usize {
    let mut accepted = 0;
    let _ = protobuf::for_each_event(body, |bytes| {
        accepted += usize::from(is_accepted(bytes));
        Ok::<(), StoredError>(())
    });
    accepted
}

fn is_accepted(bytes: &[u8]) -> bool {
    let sent = v1::Event::decode(bytes);
    match protobuf::read(bytes, &RULES, NOW) {
        Ok(valid) => {
            stays_the_same(valid.event);
            if let Ok(sent) = sent {
                assert_eq!(valid.event, stored(&sent));
            }
            true
        }
        Err(rejection) => {
            assert!(sent.is_err() || rejection.reason != Reason::BadUtf8, "text that is UTF-8");
            false
        }
    }
}

fn stored(sent: &v1::Event) -> StoredEvent<'_> {
    StoredEvent {
        event_name: &sent.event_name,
        event_type: sent.event_type.as_deref(),
        created_at: sent.created_at_micros,
        source: sent.source.as_deref(),
        user_id: sent.user_id.as_deref(),
        session_id: sent.session_id.as_deref(),
        properties: &sent.properties_json,
    }
}

/// Into a body and out of it.
fn stays_the_same(event: StoredEvent<'_>) {
    let mut body = Vec::new();
    event.encode_delimited(&mut body);
    let messages: Vec<_> = Messages::new(&body).map(|message| message.and_then(StoredEvent::decode)).collect();
    assert_eq!(messages, [Ok(event)]);
}
