//! What is on its way: between the door and the raw chain, by way of the overflow queue or not, between the chains, before
//! the lake.

use crate::embedded::Embedded;
use anyhow::Context;
use dedup_service::batch::unit_of;
use ledger::Ledger;
use schema::{ChainId, EventId, Position, ShardId, record};
use service::Env;
use std::collections::BTreeMap;
use std::time::Duration;
use stream::{Page, ReadError, ReadLimit, Shard, Stream};
use tokio::time::Instant;

/// Enough to know whether there is anything.
const GLANCE: ReadLimit = ReadLimit { records_max: 1, bytes_max: 1, wait: Duration::ZERO };

/// A page of records that nobody has decided.
const PAGE: ReadLimit = ReadLimit { records_max: 1000, bytes_max: 8 << 20, wait: Duration::ZERO };

/// Looks at a shard in a row that may get no answer: one is a bad moment, so many are an outage.
const LOOKS_MAX: u32 = 3;

/// Pause before a look that got no answer is taken again.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// Pause between two warnings of shards where retention was quicker than their writers.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Where something is on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Flow {
    overflow: Option<String>,
    dedup: Vec<String>,
    writer: Vec<String>,
    gone: Vec<String>,
    /// The heads of the dedup chains, before the writers' were looked at.
    heads: BTreeMap<ChainId, u64>,
}

impl Flow {
    /// Looks at the tips of all shards and at the heads of their chains.
    pub(super) async fn look(embedded: &Embedded, env: &Env) -> anyhow::Result<Flow> {
        let (raw, clean, ledger) = (&*embedded.raw, &*embedded.clean, &*embedded.ledger);
        let mut flow = Flow::default();
        for shard in raw.shards().await.context("list the raw shards")? {
            let chain = dedup_service::owner::chain_of(raw, &shard);
            let head = dedup_head(ledger, &chain).await?;
            head.recall(ChainId::RAW, raw, ledger, &shard.id, env.now()).await?;
            flow.heads.insert(chain.clone(), head.number);
            let place = Place { stream: raw, name: "raw", shard: &shard, chain: &chain, done: "forwarded" };
            let state = place.look(head).await?;
            state.note(&mut flow.dedup, &mut flow.gone);
        }
        for shard in clean.shards().await.context("list the clean shards")? {
            let chain = writer_service::owner::chain_of(clean, &shard);
            let head = writer_head(ledger, &chain).await?;
            head.recall(ChainId::CLEAN, clean, ledger, &shard.id, env.now()).await?;
            let place = Place { stream: clean, name: "clean", shard: &shard, chain: &chain, done: "in the lake" };
            let state = place.look(head).await?;
            state.note(&mut flow.writer, &mut flow.gone);
        }
        Ok(flow)
    }

    /// What nobody will ever take: retention was quicker.
    pub(super) fn gone(&self) -> &[String] {
        &self.gone
    }

    /// With so many messages in the overflow queue: acknowledged, and not in the raw stream yet.
    pub(super) fn with_overflow(self, messages: u64) -> Flow {
        let told =
            format!("the overflow queue: {messages} messages that a gateway has still to put into the raw stream");
        Flow { overflow: (messages > 0).then_some(told), ..self }
    }

    pub(super) fn is_overflowing(&self) -> bool {
        self.overflow.is_some()
    }

    /// As it looks while a writer has something to read.
    #[cfg(test)]
    pub(super) fn of_a_busy_writer() -> Flow {
        Flow { writer: vec!["clean shard clean-0000".to_string()], ..Flow::default() }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.unsettled().next().is_none()
    }

    /// Whether everything of a dedup chain that was forwarded up to this entry, its last one, is in the lake. An entry that came
    /// since may tell of what was forwarded since.
    pub(super) fn is_written(&self, chain: &ChainId, last: u64) -> bool {
        self.writer.is_empty() && self.heads.get(chain).is_none_or(|head| *head == last)
    }

    pub(super) fn unsettled(&self) -> impl Iterator<Item = &str> {
        self.overflow.iter().chain(&self.dedup).chain(&self.writer).map(String::as_str)
    }
}

/// Where a chain stands.
#[derive(Debug)]
struct Head {
    number: u64,
    /// The shard was taken up to there.
    to: Position,
    /// All effects of all entries are known to have happened.
    is_done: bool,
    end: bool,
    /// As its entry has it.
    tip_at: i64,
}

impl Head {
    fn none() -> Head {
        Head { number: 0, to: Position::start(), is_done: true, end: false, tip_at: 0 }
    }

