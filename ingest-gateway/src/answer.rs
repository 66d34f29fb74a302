//! The answer to a request whose events are all durable.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use schema::v1::{PublishAnswer, Quarantined};
use schema::validate::Rejection;
use schema::{EventId, Reason};
use serde::{Serialize, Serializer};

/// Most quarantined events that an answer lists; of the others it gives the number.
const LISTED_MAX: usize = 1000;

/// The answer to a single valid event.
const ONE_ACCEPTED: &[u8] = br#"{"accepted":1,"quarantined":[]}"#;

/// What became of the events of a request.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    accepted: u64,
    quarantined: Vec<Quarantined>,
    omitted: u64,
    /// By reason, at its place.
    reasons: [u64; Reason::ALL.len()],
}

impl Answer {
    pub(crate) fn accept(&mut self) {
        self.accepted += 1;
    }

    pub(crate) fn quarantine(&mut self, index: u32, rejection: Rejection, id: EventId) {
        self.reasons[rejection.reason as usize] += 1;
        if self.quarantined.len() == LISTED_MAX {
            self.omitted += 1;
            return;
        }
        self.quarantined.push(Quarantined {
            index,
            event_id: rejection.event_id,
            reason: rejection.reason.as_str().into(),
            field: rejection.field.into_owned(),
            message: rejection.message,
            quarantine_id: id.to_string(),
        });
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.accepted
    }

    pub(crate) fn quarantined(&self) -> u64 {
        self.quarantined.len() as u64 + self.omitted
    }

    /// How many events each reason sent to quarantine.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.into_iter().zip(self.reasons).filter(|&(_, count)| count > 0)
    }

    /// 202, or 422 where events were sent and none was valid.
    pub(crate) fn status(&self) -> StatusCode {
        let none_valid = self.accepted == 0 && !self.quarantined.is_empty();
        if none_valid { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::ACCEPTED }
    }

    pub(crate) fn response(&self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body()));
        *response.status_mut() = self.status();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    fn body(&self) -> Bytes {
        let one_accepted = self.accepted == 1 && self.quarantined.is_empty();
        if one_accepted { Bytes::from_static(ONE_ACCEPTED) } else { Bytes::from(self.json()) }
    }

    fn json(&self) -> Vec<u8> {
        let quarantined = self.quarantined.iter().map(Listed::of).collect();
        let body = AnswerBody { accepted: self.accepted, quarantined, quarantined_omitted: self.omitted };
        serde_json::to_vec(&body).expect("strings and numbers are JSON")
    }

    pub(crate) fn into_message(self) -> PublishAnswer {
        let Answer { accepted, quarantined, omitted, .. } = self;
        PublishAnswer { accepted, quarantined, quarantined_omitted: omitted }
    }
}

#[derive(Serialize)]
struct AnswerBody<'a> {
    accepted: u64,
    quarantined: Vec<Listed<'a>>,
    #[serde(skip_serializing_if = "is_zero")]
    quarantined_omitted: u64,
}

#[derive(Serialize)]
struct Listed<'a> {
    index: u32,
    #[serde(serialize_with = "null_where_empty")]
    event_id: &'a str,
    quarantine_id: &'a str,
    reason: &'a str,
    #[serde(serialize_with = "null_where_empty")]
    field: &'a str,
    message: &'a str,
}

impl Listed<'_> {
    fn of(item: &Quarantined) -> Listed<'_> {
        let Quarantined { index, event_id, reason, field, message, quarantine_id } = item;
        Listed { index: *index, event_id, quarantine_id, reason, field, message }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // The shape that serde calls.
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn null_where_empty<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    if text.is_empty() { serializer.serialize_none() } else { serializer.serialize_str(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejection() -> Rejection {
        let rules = schema::validate::Rules { event_bytes_max: 0, ahead_micros_max: 0, age_micros_max: None };
        schema::protobuf::read(b"\n\x01x", &rules, 0).expect_err("an event beyond the bound")
    }

    #[test]
    fn an_answer_lists_what_is_in_quarantine_up_to_a_bound() {
        let mut answer = Answer::default();
        answer.accept();
        for k in 0..LISTED_MAX + 2 {
            answer.quarantine(k as u32 + 1, rejection(), EventId(1));
        }
        let json: serde_json::Value = serde_json::from_slice(&answer.json()).expect("JSON");
        assert_eq!((&json["accepted"], &json["quarantined_omitted"]), (&1.into(), &2.into()));
        let first = serde_json::json!({
            "index": 1, "event_id": "x", "quarantine_id": EventId(1).to_string(), "reason": "too_large", "field": null,
            "message": "the event has 3 bytes, at most 0 are taken",
        });
        assert_eq!(json["quarantined"][0], first);
        assert_eq!(answer.reasons().collect::<Vec<_>>(), [(Reason::TooLarge, LISTED_MAX as u64 + 2)]);
        assert_eq!(answer.response().status(), StatusCode::ACCEPTED);
    }

    #[test]
    fn only_where_events_were_sent_and_none_was_valid_it_is_422() {
        let mut answer = Answer::default();
        assert_eq!(answer.response().status(), StatusCode::ACCEPTED);
        assert_eq!(answer.json(), br#"{"accepted":0,"quarantined":[]}"#);
        answer.quarantine(0, rejection(), EventId(1));
        assert_eq!(answer.response().status(), StatusCode::UNPROCESSABLE_ENTITY);
    }

    #[test]
    fn the_answer_to_one_event_is_the_same_made_before() {
        let mut answer = Answer::default();
        answer.accept();
        assert_eq!((answer.json().as_slice(), answer.body().as_ref()), (ONE_ACCEPTED, ONE_ACCEPTED));
    }
}
