//! Reading and writing the chain of a clean shard.

use crate::write::Sets;
use bytes::Bytes;
use ledger::{Entry, Ledger};
use ownership::OwnerError;
use prost::Message;
use schema::v1::{Announcement, WriterEntry, WriterGenesis, writer_entry};
use schema::{ChainId, ShardId, record};
use service::Halt;
use stream::Stream;

/// The chain of a clean shard. The epoch goes up only by hand, when a ledger had to be restored.
pub fn of_shard(clean: &dyn Stream, shard: &ShardId) -> ChainId {
    const EPOCH: u32 = 0;
    ChainId::writer(clean.incarnation(), shard, EPOCH)
}

/// Reads an entry.
///
/// # Errors
/// Bytes that are no entry: halt, never guess.
pub fn decode(chain: &ChainId, number: u64, bytes: Bytes) -> Result<writer_entry::Entry, Halt> {
    let entry = WriterEntry::decode(bytes).ok().and_then(|entry| entry.entry);
    entry.ok_or_else(|| {
        Halt(format!("chain {chain}, entry {number} can't be read: a newer release wrote it, or it is damaged"))
    })
}

/// Reads an announcement, which every entry after the genesis is.
pub fn announcement(chain: &ChainId, number: u64, bytes: Bytes) -> Result<Announcement, Halt> {
    match decode(chain, number, bytes)? {
        writer_entry::Entry::Announcement(announcement) => Ok(announcement),
        writer_entry::Entry::Genesis(_) => Err(Halt(format!("chain {chain} has a second genesis at entry {number}"))),
    }
}

/// An entry ready to append.
pub fn encode(nonce: u128, entry: writer_entry::Entry) -> Entry {
    Entry { nonce, bytes: record::encode(&WriterEntry { entry: Some(entry) }) }
}

/// Reads entry 0; `None` for a chain nobody has begun.
pub async fn genesis(ledger: &dyn Ledger, chain: &ChainId) -> Result<Option<WriterGenesis>, OwnerError> {
    let Some(slot) = ledger.load(chain, 0, 1).await?.into_iter().next() else { return Ok(None) };
    let genesis = match (slot.number, decode(chain, slot.number, slot.entry.bytes)?) {
        (0, writer_entry::Entry::Genesis(genesis)) => genesis,
        _ => return Err(Halt(format!("chain {chain} has lost its genesis: restore the ledger")).into()),
    };
    Ok(Some(genesis))
}

/// One announcement; `None` for slot 0 and for a slot that is not there.
pub async fn entry(ledger: &dyn Ledger, chain: &ChainId, number: u64) -> Result<Option<Announcement>, OwnerError> {
    let slot =
        ledger.load(chain, number, 1).await?.into_iter().next().filter(|slot| slot.number == number && number > 0);
    Ok(slot.map(|slot| announcement(chain, number, slot.entry.bytes)).transpose()?)
}

/// The head as an announcement; `None` where there is only the genesis or nothing.
pub async fn head(ledger: &dyn Ledger, chain: &ChainId) -> Result<Option<(u64, Announcement)>, OwnerError> {
    match ledger.head(chain).await? {
        Some(slot) if slot.number > 0 => Ok(Some((slot.number, announcement(chain, slot.number, slot.entry.bytes)?))),
        _ => Ok(None),
    }
}

/// Sets as an entry has them.
pub fn sets(chain: &ChainId, sets: &[schema::v1::OriginSet]) -> Result<Sets, Halt> {
    Sets::decode(sets).ok_or_else(|| Halt(format!("chain {chain} has a set of ordinals that is none")))
}

/// What was taken from streams that were there before this one: the clean stream was deleted and made again, or the ledger
/// got new streams. What was forwarded to one of them may be forwarded again to this one.
pub async fn sets_before(ledger: &dyn Ledger, clean: &dyn Stream) -> Result<Sets, OwnerError> {
    let mut sets = Sets::default();
    for chain in ledger.chains(ChainId::WRITER).await? {
        if chain.incarnation() == Some(clean.incarnation()) {
            continue;
        }
        if let Some(latest) = latest_sets(ledger, &chain).await? {
            sets.union(&latest.sets);
        }
    }
    Ok(sets)
}

/// The sets after the last entry of a chain.
#[derive(Debug)]
pub struct LatestSets {
    /// Number of that entry.
    pub number: u64,
    pub sets: Sets,
    /// The chain has its END.
    pub is_ended: bool,
}

/// What a chain has taken so far; `None` for one that nobody has begun.
pub async fn latest_sets(ledger: &dyn Ledger, chain: &ChainId) -> Result<Option<LatestSets>, OwnerError> {
    let (number, encoded, is_ended) = match head(ledger, chain).await? {
        Some((number, head)) => (number, head.sets_after, head.end),
        None => match genesis(ledger, chain).await? {
            Some(genesis) => (0, genesis.sets, false),
            None => return Ok(None),
        },
    };
    Ok(Some(LatestSets { number, sets: sets(chain, &encoded)?, is_ended }))
}

/// The sets after entry `number`, the genesis included.
pub async fn sets_after(ledger: &dyn Ledger, chain: &ChainId, number: u64) -> Result<Sets, OwnerError> {
    let missing = || Halt(format!("chain {chain} has lost entry {number}"));
    let encoded = match number {
        0 => genesis(ledger, chain).await?.ok_or_else(missing)?.sets,
        _ => entry(ledger, chain, number).await?.ok_or_else(missing)?.sets_after,
    };
    Ok(sets(chain, &encoded)?)
}
