//! Following the dedup chains: each is read on from where the last look came to, and must still be what it was.
//!
//! **Beginning**: a first look starts with the entry that decided the lowest ordinal which no writer has taken, or which is
//! not known to be forwarded. Of what lies before, the entries since tell the numbers, and nothing is due: an ordinal that
//! is taken is live or void. A chain whose entries don't count how many are void is read as far back as it goes.

use super::broken::Broken;
use super::numbering::{ChainSoFar, KINDS, Mark, for_each_decision, lane_of};
use super::report::Findings;
use super::taken::Taken;
use anyhow::Context;
use dedup_service::chain;
use dedup_service::dedup::Tally;
use ledger::{Ledger, Slot};
use schema::v1::{Decision, Lane};
use schema::{ChainId, Origin};
use std::collections::{BTreeMap, BTreeSet};

/// The dedup chains as far as they were read: a few numbers for each.
#[derive(Debug, Default)]
pub(super) struct Following(BTreeMap<ChainId, Followed>);

#[derive(Debug)]
pub(super) struct Followed {
    pub(super) so_far: ChainSoFar,
    /// What is not right in the chain itself: once it was read, it stays so.
    wrong: Findings,
}

impl Following {
    /// Reads what was decided since the last look. `taken` was read before: it can't be further than the chains.
    ///
    /// # Errors
    /// Something can't be read; the next look goes on from there.
    pub(super) async fn read_on(
        &mut self,
        ledger: &dyn Ledger,
        taken: &Taken,
        broken: &mut Broken,
    ) -> anyhow::Result<()> {
        let listed = ledger.chains(ChainId::DEDUP).await.context("list the dedup chains")?;
        let listed: BTreeSet<ChainId> = listed.into_iter().collect();
        for chain in self.0.keys().filter(|chain| !listed.contains(chain)) {
            broken.add(chain, "it was there, and is gone");
        }
        for origin in taken.origins().filter(|origin| !listed.contains(&origin.chain())) {
            broken.add(&origin.chain(), format_args!("it is not there, and writers have taken ordinals of {origin}"));
        }
        for chain in listed {
            match self.0.get_mut(&chain) {
                Some(followed) => followed.read_on(ledger, taken, broken).await?,
                None => {
                    let followed = Followed::begin(ledger, &chain, taken).await?;
                    self.0.insert(chain.clone(), followed);
                }
            }
            self.0[&chain].judge(taken, broken);
        }
        Ok(())
    }

    pub(super) fn chains(&self) -> impl Iterator<Item = &ChainSoFar> {
        self.0.values().map(|followed| &followed.so_far)
    }
}

impl Followed {
    async fn begin(ledger: &dyn Ledger, chain: &ChainId, taken: &Taken) -> anyhow::Result<Followed> {
        let from = beginning(ledger, chain, taken).await.with_context(|| format!("read chain {chain}"))?;
        let mut followed = Followed { so_far: ChainSoFar::new(chain.clone()), wrong: Findings::new(1) };
        followed.read_from(ledger, from).await?;
        followed.so_far.recall_voids(ledger).await?;
        Ok(followed)
    }

    /// Reads on where the chain is what it was. Otherwise what is known of it stays as it is, so that it is told again.
    async fn read_on(&mut self, ledger: &dyn Ledger, taken: &Taken, broken: &mut Broken) -> anyhow::Result<()> {
        let chain = self.so_far.chain.clone();
        let Some(last) = self.so_far.last.filter(|_| self.so_far.ended_at.is_none()) else {
            // What goes back past an END has lost the chains that went on from it.
            if self.so_far.last.is_none() {
                *self = Followed::begin(ledger, &chain, taken).await?;
            }
            return Ok(());
        };
        match standing(ledger, &chain, last).await.with_context(|| format!("read chain {chain}"))? {
            Standing::AsItWas => self.read_from(ledger, last.number + 1).await?,
            Standing::Trimmed => *self = Followed::begin(ledger, &chain, taken).await?,
            Standing::Broken(why) => broken.add(&chain, why),
        }
        Ok(())
    }

