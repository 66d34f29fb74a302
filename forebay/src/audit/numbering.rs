//! What the dedup chains decided: which ordinals there are, and which ids they stand for.
//!
//! **Lane**: the ordinals of one kind on a chain; it has an origin of its own. **Trimmed**: entries at the start of a chain
//! that are too old to be kept. The first one that is left says how many ordinals they gave and what their ids add up to;
//! which ids these were, and which copies were met, nobody can say any more. Their voids were saved.

use super::report::Findings;
use anyhow::Context;
use dedup_service::chain;
use dedup_service::dedup::Tally;
use dedup_service::retention::saved_voids;
use ledger::{Ledger, LedgerError, Slot, for_each_slot};
use schema::id::sum_hashes;
use schema::v1::{Decision, Lane, Void};
use schema::{ChainId, EventId, IntervalSet, Kind, Origin, record};
use std::collections::BTreeMap;

pub(super) const KINDS: [Kind; 2] = [Kind::Events, Kind::Quarantine];

/// The ordinals of one origin.
#[derive(Debug)]
pub(super) struct Numbering {
    pub(super) origin: Origin,
    /// Ordinals `[0, end)` are decided.
    pub(super) end: u64,
    /// Ordinals `[0, forwarded)` are on the clean stream.
    pub(super) forwarded: u64,
    /// Sum of H(id) over `[0, end)`, as the chain recorded it.
    pub(super) sum: u128,
    pub(super) voids: IntervalSet,
    /// Ordinals `[0, trimmed)` were decided by entries that are gone.
    pub(super) trimmed: u64,
    /// The void ones among them, and their ids.
    pub(super) trimmed_voids: BTreeMap<u64, EventId>,
    /// How many ordinals are void, those included whose entries were not read.
    pub(super) voids_told: Option<u64>,
    /// The chain has its END: there will be no more of them.
    pub(super) is_ended: bool,
    /// The entry of the chain that was read last; 0 where there is none but the genesis.
    pub(super) last: u64,
}

/// What all dedup chains decided.
#[derive(Debug, Default)]
pub(super) struct Decided {
    pub(super) chains: Vec<ChainId>,
    /// Chains from which each came, by place.
    pub(super) parents: Vec<Vec<ChainId>>,
    /// Two for each chain, in the order of [`KINDS`].
    pub(super) lanes: Vec<Numbering>,
    /// Events that were met at home, copies included; of trimmed entries those that they accepted.
    pub(super) accepted: u64,
    pub(super) duplicates: u64,
    /// Ids of each kind, in no order, 16 bytes each: who wants to know which were accepted twice must hold them all.
    pub(super) ids: [Vec<EventId>; 2],
}

impl Decided {
    /// Reads all dedup chains, and checks that each is right in itself.
    pub(super) async fn read(ledger: &dyn Ledger, findings: &mut Findings) -> anyhow::Result<Decided> {
        let mut decided = Decided::default();
        for chain in ledger.chains(ChainId::DEDUP).await.context("list the dedup chains")? {
            decided.add(ledger, chain, findings).await?;
        }
        Ok(decided)
    }

    async fn add(&mut self, ledger: &dyn Ledger, chain: ChainId, findings: &mut Findings) -> anyhow::Result<()> {
        let genesis = chain::genesis(ledger, &chain).await.with_context(|| format!("read chain {chain}"))?;
        let parents = genesis.map(|genesis| genesis.parent_chains).unwrap_or_default();
        let (mut so_far, ids) = (ChainSoFar::new(chain.clone()), &mut self.ids);
        for_each_decision(ledger, &chain, 1, |mark, decision| {
            so_far.take(mark, &decision, findings);
            for (kind, ids) in KINDS.into_iter().zip(&mut *ids) {
                ids.extend(record::ids(&lane_of(&decision, kind).ids));
            }
        })
        .await?;
        so_far.recall_voids(ledger).await?;
        self.accepted += so_far.accepted;
        self.duplicates += so_far.duplicates;
        for lane in so_far.finish() {
            self.accepted += lane.trimmed;
            self.lanes.push(lane);
        }
        self.parents.push(parents.iter().map(ChainId::new).collect());
        self.chains.push(chain);
        Ok(())
    }
}

