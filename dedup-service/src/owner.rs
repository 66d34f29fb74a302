//! The owner of one raw shard: reads, decides, writes the decision down, forwards.
//!
//! **Outbox**: clean records that were decided and are not yet acknowledged by the clean stream. **Settled**: the head
//! entry says that everything is forwarded.

mod memory;
mod send;

use crate::batch::{LANES, Unit, unit_of};
use crate::budget::{Budget, Share};
use crate::chain;
use crate::config::Config;
use crate::dedup::{self, Forward, State, Tally};
use crate::metrics::{KINDS, METRICS};
use crate::windows::Windows;
use ledger::keeper::Ending;
use ledger::{Ledger, LedgerError, append_until_decided, for_each_slot};
use ownership::{Lag, MEMORY_AGE_MAX, OwnerError, PATIENCE, RETRY_PAUSE, ReadingOn};
use schema::v1::{Decision, DedupGenesis, Void, dedup_entry};
use schema::{ChainId, HashKey, Kind, Origin, Position};
use service::traces::{self, Attribute, SpanKind, Spans};
use service::{Env, Halt, Rule, Rules, Stop};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use stream::{ReadLimit, Shard, Stream, found_little};
use tokio::time::Instant;

/// Most ids that one entry accepts: 16 bytes each, within what a ledger entry may have.
const ENTRY_IDS_MAX: usize = 20_000;

/// Most raw records that are read at a time. Source: GetRecords' limit,
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
const READ_RECORDS_MAX: usize = 10_000;

/// What an owner works with.
#[derive(Clone, Debug)]
pub struct Parts {
    pub raw: Arc<dyn Stream>,
    pub clean: Arc<dyn Stream>,
    pub ledger: Arc<dyn Ledger>,
    pub env: Env,
    pub config: Config,
    /// Room for the ids of all windows of this process.
    pub budget: Budget,
    pub rules: Rules,
}

/// One raw shard's decider.
#[derive(Debug)]
pub struct Owner {
    parts: Parts,
    shard: Shard,
    genesis: DedupGenesis,
    state: State,
    share: Share,
    /// When somebody was told that the windows are full.
    told_full_at: Option<Instant>,
    outbox: Vec<Forward>,
    /// The last attempt to send what is decided failed, and somebody was told.
    forwards_fail: bool,
    /// As well for strays.
    strays_fail: bool,
    /// Units that were read and not yet decided.
    waiting: VecDeque<Unit>,
    /// Position up to which units were read.
    read_through: Position,
    /// `forwarded_through` as the head entry has it.
    recorded: u64,
    /// Raw position of each entry that is not recorded as forwarded.
    positions: VecDeque<(u64, Position)>,
    /// Last entry that had something to forward; 0 where none had.
    last_effect: u64,
    /// When the head entry was appended, by its owner's wall clock.
    appended_at: i64,
    last_sure: Instant,
    /// When the shard is worth reading again.
    read_at: Instant,
    lag: Lag,
    reading_on: ReadingOn,
}

impl Owner {
    /// Loads the shard's chain, beginning it where nobody has, and recalls what may not have been forwarded.
    pub async fn open(parts: Parts, shard: Shard) -> Result<Owner, OwnerError> {
        let chain = chain_of(&*parts.raw, &shard);
        let last_sure = Instant::now();
        let genesis = match chain::genesis(&*parts.ledger, &chain).await? {
            Some(genesis) => genesis,
            None => begin(&parts, &shard, &chain).await?,
        };
        let (range, point) = chain::range_of(&chain, &genesis)?;
        let windows = Windows::new([(); LANES.len()].map(|()| parts.env.nonce()));
        let state = State {
            chain: chain.clone(),
            range,
            point,
            next: 1,
            position: Position::start(),
            ordinals: [0; 2],
            sums: [0; 2],
            tally: Some(Tally::default()),
            newest_through: genesis.newest_through,
            windows,
            trimmed_to: i32::MIN,
            ended: false,
        };
        let mut owner = Owner {
            share: parts.budget.share(shard.range),
            parts,
            shard,
            genesis,
            state,
            told_full_at: None,
            outbox: Vec::new(),
            forwards_fail: false,
            strays_fail: false,
            waiting: VecDeque::new(),
            read_through: Position::start(),
            recorded: 1,
            positions: VecDeque::new(),
            last_effect: 0,
            appended_at: 0,
            last_sure,
            read_at: last_sure,
            lag: Lag::default(),
            reading_on: ReadingOn::default(),
        };
        owner.resume().await?;
        Ok(owner)
    }

