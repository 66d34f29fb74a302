//! The product's promise, judged on what is really there.
//!
//! **Finding**: `loss`, `dup` and `invented` break the promise; `audit` is what would let somebody notice; `reader` is a
//! moment at which a reader saw something else; `stuck` is work that was never done; `forebay audit` is what the product's
//! own audit says, which shares no code with the others.

mod chains;
mod product;
mod records;
mod rows;
mod snapshot;
mod voids;

use crate::backends::Backends;
use crate::events::{Books, BooksState};
use crate::evidence::{Decided, DedupChain, Reader, Voided, announcements, decided, dedup_chains, plans, voided};
use crate::streams::SimShard;
use records::{clean_copies, raw_copies};
use schema::body::BodyOpener;
use schema::{ChainId, EventId, Position};
use std::collections::{BTreeMap, BTreeSet};
use stream::Record;

/// Ways in which the promise was broken.
type Findings = BTreeSet<String>;

/// Whoever judges a world.
#[derive(Debug)]
pub(crate) struct Judge {
    backends: Backends,
    books: Books,
    reader: Reader,
}

impl Judge {
    pub(crate) fn new(backends: Backends, books: Books) -> Judge {
        Judge { backends, books, reader: Reader::default() }
    }

    /// Judges a world at any moment.
    pub(crate) fn look(&mut self) {
        let mut findings = snapshot::audit_consumed(&self.backends);
        match self.reader.read(&self.backends.lake, &self.books.read()) {
            Ok(objects) => findings.extend(snapshot::audit_reader(&self.backends, objects)),
            Err(finding) => drop(findings.insert(finding)),
        }
        self.report(findings);
    }

    /// Lets the product's own audit judge a world that has come to rest.
    pub(crate) async fn audit(&self) {
        let (chains, _) = dedup_chains(&self.backends.ledger);
        let decided: Vec<Decided> = chains.iter().flat_map(|(id, chain)| decided(id, chain)).collect();
        let voided: Vec<Voided> = chains.iter().flat_map(|(id, chain)| voided(id, chain)).collect();
        let gone = voids::last_of_each(&chains, &decided, &voided).iter().map(|void| void.id).collect();
        let findings = product::audit(&self.backends, product::receipts(&self.books.read(), &gone)).await;
        self.report(findings);
    }

    /// Judges a world that has come to rest.
    pub(crate) fn verdict(&mut self) {
        let books = self.books.read();
        let (chains, mut findings) = dedup_chains(&self.backends.ledger);
        let decided: Vec<Decided> = chains.iter().flat_map(|(id, chain)| decided(id, chain)).collect();
        let voided: Vec<Voided> = chains.iter().flat_map(|(id, chain)| voided(id, chain)).collect();
        let standing = voids::standing(&decided, &voided);
        let memory_of = |nonce| self.backends.world.memory_of(nonce);
        let excused = chains::excused(&chains, &standing, memory_of);
        findings.extend(chains::audit_chains(&chains, &decided));
        findings.extend(chains::audit_windows(&chains, memory_of));
        findings.extend(voids::audit_voids(&decided, &voided, &self.backends.ledger));
        findings.extend(self.audit_copies_of_voided(&chains, &decided, &voided, &books));
        findings.extend(self.audit_strays(&books));
        findings.extend(self.audit_clean(&books));
        findings.extend(self.audit_progress(&chains));
        match self.reader.read(&self.backends.lake, &books) {
            Ok(objects) => findings.extend(rows::audit_lake(objects, &books, &standing, &voided, &excused)),
            Err(finding) => drop(findings.insert(finding)),
        }
        self.describe(&books, &decided, excused.len());
        self.describe_voids(&standing, &voided);
        self.report(findings);
    }

    fn report(&self, findings: Findings) {
        findings.into_iter().for_each(|finding| self.backends.world.find(finding));
    }

    fn describe(&self, books: &BooksState, decided: &[Decided], excused: usize) {
        let world = &self.backends.world;
        let twice = rows::twice(decided.iter().map(|one| one.id));
        for one in decided.iter().filter(|one| twice.contains(&one.id)) {
            world.note(format_args!("accepted more than once: {one:?}"));
        }
        world.count_many("events", books.events.len() as u64);
        world.count_many("copies", books.copies.values().map(|copies| copies.len() as u64).sum());
        world.count_many("accepted", decided.len() as u64);
        world.count_many("excused duplicates", excused as u64);
        world.count_many("plans", plans(&self.backends.ledger).len() as u64);
    }