impl Numbering {
    /// No ordinals yet.
    pub(super) fn new(origin: Origin) -> Numbering {
        Numbering {
            origin,
            end: 0,
            forwarded: 0,
            sum: 0,
            voids: IntervalSet::default(),
            trimmed: 0,
            trimmed_voids: BTreeMap::new(),
            voids_told: None,
            is_ended: false,
            last: 0,
        }
    }

    /// How many ordinals are void.
    pub(super) fn void_count(&self) -> u64 {
        self.voids_told.unwrap_or_else(|| self.voids.len())
    }

    /// Takes the voids whose entries are gone.
    fn save(&mut self, voids: &[Void]) {
        for void in voids.iter().filter(|void| void.kind == self.origin.kind() as i32) {
            let numbered = (void.first_ordinal..self.trimmed).zip(record::ids(&void.ids));
            numbered.for_each(|(ordinal, id)| {
                self.voids.insert(ordinal, ordinal + 1);
                self.trimmed_voids.insert(ordinal, id);
            });
        }
    }
}

/// An entry of a chain: no other has its nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) number: u64,
    pub(super) nonce: u128,
}

impl Mark {
    pub(super) fn of(slot: &Slot) -> Mark {
        Mark { number: slot.number, nonce: slot.entry.nonce }
    }
}

/// Shows the decisions of a chain in order, from entry `from` on or the first that was not trimmed.
pub(super) async fn for_each_decision(
    ledger: &dyn Ledger,
    chain: &ChainId,
    from: u64,
    mut each: impl FnMut(Mark, Decision),
) -> anyhow::Result<()> {
    for_each_slot(ledger, chain, from, |slot| {
        let mark = Mark::of(&slot);
        let decision = chain::decision(chain, slot.number, slot.entry.bytes);
        let damaged =
            |halt: service::Halt| LedgerError::Damaged { chain: chain.clone(), number: slot.number, detail: halt.0 };
        each(mark, decision.map_err(damaged)?);
        Ok(())
    })
    .await
    .with_context(|| format!("read chain {chain}"))
}

/// The lane of a kind in a decision.
pub(super) fn lane_of(decision: &Decision, kind: Kind) -> &Lane {
    static EMPTY: std::sync::LazyLock<Lane> = std::sync::LazyLock::new(Lane::default);
    let lane = match kind {
        Kind::Events => &decision.events,
        Kind::Quarantine => &decision.quarantine,
    };
    lane.as_ref().unwrap_or(&EMPTY)
}

/// The ids of a lane, each with its ordinal and when it was received.
pub(super) fn each_id(lane: &Lane) -> impl Iterator<Item = (u64, EventId, i64)> + '_ {
    let times = lane.received.iter().flat_map(|run| std::iter::repeat_n(run.received_at, run.count as usize));
    (lane.first_ordinal..).zip(record::ids(&lane.ids)).zip(times).map(|((ordinal, id), time)| (ordinal, id, time))
}

/// An entry, for findings.
#[derive(Debug)]
struct At<'a> {
    chain: &'a ChainId,
    number: u64,
}

impl std::fmt::Display for At<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "chain {}, entry {}", self.chain, self.number)
    }
}

/// A chain while it is read.
#[derive(Debug)]
pub(super) struct ChainSoFar {
    pub(super) chain: ChainId,
    lanes: [LaneSoFar; KINDS.len()],
    /// Events that were met at home, copies included, by the entries that are there.
    pub(super) accepted: u64,
    pub(super) duplicates: u64,
    /// Counts since its genesis; `None` where neither its entries tell them nor all of them were read.
    tally: Option<Tally>,
    /// When its END was appended; `None` while it goes on.
    pub(super) ended_at: Option<i64>,
    /// The entry that was read last.
    pub(super) last: Option<Mark>,
}

impl ChainSoFar {
    pub(super) fn new(chain: ChainId) -> ChainSoFar {
        let lanes = KINDS.map(|kind| LaneSoFar::new(Origin::of(&chain, kind)));
        ChainSoFar { chain, lanes, accepted: 0, duplicates: 0, tally: None, ended_at: None, last: None }
    }

    /// Further copies since its genesis, or since its oldest entry where they were not counted.
    pub(super) fn duplicates_through(&self) -> u64 {
        self.tally.map_or(self.duplicates, |tally| tally.duplicates)
    }