    async fn resume(&mut self) -> Result<(), OwnerError> {
        let head = chain::head(&*self.parts.ledger, &self.state.chain).await?;
        let tip_at = head.as_ref().map_or(0, |(_, head)| head.tip_at);
        if let Some((number, head)) = head {
            chain::resume(&mut self.state, number, &head)?;
            (self.recorded, self.appended_at) = (head.forwarded_through, head.appended_at);
        }
        let (Parts { raw, ledger, env, .. }, at) = (&self.parts, &self.state.position);
        ownership::recall_tip(ChainId::RAW, &**raw, &**ledger, &self.shard.id, at, tip_at, env.now()).await?;
        self.read_through = self.state.position.clone();
        if self.state.ended {
            return Ok(());
        }
        let rule = self.parts.config.window_rule();
        let floor = rule.kept_from(self.state.newest_through, self.parts.rules);
        self.state.trimmed_to = self.load_window(floor, i32::MAX).await?;
        self.state.windows.prune(floor);
        self.recall().await
    }

    /// Puts into the outbox what entries decided that are not known to be forwarded (PROTOCOL rule 9).
    async fn recall(&mut self) -> Result<(), OwnerError> {
        if !self.parts.rules.keeps(Rule::ForwardAgain) {
            return Ok(());
        }
        let mut entries = Vec::new();
        let (chain, next) = (self.state.chain.clone(), self.state.next);
        for_each_slot(&*self.parts.ledger, &chain, self.recorded.max(1), |slot| {
            // What another owner has appended since the head was read is that owner's to forward.
            if slot.number < next {
                entries.push(slot);
            }
            Ok(())
        })
        .await?;
        let mut voids: Vec<Void> = Vec::new();
        for slot in entries {
            let entry = chain::decision(&chain, slot.number, slot.entry.bytes)?;
            voids.extend(entry.voids.iter().cloned());
            if entry.records > 0 {
                let units = self.read_again(&entry).await?;
                let forwards = dedup::recall(&chain, slot.number, &entry, &units)?;
                if !forwards.is_empty() {
                    self.last_effect = slot.number;
                }
                self.outbox.extend(forwards);
            }
            self.note(slot.number, &entry)?;
        }
        for forward in &mut self.outbox {
            let voided =
                |void: &&Void| void.kind == forward.record.kind && void.first_ordinal == forward.record.first_ordinal;
            if let Some(void) = voids.iter().find(voided) {
                forward.record = dedup::void(forward, &void.reason).1;
            }
        }
        Ok(())
    }

    async fn read_again(&self, entry: &Decision) -> Result<Vec<Unit>, OwnerError> {
        let bad = || Halt(format!("chain {} names a position that is none", self.state.chain));
        let from = Position::parse(&entry.from).ok_or_else(bad)?;
        let to = Position::parse(&entry.to).ok_or_else(bad)?;
        let records = stream::read_range(&*self.parts.raw, &self.shard.id, &from, &to).await?;
        Ok(records.iter().map(unit_of).collect::<Result<_, _>>()?)
    }

    fn note(&mut self, number: u64, entry: &Decision) -> Result<(), Halt> {
        let to = Position::parse(&entry.to).ok_or_else(|| Halt(format!("chain {}: bad position", self.state.chain)))?;
        self.positions.push_back((number, to));
        Ok(())
    }

    /// Works until the shard ends or `stop` is signalled and everything that was decided is forwarded and written down.
    pub async fn run(mut self, stop: Stop) -> Result<Ending, OwnerError> {
        if self.state.ended {
            return Ok(Ending::Done);
        }
        loop {
            self.make_room();
            if !self.outbox.is_empty() {
                self.forward().await?;
                let ahead = self.entries_ahead();
                METRICS.ahead(&self.shard.id, ahead);
                if ahead >= self.parts.config.ahead_max.get() as u64 {
                    self.note_lag(Duration::ZERO).await;
                    tokio::time::sleep(RETRY_PAUSE).await;
                    continue;
                }
            }
            let stopping = stop.is_cancelled();
            let end = self.read(&stop).await?;
            if !self.waiting.is_empty() {
                self.decide(&stop).await?;
            } else if self.may_end(end) {
                self.end().await?;
                return Ok(Ending::Done);
            } else if !self.outbox.is_empty() {
                tokio::time::sleep(RETRY_PAUSE).await;
            } else if !self.is_settled() {
                self.settle().await?;
            } else if stopping {
                return Ok(Ending::Stopped);
            } else if self.is_quiet() {
                self.settle().await?;
            }
        }
    }