    fn describe_voids(&self, standing: &[Decided], voided: &[Voided]) {
        let there: BTreeSet<EventId> = standing.iter().map(|one| one.id).collect();
        let again = voided.iter().filter(|void| there.contains(&void.id)).count();
        voided.iter().for_each(|void| self.backends.world.note(format_args!("void: {void:?}")));
        self.backends.world.count_many("voided events", voided.len() as u64);
        self.backends.world.count_many("voided events that came again", again as u64);
    }

    /// A copy that was read after its event became void was accepted, unless the event is there anyway.
    fn audit_copies_of_voided(
        &self,
        chains: &BTreeMap<ChainId, DedupChain>,
        decided: &[Decided],
        voided: &[Voided],
        books: &BooksState,
    ) -> Findings {
        let gone = voids::last_of_each(chains, decided, voided);
        let (mut findings, mut opener) = (Findings::new(), BodyOpener::default());
        for shard in self.backends.raw.witness().iter().filter(|_| !gone.is_empty()) {
            let chain = dedup_chain_of(shard);
            let reads_after = |void: &Voided, raw: &Record| match void.chain == chain {
                true => Position::parse(&void.through).is_some_and(|through| raw.position > through),
                false => chains::descends(chains, &chain, &void.chain),
            };
            for raw in &shard.log {
                let ids: BTreeSet<EventId> = raw_copies(raw, &mut opener, books).iter().map(|(id, _)| *id).collect();
                let at_home = |id| ids.contains(&id) && shard.shard.range.covers(id.hash());
                let refused = gone.iter().filter(|void| at_home(void.id) && reads_after(void, raw));
                findings.extend(refused.map(|void| format!("loss: a copy of {} was read after it was void", void.id)));
            }
        }
        findings
    }

    /// Every copy that landed anywhere landed at home as well.
    fn audit_strays(&self, books: &BooksState) -> Findings {
        let (mut landed, mut home) = (BTreeSet::new(), BTreeSet::new());
        let mut opener = BodyOpener::default();
        for shard in self.backends.raw.witness() {
            for (id, copy) in shard.log.iter().flat_map(|raw| raw_copies(raw, &mut opener, books)) {
                landed.insert((id, copy));
                if shard.shard.range.covers(id.hash()) {
                    home.insert((id, copy));
                } else {
                    self.backends.world.count("strays");
                }
            }
        }
        let lost = landed.difference(&home).next();
        lost.map(|(id, copy)| format!("audit: copy {copy} of {id} strayed and never came home")).into_iter().collect()
    }

    /// An ordinal stands for one copy for ever.
    fn audit_clean(&self, books: &BooksState) -> Findings {
        let (mut meanings, mut findings) = (BTreeMap::new(), Findings::new());
        let mut opener = BodyOpener::default();
        for record in self.backends.clean.witness().iter().flat_map(|shard| &shard.log) {
            let Some(copies) = clean_copies(record, &mut opener, books) else {
                findings.insert("audit: the clean stream holds what is no clean record".to_string());
                continue;
            };
            for (place, copy) in copies {
                if *meanings.entry(place.clone()).or_insert(copy) != copy {
                    findings.insert(format!("audit: ordinal {} of {} was used twice", place.1, place.0));
                }
            }
        }
        findings
    }

    /// Everything was read, and closed shards have their END.
    fn audit_progress(&self, chains: &BTreeMap<ChainId, DedupChain>) -> Findings {
        let raw = self.backends.raw.witness();
        let writers = announcements(&self.backends.ledger);
        let decided = raw.iter().filter_map(|shard| {
            let head = chains.get(&dedup_chain_of(shard)).and_then(|chain| chain.entries.last());
            lag(shard, head.map(|(_, entry)| (entry.to.as_str(), entry.end)))
        });
        let clean = self.backends.clean.witness();
        let written = clean.iter().filter_map(|shard| {
            let head = writers.get(&writer_chain_of(shard)).and_then(|chain| chain.last());
            lag(shard, head.map(|entry| (entry.to.as_str(), entry.end)))
        });
        decided.chain(written).collect()
    }
}

/// What is left to do on a shard whose chain stands at `head`: a place, and whether it has ended.
fn lag(shard: &SimShard, head: Option<(&str, bool)>) -> Option<String> {
    let (to, end) = head.unwrap_or_default();
    let done = Position::parse(to) == Some(shard.last()) && (end || !shard.shard.closed);
    (!done).then(|| format!("stuck: shard {} stands at {to:?}", shard.shard.id))
}

fn dedup_chain_of(shard: &SimShard) -> ChainId {
    ChainId::dedup("raw", &shard.shard.id, 0)
}

fn writer_chain_of(shard: &SimShard) -> ChainId {
    ChainId::writer("clean", &shard.shard.id, 0)
}
