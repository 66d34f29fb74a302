//! Which copies records on the streams carry.

use crate::events::BooksState;
use crate::evidence::{Place, event_copy, quarantined_copy};
use schema::body::{BodyOpener, for_each_carried};
use schema::stored::{StoredError, StoredEvent, StoredQuarantine};
use schema::v1::{Body, RawRecord};
use schema::{EventId, Kind, foreign, record};
use stream::Record;

/// A copy of an event; copy 0 is none that was sent.
pub(super) type Copy = (EventId, u32);

/// Copies that a raw record carries.
pub(super) fn raw_copies(raw: &Record, opener: &mut BodyOpener, books: &BooksState) -> Vec<Copy> {
    let parts = match record::decode_raw(raw.bytes.clone()) {
        Ok(part) => vec![part],
        Err(_) => foreign::translate(&raw.bytes, raw.arrived_at),
    };
    let body = |part: &RawRecord| part.body.clone().unwrap_or_default();
    parts.iter().flat_map(|part| copies(&body(part), part.kind, &part.ids, opener, books)).collect()
}

/// Copies that a clean record carries, under their ordinals; nothing for what is no clean record.
pub(super) fn clean_copies(clean: &Record, opener: &mut BodyOpener, books: &BooksState) -> Option<Vec<(Place, Copy)>> {
    let clean = record::decode_clean(clean.bytes.clone()).ok()?;
    let body = clean.body.clone().unwrap_or_default();
    let copies = copies(&body, clean.kind, &clean.ids, opener, books);
    let place = |ordinal| (clean.origin.clone(), ordinal);
    Some(copies.into_iter().zip(clean.first_ordinal..).map(|(copy, ordinal)| (place(ordinal), copy)).collect())
}

fn copies(body: &Body, kind: i32, ids: &[u8], opener: &mut BodyOpener, books: &BooksState) -> Vec<Copy> {
    let mut copies: Vec<Copy> = record::ids(ids).map(|id| (id, 0)).collect();
    let Ok(plain) = opener.open(body) else { return copies };
    let told = for_each_carried(body, &plain, |k, message| {
        if let Some((id, copy)) = copies.get_mut(k) {
            *copy = told_copy(*id, kind, message, books)?.unwrap_or(0);
        }
        Ok(())
    });
    if told.is_err() {
        copies.iter_mut().for_each(|(_, copy)| *copy = 0);
    }
    copies
}

fn told_copy(id: EventId, kind: i32, message: &[u8], books: &BooksState) -> Result<Option<u32>, StoredError> {
    if kind != Kind::Events as i32 {
        return Ok(quarantined_copy(books, id, StoredQuarantine::decode(message)?.original));
    }
    let event = StoredEvent::decode(message)?;
    let says = (event.event_name, event.effective_type(), event.properties);
    Ok(event_copy(books, id, says, event.created_at))
}
