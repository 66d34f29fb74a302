//! The owner of one clean shard: reads, gathers rows, announces objects, uploads them.
//!
//! **Announced**: an entry of the chain names the object, its rows and their hash. **Pending**: announced and not yet
//! known to exist. **Settled**: the head entry says that all objects exist.

use crate::budget::{Budget, EVICTED_BYTES_MIN, Holds, Share};
use crate::chain;
use crate::config::Config;
use crate::deal::{Deal, Slot};
use crate::forget::{Forgetting, Standing};
use crate::holes::Holes;
use crate::metrics::{EVENT, METRICS, QUARANTINE};
use crate::write::{Sets, Taken, Taker, Understood, understand, unregistered};
use bytes::Bytes;
use lake::layout::ObjectName;
use lake::parquet_file::{self, Identity, ObjectError};
use lake::{Lake, LakeError};
use ledger::keeper::Ending;
use ledger::{Ledger, LedgerError, append_until_decided, for_each_slot};
use ownership::{Lag, MEMORY_AGE_MAX, OwnerError, PATIENCE, RETRY_PAUSE, ReadingOn};
use schema::rows::Rows;
use schema::v1::{Announcement, LakeObject, WriterGenesis, writer_entry};
use schema::{ChainId, Position, Table};
use service::traces::{Attribute, STEP_TRACES_MAX, SpanKind, Spans, StringValue, TraceContext, Value};
use service::{Env, Halt, Rule, Rules, Stop};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use stream::{ReadLimit, Record, Shard, Stream, found_little};
use tokio::time::Instant;

/// Most clean records that are read at a time. Source: GetRecords' limit,
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
const READ_RECORDS_MAX: usize = 10_000;

/// Most bytes of clean records that are read at a time: they are in memory next to the rows.
const READ_BYTES_MAX: usize = 4 << 20;

/// Most objects that the span of an entry names: a day each, as a rule, and an entry has few.
const SPAN_OBJECTS_MAX: usize = 16;

/// Where Parquet is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encode {
    /// On the pool of blocking threads, so that the event loop goes on.
    OnPool,
    /// Right here: the same every time, as a simulation needs.
    Inline,
}

/// What an owner works with.
#[derive(Clone, Debug)]
pub struct Parts {
    pub clean: Arc<dyn Stream>,
    pub ledger: Arc<dyn Ledger>,
    pub lake: Arc<dyn Lake>,
    pub env: Env,
    pub config: Config,
    pub budget: Budget,
    pub encode: Encode,
    pub rules: Rules,
}

/// An object's content.
#[derive(Debug)]
struct Encoded {
    bytes: Bytes,
    identity: Identity,
}

/// An object that is encoded and has no name yet.
#[derive(Debug)]
struct Part {
    slot: Slot,
    encoded: Encoded,
}

/// An announced object that is not known to exist.
#[derive(Debug)]
struct Pending {
    entry: u64,
    key: String,
    /// What its rows are counted as.
    kind: &'static str,
    bytes: Bytes,
    identity: Identity,
}

/// The entry that is being gathered.
#[derive(Debug)]
struct Gathering {
    from: Position,
    to: Position,
    records: u32,
    /// When the first of them arrived, by the stream's clock.
    arrived_at: Option<i64>,
    deal: Deal,
    /// Parts that were closed early, in order.
    parts: Vec<Part>,
    taken: Taken,
    /// When the gateway received each record that gave rows.
    received: Vec<i64>,
    /// Traces that these records carry, as many as a step has spans for.
    sampled: Vec<TraceContext>,
    since: Option<Instant>,
}

impl Gathering {
    fn new(from: Position, part_rows_max: u64) -> Gathering {
        Gathering {
            to: from.clone(),
            from,
            records: 0,
            arrived_at: None,
            deal: Deal::new(part_rows_max),
            parts: Vec::new(),
            taken: Taken::default(),
            received: Vec::new(),
            sampled: Vec::new(),
            since: None,
        }
    }

    fn carry_on(&mut self, understood: &Understood) {
        let room = STEP_TRACES_MAX - self.sampled.len();
        self.sampled.extend(understood.sampled().take(room));
    }

    fn holds(&self) -> Holds {
        let encoded = self.parts.iter().map(|part| part.encoded.bytes.len()).sum::<usize>();
        Holds::gathered(self.deal.memory_bytes() + encoded, self.deal.largest().map_or(0, |(_, bytes)| bytes))
    }

