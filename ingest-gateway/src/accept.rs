//! The hot path: a body becomes fragments, the packer makes them durable, the request is answered.
//!
//! Nothing is allocated, locked or sent for a single event: a request has one vector a shard, and one message to the
//! packer. A client that goes away once its events are with the packer changes nothing for them.

use crate::answer::Answer;
use crate::budget::{Charge, Exhausted};
use crate::crowd::Crowd;
use crate::flush::{Arrival, NotDurable, Waiter};
use crate::inflate::{Encoding, InflateError};
use crate::keys::Sender;
use crate::metrics::METRICS;
use crate::pack::Submission;
use crate::parcel::{Fragment, Parcel, Staged};
use crate::refusal::Refusal;
use crate::shards::{Routes, ShardMap};
use crate::trace;
use bytes::Bytes;
use schema::json::batch::{BodyRefused, Item, Layout, Measure, for_each_item};
use schema::json::event::EventReader;
use schema::stored::StoredEvent;
use schema::validate::{ORIGINAL_BYTES_MAX, Rejection, Rules, Valid, quarantine_id};
use schema::{Kind, protobuf};
use service::Env;
use service::traces::{Spans, TraceContext};
use std::cell::RefCell;
use std::sync::Arc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

/// Bodies up to here are parsed where they arrive: about a millisecond of work. Larger ones would keep other requests of
/// the same thread waiting.
const INLINE_BYTES_MAX: usize = 512 << 10;

/// As [`INLINE_BYTES_MAX`], for compressed bodies, as sent.
const INLINE_COMPRESSED_BYTES_MAX: usize = 64 << 10;

/// Large bodies that are decompressed and parsed at a time. What comes out of a compressed body is charged only once it is
/// there, so their number has to be bounded too.
pub(crate) const SORTS_MAX: usize = 4;

/// What a body holds.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Json(Bytes, Layout),
    /// A `v1::EventBatch`.
    Protobuf(Bytes),
    /// `v1::Event`s, already apart.
    Messages(Vec<Bytes>),
}

impl Content {
    fn bytes(&self) -> usize {
        match self {
            Content::Json(body, _) | Content::Protobuf(body) => body.len(),
            Content::Messages(events) => events.iter().map(Bytes::len).sum(),
        }
    }

    fn inflate(self, encoding: Encoding, bytes_max: usize) -> Result<Content, Refusal> {
        let open = |body: Bytes| match encoding {
            Encoding::Identity => Ok(body),
            _ => encoding.inflate(&body, bytes_max).map(Bytes::from).map_err(|error| match error {
                InflateError::TooLarge => Refusal::BodyTooLarge { bytes_max },
                InflateError::Broken(error) => Refusal::NotCompressed {
                    encoding: format!("{encoding:?}").to_ascii_lowercase(),
                    detail: error.to_string(),
                },
            }),
        };
        Ok(match self {
            Content::Json(body, layout) => Content::Json(open(body)?, layout),
            Content::Protobuf(body) => Content::Protobuf(open(body)?),
            Content::Messages(events) => Content::Messages(events),
        })
    }
}

/// A request that was read in full.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) content: Content,
    pub(crate) encoding: Encoding,
    pub(crate) sender: Sender,
    /// For the bytes of the body.
    pub(crate) charge: Charge,
    /// Where it is sampled.
    pub(crate) spans: Spans,
}

/// Events of a request, ready for the packer.
#[derive(Debug)]
struct Sorted {
    answer: Answer,
    fragments: Vec<Fragment>,
    charge: Charge,
}

/// Takes requests in.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) rules: Rules,
    pub(crate) body_bytes_max: usize,
    pub(crate) batch_events_max: usize,
    pub(crate) shards: Arc<ShardMap>,
    pub(crate) env: Env,
    pub(crate) inbox: mpsc::Sender<Submission>,
    pub(crate) crowd: Arc<Crowd>,
    /// Permits for large bodies.
    pub(crate) sorts: Semaphore,
}

thread_local! {
    static READER: RefCell<EventReader> = RefCell::default();
    static STAGED: RefCell<Staged> = RefCell::default();
}

impl Acceptor {
    /// Makes all events of a request durable, invalid ones in quarantine.
    ///
    /// # Errors
    /// The request is refused as a whole. Unless it was [`Refusal::NotDurable`], nothing of it is stored; then some of it
    /// may be, and sending it again is safe.
    pub(crate) async fn accept(self: &Arc<Acceptor>, mut request: Request) -> Result<Answer, Refusal> {
        let mut spans = std::mem::take(&mut request.spans);
        let outcome = self.take(request, spans.contexts().next()).await;
        trace::tell(&mut spans, &outcome);
        outcome
    }

    async fn take(self: &Arc<Acceptor>, request: Request, trace: Option<TraceContext>) -> Result<Answer, Refusal> {
        let arrival = Arrival { received_at: self.env.now(), at: Instant::now() };
        let routes = self.shards.routes();
        let routes = routes.ok_or_else(|| Refusal::NotDurable("the shards are not known yet".into()))?;
        METRICS.body_bytes.inc_by(request.content.bytes() as u64);
        let sender = request.sender.clone();
        let sorted = self.sort_where_it_fits(request, &routes, arrival).await?;
        let Sorted { answer, fragments, charge } = sorted;
        self.make_durable(Parts { routes, arrival, fragments, charge, trace }).await?;
        METRICS.ack_seconds.observe(arrival.at.elapsed().as_secs_f64());
        METRICS.count(sender.source(), &answer);
        Ok(answer)
    }

