//! Reading and writing the chain of a raw shard.

use crate::dedup::{State, Tally};
use crate::window::minute_of;
use crate::windows::Windows;
use bytes::Bytes;
use ledger::{Entry, Ledger};
use ownership::OwnerError;
use prost::Message;
use schema::v1::{Decision, DedupEntry, DedupGenesis, dedup_entry};
use schema::{ChainId, EventId, HashKey, HashRange, ShardId, record};
use service::Halt;
use std::collections::BTreeSet;
use std::iter::repeat_n;
use stream::Stream;

/// Prefix of the names of chains of voids.
const VOIDS: &str = "void/";

/// The chain of a raw shard. The epoch goes up only by hand, when a ledger had to be restored.
pub fn of_shard(raw: &dyn Stream, shard: &ShardId) -> ChainId {
    const EPOCH: u32 = 0;
    ChainId::dedup(raw.incarnation(), shard, EPOCH)
}

/// Prefix of the names of all chains of this stream's shards, those that it no longer lists included.
pub fn prefix(raw: &dyn Stream) -> String {
    format!("{}{}/", ChainId::DEDUP, raw.incarnation())
}

/// Whether a chain is of a shard of this stream, and not of one that was there before.
pub(crate) fn is_of(raw: &dyn Stream, chain: &ChainId) -> bool {
    chain.incarnation() == Some(raw.incarnation())
}

/// Where the voids of a chain are kept once their entries go.
pub fn of_voids(chain: &ChainId) -> ChainId {
    let name = chain.as_str().strip_prefix(ChainId::DEDUP).unwrap_or(chain.as_str());
    ChainId::new(format!("{VOIDS}{name}"))
}

/// A chain of a stream that was there before this one.
#[derive(Debug)]
pub(crate) struct Before {
    pub(crate) chain: ChainId,
    /// As [`Decision::newest_through`].
    pub(crate) newest_through: i64,
    parents: Vec<String>,
}

/// The chains whose ids a shard of `range` may meet again though its stream has none of them: their streams were there
/// before this one, their ranges overlap, and none of them goes on in another. They need no END: whoever lets a stream take
/// another one's place has said that they are over.
pub(crate) async fn before(
    ledger: &dyn Ledger,
    raw: &dyn Stream,
    range: &HashRange,
) -> Result<Vec<Before>, OwnerError> {
    let mut found = Vec::new();
    for chain in ledger.chains(ChainId::DEDUP).await? {
        if is_of(raw, &chain) {
            continue;
        }
        match overlapping(ledger, &chain, range).await {
            Ok(overlapping) => found.extend(overlapping),
            // A stream may have been made because the ledger lost chains of the old one.
            Err(OwnerError::Halt(halt)) => {
                tracing::warn!(ancestor = %chain, %halt, "copies of what this chain accepted can't be told");
            }
            Err(error) => return Err(error),
        }
    }
    let parents: BTreeSet<String> = found.iter().flat_map(|one| one.parents.iter().cloned()).collect();
    found.retain(|one| !parents.contains(one.chain.as_str()));
    Ok(found)
}

/// A chain, if its range overlaps `range`.
async fn overlapping(ledger: &dyn Ledger, chain: &ChainId, range: &HashRange) -> Result<Option<Before>, OwnerError> {
    let Some(genesis) = genesis(ledger, chain).await? else { return Ok(None) };
    if !range_of(chain, &genesis)?.0.overlaps(range) {
        return Ok(None);
    }
    let head = head(ledger, chain).await?;
    let newest_through = head.map_or(genesis.newest_through, |(_, head)| head.newest_through);
    Ok(Some(Before { chain: chain.clone(), newest_through, parents: genesis.parent_chains }))
}

/// Reads an entry.
///
/// # Errors
/// Bytes that are no entry: halt, never guess.
pub fn decode(chain: &ChainId, number: u64, bytes: Bytes) -> Result<dedup_entry::Entry, Halt> {
    let entry = DedupEntry::decode(bytes).ok().and_then(|entry| entry.entry);
    entry.ok_or_else(|| {
        Halt(format!("chain {chain}, entry {number} can't be read: a newer release wrote it, or it is damaged"))
    })
}

/// An entry ready to append.
pub fn encode(nonce: u128, entry: dedup_entry::Entry) -> Entry {
    Entry { nonce, bytes: record::encode(&DedupEntry { entry: Some(entry) }) }
}

/// Reads a decision, which every entry after the genesis is.
pub fn decision(chain: &ChainId, number: u64, bytes: Bytes) -> Result<Decision, Halt> {
    match decode(chain, number, bytes)? {
        dedup_entry::Entry::Decision(decision) => Ok(decision),
        dedup_entry::Entry::Genesis(_) => Err(Halt(format!("chain {chain} has a second genesis at entry {number}"))),
    }
}

