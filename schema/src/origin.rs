//! Names: shards, chains, origins.
//!
//! A **chain** belongs to one shard of one incarnation of a stream in one epoch. An **origin** is a numbering of unique
//! events: each dedup chain has one for events and one for quarantined events, so that both are dense.

use crate::Kind;
use std::fmt;
use std::sync::Arc;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(text: impl AsRef<str>) -> $name {
                $name(Arc::from(text.as_ref()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A shard's name, unique within one incarnation of its stream.
    ShardId
);
name!(
    /// A chain's name in the ledger.
    ChainId
);
name!(
    /// A numbering of unique events.
    Origin
);

const QUARANTINE: &str = ":quarantine";

impl ChainId {
    /// What the names of all chains of a stage start with.
    pub const DEDUP: &str = "dedup/";
    pub const WRITER: &str = "writer/";
    pub const PLAN: &str = "plan/";

    /// What the names of chains start with that say what a raw stream is set to, and a clean one; its incarnation follows.
    pub const RAW: &str = "raw/";
    pub const CLEAN: &str = "clean/";

    /// The chain of decisions of a raw shard.
    pub fn dedup(incarnation: &str, shard: &ShardId, epoch: u32) -> ChainId {
        ChainId::new(format!("{}{incarnation}/{shard}/{epoch}", Self::DEDUP))
    }

    /// The chain of announcements of a clean shard.
    pub fn writer(incarnation: &str, shard: &ShardId, epoch: u32) -> ChainId {
        ChainId::new(format!("{}{incarnation}/{shard}/{epoch}", Self::WRITER))
    }

    /// The chain of plans of a day of a table; `day` as `YYYY-MM-DD`.
    pub fn plan(table: &str, day: &str) -> ChainId {
        ChainId::new(format!("{}{table}/{day}", Self::PLAN))
    }

    pub fn is_dedup(&self) -> bool {
        self.as_str().starts_with(Self::DEDUP)
    }

    pub fn is_writer(&self) -> bool {
        self.as_str().starts_with(Self::WRITER)
    }

    /// The incarnation of the stream that a chain is about; `None` for one that is about no shard.
    pub fn incarnation(&self) -> Option<&str> {
        let mut parts = self.as_str().split('/');
        let (_stage, incarnation, _shard, _epoch) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        Some(incarnation)
    }

    /// Table and day of a plan chain.
    pub fn as_plan(&self) -> Option<(&str, &str)> {
        self.as_str().strip_prefix(Self::PLAN)?.split_once('/')
    }

    /// The chain's name without its stage and with `.` for `/`: a part of object names.
    pub fn file_token(&self) -> String {
        let (_, name) = self.as_str().split_once('/').unwrap_or(("", self.as_str()));
        name.replace('/', ".")
    }
}

impl Origin {
    /// The numbering of `kind` on a dedup chain.
    ///
    /// # Panics
    /// If `chain` is not a dedup chain.
    pub fn of(chain: &ChainId, kind: Kind) -> Origin {
        let name = chain.as_str().strip_prefix(ChainId::DEDUP).expect("only dedup chains number events");
        match kind {
            Kind::Events => Origin::new(name),
            Kind::Quarantine => Origin::new(format!("{name}{QUARANTINE}")),
        }
    }

    pub fn kind(&self) -> Kind {
        if self.as_str().ends_with(QUARANTINE) { Kind::Quarantine } else { Kind::Events }
    }

    /// The dedup chain that numbers it.
    pub fn chain(&self) -> ChainId {
        let name = self.as_str().strip_suffix(QUARANTINE).unwrap_or(self.as_str());
        ChainId::new(format!("{}{name}", ChainId::DEDUP))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_names_its_chain_and_kind() {
        let chain = ChainId::dedup("a1b2", &ShardId::new("raw-0003"), 0);
        for kind in [Kind::Events, Kind::Quarantine] {
            let origin = Origin::of(&chain, kind);
            assert_eq!(origin.chain(), chain);
            assert_eq!(origin.kind(), kind);
        }
        assert_eq!(chain.file_token(), "a1b2.raw-0003.0");
    }

    #[test]
    fn a_chain_of_a_shard_names_the_incarnation_of_its_stream() {
        let shard = ShardId::new("raw-0003");
        for chain in [ChainId::dedup("a1b2", &shard, 0), ChainId::writer("a1b2", &shard, 0)] {
            assert_eq!(chain.incarnation(), Some("a1b2"));
        }
        assert_eq!(ChainId::plan("events", "2026-11-22").incarnation(), None);
    }

    #[test]
    fn a_plan_chain_names_its_table_and_day() {
        let chain = ChainId::plan("events", "2026-11-22");
        assert_eq!(chain.as_plan(), Some(("events", "2026-11-22")));
        assert!(!chain.is_dedup() && !chain.is_writer());
    }
}