    fn rows(&self) -> u64 {
        self.deal.rows_open() + self.parts.iter().map(|part| part.encoded.identity.rows).sum::<u64>()
    }
}

/// One clean shard's writer.
#[derive(Debug)]
pub struct Owner {
    parts: Parts,
    shard: Shard,
    chain: ChainId,
    taker: Taker,
    sets: Sets,
    /// Number of the next entry.
    next: u64,
    gathering: Gathering,
    pending: Vec<Pending>,
    /// When the first record arrived whose rows are in pending objects, by the stream's clock.
    pending_since: Option<i64>,
    /// When the gateway received each record whose rows are in pending objects.
    unreadable: Vec<i64>,
    /// Of the entry whose objects are pending.
    committing: Spans,
    /// The last attempt to upload failed, and somebody was told.
    uploads_fail: bool,
    /// `done_through` as the head entry has it.
    recorded: u64,
    /// Last entry that announced objects; 0 where none did.
    last_effect: u64,
    /// Clean position of each entry that is not recorded as done.
    positions: VecDeque<(u64, Position)>,
    share: Share,
    holes: Holes,
    forgetting: Forgetting,
    ended: bool,
    /// When the head entry was appended, by its owner's wall clock.
    appended_at: i64,
    last_sure: Instant,
    /// When the shard is worth reading again.
    read_at: Instant,
    lag: Lag,
    reading_on: ReadingOn,
}

impl Owner {
    /// Loads the shard's chain, beginning it where nobody has, and makes ready what was announced and may not exist.
    pub async fn open(parts: Parts, shard: Shard) -> Result<Owner, OwnerError> {
        let chain = chain_of(&*parts.clean, &shard);
        let last_sure = Instant::now();
        let genesis = match chain::genesis(&*parts.ledger, &chain).await? {
            Some(genesis) => genesis,
            None => begin(&parts, &shard, &chain).await?,
        };
        let part_rows_max = parts.config.object_rows_max.get();
        let mut owner = Owner {
            sets: chain::sets(&chain, &genesis.sets)?,
            next: 1,
            gathering: Gathering::new(Position::start(), part_rows_max),
            pending: Vec::new(),
            pending_since: None,
            unreadable: Vec::new(),
            committing: Spans::default(),
            uploads_fail: false,
            recorded: 1,
            last_effect: 0,
            positions: VecDeque::new(),
            share: parts.budget.share(),
            holes: Holes::default(),
            forgetting: Forgetting::new(),
            ended: false,
            appended_at: 0,
            taker: Taker::default(),
            parts,
            shard,
            chain,
            last_sure,
            read_at: last_sure,
            lag: Lag::default(),
            reading_on: ReadingOn::default(),
        };
        owner.resume().await?;
        Ok(owner)
    }

    async fn resume(&mut self) -> Result<(), OwnerError> {
        match chain::head(&*self.parts.ledger, &self.chain).await? {
            Some((number, head)) => self.resume_after(number, &head).await,
            None => self.recall_tip(&Position::start(), 0).await,
        }
    }

    async fn recall_tip(&self, at: &Position, tip_at: i64) -> Result<(), OwnerError> {
        let Parts { clean, ledger, env, .. } = &self.parts;
        ownership::recall_tip(ChainId::CLEAN, &**clean, &**ledger, &self.shard.id, at, tip_at, env.now()).await
    }

    async fn resume_after(&mut self, number: u64, head: &Announcement) -> Result<(), OwnerError> {
        self.sets = chain::sets(&self.chain, &head.sets_after)?;
        self.next = number + 1;
        self.recorded = head.done_through;
        (self.ended, self.appended_at) = (head.end, head.appended_at);
        let to = self.position(&head.to)?;
        self.recall_tip(&to, head.tip_at).await?;
        self.begin_gathering(to);
        if !self.ended && self.parts.rules.keeps(Rule::FinishAnnounced) {
            self.recall().await?;
        }
        Ok(())
    }

