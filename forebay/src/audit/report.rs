//! What an audit found, as people read it.

use indicatif::HumanCount;
use std::collections::BTreeMap;
use std::fmt;
use store::Damage;

/// Counts of events and quarantined events together, unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Decided, copies included.
    pub accepted: u64,
    /// Ordinals of events.
    pub unique: u64,
    /// Copies that the window caught.
    pub duplicates: u64,
    /// Ordinals of quarantined events.
    pub quarantined: u64,
    /// Rows of settled live objects that no complete plan covers.
    pub live: u64,
    /// Rows of final objects of complete plans.
    pub finals: u64,
    /// Further copies that compaction set apart.
    pub dropped: u64,
    /// Ordinals that will never have a row, and why is written down.
    pub void: u64,
    pub in_flight: u64,
    pub missing: u64,
    pub twice: u64,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub count: u64,
    /// The first ones, with ids and positions.
    pub examples: Vec<String>,
}

/// Everything that is wrong, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    examples_max: usize,
    kinds: BTreeMap<&'static str, Finding>,
}

impl Findings {
    pub fn new(examples_max: usize) -> Findings {
        Findings { examples_max, kinds: BTreeMap::new() }
    }

    /// Most examples of each kind that are kept.
    pub(super) fn examples_max(&self) -> usize {
        self.examples_max
    }

    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    pub fn get(&self, kind: &str) -> Option<&Finding> {
        self.kinds.get(kind)
    }

    /// Every kind of finding there is, in the order of their names.
    pub fn kinds(&self) -> impl Iterator<Item = (&'static str, &Finding)> {
        self.kinds.iter().map(|(kind, finding)| (*kind, finding))
    }

    pub fn count(&self) -> u64 {
        self.kinds.values().map(|finding| finding.count).sum()
    }

    pub(super) fn add(&mut self, kind: &'static str, example: impl fmt::Display) {
        self.add_many(kind, 1, example);
    }

    /// Adds `count` of a kind with one example.
    pub(super) fn add_many(&mut self, kind: &'static str, count: u64, example: impl fmt::Display) {
        let finding = self.kinds.entry(kind).or_insert(Finding { count: 0, examples: Vec::new() });
        finding.count += count;
        if finding.examples.len() < self.examples_max {
            finding.examples.push(example.to_string());
        }
    }

    /// Whether another example of a kind would be kept.
    pub(super) fn has_room(&self, kind: &str) -> bool {
        self.kinds.get(kind).map_or(0, |finding| finding.examples.len()) < self.examples_max
    }

    /// Counts `count` of a kind; the example is for where there is none.
    pub(super) fn count_many(&mut self, kind: &'static str, count: u64, example: impl fmt::Display) {
        match self.kinds.get_mut(kind) {
            Some(finding) => finding.count += count,
            None => self.add_many(kind, count, example),
        }
    }
}

/// The outcome of an audit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub figures: Figures,
    /// What is worth knowing and not wrong.
    pub remarks: Vec<String>,
    pub findings: Findings,
}

impl Report {
    /// Whether every event is there once, as far as it can be by now.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.figures.missing == 0 && self.figures.twice == 0
    }

    /// Damage of the log may be why something is not known.
    pub(super) fn blame_damage(&mut self, damages: &[Damage]) {
        for damage in damages {
            self.findings.add("damaged log", damage);
        }
    }
}

impl Figures {
    fn lines(&self) -> [(&'static str, u64, &'static str); 11] {
        [
            ("accepted", self.accepted, "events decided, copies and invalid ones included"),
            ("unique", self.unique, "valid events, numbered"),
            ("duplicates", self.duplicates, "further copies within the window"),
            ("quarantined", self.quarantined, "invalid events, numbered"),
            ("live", self.live, "rows in live/ that no complete plan covers"),
            ("final", self.finals, "rows in final/"),
            ("dropped", self.dropped, "further copies beyond the window, found by compaction"),
            ("void", self.void, "numbered, given up with a reason on record"),
            ("in flight", self.in_flight, "numbered, on the way to an object"),
            ("missing", self.missing, ""),
            ("twice", self.twice, ""),
        ]
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.lines().iter().map(|(_, count, _)| HumanCount(*count).to_string().len()).max().unwrap_or(0);
        for (name, count, meaning) in self.lines() {
            let line = format!("{name:<11}  {:>width$}  {meaning}", HumanCount(count).to_string());
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.figures)?;
        self.remarks.iter().try_for_each(|remark| write!(f, "\n{remark}\n"))?;
        for (kind, Finding { count, examples }) in &self.findings.kinds {
            writeln!(f, "\n{kind}: {}", HumanCount(*count))?;
            examples.iter().try_for_each(|example| writeln!(f, "  {example}"))?;
            let more = count.saturating_sub(examples.len() as u64);
            if more > 0 && !examples.is_empty() {
                writeln!(f, "  … and more")?;
            }
        }
        match self.is_clean() {
            true => writeln!(f, "\nclean: each event is there once"),
            false => writeln!(f, "\nNOT clean"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned_and_findings_follow_with_their_first_examples() {
        let mut findings = Findings::new(1);
        findings.add("missing", "ordinal 7 of s/0");
        findings.add_many("missing", 2, "ordinals 9 and 10");
        let figures = Figures { accepted: 1_234_567, missing: 3, ..Figures::default() };
        let report = Report { figures, remarks: vec!["a remark".to_string()], findings };
        let text = report.to_string();
        assert!(text.starts_with("accepted     1,234,567  events decided"), "{text}");
        assert!(text.contains("\nmissing              3\n"), "{text}");
        assert!(text.contains("\na remark\n\nmissing: 3\n  ordinal 7 of s/0\n  … and more\n\nNOT clean\n"), "{text}");
        assert!(!report.is_clean());
        assert!(Report::default().is_clean());
    }
}
