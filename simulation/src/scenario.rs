//! What differs from one kind of world to another.
//!
//! **Scenario**: a world in which the promise must hold, or one rule of the protocol switched off, to show that the
//! promise then breaks.

#[cfg(debug_assertions)]
use service::Rule;
use std::time::Duration;

/// A kind of world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    pub name: &'static str,
    pub windows: Windows,
    pub keys: Keys,
    pub off: Option<Off>,
}

/// The window of the dedup owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// Longer than the world lasts.
    Endless,
    /// An hour, for all.
    Hour,
    /// Anything from none to endless, and each owner its own.
    Varied,
    /// Endless, but memory has room for a few ids.
    Cramped,
}

/// Under which keys producers put their records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// By shard maps that are more or less out of date.
    Mapped,
    /// Any.
    Arbitrary,
}

/// What is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// A rule inside the services.
    #[cfg(debug_assertions)]
    Rule(Rule),
    /// Dedup chains take an entry for a slot that is taken.
    DedupChainCas,
    /// Plan chains do.
    PlanChainCas,
    /// The lake says «created» where it should say «conflict, try again».
    ConflictIsRetried,
    /// Dedup chains lose their last entries, as a ledger restored from a backup does.
    ChainsOnlyGrow,
}

const PLAIN: Scenario = Scenario { name: "protocol", windows: Windows::Endless, keys: Keys::Mapped, off: None };

/// The worlds in which the promise must hold.
pub const PROTOCOL: &[Scenario] = &[
    PLAIN,
    Scenario { name: "windows-varied", windows: Windows::Varied, ..PLAIN },
    Scenario { name: "keys-arbitrary", keys: Keys::Arbitrary, ..PLAIN },
    Scenario { name: "window-of-an-hour", windows: Windows::Hour, ..PLAIN },
    Scenario { name: "window-cramped", windows: Windows::Cramped, ..PLAIN },
];

/// The rules of PROTOCOL.md, each switched off in a world of its own.
#[cfg(debug_assertions)]
pub const SWITCHED_OFF: &[Scenario] = &[
    Scenario { windows: Windows::Varied, ..without("act-before-the-decision-is-recorded", Rule::DecideBeforeForward) },
    without("head-entry-not-forwarded-again", Rule::ForwardAgain),
    without("forwarded-through-too-early", Rule::ForwardedThroughIsTrue),
    without("high-water-mark-instead-of-interval-set", Rule::IntervalSet),
    without("parts-named-by-index-while-packing-differs", Rule::RecordedSplit),
    without("sets-not-inherited", Rule::SetsAreInherited),
    without("child-before-parents-end", Rule::ParentsFirst),
    without("random-routing", Rule::FixedPoint),
    without("strays-decided-where-they-land", Rule::StraysGoHome),
    without("strays-dropped", Rule::StraysAreKept),
    Scenario { keys: Keys::Arbitrary, ..without("end-not-waiting-for-strays", Rule::StraysBeforeEntry) },
    Scenario { keys: Keys::Arbitrary, ..without("strays-under-the-old-point", Rule::StraysUnderOwnHash) },
    Scenario { windows: Windows::Hour, ..without("window-pruned-at-its-width", Rule::WindowOutlastsDelays) },
    without("announce-after-upload", Rule::AnnounceBeforeUpload),
    without("announced-never-finished", Rule::FinishAnnounced),
    without("plans-from-a-listing", Rule::PlanFromChains),
    switched_off("plan-chain-without-cas", Off::PlanChainCas),
    without("window-not-inherited", Rule::WindowIsInherited),
    switched_off("dedup-chain-without-cas", Off::DedupChainCas),
    switched_off("conflict-taken-as-created", Off::ConflictIsRetried),
    without("end-before-all-is-forwarded", Rule::EndAfterForwarding),
    switched_off("chain-restored-from-a-backup", Off::ChainsOnlyGrow),
];

/// Builds without debug assertions have no switches.
#[cfg(not(debug_assertions))]
pub const SWITCHED_OFF: &[Scenario] = &[
    switched_off("plan-chain-without-cas", Off::PlanChainCas),
    switched_off("dedup-chain-without-cas", Off::DedupChainCas),
    switched_off("conflict-taken-as-created", Off::ConflictIsRetried),
    switched_off("chain-restored-from-a-backup", Off::ChainsOnlyGrow),
];

#[cfg(debug_assertions)]
const fn without(name: &'static str, rule: Rule) -> Scenario {
    switched_off(name, Off::Rule(rule))
}

const fn switched_off(name: &'static str, off: Off) -> Scenario {
    Scenario { name, off: Some(off), ..PLAIN }
}

impl Scenario {
    /// The scenario of that name.
    pub fn named(name: &str) -> Option<Scenario> {
        PROTOCOL.iter().chain(SWITCHED_OFF).find(|scenario| scenario.name == name).copied()
    }
}

/// Longer than any world lasts.
pub(crate) const ENDLESS: Duration = Duration::from_secs(400 * 86_400);

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