/// Reads entry 0; `None` for a chain nobody has begun.
pub async fn genesis(ledger: &dyn Ledger, chain: &ChainId) -> Result<Option<DedupGenesis>, OwnerError> {
    let page = ledger.load(chain, 0, 1).await?;
    let Some(slot) = page.into_iter().next() else { return Ok(None) };
    if slot.number != 0 {
        return Err(
            Halt(format!("chain {chain} has lost its genesis: go by deploy/runbooks/ledger-restored.md")).into()
        );
    }
    match decode(chain, 0, slot.entry.bytes)? {
        dedup_entry::Entry::Genesis(genesis) => Ok(Some(genesis)),
        dedup_entry::Entry::Decision(_) => Err(Halt(format!("chain {chain} does not begin with a genesis")).into()),
    }
}

/// The head as a decision; `None` where there is only the genesis or nothing.
pub async fn head(ledger: &dyn Ledger, chain: &ChainId) -> Result<Option<(u64, Decision)>, OwnerError> {
    match ledger.head(chain).await? {
        Some(slot) if slot.number > 0 => Ok(Some((slot.number, decision(chain, slot.number, slot.entry.bytes)?))),
        _ => Ok(None),
    }
}

/// The range of a genesis.
pub fn range_of(chain: &ChainId, genesis: &DedupGenesis) -> Result<(HashRange, HashKey), Halt> {
    let keys = [&genesis.hash_low, &genesis.hash_high, &genesis.point].map(|key| HashKey::from_slice(key));
    match keys {
        [Some(low), Some(high), Some(point)] => Ok((HashRange { low, high }, point)),
        _ => Err(Halt(format!("the genesis of chain {chain} has a hash key that is not 16 bytes"))),
    }
}

/// First entry that may hold an id received at or after `minute`, found by halving.
pub async fn first_entry_since(
    ledger: &dyn Ledger,
    chain: &ChainId,
    minute: i32,
    head: u64,
) -> Result<u64, OwnerError> {
    let (mut low, mut high) = (1, head);
    while low < high {
        let middle = low + (high - low) / 2;
        let Some(slot) = ledger.load(chain, middle, 1).await?.into_iter().next() else { break };
        let entry = decision(chain, slot.number, slot.entry.bytes)?;
        if minute_of(entry.newest_through) < minute {
            low = slot.number + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// An event that an entry accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted {
    pub(crate) lane: usize,
    pub(crate) id: EventId,
    pub(crate) ordinal: u64,
    /// That of its `received_at`.
    pub(crate) minute: i32,
}

/// Everything that an entry accepted.
pub(crate) fn accepted(entry: &Decision) -> impl Iterator<Item = Accepted> {
    let lanes = [&entry.events, &entry.quarantine].into_iter().enumerate();
    lanes.filter_map(|(lane, it)| Some((lane, it.as_ref()?))).flat_map(|(lane, it)| {
        let minutes = it.received.iter().flat_map(|run| repeat_n(minute_of(run.received_at), run.count as usize));
        let numbered = record::ids(&it.ids).zip(it.first_ordinal..);
        numbered.zip(minutes).map(move |((id, ordinal), minute)| Accepted { lane, id, ordinal, minute })
    })
}

/// Takes the ids that an entry accepted into windows: those received in `[from, below)` minutes and covered by `range`.
pub fn take_ids(windows: &mut Windows, entry: &Decision, range: &HashRange, minutes: std::ops::Range<i32>) {
    for Accepted { lane, id, minute, .. } in accepted(entry) {
        if minutes.contains(&minute) && range.covers(id.hash()) {
            windows.learn(lane, id, minute);
        }
    }
}

/// Sets a state to what stands after its head entry.
pub fn resume(state: &mut State, number: u64, head: &Decision) -> Result<(), Halt> {
    let chain = state.chain.clone();
    let broken = |what: &str| Halt(format!("chain {chain}, entry {number} has {what}"));
    state.next = number + 1;
    state.position = schema::Position::parse(&head.to).ok_or_else(|| broken("no position"))?;
    state.ended = head.end;
    state.newest_through = head.newest_through;
    state.tally = Tally::of(head);
    for (k, lane) in [&head.events, &head.quarantine].into_iter().enumerate() {
        let lane = lane.as_ref().ok_or_else(|| broken("no lane"))?;
        state.ordinals[k] = lane.first_ordinal + u64::from(lane.count);
        let sum = lane.sum_through.as_ref().try_into().map_err(|_| broken("no sum"))?;
        state.sums[k] = u128::from_be_bytes(sum);
    }
    Ok(())
}