    /// Derives again what entries announced that may not exist (PROTOCOL rule 19).
    async fn recall(&mut self) -> Result<(), OwnerError> {
        let mut entries = Vec::new();
        let next = self.next;
        for_each_slot(&*self.parts.ledger, &self.chain, self.recorded.max(1), |slot| {
            // What another owner has announced since the head was read is that owner's to finish.
            if slot.number < next {
                entries.push(slot);
            }
            Ok(())
        })
        .await?;
        let Some(first) = entries.first().map(|slot| slot.number) else { return Ok(()) };
        let mut sets = chain::sets_after(&*self.parts.ledger, &self.chain, first - 1).await?;
        for slot in entries {
            let entry = chain::announcement(&self.chain, slot.number, slot.entry.bytes)?;
            if entry.records > 0 {
                self.derive_again(slot.number, &entry, &mut sets).await?;
            }
            sets = chain::sets(&self.chain, &entry.sets_after)?;
            self.positions.push_back((slot.number, self.position(&entry.to)?));
        }
        Ok(())
    }

    async fn derive_again(&mut self, number: u64, entry: &Announcement, sets: &mut Sets) -> Result<(), OwnerError> {
        let (from, to) = (self.position(&entry.from)?, self.position(&entry.to)?);
        let records = stream::read_range(&*self.parts.clean, &self.shard.id, &from, &to).await?;
        let own_split = !self.parts.rules.keeps(Rule::RecordedSplit);
        let mut deal = match own_split {
            true => Deal::new(self.parts.config.object_rows_max.get()),
            false => Deal::as_recorded(&entry.objects),
        };
        for record in &records {
            let understood = self.understand(record, sets).await?;
            let taken = self.taker.take(&understood, record.arrived_at, sets, &mut deal, self.parts.rules);
            self.unreadable.extend(understood.received_at().filter(|_| taken.rows > 0));
        }
        let parts = encode_all(deal.finish(), &self.parts).await?;
        let named = self.name(number, parts);
        let derived: Vec<LakeObject> = named.iter().map(|(object, _)| object.clone()).collect();
        if !own_split && !same_objects(&derived, &entry.objects) {
            let chain = &self.chain;
            return Err(Halt(format!(
                "chain {chain}, entry {number}: the clean range gives other rows than were announced"
            ))
            .into());
        }
        if !named.is_empty() {
            self.pending_since = self.pending_since.or(records.first().map(|record| record.arrived_at));
        }
        self.announced(number, named);
        Ok(())
    }

    /// Works until the shard ends or `stop` is signalled and everything that was read is in the lake and written down.
    pub async fn run(mut self, stop: Stop) -> Result<Ending, OwnerError> {
        if self.ended {
            return Ok(Ending::Done);
        }
        loop {
            if !self.pending.is_empty() {
                self.upload().await?;
            }
            if !self.pending.is_empty() {
                self.note_lag_of_pending().await;
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            }
            let stopping = stop.is_cancelled();
            let Some((read, end)) = self.read(&stop).await? else {
                self.evict().await?;
                continue;
            };
            if self.is_due() || (self.gathering.records > 0 && (end || (stopping && !read))) {
                self.announce(false).await?;
            } else if read {
                self.evict().await?;
            } else if end {
                self.announce(true).await?;
                return Ok(Ending::Done);
            } else if !self.is_settled() && self.gathering.records == 0 {
                self.announce(false).await?;
            } else if stopping {
                return Ok(Ending::Stopped);
            } else if self.is_quiet() {
                self.announce(false).await?;
            }
        }
    }

    /// Whether an entry should say that nothing came for long.
    fn is_quiet(&self) -> bool {
        let (clean, position, now) = (&*self.parts.clean, &self.gathering.to, self.parts.env.now());
        self.gathering.records == 0
            && ownership::should_say_anew(clean, &self.shard.id, position, self.appended_at, now)
    }