    fn of(chain: &ChainId, to: &str, is_done: bool, end: bool) -> anyhow::Result<Head> {
        let to = Position::parse(to).with_context(|| format!("the head of chain {chain} names `{to}`, no position"))?;
        Ok(Head { number: 0, to, is_done: is_done || end, end, tip_at: 0 })
    }

    /// A shard that has been quiet for long can be read on, and one that nobody has read yet from its start.
    async fn recall(
        &self,
        chains: &str,
        stream: &dyn Stream,
        ledger: &dyn Ledger,
        shard: &ShardId,
        now: i64,
    ) -> anyhow::Result<()> {
        let recalled = ownership::recall_tip(chains, stream, ledger, shard, &self.to, self.tip_at, now).await;
        recalled.with_context(|| format!("read the notes of stream {}", stream.name()))
    }
}

async fn dedup_head(ledger: &dyn Ledger, chain: &ChainId) -> anyhow::Result<Head> {
    let read = dedup_service::chain::head(ledger, chain).await;
    let Some((number, head)) = read.with_context(|| format!("read chain {chain}"))? else { return Ok(Head::none()) };
    let numbered = [&head.events, &head.quarantine].into_iter().flatten().any(|lane| lane.count > 0);
    let is_done = !numbered && head.voids.is_empty() && head.forwarded_through >= number;
    Ok(Head { number, tip_at: head.tip_at, ..Head::of(chain, &head.to, is_done, head.end)? })
}

async fn writer_head(ledger: &dyn Ledger, chain: &ChainId) -> anyhow::Result<Head> {
    let read = writer_service::chain::head(ledger, chain).await;
    let Some((number, head)) = read.with_context(|| format!("read chain {chain}"))? else { return Ok(Head::none()) };
    let is_done = head.objects.is_empty() && head.done_through >= number;
    Ok(Head { number, tip_at: head.tip_at, ..Head::of(chain, &head.to, is_done, head.end)? })
}

/// A shard and its chain, and how somebody calls it when all of it is done.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    stream: &'a dyn Stream,
    name: &'a str,
    shard: &'a Shard,
    chain: &'a ChainId,
    done: &'a str,
}

/// How a shard stands.
#[derive(Debug)]
enum State {
    Settled,
    /// Something of it is on its way.
    Unsettled(String),
    /// Something of it may be lost.
    Gone(String),
}

impl State {
    fn note(self, unsettled: &mut Vec<String>, gone: &mut Vec<String>) {
        match self {
            State::Settled => {}
            State::Unsettled(what) => unsettled.push(what),
            State::Gone(what) => gone.push(what),
        }
    }
}

impl Place<'_> {
    async fn look(self, head: Head) -> anyhow::Result<State> {
        let Place { stream, name, shard, chain, done } = self;
        let (Shard { id, closed, .. }, Head { to, .. }) = (shard, &head);
        let page = match repeat(async || stream.read(id, to, GLANCE).await).await {
            Err(ReadError::Trimmed { .. }) => {
                return Ok(State::Gone(format!(
                    "{name} shard {id}: retention has removed what followed position {to} before chain {chain} had it; what \
                     that was, if there was anything, is not known here"
                )));
            }
            read => read.with_context(|| format!("read {name} shard {id} after {to}"))?,
        };
        Ok(if !page.records.is_empty() {
            State::Unsettled(format!("{name} shard {id}: nobody has taken what follows position {to}"))
        } else if !head.is_done {
            State::Unsettled(format!("chain {chain}: not all of it is {done} yet"))
        } else if *closed && !head.end {
            State::Unsettled(format!("{name} shard {id} is closed, and chain {chain} has not ended"))
        } else {
            State::Settled
        })
    }
}

