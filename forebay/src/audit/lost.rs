//! Dedup chains that others know of, and that the ledger has not (PROTOCOL rule 3).
//!
//! Without its chain a shard looks as if nobody had begun it. Who knows better: writers, whose sets name the origins they
//! took ordinals of, and chains that name the one they went on from. A chain keeps its genesis for ever, so one that is
//! not there was lost: whoever starts it anew gives ordinals away for the second time.

use super::report::Findings;
use anyhow::Context;
use ledger::Ledger;
use schema::ChainId;
use std::collections::{BTreeMap, BTreeSet};
use writer_service::write::Sets;

/// Dedup chains that somebody knows, each with whoever named it first, and why it must have been there.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<ChainId, String>);

impl Known {
    /// Takes the sets of a writer's chain: an origin of which it has ordinals has a chain.
    pub(super) fn writer(&mut self, writer: &ChainId, sets: &Sets) {
        for (origin, set) in sets.iter().filter(|(_, set)| !set.is_empty()) {
            let why = || format!("chain {writer} has taken {} ordinals of {origin}", set.len());
            self.0.entry(origin.chain()).or_insert_with(why);
        }
    }

    /// Compares with what the ledger has.
    pub(super) async fn compare(mut self, ledger: &dyn Ledger, findings: &mut Findings) -> anyhow::Result<()> {
        let there = ledger.chains(ChainId::DEDUP).await.context("list the dedup chains")?;
        for chain in &there {
            let genesis = dedup_service::chain::genesis(ledger, chain).await;
            let genesis = genesis.with_context(|| format!("read the genesis of chain {chain}"))?;
            for parent in genesis.iter().flat_map(|genesis| &genesis.parent_chains) {
                self.0.entry(ChainId::new(parent)).or_insert_with(|| format!("chain {chain} goes on from it"));
            }
        }
        let there: BTreeSet<ChainId> = there.into_iter().collect();
        for (chain, why) in self.0.iter().filter(|(chain, _)| !there.contains(chain)) {
            findings.add("lost chain", format_args!("{chain} is not in the ledger, while {why}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::embedded::EmbeddedLedger;
    use schema::v1::{DedupGenesis, OriginSet, dedup_entry};
    use schema::{IntervalSet, Kind, Origin, ShardId};
    use service::Env;
    use std::sync::Arc;
    use store::Store;

    fn chain(shard: &str) -> ChainId {
        ChainId::dedup("a1b2", &ShardId::new(shard), 0)
    }

    /// A set of `[0, end)` of an origin of each kind.
    fn sets(chain: &ChainId, end: u64) -> Sets {
        let mut set = IntervalSet::default();
        set.insert(0, end);
        let one = |kind| OriginSet { origin: Origin::of(chain, kind).to_string(), intervals: set.encode() };
        Sets::decode(&[one(Kind::Events), one(Kind::Quarantine)]).expect("it was just encoded")
    }

    /// What is found in a ledger that has one chain, which goes on from `parents`.
    async fn found(there: &ChainId, parents: &[&ChainId], known: Known) -> Findings {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(folder.path(), crate::embedded::options("a test", &Env::system()));
        let ledger = EmbeddedLedger::new(Arc::new(store.expect("an empty folder")));
        let parent_chains = parents.iter().map(ToString::to_string).collect();
        let genesis = dedup_entry::Entry::Genesis(DedupGenesis { parent_chains, ..DedupGenesis::default() });
        ledger.append(there, 0, dedup_service::chain::encode(1, genesis)).await.expect("a free slot");
        let mut findings = Findings::new(10);
        known.compare(&ledger, &mut findings).await.expect("the ledger can be read");
        findings
    }

    #[tokio::test]
    async fn a_chain_whose_ordinals_a_writer_took_must_be_there() {
        let (there, gone) = (chain("raw-0000"), chain("raw-0001"));
        let writer = ChainId::writer("c3d4", &ShardId::new("clean-0000"), 0);
        let mut known = Known::default();
        known.writer(&writer, &sets(&there, 9));
        assert!(found(&there, &[], known).await.is_empty());

        let mut known = Known::default();
        known.writer(&writer, &sets(&gone, 9));
        let findings = found(&there, &[], known).await;
        let lost = findings.get("lost chain").expect("it is lost");
        let told = format!("{gone} is not in the ledger, while chain {writer} has taken 9 ordinals of a1b2/raw-0001/0");
        assert_eq!((lost.count, &lost.examples), (1, &vec![told]));
    }

    #[tokio::test]
    async fn a_chain_of_which_nobody_took_anything_may_not_have_begun() {
        let mut known = Known::default();
        known.writer(&ChainId::new("writer/w"), &sets(&chain("raw-0001"), 0));
        assert!(found(&chain("raw-0000"), &[], known).await.is_empty());
    }

    #[tokio::test]
    async fn a_chain_that_another_goes_on_from_must_be_there() {
        let (child, parent) = (chain("raw-0002"), chain("raw-0001"));
        let findings = found(&child, &[&parent, &child], Known::default()).await;
        let lost = findings.get("lost chain").expect("it is lost");
        assert_eq!(lost.examples, [format!("{parent} is not in the ledger, while chain {child} goes on from it")]);
    }
}
