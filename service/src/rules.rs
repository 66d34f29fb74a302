//! The rules of the protocol that a test may switch off, to show that each is needed.
//!
//! In builds without debug assertions nothing can be switched off: [`Rules::keeps`] is always true there.

/// A rule, named by what goes wrong without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// A decision is recorded before anything acts on it (11, 12).
    DecideBeforeForward,
    /// A new owner forwards again what is not known to be forwarded (9).
    ForwardAgain,
    /// `forwarded_through` counts only acknowledged records (13).
    ForwardedThroughIsTrue,
    /// Clean records of an origin go to one fixed point (12).
    FixedPoint,
    /// Strays are put again, not decided where they land (10a).
    StraysGoHome,
    /// Strays are put again, not dropped (10a).
    StraysAreKept,
    /// Strays are put before the entry that covers them (10a, 15).
    StraysBeforeEntry,
    /// Strays are put under their own hash (10a).
    StraysUnderOwnHash,
    /// Ids leave the window only W plus the longest delay behind the newest (8).
    WindowOutlastsDelays,
    /// A child inherits its ancestors' window (8).
    WindowIsInherited,
    /// A child starts only after its parents' END (7, 18).
    ParentsFirst,
    /// END only when everything is forwarded (15).
    EndAfterForwarding,
    /// Taken ordinals are a set, not a high-water mark (20).
    IntervalSet,
    /// A child inherits its parents' sets (18).
    SetsAreInherited,
    /// Parts are split as the entry recorded, not as this owner would (19).
    RecordedSplit,
    /// Objects are announced before they are uploaded (22).
    AnnounceBeforeUpload,
    /// A new owner uploads what was announced (19).
    FinishAnnounced,
    /// Plans come from the chains, never from a listing (28).
    PlanFromChains,
}

/// Which rules hold. All of them, unless a test says otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    #[cfg(debug_assertions)]
    off: Option<Rule>,
}

impl Rules {
    /// All rules but one.
    #[cfg(debug_assertions)]
    pub fn without(rule: Rule) -> Rules {
        Rules { off: Some(rule) }
    }

    #[cfg(debug_assertions)]
    pub fn keeps(&self, rule: Rule) -> bool {
        self.off != Some(rule)
    }

    #[cfg(not(debug_assertions))]
    #[inline(always)]
    pub fn keeps(&self, _rule: Rule) -> bool {
        true
    }
}