    /// Takes the next entry, and checks that it follows from those before.
    pub(super) fn take(&mut self, mark: Mark, decision: &Decision, findings: &mut Findings) {
        let at = At { chain: &self.chain, number: mark.number };
        self.last = Some(mark);
        self.ended_at = decision.end.then_some(decision.appended_at);
        self.accepted += u64::from(decision.met - decision.strays.min(decision.met));
        self.duplicates += u64::from(decision.duplicates);
        let mut unique = 0;
        for (kind, lane) in KINDS.into_iter().zip(&mut self.lanes) {
            let decided = lane_of(decision, kind);
            unique += decided.count;
            lane.take(&at, decided, decision.forwarded_through, findings);
        }
        if unique + decision.duplicates + decision.strays != decision.met {
            findings.add("chain", format_args!("{at}: what it met is not unique, duplicate or stray"));
        }
        let before = if mark.number == 1 { Some(Tally::default()) } else { self.tally };
        let (counted, told) = (before.map(|before| before.with(decision)), Tally::of(decision));
        if counted.is_some() && told.is_some() && counted != told {
            findings.add("chain", format_args!("{at}: its counts of copies and voids do not add up"));
        }
        self.tally = told.or(counted);
        for void in &decision.voids {
            let kind = usize::from(void.kind == Kind::Quarantine as i32);
            let end = void.first_ordinal + record::count(&void.ids) as u64;
            self.lanes[kind].numbering.voids.insert(void.first_ordinal, end);
        }
        for (k, lane) in self.lanes.iter_mut().enumerate() {
            lane.numbering.voids_told = self.tally.map(|tally| tally.voids[k]);
        }
    }

    /// Adds the voids of entries that are gone; to be called once the first entry that is left was taken.
    pub(super) async fn recall_voids(&mut self, ledger: &dyn Ledger) -> anyhow::Result<()> {
        let context = || format!("read the voids of chain {}", self.chain);
        let saved = saved_voids(ledger, &self.chain).await.with_context(context)?;
        self.lanes.iter_mut().for_each(|lane| lane.numbering.save(&saved));
        Ok(())
    }

    pub(super) fn lanes(&self) -> impl Iterator<Item = &Numbering> {
        self.lanes.iter().map(|lane| &lane.numbering)
    }

    fn finish(self) -> impl Iterator<Item = Numbering> {
        let (is_ended, last) = (self.ended_at.is_some(), self.last.map_or(0, |mark| mark.number));
        self.lanes.into_iter().map(move |lane| Numbering { is_ended, last, ..lane.numbering })
    }
}

/// A lane while its chain is read.
#[derive(Debug)]
struct LaneSoFar {
    numbering: Numbering,
    is_first: bool,
    /// Where the lane stood before each entry that is not forwarded as far as is known; entries as numbers.
    unforwarded: std::collections::VecDeque<(u64, u64)>,
}

impl LaneSoFar {
    fn new(origin: Origin) -> LaneSoFar {
        LaneSoFar { numbering: Numbering::new(origin), is_first: true, unforwarded: Default::default() }
    }