    /// Reads what follows and takes its rows; whether there was something, and whether the closed shard is at its end. Nothing
    /// where another shard needs the memory of this one's largest part first.
    /// Once asked to stop, it reads on to the tip without waiting, for a while: who stops the stages in order leaves nothing
    /// to redo.
    async fn read(&mut self, stop: &Stop) -> Result<Option<(bool, bool)>, OwnerError> {
        let stopping = stop.is_cancelled();
        if self.reading_on.is_over(stop) {
            return Ok(Some((false, false)));
        }
        let wait = if stopping { Duration::ZERO } else { self.wait() };
        let limit = ReadLimit { records_max: READ_RECORDS_MAX, bytes_max: READ_BYTES_MAX, wait };
        let read = async {
            if !stopping {
                tokio::time::sleep_until(self.read_at).await;
            }
            self.parts.clean.read(&self.shard.id, &self.gathering.to, limit).await
        };
        let page = tokio::select! {
            biased;
            page = read => page?,
            () = stop.cancelled(), if !stopping => return Ok(Some((false, false))),
            () = self.share.asked() => return Ok(None),
        };
        if found_little(&page, &limit) {
            self.read_at = Instant::now() + self.parts.config.linger;
        }
        self.note_lag(page.lag).await;
        for record in &page.records {
            self.take(record).await?;
        }
        self.share.set(self.gathering.holds());
        METRICS.opened(&self.shard.id, self.gathering.deal.open_parts());
        self.look_for_holes();
        Ok(Some((!page.records.is_empty(), page.end_of_shard)))
    }

    async fn note_lag(&mut self, lag: Duration) {
        let share = self.lag.note(&*self.parts.clean, lag).await;
        METRICS.stage.read(&self.shard.id, lag, share);
    }

    /// Whoever comes next has to read again what pending objects are made of: it must not go meanwhile (PROTOCOL rule 17).
    async fn note_lag_of_pending(&mut self) {
        let now = self.parts.env.now();
        self.note_lag(self.pending_since.map(|arrived_at| ownership::age(arrived_at, now)).unwrap_or_default()).await;
    }

    async fn take(&mut self, record: &Record) -> Result<(), OwnerError> {
        let mut sets = std::mem::take(&mut self.sets);
        let understood = self.understand(record, &sets).await;
        let understood = match understood {
            Ok(understood) => understood,
            Err(error) => {
                self.sets = sets;
                return Err(error);
            }
        };
        let gathering = &mut self.gathering;
        let taken = self.taker.take(&understood, record.arrived_at, &mut sets, &mut gathering.deal, self.parts.rules);
        self.sets = sets;
        gathering.taken.redelivered += taken.redelivered;
        gathering.taken.tombstones += taken.tombstones;
        gathering.received.extend(understood.received_at().filter(|_| taken.rows > 0));
        if taken.rows > 0 && self.parts.env.traces.is_on() {
            gathering.carry_on(&understood);
        }
        gathering.records += 1;
        gathering.arrived_at.get_or_insert(record.arrived_at);
        gathering.to = record.position.clone();
        gathering.since.get_or_insert_with(Instant::now);
        self.forgetting.note_arrival(record.arrived_at);
        Ok(())
    }

    /// Reads a header and looks at whose ordinals it carries (PROTOCOL rule 21).
    async fn understand(&self, record: &Record, sets: &Sets) -> Result<Understood, OwnerError> {
        let (understood, arrived_at) = (understand(&self.shard.id, record)?, record.arrived_at);
        let Understood::Clean { origin, record } = &understood else { return Ok(understood) };
        if sets.knows(origin) {
            return Ok(understood);
        }
        let reason = match Standing::look(&*self.parts.ledger, origin, arrived_at).await? {
            Standing::Registered => return Ok(understood),
            Standing::Unregistered => "its origin is not registered",
            Standing::Over => "its origin has ended long ago",
        };
        tracing::error!(%origin, reason, "events of this origin go to quarantine");
        Ok(Understood::Foreign {
            origin: unregistered(origin.as_str()),
            bytes: record.body.as_ref().map_or_else(Bytes::new, |body| body.bytes.clone()),
            reason: reason.to_string(),
        })
    }

    fn wait(&self) -> Duration {
        let quiet = self.parts.config.settle_after;
        match self.gathering.since {
            Some(since) => self.parts.config.flush_interval.saturating_sub(since.elapsed()).min(quiet),
            None => quiet,
        }
    }

    fn is_due(&self) -> bool {
        let (gathering, config) = (&self.gathering, &self.parts.config);
        gathering.since.is_some_and(|since| since.elapsed() >= config.flush_interval)
            || gathering.deal.row_bytes() >= config.flush_bytes_max
            || gathering.rows() >= config.flush_rows_max.get()
            || gathering.deal.open_parts() > config.open_objects_max.get()
    }