    async fn sort_where_it_fits(
        self: &Arc<Acceptor>,
        request: Request,
        routes: &Arc<Routes>,
        arrival: Arrival,
    ) -> Result<Sorted, Refusal> {
        let inline_max = match request.encoding {
            Encoding::Identity => INLINE_BYTES_MAX,
            _ => INLINE_COMPRESSED_BYTES_MAX,
        };
        if request.content.bytes() <= inline_max {
            return self.sort(request, routes, arrival.received_at);
        }
        let _permit = self.sorts.acquire().await.expect("nobody closes the semaphore");
        let (acceptor, routes) = (self.clone(), routes.clone());
        let sorting = tokio::task::spawn_blocking(move || acceptor.sort(request, &routes, arrival.received_at));
        sorting.await.unwrap_or_else(|error| Err(Refusal::NotDurable(error.to_string())))
    }

    fn sort(&self, request: Request, routes: &Routes, now: i64) -> Result<Sorted, Refusal> {
        let Request { content, encoding, sender, mut charge, .. } = request;
        let content = content.inflate(encoding, self.body_bytes_max)?;
        charge.resize(content.bytes()).map_err(|Exhausted| shed())?;
        let (answer, fragments) = STAGED.with_borrow_mut(|staged| {
            let parcel = Parcel::new(routes, staged, content.bytes());
            self.sort_items(&content, Sorter { parcel, answer: Answer::default(), source: sender.source() }, now)
        })?;
        drop(content);
        let bytes = fragments.iter().map(Fragment::bytes).sum();
        charge.resize(bytes).map_err(|Exhausted| shed())?;
        Ok(Sorted { answer, fragments, charge })
    }

    fn sort_items(
        &self,
        content: &Content,
        mut sorter: Sorter<'_>,
        now: i64,
    ) -> Result<(Answer, Vec<Fragment>), Refusal> {
        let measure = Measure { rules: self.rules, now, items_max: self.batch_events_max };
        match content {
            Content::Json(body, layout) => READER.with_borrow_mut(|reader| {
                for_each_item(reader, body, *layout, &measure, |item| sorter.add(item)).map(|_| ())
            })?,
            Content::Protobuf(body) => {
                let mut index = 0;
                protobuf::for_each_event(body, |event| sorter.add_message(event, &measure, &mut index))?;
            }
            Content::Messages(events) => {
                let mut index = 0;
                events.iter().try_for_each(|event| sorter.add_message(event, &measure, &mut index))?;
            }
        }
        let Sorter { parcel, answer, .. } = sorter;
        Ok((answer, parcel.into_fragments()))
    }

    async fn make_durable(&self, parts: Parts) -> Result<(), Refusal> {
        let Parts { routes, arrival, fragments, mut charge, trace } = parts;
        if fragments.is_empty() {
            return Ok(());
        }
        let mut outcomes = Vec::with_capacity(fragments.len());
        let wait = |fragment: Fragment| {
            let (done, outcome) = oneshot::channel();
            outcomes.push(outcome);
            let waiter = Waiter { done, charge: charge.split(fragment.bytes()), trace };
            (fragment, waiter)
        };
        let fragments = fragments.into_iter().map(wait).collect();
        self.inbox.try_send(Submission { routes, arrival, fragments }).map_err(|error| match error {
            TrySendError::Full(_) => shed(),
            TrySendError::Closed(_) => Refusal::NotDurable("the gateway stops".into()),
        })?;
        self.crowd.waits(self.inbox.max_capacity() - self.inbox.capacity());
        for outcome in outcomes {
            let gone = |_| Err(NotDurable("the gateway stops".into()));
            outcome.await.unwrap_or_else(gone).map_err(|NotDurable(reason)| Refusal::NotDurable(reason))?;
        }
        Ok(())
    }
}

/// What goes to the packer, together.
struct Parts {
    routes: Arc<Routes>,
    arrival: Arrival,
    fragments: Vec<Fragment>,
    charge: Charge,
    trace: Option<TraceContext>,
}

/// Refuses a request for want of room.
pub(crate) fn shed() -> Refusal {
    METRICS.shed.inc();
    Refusal::Busy
}

/// Deals the items of one request out to shards.
struct Sorter<'r> {
    parcel: Parcel<'r>,
    answer: Answer,
    /// Of the write key.
    source: Option<&'r str>,
}

impl Sorter<'_> {
    fn add(&mut self, item: Item<'_>) {
        let Item { index, original, outcome } = item;
        match outcome {
            Ok(valid) => self.accept(valid),
            Err(rejection) => self.quarantine(index, original, rejection),
        }
    }

    fn add_message(&mut self, event: &[u8], measure: &Measure, index: &mut u32) -> Result<(), Refusal> {
        let items_max = measure.items_max;
        if event.len() > ORIGINAL_BYTES_MAX {
            return Err(BodyRefused::ItemTooLarge { index: *index, bytes: event.len() }.into());
        }
        if *index as usize >= items_max {
            return Err(BodyRefused::TooMany { items_max }.into());
        }
        let outcome = protobuf::read(event, &measure.rules, measure.now);
        self.add(Item { index: *index, original: event, outcome });
        *index += 1;
        Ok(())
    }

    fn accept(&mut self, valid: Valid<'_>) {
        let Valid { id, event } = valid;
        let event = StoredEvent { source: event.source.or(self.source), ..event };
        self.parcel.add(Kind::Events, id, |plain| event.encode_delimited(plain));
        self.answer.accept();
    }

    fn quarantine(&mut self, index: u32, original: &[u8], rejection: Rejection) {
        let id = quarantine_id(self.source, original);
        let item = rejection.stored(original, self.source);
        self.parcel.add(Kind::Quarantine, id, |plain| item.encode_delimited(plain));
        self.answer.quarantine(index, rejection, id);
    }
}