    fn take(&mut self, at: &At<'_>, lane: &Lane, forwarded_through: u64, findings: &mut Findings) {
        let told: [u8; 16] = lane.sum_through.as_ref().try_into().unwrap_or_default();
        let (told, added) = (u128::from_be_bytes(told), sum_hashes(record::ids(&lane.ids)));
        if std::mem::take(&mut self.is_first) {
            // Entries before it may have been trimmed; then it says where they had come to.
            self.numbering.end = lane.first_ordinal;
            self.numbering.trimmed = lane.first_ordinal;
            self.numbering.sum = told.wrapping_sub(added);
            if at.number == 1 && (lane.first_ordinal, self.numbering.sum) != (0, 0) {
                findings.add("chain", format_args!("{at}: {} does not begin at 0", self.numbering.origin));
            }
        }
        let (end, sum) = (self.numbering.end, self.numbering.sum.wrapping_add(added));
        if (lane.first_ordinal, lane.count as usize, told) != (end, record::count(&lane.ids), sum) {
            let Lane { first_ordinal, count, .. } = lane;
            let what = format_args!(
                "{at}: {count} ordinals of {} from {first_ordinal}, where {end} is next, or their ids do not add up",
                self.numbering.origin
            );
            findings.add("chain", what);
        }
        self.unforwarded.push_back((at.number, end));
        self.numbering.end = lane.first_ordinal + u64::from(lane.count);
        self.numbering.sum = told;
        while self.unforwarded.front().is_some_and(|&(number, _)| number < forwarded_through) {
            self.unforwarded.pop_front();
        }
        self.numbering.forwarded = self.unforwarded.front().map_or(self.numbering.end, |&(_, end)| end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use dedup_service::budget::Budget;
    use dedup_service::{Config, Owned, Parts, Retention};
    use ledger::embedded::EmbeddedLedger;
    use schema::ShardId;
    use schema::v1::{DedupGenesis, dedup_entry};
    use service::{Env, Rules};
    use std::num::NonZeroU32;
    use std::sync::Arc;
    use std::time::Duration;
    use store::{Options, Store};
    use stream::embedded::EmbeddedStream;

    #[derive(clap::Parser)]
    struct Only {
        #[command(flatten)]
        config: Config,
    }

    async fn parts(store: Arc<Store>) -> Parts {
        let open = async |name: &str| EmbeddedStream::open(&store, name, NonZeroU32::MIN, "r1").await.unwrap();
        Parts {
            raw: Arc::new(open("raw").await),
            clean: Arc::new(open("clean").await),
            ledger: Arc::new(EmbeddedLedger::new(store.clone())),
            env: Env::system(),
            config: <Only as clap::Parser>::parse_from(["dedup"]).config,
            budget: Budget::new(1),
            rules: Rules::default(),
        }
    }

    fn ids(ids: std::ops::Range<u64>) -> Bytes {
        ids.flat_map(|id| EventId(id.into()).to_bytes()).collect()
    }

    /// Entry `number` of a chain: it accepts three events, and gives up on the first of the entry before.
    fn decision(number: u64) -> Decision {
        let first = 3 * (number - 1);
        let sum_through = sum_hashes(record::ids(&ids(0..first + 3))).to_be_bytes().to_vec().into();
        let lane = Lane { first_ordinal: first, count: 3, ids: ids(first..first + 3), sum_through, ..Lane::default() };
        let voided = first.saturating_sub(3);
        let kind = Kind::Events.into();
        let void = Void { kind, first_ordinal: voided, ids: ids(voided..voided + 1), reason: String::new() };
        let voids = if number > 1 { vec![void] } else { Vec::new() };
        let quarantine = Some(Lane { sum_through: vec![0; 16].into(), ..Lane::default() });
        Decision { events: Some(lane), quarantine, met: 3, voids, forwarded_through: number, ..Decision::default() }
    }

    #[tokio::test]
    async fn a_trimmed_chain_gives_the_same_numbers_sums_and_voids() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path(), Options::new(Arc::new(|| 0), "a test")).unwrap());
        let parts = parts(store).await;
        let chain = ChainId::dedup("r1", &ShardId::new("raw-0000"), 0);
        let [hash_low, hash_high, point] = [0, u8::MAX, 0].map(|byte| Bytes::from(vec![byte; 16]));
        let genesis =
            dedup_entry::Entry::Genesis(DedupGenesis { hash_low, hash_high, point, ..DedupGenesis::default() });
        parts.ledger.append(&chain, 0, chain::encode(0, genesis)).await.unwrap();
        for number in 1..6 {
            let entry = chain::encode(number.into(), dedup_entry::Entry::Decision(decision(number)));
            parts.ledger.append(&chain, number, entry).await.unwrap();
        }
        let mut findings = Findings::new(9);
        let before = Decided::read(&*parts.ledger, &mut findings).await.unwrap();
        assert_eq!(Retention::new(&parts, Duration::ZERO, Owned::everything()).trim().await.unwrap(), 4);
        let after = Decided::read(&*parts.ledger, &mut findings).await.unwrap();
        assert!(findings.is_empty(), "{findings:?}");
        let told = |decided: &Decided| {
            let lane = &decided.lanes[0];
            (decided.accepted, lane.end, lane.forwarded, lane.sum, lane.voids.clone())
        };
        assert_eq!(told(&after), told(&before));
        assert_eq!((before.lanes[0].trimmed, after.lanes[0].trimmed), (0, 12));
        let voids: Vec<(u64, EventId)> = after.lanes[0].trimmed_voids.clone().into_iter().collect();
        assert_eq!(voids, [0, 3, 6].map(|ordinal| (ordinal, EventId(ordinal.into()))));
    }
}