    /// Whether an entry should say that nothing came for long.
    fn is_quiet(&self) -> bool {
        let (raw, position, now) = (&*self.parts.raw, &self.state.position, self.parts.env.now());
        ownership::should_say_anew(raw, &self.shard.id, position, self.appended_at, now)
    }

    /// END needs the end of the shard and an empty outbox (PROTOCOL rule 15).
    fn may_end(&self, end_of_shard: bool) -> bool {
        end_of_shard && (self.outbox.is_empty() || !self.parts.rules.keeps(Rule::EndAfterForwarding))
    }

    /// Reads what follows, where nothing waits to be decided; true at the end of a closed shard. Once asked to stop, it
    /// reads on to the tip without waiting, for a while: who stops the stages in order leaves nothing to redo.
    async fn read(&mut self, stop: &Stop) -> Result<bool, OwnerError> {
        if !self.waiting.is_empty() {
            return Ok(false);
        }
        let stopping = stop.is_cancelled();
        if self.reading_on.is_over(stop) {
            return Ok(false);
        }
        let busy = stopping || !self.outbox.is_empty();
        let limit = ReadLimit {
            records_max: READ_RECORDS_MAX,
            bytes_max: self.parts.config.batch_bytes_max,
            wait: if busy { Duration::ZERO } else { self.parts.config.settle_after },
        };
        let read = async {
            if !stopping {
                tokio::time::sleep_until(self.read_at).await;
            }
            self.parts.raw.read(&self.shard.id, &self.read_through, limit).await
        };
        let page = tokio::select! {
            biased;
            page = read => page?,
            () = stop.cancelled(), if !stopping => return Ok(false),
        };
        if found_little(&page, &limit) {
            self.read_at = Instant::now() + self.parts.config.linger;
        }
        self.note_lag(page.lag).await;
        for record in &page.records {
            self.waiting.push_back(unit_of(record)?);
        }
        if let Some(last) = page.records.last() {
            self.read_through = last.position.clone();
        }
        Ok(page.end_of_shard && self.waiting.is_empty())
    }

    /// Notes how near this owner is to losing records: as far as it reads `behind` the tip, or as long as the oldest record
    /// has waited that is decided and not forwarded, which has to be read again by whoever comes next (PROTOCOL rule 17).
    async fn note_lag(&mut self, behind: Duration) {
        let oldest = self.outbox.iter().map(|forward| forward.arrived_at).min();
        let lag = oldest.map_or(behind, |arrived_at| behind.max(ownership::age(arrived_at, self.parts.env.now())));
        let share = self.lag.note(&*self.parts.raw, lag).await;
        METRICS.stage.read(&self.shard.id, lag, share);
    }

    async fn decide(&mut self, stop: &Stop) -> Result<(), OwnerError> {
        let units = self.next_batch();
        let rules = self.parts.rules;
        let rule = self.parts.config.window_rule();
        let strays = dedup::strays(&units, &self.state.range, self.state.point, rules)?;
        if rules.keeps(Rule::StraysBeforeEntry) && !self.send_home(strays.clone(), &units, stop).await? {
            // Whoever comes next reads from the last decision on.
            self.waiting.clear();
            return Ok(());
        }
        if let Some(minute) = self.state.missing_from(&units, &rule)
            && rules.keeps(Rule::WindowOutlastsDelays)
        {
            self.reach_back(minute).await?;
        }
        let decided = self.state.decide(&units, &rule, rules);
        count(&decided.entry);
        if !decided.forwards.is_empty() {
            self.last_effect = self.state.next - 1;
        }
        self.outbox.extend(decided.forwards);
        if !rules.keeps(Rule::DecideBeforeForward) {
            while !self.outbox.is_empty() {
                self.forward().await?;
            }
        }
        let mut spans = self.deciding(&units, &decided.entry);
        self.append(decided.entry).await.inspect_err(|error| spans.fail(error))?;
        drop(spans);
        self.time(&units);
        if !rules.keeps(Rule::StraysBeforeEntry) {
            self.send_home(strays, &units, stop).await?;
        }
        self.make_room();
        Ok(())
    }

    /// Spans of the entry that is about to be appended, in the traces that its records carry.
    fn deciding(&self, units: &[Unit], entry: &Decision) -> Spans {
        let parts = units.iter().flat_map(|unit| &unit.parts);
        let sampled = parts.flat_map(|part| traces::carried(&part.trace_context));
        let mut spans = self.parts.env.traces.step("decide", &SpanKind::Consumer, sampled);
        spans.describe(|| {
            [
                Attribute::new("forebay.chain", self.state.chain.to_string()),
                Attribute::new("forebay.entry", (self.state.next - 1) as i64),
                Attribute::new("forebay.records", i64::from(entry.records)),
                Attribute::new("forebay.events", i64::from(entry.met)),
                Attribute::new("forebay.duplicates", i64::from(entry.duplicates)),
                Attribute::new("forebay.strays", i64::from(entry.strays)),
            ]
        });
        spans
    }

