//! Reading and writing the chain of a raw shard.

use crate::batch::lane_of;
use crate::dedup::State;
use crate::window::{Window, minute_of};
use bytes::Bytes;
use ledger::{Entry, Ledger, LedgerError};
use prost::Message;
use schema::v1::{Decision, DedupEntry, DedupGenesis, dedup_entry};
use schema::{ChainId, EventId, HashKey, HashRange, Kind, record};
use service::Halt;

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
pub async fn genesis(ledger: &dyn Ledger, chain: &ChainId) -> Result<Option<DedupGenesis>, ChainError> {
    let page = ledger.load(chain, 0, 1).await?;
    let Some(slot) = page.into_iter().next() else { return Ok(None) };
    if slot.number != 0 {
        return Err(
            Halt(format!("chain {chain} has lost its genesis: restore the ledger, or start a new epoch")).into()
        );
    }
    match decode(chain, 0, slot.entry.bytes)? {
        dedup_entry::Entry::Genesis(genesis) => Ok(Some(genesis)),
        dedup_entry::Entry::Decision(_) => Err(Halt(format!("chain {chain} does not begin with a genesis")).into()),
    }
}

/// The head as a decision; `None` where there is only the genesis or nothing.
pub async fn head(ledger: &dyn Ledger, chain: &ChainId) -> Result<Option<(u64, Decision)>, ChainError> {
    match ledger.head(chain).await? {
        Some(slot) if slot.number > 0 => Ok(Some((slot.number, decision(chain, slot.number, slot.entry.bytes)?))),
        _ => Ok(None),
    }
}

/// Why a chain can't be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Halt(#[from] Halt),
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
) -> Result<u64, ChainError> {
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

/// Takes the ids that an entry accepted into windows: those received in `[from, below)` minutes and covered by `range`.
pub fn take_ids(windows: &mut [Window; 2], entry: &Decision, range: &HashRange, minutes: std::ops::Range<i32>) {
    for (kind, lane) in [(Kind::Events, &entry.events), (Kind::Quarantine, &entry.quarantine)] {
        let Some(lane) = lane else { continue };
        let mut ids = record::ids(&lane.ids);
        for run in &lane.received {
            let minute = minute_of(run.received_at);
            for id in ids.by_ref().take(run.count as usize) {
                if minutes.contains(&minute) && range.covers(id.hash()) {
                    windows[lane_of(kind)].learn(id, minute);
                }
            }
        }
    }
    for void in &entry.voids {
        let kind = Kind::try_from(void.kind).unwrap_or(Kind::Events);
        record::ids(&void.ids).for_each(|id: EventId| windows[lane_of(kind)].remove(id));
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
    for (k, lane) in [&head.events, &head.quarantine].into_iter().enumerate() {
        let lane = lane.as_ref().ok_or_else(|| broken("no lane"))?;
        state.ordinals[k] = lane.first_ordinal + u64::from(lane.count);
        let sum = lane.sum_through.as_ref().try_into().map_err(|_| broken("no sum"))?;
        state.sums[k] = u128::from_be_bytes(sum);
    }
    Ok(())
}