    /// Closes the largest part, and encodes it, while the process holds more memory than it may and no other shard's is larger.
    async fn evict(&mut self) -> Result<(), OwnerError> {
        let closed = self.gathering.deal.take_closed();
        self.gathering.parts.extend(encode_all(closed, &self.parts).await?);
        while self.share.has_to_evict().await {
            match self.gathering.deal.largest() {
                Some((slot, bytes)) if bytes >= EVICTED_BYTES_MIN => self.gathering.deal.close(slot),
                _ => return if self.gathering.records > 0 { self.announce(false).await } else { Ok(()) },
            }
            METRICS.evicted.inc();
            let closed = self.gathering.deal.take_closed();
            self.gathering.parts.extend(encode_all(closed, &self.parts).await?);
            self.share.set(self.gathering.holds());
        }
        Ok(())
    }

    /// Appends what was gathered, and only then uploads it (PROTOCOL rules 22, 23). With `end`, ends the chain.
    async fn announce(&mut self, end: bool) -> Result<(), OwnerError> {
        if self.last_sure.elapsed() > MEMORY_AGE_MAX {
            return Err(OwnerError::Stale);
        }
        let to = self.gathering.to.clone();
        let mut gathering = self.begin_gathering(to.clone());
        let sampled = std::mem::take(&mut gathering.sampled);
        let mut spans = self.parts.env.traces.step("commit", &SpanKind::Consumer, sampled);
        let mut parts = gathering.parts;
        let uncounted = gathering.deal.uncounted().clone();
        parts.extend(encode_all(gathering.deal.finish(), &self.parts).await?);
        let number = self.next;
        let named = self.name(number, parts);
        spans.describe(|| self.as_announced(number, &named));
        self.forgetting.apply(&mut self.sets);
        let announced_first = self.parts.rules.keeps(Rule::AnnounceBeforeUpload);
        if !announced_first {
            self.upload_unannounced(number, &named).await?;
        }
        let now = self.parts.env.now();
        let entry = Announcement {
            from: gathering.from.as_str().to_string(),
            to: to.as_str().to_string(),
            records: gathering.records,
            sets_after: self.sets.encode(),
            objects: named.iter().map(|(object, _)| object.clone()).collect(),
            done_through: if announced_first { self.done_through() } else { number + 1 },
            end,
            redelivered: gathering.taken.redelivered,
            tombstones: gathering.taken.tombstones,
            appended_at: now,
            tip_at: ownership::tip_at(&*self.parts.clean, &self.shard.id, &to, now),
        };
        let (recorded, sent) = (entry.done_through, Instant::now());
        let bytes = chain::encode(self.parts.env.nonce(), writer_entry::Entry::Announcement(entry));
        let appended = append_until_decided(&*self.parts.ledger, &self.chain, number, bytes, PATIENCE).await;
        METRICS.stage.appended(&appended);
        appended.inspect_err(|error| spans.fail(error))?;
        METRICS.count(&uncounted);
        (self.last_sure, self.recorded, self.next) = (sent, recorded, number + 1);
        self.appended_at = now;
        self.positions.push_back((number, to));
        self.release_consumed().await;
        self.forgetting.look(&*self.parts.ledger, &self.sets).await?;
        self.unreadable.extend(gathering.received);
        self.pending_since = self.pending_since.or(gathering.arrived_at);
        if announced_first {
            self.announced(number, named);
            self.committing = spans;
            // Nobody is to wait for this shard to close a part while it has none.
            self.hold_pending();
            self.upload().await?;
        }
        self.hold_pending();
        Ok(())
    }

    /// What spans say of an entry.
    fn as_announced(&self, number: u64, named: &[(LakeObject, Encoded)]) -> [Attribute; 4] {
        let rows: u64 = named.iter().map(|(object, _)| object.rows).sum();
        let keys = named.iter().take(SPAN_OBJECTS_MAX).map(|(object, _)| StringValue::from(object.key.clone()));
        [
            Attribute::new("forebay.chain", self.chain.to_string()),
            Attribute::new("forebay.entry", number as i64),
            Attribute::new("forebay.rows", rows as i64),
            Attribute::new("forebay.objects", Value::Array(keys.collect::<Vec<_>>().into())),
        ]
    }

    fn hold_pending(&self) {
        self.share.set(Holds::pending(self.pending.iter().map(|pending| pending.bytes.len()).sum()));
    }

