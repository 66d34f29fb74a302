//! Rows of a lake object that is still open: gathered as they come, handed out sorted as Arrow batches.
//!
//! **Row bytes**: a row in one piece, as [`row_bytes`] lays it out; all rows lie in one arena. **Rows hash**: the sum of
//! the hashes of the rows' bytes, so it does not depend on order, and objects' hashes add up to that of their union.

mod arena;
mod batches;
pub(crate) mod row_bytes;
mod types;

pub use batches::Batches;

use crate::columns::Table;
use crate::stored::{StoredEvent, StoredQuarantine};
use crate::{EventId, Origin};
use arena::{Arena, Span};
use row_bytes::{RowBytes, RowHead, length_of_row, origin_hash, put_row};
use types::Types;
use xxhash_rust::xxh3::xxh3_128;

/// What stands for properties that were not sent.
const NO_PROPERTIES: &str = "{}";

/// Who a row is and when a gateway took it.
#[derive(Clone, Copy, Debug)]
pub struct RowPlace<'a> {
    pub origin: &'a Origin,
    pub ordinal: u64,
    pub id: EventId,
    /// Unix time in microseconds.
    pub received_at: i64,
}

/// Rows of one table, in the order in which they came.
#[derive(Debug)]
pub struct Rows {
    table: Table,
    bytes: Arena,
    refs: Vec<RowRef>,
    origins: Vec<OriginName>,
    types: Types,
    hash: u128,
}

/// Where a row's bytes are, and what it is sorted by.
#[derive(Clone, Copy, Debug)]
struct RowRef {
    span: Span,
    /// Number of the row's origin in [`Rows::origins`].
    origin: u32,
    /// Number of the event's type; 0 in quarantine.
    event_type: u32,
    created_at: i64,
}

#[derive(Debug)]
struct OriginName {
    origin: Origin,
    hash: u64,
}

impl Rows {
    pub fn new(table: Table) -> Rows {
        Rows { table, bytes: Arena::default(), refs: Vec::new(), origins: Vec::new(), types: Types::default(), hash: 0 }
    }

    /// Adds a valid event.
    ///
    /// # Panics
    /// If these are not rows of events.
    pub fn push_event(&mut self, place: &RowPlace<'_>, event: &StoredEvent<'_>) {
        assert_eq!(self.table, Table::Events, "an event is no row of this table");
        let event_type = event.effective_type();
        let properties = if event.properties.is_empty() { NO_PROPERTIES } else { event.properties };
        // In the order of `columns::event_field`.
        let fields = [
            Some(event.event_name.as_bytes()),
            Some(event_type.as_bytes()),
            event.source.map(str::as_bytes),
            event.user_id.map(str::as_bytes),
            event.session_id.map(str::as_bytes),
            Some(properties.as_bytes()),
        ];
        let event_type = self.types.count(event_type);
        self.push(place, event.created_at, event_type, &fields);
    }

    /// Adds an invalid event.
    ///
    /// # Panics
    /// If these are not rows of quarantine.
    pub fn push_quarantined(&mut self, place: &RowPlace<'_>, item: &StoredQuarantine<'_>) {
        assert_eq!(self.table, Table::Quarantine, "a quarantined event is no row of this table");
        // In the order of `columns::quarantine_field`.
        let fields = [
            Some(item.event_id.as_bytes()).filter(|id| !id.is_empty()),
            Some(item.reason.as_bytes()),
            Some(item.field.as_bytes()),
            Some(item.value.as_bytes()),
            Some(item.message.as_bytes()),
            Some(item.stage.as_bytes()),
            item.source.map(str::as_bytes),
            Some(item.original),
        ];
        self.push(place, place.received_at, 0, &fields);
    }

    fn push(&mut self, place: &RowPlace<'_>, created_at: i64, event_type: u32, fields: &[Option<&[u8]>]) {
        let origin = self.number_of(place.origin);
        let head = RowHead {
            origin_hash: self.origins[origin].hash,
            ordinal: place.ordinal,
            id: place.id,
            created_at,
            received_at: place.received_at,
        };
        let (span, row) = self.bytes.put(length_of_row(fields), |out| put_row(out, &head, fields));
        self.hash = self.hash.wrapping_add(xxh3_128(row));
        self.refs.push(RowRef { span, origin: origin as u32, event_type, created_at });
    }

    /// Records come in runs of one origin, and a writer meets few origins: no map is needed.
    fn number_of(&mut self, origin: &Origin) -> usize {
        if let Some(number) = self.origins.iter().rposition(|known| known.origin == *origin) {
            return number;
        }
        self.origins.push(OriginName { origin: origin.clone(), hash: origin_hash(origin.as_str()) });
        self.origins.len() - 1
    }

    pub fn table(&self) -> Table {
        self.table
    }