    async fn read_from(&mut self, ledger: &dyn Ledger, from: u64) -> anyhow::Result<()> {
        let Followed { so_far, wrong } = self;
        let chain = so_far.chain.clone();
        for_each_decision(ledger, &chain, from, |mark, decision| so_far.take(mark, &decision, wrong)).await
    }

    fn judge(&self, taken: &Taken, broken: &mut Broken) {
        let Followed { so_far, wrong } = self;
        if let Some(example) = wrong.get("chain").and_then(|finding| finding.examples.first()) {
            broken.add(&so_far.chain, example);
        }
        for lane in so_far.lanes() {
            let end = taken.get(&lane.origin).map_or(0, |set| set.end());
            if end > lane.end {
                let why =
                    format_args!("it numbers {} of {}, and writers have taken up to {end}", lane.end, lane.origin);
                broken.add(&so_far.chain, why);
            }
        }
    }
}

/// What became of the entry that was read last.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    AsItWas,
    /// It is gone by the rules: the chain went on for longer than entries are kept.
    Trimmed,
    Broken(String),
}

async fn standing(ledger: &dyn Ledger, chain: &ChainId, last: Mark) -> anyhow::Result<Standing> {
    let Mark { number, .. } = last;
    let first_from = async |from| anyhow::Ok(ledger.load(chain, from, 1).await?.first().map(Mark::of));
    Ok(match first_from(number).await? {
        Some(mark) if mark == last => Standing::AsItWas,
        Some(mark) if mark.number == number => Standing::Broken(format!("entry {number} is another than it was")),
        Some(mark) if first_from(1).await?.is_some_and(|first| first.number >= mark.number) => Standing::Trimmed,
        Some(_) => Standing::Broken(format!("entry {number} is gone, and later ones are there")),
        None => {
            let now = ledger.head(chain).await?.map_or("nothing".to_owned(), |head| format!("entry {}", head.number));
            Standing::Broken(format!("it had entry {number}, and ends with {now}"))
        }
    })
}

/// Number of the entry with which a first look starts.
async fn beginning(ledger: &dyn Ledger, chain: &ChainId, taken: &Taken) -> anyhow::Result<u64> {
    let Some((head, decision)) = chain::head(ledger, chain).await? else { return Ok(1) };
    if Tally::of(&decision).is_none() {
        return Ok(1);
    }
    let open = KINDS.map(|kind| {
        let end = end_of(lane_of(&decision, kind));
        match taken.get(&Origin::of(chain, kind)) {
            Some(set) => set.missing(0, end).first().map_or(end, |&(start, _)| start),
            None if taken.may_be_forgotten(decision.end.then_some(decision.appended_at)) => end,
            None => 0,
        }
    });
    Ok(first_reaching(ledger, chain, open, head).await?.min(decision.forwarded_through).max(1))
}

/// The first entry that decided an ordinal at or above `open` of its lane, found by halving; the head where none did.
async fn first_reaching(
    ledger: &dyn Ledger,
    chain: &ChainId,
    open: [u64; KINDS.len()],
    head: u64,
) -> anyhow::Result<u64> {
    let (mut low, mut high) = (1, head);
    while low < high {
        let middle = low + (high - low) / 2;
        let Some(Slot { number, entry }) = ledger.load(chain, middle, 1).await?.into_iter().next() else { break };
        let decision = chain::decision(chain, number, entry.bytes)?;
        if reaches(&decision, open) {
            high = middle;
        } else {
            low = number + 1;
        }
    }
    Ok(low.min(head))
}

fn reaches(decision: &Decision, open: [u64; KINDS.len()]) -> bool {
    KINDS.into_iter().zip(open).any(|(kind, open)| end_of(lane_of(decision, kind)) > open)
}

fn end_of(lane: &Lane) -> u64 {
    lane.first_ordinal + u64::from(lane.count)
}