    /// Observes how long ago what is decided now was received.
    fn time(&self, units: &[Unit]) {
        let now = self.parts.env.now();
        for received_at in units.iter().filter_map(Unit::received_at) {
            METRICS.decide_seconds.observe(now.saturating_sub(received_at).max(0) as f64 / 1e6);
        }
    }

    /// Units for one entry: as many as its ids fit, and one at least.
    fn next_batch(&mut self) -> Vec<Unit> {
        let mut events = 0;
        let fits = |unit: &&Unit| {
            events += unit.events();
            events <= ENTRY_IDS_MAX
        };
        let count = self.waiting.iter().take_while(fits).count().max(1);
        self.waiting.drain(..count.min(self.waiting.len())).collect()
    }

    async fn append(&mut self, mut entry: Decision) -> Result<(), OwnerError> {
        if self.last_sure.elapsed() > MEMORY_AGE_MAX {
            return Err(OwnerError::Stale);
        }
        let number = self.state.next - 1;
        entry.forwarded_through = match self.parts.rules.keeps(Rule::ForwardedThroughIsTrue) {
            true => self.forwarded_through(),
            false => number,
        };
        entry.appended_at = self.parts.env.now();
        entry.tip_at = ownership::tip_at(&*self.parts.raw, &self.shard.id, &self.state.position, entry.appended_at);
        let (recorded, appended_at, sent) = (entry.forwarded_through, entry.appended_at, Instant::now());
        self.note(number, &entry)?;
        let bytes = chain::encode(self.parts.env.nonce(), dedup_entry::Entry::Decision(entry));
        let appended = append_until_decided(&*self.parts.ledger, &self.state.chain, number, bytes, PATIENCE).await;
        METRICS.stage.appended(&appended);
        appended?;
        self.last_sure = sent;
        (self.recorded, self.appended_at) = (recorded, appended_at);
        self.release_consumed().await;
        Ok(())
    }

    /// Tells the raw stream what nobody will read again: ranges that the chain says are forwarded.
    async fn release_consumed(&mut self) {
        let mut through = None;
        while self.positions.front().is_some_and(|(number, _)| *number < self.recorded) {
            through = self.positions.pop_front().map(|(_, position)| position);
        }
        if let Some(position) = through.filter(|position| !position.is_start()) {
            self.parts.raw.consumed(&self.shard.id, &position).await;
        }
    }

    /// First entry that has something in the outbox; the next entry's number where nothing is (PROTOCOL rule 13).
    fn forwarded_through(&self) -> u64 {
        let appended = self.state.next - 1;
        self.outbox.iter().map(|forward| forward.entry).min().unwrap_or(appended).min(appended)
    }

    fn entries_ahead(&self) -> u64 {
        self.outbox.iter().map(|forward| forward.entry).min().map_or(0, |oldest| self.state.next - oldest)
    }

    /// Whether the chain says that nothing of it need be forwarded again.
    fn is_settled(&self) -> bool {
        self.last_effect < self.recorded
    }

    /// Writes down that everything is forwarded (PROTOCOL rule 14).
    async fn settle(&mut self) -> Result<(), OwnerError> {
        let entry = self.state.settle();
        self.append(entry).await
    }

    async fn end(&mut self) -> Result<(), OwnerError> {
        let entry = Decision { end: true, ..self.state.settle() };
        self.append(entry).await?;
        self.parts.raw.consumed(&self.shard.id, &self.state.position).await;
        tracing::info!("the shard is closed and everything of it is forwarded");
        Ok(())
    }
}

fn count(entry: &Decision) {
    for (kind, lane) in KINDS.into_iter().zip([&entry.events, &entry.quarantine]) {
        let count = lane.as_ref().map_or(0, |lane| lane.count);
        METRICS.accepted.with_label_values(&[kind]).inc_by(u64::from(count));
    }
    METRICS.duplicates.inc_by(u64::from(entry.duplicates));
}

/// The chain of a raw shard.
pub fn chain_of(raw: &dyn Stream, shard: &Shard) -> ChainId {
    chain::of_shard(raw, &shard.id)
}

/// Whether a chain has its END.
pub async fn has_ended(ledger: &dyn Ledger, chain: &ChainId) -> Result<bool, OwnerError> {
    Ok(chain::head(ledger, chain).await?.is_some_and(|(_, head)| head.end))
}