    fn begin_gathering(&mut self, from: Position) -> Gathering {
        let part_rows_max = self.parts.config.object_rows_max.get();
        std::mem::replace(&mut self.gathering, Gathering::new(from, part_rows_max))
    }

    fn announced(&mut self, number: u64, named: Vec<(LakeObject, Encoded)>) {
        if !named.is_empty() {
            self.last_effect = self.last_effect.max(number);
        }
        self.pending.extend(named.into_iter().map(|(object, encoded)| Pending {
            entry: number,
            kind: if object.table == Table::Events.name() { EVENT } else { QUARANTINE },
            key: object.key,
            bytes: encoded.bytes,
            identity: encoded.identity,
        }));
    }

    /// Uploads everything pending once; what is known to exist leaves.
    async fn upload(&mut self) -> Result<(), OwnerError> {
        let mut left = Vec::new();
        for pending in std::mem::take(&mut self.pending) {
            let created =
                parquet_file::create_exactly(&*self.parts.lake, &pending.key, pending.bytes.clone(), &pending.identity);
            match created.await {
                Ok(_) => {
                    METRICS.objects.inc();
                    METRICS.object_bytes.inc_by(pending.bytes.len() as u64);
                    METRICS.rows.with_label_values(&[pending.kind]).inc_by(pending.identity.rows);
                }
                // Not found: it was there, and the compactor has just removed it.
                Err(error @ ObjectError::Lake(LakeError::Unavailable { .. } | LakeError::NotFound(_))) => {
                    METRICS.upload_failures.inc();
                    if !std::mem::replace(&mut self.uploads_fail, true) {
                        tracing::warn!(%error, entry = pending.entry, "an upload failed: it is tried again until it succeeds");
                    }
                    left.push(pending);
                }
                Err(error) => {
                    return Err(Halt(format!("chain {}, entry {}: {error}", self.chain, pending.entry)).into());
                }
            }
        }
        self.uploads_fail &= !left.is_empty();
        self.pending = left;
        if self.pending.is_empty() {
            self.became_readable();
        }
        Ok(())
    }

    /// Observes how long ago what is readable now was received.
    fn became_readable(&mut self) {
        let now = self.parts.env.now();
        self.committing = Spans::default();
        self.pending_since = None;
        let freshness = METRICS.freshness_seconds.with_label_values(&[self.shard.id.as_str()]);
        for received_at in self.unreadable.drain(..) {
            freshness.observe(now.saturating_sub(received_at).max(0) as f64 / 1e6);
        }
    }

