//! Streams that take the place of others.
//!
//! **Predecessor**: a stream of another incarnation that has chains in this ledger. A stream that is made again while nobody
//! reads it looks like a new one: its shards have no chains, and nothing says that its predecessor held events that nobody
//! had read. So whoever begins the first chain of a stream needs to be told that each predecessor is over; once one is
//! begun, somebody was.

use crate::{OwnerError, Stage};
use ledger::Ledger;
use service::Halt;
use std::collections::BTreeMap;

/// The chains of a stage, and what it means for data if they are left as they stand.
#[derive(Clone, Copy, Debug)]
pub struct Succession {
    /// Prefix of the names of all chains of the stage.
    pub chains: &'static str,
    /// What became of events that nobody had read, and how to find out.
    pub unread: &'static str,
}

impl Succession {
    /// Refuses to begin on a stream while a predecessor has chains without END and nobody has said to go on all the same.
    ///
    /// # Errors
    /// [`Halt`]: a person must decide. Else the ledger has not answered.
    pub async fn check(&self, stage: &impl Stage, ledger: &dyn Ledger) -> anyhow::Result<()> {
        let left = self.left_by_others(stage, ledger).await.map_err(OwnerError::into_cause)?;
        if left.is_empty() { Ok(()) } else { Err(self.refusal(stage, &left).into()) }
    }

    /// How many chains each predecessor has that nobody has accepted and that have no END. One listing, as a rule.
    async fn left_by_others(
        &self,
        stage: &impl Stage,
        ledger: &dyn Ledger,
    ) -> Result<BTreeMap<String, usize>, OwnerError> {
        let (stream, mut left) = (stage.stream(), BTreeMap::new());
        let chains = ledger.chains(self.chains).await?;
        if chains.iter().any(|chain| chain.incarnation() == Some(stream.incarnation())) {
            return Ok(left);
        }
        for chain in chains {
            let Some(incarnation) = chain.incarnation() else { continue };
            if !stream.goes_on_after(incarnation) && !stage.has_ended(&chain).await? {
                *left.entry(incarnation.to_owned()).or_default() += 1;
            }
        }
        Ok(left)
    }

    fn refusal(&self, stage: &impl Stage, left: &BTreeMap<String, usize>) -> Halt {
        let (name, incarnation) = (stage.stream().name(), stage.stream().incarnation());
        let Succession { unread, .. } = self;
        let shards: usize = left.values().sum();
        let before: Vec<&str> = left.keys().map(String::as_str).collect();
        let before = before.join(",");
        Halt(format!(
            "stream {name}, incarnation {incarnation}, has taken the place of {before}, {shards} of whose shards were not read \
             to their end: it was deleted and made again, or another stream is named than before. {unread} Start with \
             --accept-made-again {before} to go on with this one"
        ))
    }
}