/// Chains of all ancestors, from the geneses (PROTOCOL rule 8).
async fn ancestors(ledger: &dyn Ledger, genesis: &DedupGenesis) -> Result<Vec<ChainId>, OwnerError> {
    let mut found: Vec<ChainId> = Vec::new();
    let mut next: Vec<String> = genesis.parent_chains.clone();
    while let Some(name) = next.pop() {
        let chain = ChainId::new(name);
        if found.contains(&chain) {
            continue;
        }
        let missing = || Halt(format!("chain {chain} is an ancestor and is missing from the ledger"));
        let genesis = chain::genesis(ledger, &chain).await?.ok_or_else(missing)?;
        next.extend(genesis.parent_chains);
        found.push(chain);
    }
    Ok(found)
}

/// Writes the genesis of a chain that nobody has begun (PROTOCOL rules 3, 7).
async fn begin(parts: &Parts, shard: &Shard, chain: &ChainId) -> Result<DedupGenesis, OwnerError> {
    refuse_a_known_origin(&*parts.ledger, chain).await?;
    let mut parent_chains = Vec::new();
    let mut newest_through = 0;
    for id in &shard.parents {
        let parent = chain::of_shard(&*parts.raw, id);
        let head = chain::head(&*parts.ledger, &parent).await?;
        if !head.as_ref().is_some_and(|(_, head)| head.end) {
            let goes_on = parts.raw.goes_on_without(id);
            if parts.rules.keeps(Rule::ParentsFirst) && !goes_on {
                return Err(OwnerError::ParentRuns(parent));
            }
            if goes_on && chain::genesis(&*parts.ledger, &parent).await?.is_none() {
                tracing::warn!(%parent, "the shard begins without its parent, which nobody has read");
                continue;
            }
        }
        newest_through = newest_through.max(head.map_or(0, |(_, head)| head.newest_through));
        parent_chains.push(parent.to_string());
    }
    if parent_chains.is_empty() && parts.rules.keeps(Rule::WindowIsInherited) {
        for before in chain::before(&*parts.ledger, &*parts.raw, &shard.range).await? {
            newest_through = newest_through.max(before.newest_through);
            parent_chains.push(before.chain.to_string());
        }
    }
    let key = |key: HashKey| bytes::Bytes::copy_from_slice(&key.to_bytes());
    let genesis = DedupGenesis {
        shard: shard.id.to_string(),
        parent_chains,
        hash_low: key(shard.range.low),
        hash_high: key(shard.range.high),
        point: key(shard.range.middle()),
        epoch: 0,
        newest_through,
    };
    let entry = chain::encode(parts.env.nonce(), dedup_entry::Entry::Genesis(genesis.clone()));
    match append_until_decided(&*parts.ledger, chain, 0, entry, PATIENCE).await {
        // Another owner began it at the same moment: theirs is the genesis.
        Err(LedgerError::Taken { .. }) => {
            chain::genesis(&*parts.ledger, chain).await?.ok_or_else(|| Halt(format!("chain {chain} vanished")).into())
        }
        decided => Ok(decided.map(|()| genesis)?),
    }
}

/// A chain that is missing while a writer knows its ordinals has been lost: numbering anew would drop new events in
/// silence.
async fn refuse_a_known_origin(ledger: &dyn Ledger, chain: &ChainId) -> Result<(), OwnerError> {
    use prost::Message;
    use schema::v1::{WriterEntry, writer_entry};
    let origins = [Kind::Events, Kind::Quarantine].map(|kind| Origin::of(chain, kind));
    for writer in ledger.chains(ChainId::WRITER).await? {
        let Some(head) = ledger.head(&writer).await? else { continue };
        let sets = match WriterEntry::decode(head.entry.bytes).ok().and_then(|entry| entry.entry) {
            Some(writer_entry::Entry::Announcement(entry)) => entry.sets_after,
            Some(writer_entry::Entry::Genesis(genesis)) => genesis.sets,
            None => return Err(Halt(format!("chain {writer}, entry {} can't be read", head.number)).into()),
        };
        if let Some(set) = sets.iter().find(|set| origins.iter().any(|origin| origin.as_str() == set.origin)) {
            // Somebody may have begun it, and gone far, since this owner found it missing.
            if chain::genesis(ledger, chain).await?.is_some() {
                return Ok(());
            }
            return Err(Halt(format!(
                "chain {chain} is missing, while {writer} has taken ordinals of origin {}: the ledger has lost it; \
                 go by deploy/runbooks/ledger-restored.md",
                set.origin
            ))
            .into());
        }
    }
    Ok(())
}