    /// What an at-least-once sink does: unique names, upload, then checkpoint. For the test that shows why not.
    async fn upload_unannounced(&self, number: u64, named: &[(LakeObject, Encoded)]) -> Result<(), OwnerError> {
        for (object, encoded) in named {
            let unique = format!("-{:08x}.parquet", self.parts.env.nonce() as u32);
            let key = object.key.replace(".parquet", &unique);
            while parquet_file::create_exactly(&*self.parts.lake, &key, encoded.bytes.clone(), &encoded.identity)
                .await
                .is_err()
            {
                tracing::debug!(number, key, "upload failed, trying again");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
        Ok(())
    }

    /// Names parts: per table and day, in order.
    fn name(&self, number: u64, parts: Vec<Part>) -> Vec<(LakeObject, Encoded)> {
        let mut counts: BTreeMap<Slot, u32> = BTreeMap::new();
        let one = |part: Part| {
            let count = counts.entry(part.slot).or_default();
            let name = ObjectName::live(part.slot.0, part.slot.1, &self.chain, number, *count);
            *count += 1;
            let object = LakeObject {
                key: name.key(),
                table: part.slot.0.name().to_string(),
                date: part.slot.1.0,
                rows: part.encoded.identity.rows,
                rows_hash: Bytes::copy_from_slice(&part.encoded.identity.rows_hash.to_be_bytes()),
            };
            (object, part.encoded)
        };
        parts.into_iter().map(one).collect()
    }

    /// First entry with an object that is not known to exist; the next entry's number where all are.
    fn done_through(&self) -> u64 {
        self.pending.iter().map(|pending| pending.entry).min().unwrap_or(self.next)
    }

    fn is_settled(&self) -> bool {
        self.last_effect < self.recorded
    }

    /// Tells the clean stream what nobody will read again: ranges whose objects the chain says exist.
    async fn release_consumed(&mut self) {
        let mut through = None;
        while self.positions.front().is_some_and(|(number, _)| *number < self.recorded) {
            through = self.positions.pop_front().map(|(_, position)| position);
        }
        if let Some(position) = through.filter(|position| !position.is_start()) {
            self.parts.clean.consumed(&self.shard.id, &position).await;
        }
    }

    /// Looks for what is missing below what was taken, whether something has just come or not (PROTOCOL rule 25).
    fn look_for_holes(&mut self) {
        if let Some(old) = self.holes.look(&self.sets) {
            METRICS.holes.with_label_values(&[self.shard.id.as_str()]).set(i64::from(old));
        }
    }

    fn position(&self, text: &str) -> Result<Position, Halt> {
        crate::write::position(text, &self.chain)
    }
}

/// Encodes parts, in their order.
async fn encode_all(rows: Vec<(Slot, Rows)>, parts: &Parts) -> Result<Vec<Part>, Halt> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let one = |(slot, rows): (Slot, Rows)| {
        let (bytes, identity) = parquet_file::encode(rows);
        Part { slot, encoded: Encoded { bytes, identity } }
    };
    let work = move || rows.into_iter().map(one).collect();
    match parts.encode {
        Encode::Inline => Ok(work()),
        Encode::OnPool => {
            let _leave = parts.budget.encoder().await;
            tokio::task::spawn_blocking(work).await.map_err(|error| Halt(format!("encoding failed: {error}")))
        }
    }
}

fn same_objects(derived: &[LakeObject], recorded: &[LakeObject]) -> bool {
    let sorted = |objects: &[LakeObject]| {
        let mut keyed: Vec<_> = objects.iter().map(|o| (o.key.clone(), o.rows, o.rows_hash.clone())).collect();
        keyed.sort();
        keyed
    };
    sorted(derived) == sorted(recorded)
}

/// The chain of a clean shard.
pub fn chain_of(clean: &dyn Stream, shard: &Shard) -> ChainId {
    chain::of_shard(clean, &shard.id)
}

/// Whether a chain has its END.
pub async fn has_ended(ledger: &dyn Ledger, chain: &ChainId) -> Result<bool, OwnerError> {
    Ok(chain::head(ledger, chain).await?.is_some_and(|(_, head)| head.end))
}

/// Writes the genesis of a chain that nobody has begun (PROTOCOL rules 3, 18).
async fn begin(parts: &Parts, shard: &Shard, chain: &ChainId) -> Result<WriterGenesis, OwnerError> {
    let mut sets = Sets::default();
    let mut parent_chains = Vec::new();
    for id in &shard.parents {
        let parent = chain::of_shard(&*parts.clean, id);
        match chain::head(&*parts.ledger, &parent).await? {
            Some((_, head)) if head.end || !parts.rules.keeps(Rule::ParentsFirst) => {
                if parts.rules.keeps(Rule::SetsAreInherited) {
                    sets.union(&chain::sets(&parent, &head.sets_after)?);
                }
            }
            None if !parts.rules.keeps(Rule::ParentsFirst) => {}
            _ if parts.clean.goes_on_without(id) => {
                tracing::warn!(%parent, "a shard begins without what nobody had read of its parent");
                match chain::latest_sets(&*parts.ledger, &parent).await? {
                    Some(latest) => sets.union(&latest.sets),
                    None => continue,
                }
            }
            _ => return Err(OwnerError::ParentRuns(parent)),
        }
        parent_chains.push(parent.to_string());
    }
    if parent_chains.is_empty() && parts.rules.keeps(Rule::SetsAreInherited) {
        sets = chain::sets_before(&*parts.ledger, &*parts.clean).await?;
    }
    let genesis = WriterGenesis { shard: shard.id.to_string(), parent_chains, sets: sets.encode() };
    let entry = chain::encode(parts.env.nonce(), writer_entry::Entry::Genesis(genesis.clone()));
    match append_until_decided(&*parts.ledger, chain, 0, entry, PATIENCE).await {
        // Another owner began it at the same moment: theirs is the genesis.
        Err(LedgerError::Taken { .. }) => {
            chain::genesis(&*parts.ledger, chain).await?.ok_or_else(|| Halt(format!("chain {chain} vanished")).into())
        }
        decided => Ok(decided.map(|()| genesis)?),
    }
}