    /// How many rows there are.
    pub fn rows(&self) -> u64 {
        self.refs.len() as u64
    }

    /// Bytes of the rows themselves: about what they take as plain columns.
    pub fn row_bytes(&self) -> usize {
        self.bytes.bytes()
    }

    /// What is held in memory, room to grow included.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.refs.capacity() * size_of::<RowRef>() + self.types.memory_bytes()
    }

    /// The sum of the rows' hashes modulo 2^128: the same for the same rows in any order.
    pub fn rows_hash(&self) -> u128 {
        self.hash
    }

    /// Rows of each event type, ascending by type; empty in quarantine.
    pub fn types(&self) -> Vec<(&str, u64)> {
        self.types.counts()
    }

    /// Hands the rows out in the table's sort order.
    pub fn into_batches(self) -> Batches {
        Batches::new(self)
    }

    fn row(&self, row: &RowRef) -> RowBytes<'_> {
        RowBytes::new(self.bytes.get(row.span), self.table.field_count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::{self, ColumnError, Place, places, text, times};
    use crate::v1;
    use crate::{ChainId, Kind, ShardId};
    use arrow_array::{Array, RecordBatch};
    use proptest::prelude::*;

    /// Everything that a row of events shows, in sort order.
    #[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Debug)]
    struct Shown {
        event_type: String,
        created_at: i64,
        origin: String,
        ordinal: u64,
        id: EventId,
        received_at: i64,
        name: String,
        subtype: String,
        optional: [Option<String>; 3],
        properties: String,
    }

    fn origin(number: u8, kind: Kind) -> Origin {
        Origin::of(&ChainId::dedup("a1", &ShardId::new(format!("raw-{number}")), 0), kind)
    }

    fn event() -> impl Strategy<Value = v1::StoredEvent> {
        let text = || proptest::option::of("[a-cé]{0,3}");
        let name = "[ab]{0,2}:[ab:é]{0,9}";
        (name, text(), 0i64..4, text(), text(), text(), "[{}é]{0,9}").prop_map(
            |(event_name, event_type, created_at, source, user_id, session_id, properties)| v1::StoredEvent {
                event_name,
                event_type,
                created_at,
                source,
                user_id,
                session_id,
                properties,
            },
        )
    }

    fn borrowed(event: &v1::StoredEvent) -> StoredEvent<'_> {
        StoredEvent {
            event_name: &event.event_name,
            event_type: event.event_type.as_deref(),
            created_at: event.created_at,
            source: event.source.as_deref(),
            user_id: event.user_id.as_deref(),
            session_id: event.session_id.as_deref(),
            properties: &event.properties,
        }
    }

    fn pushed(events: &[(u8, u128, v1::StoredEvent)], order: impl Iterator<Item = usize>) -> (Rows, Vec<Shown>) {
        let (mut rows, mut shown) = (Rows::new(Table::Events), Vec::new());
        for k in order {
            let (number, id, event) = &events[k];
            let (origin, id, ordinal, received_at) = (origin(*number, Kind::Events), EventId(*id), k as u64, k as i64);
            let event = borrowed(event);
            rows.push_event(&RowPlace { origin: &origin, ordinal, id, received_at }, &event);
            shown.push(Shown {
                event_type: event.effective_type().to_string(),
                created_at: event.created_at,
                origin: origin.to_string(),
                ordinal,
                id,
                received_at,
                name: event.event_name.to_string(),
                subtype: event.subtype().to_string(),
                optional: [event.source, event.user_id, event.session_id].map(|text| text.map(str::to_string)),
                properties: if event.properties.is_empty() { "{}" } else { event.properties }.to_string(),
            });
        }
        shown.sort();
        (rows, shown)
    }

    fn show(batch: &RecordBatch) -> Result<Vec<Shown>, ColumnError> {
        let cell = |name, row| {
            let column = text(batch, name)?;
            Ok(column.is_valid(row).then(|| column.value(row).to_string()))
        };
        let present = |name, row| cell(name, row).map(|text| text.expect("a column without nulls"));
        let places: Result<Vec<Place<'_>>, _> = places(Table::Events, batch)?.collect();
        places?
            .into_iter()
            .enumerate()
            .map(|(row, place)| {
                Ok(Shown {
                    event_type: present(columns::EVENT_TYPE, row)?,
                    created_at: times(batch, columns::CREATED_AT)?.value(row),
                    origin: place.origin.to_string(),
                    ordinal: place.ordinal,
                    id: place.id,
                    received_at: times(batch, columns::RECEIVED_AT)?.value(row),
                    name: present(columns::EVENT_NAME, row)?,
                    subtype: present(columns::EVENT_SUBTYPE, row)?,
                    optional: [
                        cell(columns::SOURCE, row)?,
                        cell(columns::USER_ID, row)?,
                        cell(columns::SESSION_ID, row)?,
                    ],
                    properties: present(columns::PROPERTIES, row)?,
                })
            })
            .collect()
    }

    proptest! {
        #[test]
        fn events_come_out_of_the_columns_as_they_went_in_and_sorted(
            events in proptest::collection::vec((0u8..3, any::<u128>(), event()), 1..40),
        ) {
            let (rows, shown) = pushed(&events, 0..events.len());
            let (count, hash) = (rows.rows(), rows.rows_hash());
            let batches: Vec<RecordBatch> = rows.into_batches().collect();
            prop_assert_eq!(batches.len(), 1);
            prop_assert_eq!(show(&batches[0]), Ok(shown));
            prop_assert_eq!(batches[0].num_rows() as u64, count);
            prop_assert_eq!(columns::rows_hash(Table::Events, &batches[0]), Ok(hash));
        }

        #[test]
        fn neither_hash_nor_batches_depend_on_the_order_of_arrival(
            events in proptest::collection::vec((0u8..3, any::<u128>(), event()), 1..40),
        ) {
            let (forward, _) = pushed(&events, 0..events.len());
            let (backward, _) = pushed(&events, (0..events.len()).rev());
            prop_assert_eq!(forward.rows_hash(), backward.rows_hash());
            prop_assert_eq!(forward.types(), backward.types());
            prop_assert!(forward.into_batches().eq(backward.into_batches()));
        }

        #[test]
        fn the_hash_tells_rows_apart_that_differ_anywhere(event in event(), other in event(), id: u128) {
            let one = pushed(&[(0, id, event.clone())], 0..1);
            let changed = [(1, id, event.clone()), (0, id ^ 1, event), (0, id, other)];
            for changed in changed {
                let changed = pushed(&[changed], 0..1);
                prop_assert_eq!(one.0.rows_hash() == changed.0.rows_hash(), one.1 == changed.1);
            }
        }

        #[test]
        fn quarantined_items_come_out_of_the_columns_as_they_went_in(original: Vec<u8>, event_id in "[a-z]{0,2}", value in ".{0,9}") {
            let origin = origin(0, Kind::Quarantine);
            let item = StoredQuarantine { original: &original, event_id: &event_id, value: &value, stage: "gateway", ..Default::default() };
            let mut rows = Rows::new(Table::Quarantine);
            rows.push_quarantined(&RowPlace { origin: &origin, ordinal: 7, id: EventId(5), received_at: 9 }, &item);
            let hash = rows.rows_hash();
            let batch = rows.into_batches().next().expect("one row");
            prop_assert_eq!(columns::binary(&batch, columns::ORIGINAL).expect("bytes").value(0), original.as_slice());
            prop_assert_eq!(text(&batch, columns::VALUE).expect("text").value(0), value);
            prop_assert_eq!(text(&batch, columns::EVENT_ID).expect("text").is_null(0), event_id.is_empty());
            prop_assert_eq!(columns::rows_hash(Table::Quarantine, &batch), Ok(hash));
            let place = places(Table::Quarantine, &batch).expect("columns").next().expect("one row");
            prop_assert_eq!(place, Ok(Place { origin: origin.as_str(), ordinal: 7, id: EventId(5) }));
        }
    }

    #[test]
    fn many_rows_make_several_batches_in_one_order() {
        let origin = origin(0, Kind::Events);
        let mut rows = Rows::new(Table::Events);
        for k in 0..10_000u64 {
            let created_at = (k * 7919 % 10_000) as i64 - 5_000;
            let event = StoredEvent { event_name: "page:view", created_at, ..Default::default() };
            rows.push_event(&RowPlace { origin: &origin, ordinal: k, id: EventId(k.into()), received_at: 0 }, &event);
        }
        assert_eq!(rows.types(), [("page", 10_000)]);
        let batches: Vec<RecordBatch> = rows.into_batches().collect();
        let created_at = |batch: &RecordBatch| times(batch, columns::CREATED_AT).map(|times| times.values().to_vec());
        let all: Vec<i64> = batches.iter().flat_map(|batch| created_at(batch).expect("times")).collect();
        assert!(batches.len() > 1);
        assert_eq!(all, (-5_000..5_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_column_of_another_shape_is_named() {
        let (rows, _) = pushed(&[(0, 1, v1::StoredEvent::default())], 0..1);
        let batch = rows.into_batches().next().expect("one row");
        assert_eq!(times(&batch, columns::ORIGIN).unwrap_err().to_string(), "column origin is of type Utf8");
        let renamed = batch.project(&[1]).expect("a column");
        assert_eq!(columns::rows_hash(Table::Events, &renamed), Err(ColumnError::Missing("event_id".into())));
    }
}
