//! Producers and the gateways they use.
//!
//! A producer sends events until each is acknowledged, and some of them once more for no reason, soon or much later. A
//! **gateway** packs what comes in one request by the shards it knows of; how soon it learns of a reshard differs, and so
//! do the gateways' clocks.

use crate::dice::Dice;
use crate::events::{Books, Event};
use crate::scenario::Keys;
use crate::streams::SimStream;
use crate::world::World;
use bytes::Bytes;
use schema::body::BodyPacker;
use schema::{HashKey, HashRange, Kind, record};
use service::Clock;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stream::{NewRecord, Stream};

/// Most events of one request.
const REQUEST_EVENTS_MAX: u64 = 6;

/// Longest time between two requests of a client.
const THINK_MILLIS_MAX: u64 = 5_000;

/// Times an event is sent after which its producer no longer sends it without need.
const NEEDED_TRIES: u32 = 7;

/// Percent of acknowledged events that are sent again nevertheless.
const NEEDLESS_PERCENT: f64 = 25.0;

/// Percent of requests of a single valid event that bypass the gateways.
const FOREIGN_PERCENT: f64 = 15.0;

const MINUTE_MICROS: i64 = 60_000_000;

/// A gateway as far as shards are concerned.
#[derive(Debug)]
pub(crate) struct Gateway {
    map: Vec<HashRange>,
    /// Percent of requests before which it looks at the stream's shards.
    refresh_percent: f64,
    clock_ahead_minutes: i64,
}

/// What all clients of a world share.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    world: Arc<World>,
    raw: SimStream,
    books: Books,
    gateways: Arc<Mutex<Vec<Gateway>>>,
}

/// Where copies of events go together.
struct Packed {
    record: NewRecord,
    /// Places in the request.
    places: Vec<usize>,
}

impl Edge {
    pub(crate) fn new(world: Arc<World>, raw: SimStream, books: Books) -> Edge {
        let first = match world.scenario.keys {
            Keys::Mapped => raw.map(),
            Keys::Arbitrary => vec![HashRange::ALL],
        };
        let gateway = |&refresh_percent: &f64| Gateway {
            map: first.clone(),
            refresh_percent: if world.scenario.keys == Keys::Arbitrary { 0.0 } else { refresh_percent },
            clock_ahead_minutes: world.draw(|dice| dice.below(7)) as i64 - 3,
        };
        let gateways = [0.0, 2.0, 20.0, 100.0].iter().map(gateway).collect();
        Edge { world, raw, books, gateways: Arc::new(Mutex::new(gateways)) }
    }

    /// Sends `events` until each is acknowledged.
    pub(crate) async fn client(self, events: Vec<Event>) {
        let mut waiting: VecDeque<(Event, u32)> = events.into_iter().map(|event| (event, 0)).collect();
        while !waiting.is_empty() {
            let think = self.world.draw(|dice| dice.between(0, THINK_MILLIS_MAX));
            tokio::time::sleep(Duration::from_millis(think)).await;
            let count = self.world.draw(|dice| dice.between(1, REQUEST_EVENTS_MAX)) as usize;
            let request: Vec<(Event, u32)> = waiting.drain(..count.min(waiting.len())).collect();
            let acknowledged = self.send(&request).await;
            for ((event, tries), acknowledged) in request.into_iter().zip(acknowledged) {
                let needless = tries + 1 < NEEDED_TRIES && self.world.draw(|dice| dice.percent(NEEDLESS_PERCENT));
                if !acknowledged || needless {
                    let place = self.world.draw(|dice| dice.below(waiting.len() + 1));
                    waiting.insert(place, (event, tries + 1));
                }
            }
        }
    }

    /// Sends one request; for each event, whether it is acknowledged.
    async fn send(&self, request: &[(Event, u32)]) -> Vec<bool> {
        let packed = match request {
            [(event, _)] if event.kind == Kind::Events && self.world.draw(|dice| dice.percent(FOREIGN_PERCENT)) => {
                vec![self.foreign(event)]
            }
            _ => self.pack(request),
        };
        let (records, places): (Vec<_>, Vec<_>) =
            packed.into_iter().map(|packed| (packed.record, packed.places)).unzip();
        let results = self.raw.append(records).await;
        let mut acknowledged = vec![false; request.len()];
        for (places, result) in places.into_iter().zip(results) {
            for place in places.into_iter().filter(|_| result.is_ok()) {
                self.books.acknowledge(request[place].0.id);
                acknowledged[place] = true;
            }
        }
        acknowledged
    }

    /// A record as somebody else's producer writes it, under whatever key.
    fn foreign(&self, event: &Event) -> Packed {
        let copy = self.books.send(event, None);
        let point = self.world.draw(|dice| if dice.percent(50.0) { event.id.hash() } else { HashKey(dice.wide()) });
        self.world.count("foreign records");
        Packed { record: NewRecord { point, bytes: Bytes::from(event.json(copy)) }, places: vec![0] }
    }

    fn pack(&self, request: &[(Event, u32)]) -> Vec<Packed> {
        let mut gateways = self.gateways.lock().expect("nothing panics while it holds the gateways");
        let which = self.world.draw(|dice| dice.below(gateways.len()));
        let gateway = &mut gateways[which];
        if self.world.draw(|dice| dice.percent(gateway.refresh_percent)) {
            gateway.map = self.raw.map();
        }
        let received_at = self.world.now() + gateway.clock_ahead_minutes * MINUTE_MICROS;
        let mut packed = Vec::new();
        for range in &gateway.map {
            for kind in [Kind::Events, Kind::Quarantine] {
                let here = |place: &usize| request[*place].0.kind == kind && range.covers(request[*place].0.id.hash());
                let places: Vec<usize> = (0..request.len()).filter(here).collect();
                if !places.is_empty() {
                    let events: Vec<&Event> = places.iter().map(|&place| &request[place].0).collect();
                    let record = self.record(&events, kind, received_at, range);
                    packed.push(Packed { record, places });
                }
            }
        }
        packed
    }

    fn record(&self, events: &[&Event], kind: Kind, received_at: i64, range: &HashRange) -> NewRecord {
        let (mut plain, mut ids) = (Vec::new(), Vec::new());
        for event in events {
            let copy = self.books.send(event, Some(received_at));
            event.store(copy, &mut plain);
            ids.extend_from_slice(&event.id.to_bytes());
        }
        let body = BodyPacker::default().pack(&plain, events.len() as u32);
        let point = self.world.draw(|dice| point_in(range, events[0].id.hash(), dice));
        NewRecord { point, bytes: record::encode(&record::raw(kind, ids, received_at, body)) }
    }
}

/// Any point of a range will do for a record of it.
fn point_in(range: &HashRange, first: HashKey, dice: &mut Dice) -> HashKey {
    match dice.below(3) {
        0 => first,
        1 => range.middle(),
        _ => HashKey(range.low.0 + dice.wide() % (range.high.0 - range.low.0).max(1)),
    }
}