/// Looks until there is an answer, a bounded number of times; looking consumes nothing.
async fn repeat<F>(mut look: impl FnMut() -> F) -> Result<Page, ReadError>
where
    F: Future<Output = Result<Page, ReadError>>,
{
    let mut looks = 1;
    loop {
        match look().await {
            Err(ReadError::Unavailable(_)) if looks < LOOKS_MAX => looks += 1,
            decided => return decided,
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// Shards of which retention has removed what no writer had taken.
#[derive(Debug, Default)]
pub(super) struct Overtaken {
    warned_at: Option<Instant>,
}

impl Overtaken {
    /// Takes all such shards that there are, each with the position that its writer is at; whether it warned.
    fn note(&mut self, shards: &[(ShardId, Position)]) -> bool {
        if shards.is_empty() || self.warned_at.is_some_and(|at| at.elapsed() < WARN_EVERY) {
            return false;
        }
        self.warned_at = Some(Instant::now());
        for (shard, after) in shards {
            tracing::warn!(
                %shard,
                %after,
                "retention has removed what followed the position before a writer had it: until the writer goes on from a \
                 later one, only events with later ones of their origin in the lake are said to be missing; `forebay audit` \
                 says what else is"
            );
        }
        true
    }
}

/// When the oldest clean record arrived that no writer has taken; `None` where all are taken. Where retention was quicker than
/// the writer that is not known any more, and taken to be as long ago as can be.
pub(super) async fn oldest_unwritten(
    embedded: &Embedded,
    now: i64,
    overtaken: &mut Overtaken,
) -> anyhow::Result<Option<i64>> {
    let (clean, ledger, mut oldest, mut gone) = (&*embedded.clean, &*embedded.ledger, None, Vec::new());
    for shard in clean.shards().await.context("list the clean shards")? {
        let chain = writer_service::owner::chain_of(clean, &shard);
        let head = writer_head(ledger, &chain).await?;
        head.recall(ChainId::CLEAN, clean, ledger, &shard.id, now).await?;
        let Head { to, end, .. } = head;
        if !end {
            let unread = match repeat(async || clean.read(&shard.id, &to, GLANCE).await).await {
                Err(ReadError::Trimmed { .. }) => {
                    gone.push((shard.id, to));
                    Some(i64::MIN)
                }
                read => {
                    let page = read.with_context(|| format!("read clean shard {} after {to}", shard.id))?;
                    page.records.first().map(|record| record.arrived_at)
                }
            };
            oldest = unread.into_iter().chain(oldest).min();
        }
    }
    overtaken.note(&gone);
    Ok(oldest)
}

/// Shows the ids of all raw records that nobody has decided, except where some of them are gone.
pub(super) async fn for_each_undecided(embedded: &Embedded, mut each: impl FnMut(EventId)) -> anyhow::Result<()> {
    let raw = &*embedded.raw;
    for shard in raw.shards().await.context("list the raw shards")? {
        let chain = dedup_service::owner::chain_of(raw, &shard);
        let mut at = dedup_head(&*embedded.ledger, &chain).await?.to;
        while let Some(last) = undecided_page(raw, &shard.id, &at, &mut each).await? {
            at = last;
        }
    }
    Ok(())
}

async fn undecided_page(
    raw: &dyn Stream,
    shard: &ShardId,
    after: &Position,
    each: &mut impl FnMut(EventId),
) -> anyhow::Result<Option<Position>> {
    let read = repeat(async || raw.read(shard, after, PAGE).await).await;
    if let Err(ReadError::Trimmed { .. }) = read {
        return Ok(None);
    }
    let page = read.with_context(|| format!("read raw shard {shard} after {after}"))?;
    for record in &page.records {
        unit_of(record)?.parts.iter().flat_map(|part| record::ids(&part.ids)).for_each(&mut *each);
    }
    Ok(page.records.last().map(|record| record.position.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// A look that gets no answer so many times, and how often it was taken.
    async fn looks(silent: u32) -> (bool, u32) {
        let looks = Cell::new(0);
        let read = repeat(async || {
            looks.set(looks.get() + 1);
            if looks.get() <= silent {
                return Err(ReadError::Unavailable("timeout".to_string()));
            }
            Ok(Page { records: Vec::new(), end_of_shard: false, children: Vec::new(), lag: Duration::ZERO })
        });
        (read.await.is_ok(), looks.get())
    }

    #[test]
    fn a_chain_that_has_gone_on_since_the_look_is_not_said_to_be_written() {
        let [one, other] = ["raw-0000", "raw-0001"].map(|shard| ChainId::dedup("r1", &ShardId::new(shard), 0));
        let flow = Flow { heads: BTreeMap::from([(one.clone(), 5)]), ..Flow::default() };
        assert!(flow.is_written(&one, 5) && flow.is_written(&other, 7), "the other is of a shard that is gone");
        assert!(!flow.is_written(&one, 6));
        assert!(!Flow::of_a_busy_writer().is_written(&one, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn where_retention_was_quicker_is_warned_of_once_a_minute() {
        let (mut overtaken, one) = (Overtaken::default(), [(ShardId::new("clean-0000"), Position::from_number(7))]);
        assert!(!overtaken.note(&[]));
        assert!(overtaken.note(&one) && !overtaken.note(&one));
        tokio::time::advance(WARN_EVERY).await;
        assert!(overtaken.note(&one));
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_without_an_answer_is_taken_again_and_an_outage_is_said_so() {
        assert_eq!(looks(0).await, (true, 1));
        assert_eq!(looks(LOOKS_MAX - 1).await, (true, LOOKS_MAX));
        assert_eq!(looks(LOOKS_MAX).await, (false, LOOKS_MAX));
    }
}
