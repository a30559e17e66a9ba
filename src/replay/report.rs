//! What became, or would become, of what was selected. No personal data: where something stands is told by its
//! coordinates.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::account::{BusinessUnit, Coordinates, Outcome, Redecided, Submission, Verdict};

/// How many places are told of each change.
const MAX_SAMPLES: usize = 5;

/// What becomes of submissions, in the order in which a report tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// They end otherwise; before, they may have had no outcome.
    Changed {
        /// How they ended.
        before: Option<Verdict>,
        /// How they end now.
        after: Verdict,
    },
    /// They would end otherwise, but something later has settled their accounts or numbers.
    Superseded(Option<Verdict>),
    /// They keep their outcome.
    Unchanged(Verdict),
    /// They were put aside as dead letters, and stay so.
    DeadLettered,
    /// They are no submissions.
    Unreadable,
    /// The store cannot hold what they would become; they keep their outcome.
    NotStorable,
    /// No worker has applied them yet.
    Ahead,
}

impl Change {
    /// Its name, as reports have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Changed { .. } => "changed",
            Self::Superseded(_) => "superseded",
            Self::Unchanged(_) => "unchanged",
            Self::DeadLettered => "dead_lettered",
            Self::Unreadable => "unreadable",
            Self::NotStorable => "not_storable",
            Self::Ahead => "ahead",
        }
    }

    /// How they ended, if they did.
    pub fn before(self) -> Option<Verdict> {
        match self {
            Self::Changed { before, .. } | Self::Superseded(before) => before,
            Self::Unchanged(verdict) => Some(verdict),
            Self::DeadLettered | Self::Unreadable | Self::NotStorable | Self::Ahead => None,
        }
    }

    /// How they end now, if they do.
    pub fn after(self) -> Option<Verdict> {
        match self {
            Self::Changed { after, .. } => Some(after),
            _ => self.before(),
        }
    }
}

impl From<Redecided> for Change {
    fn from(redecided: Redecided) -> Self {
        let verdict = |outcome: Outcome| outcome.verdict;
        match redecided {
            Redecided::Unchanged(outcome) => Self::Unchanged(outcome.verdict),
            Redecided::Superseded(before) => Self::Superseded(before.map(verdict)),
            Redecided::Changed { before, after } => {
                Self::Changed { before: before.map(verdict), after: after.verdict }
            }
            Redecided::DeadLettered => Self::DeadLettered,
            Redecided::Ahead => Self::Ahead,
        }
    }
}

/// What is told of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// How many submissions.
    pub count: u64,
    /// Where the first of them stand.
    pub samples: Vec<Coordinates>,
}

impl Row {
    fn add(&mut self, coordinates: Coordinates) {
        self.count += 1;
        if self.samples.len() < MAX_SAMPLES {
            self.samples.push(coordinates);
        }
    }
}

/// What became of everything that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records that were read.
    pub read: u64,
    /// Those that are meant.
    pub selected: u64,
    /// The selected ones by what becomes of them and the unit they count for.
    pub rows: BTreeMap<(Change, Option<BusinessUnit>), Row>,
}

impl Report {
    /// Submissions that end otherwise.
    pub fn changed(&self) -> u64 {
        self.count(|change| matches!(change, Change::Changed { .. }))
    }

    /// Submissions that could not be gone through as they should.
    pub fn errors(&self) -> u64 {
        self.count(|change| matches!(change, Change::Unreadable | Change::NotStorable))
    }

    fn count(&self, is_meant: impl Fn(Change) -> bool) -> u64 {
        let meant = self.rows.iter().filter(|((change, _), _)| is_meant(*change));
        meant.map(|(_, row)| row.count).sum()
    }

    /// Its rows, as programs read them.
    pub fn lines(&self) -> Vec<Line> {
        self.rows.iter().map(|((change, unit), row)| Line::of(*change, unit.as_ref(), row)).collect()
    }

    pub(super) fn add(&mut self, submission: &Submission, change: Change) {
        self.selected += 1;
        let key = (change, submission.account.business_unit.clone());
        self.rows.entry(key).or_default().add(submission.coordinates);
    }

    /// What is no submission counts for no unit.
    pub(super) fn add_unreadable(&mut self, coordinates: Coordinates) {
        self.selected += 1;
        self.rows.entry((Change::Unreadable, None)).or_default().add(coordinates);
    }
}

/// A row of a report, as programs read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What became of the submissions: the name of the change.
    pub change: String,
    /// How they ended: `accepted` or a code.
    pub before: Option<String>,
    /// How they end now.
    pub after: Option<String>,
    /// The unit they count for.
    pub business_unit: Option<String>,
    /// How many they are.
    pub count: u64,
    /// The coordinates of the first of them, as `generation/partition/offset`.
    pub samples: Vec<String>,
}

impl Line {
    fn of(change: Change, unit: Option<&BusinessUnit>, row: &Row) -> Self {
        let word = |verdict: Verdict| verdict.as_str().to_owned();
        Self {
            change: change.name().to_owned(),
            before: change.before().map(word),
            after: change.after().map(word),
            business_unit: unit.map(|unit| unit.as_str().to_owned()),
            count: row.count,
            samples: row.samples.iter().map(Coordinates::to_string).collect(),
        }
    }

    /// The row that [`Report::lines`] made this of; none when it was made of none.
    pub(super) fn to_row(&self) -> Option<((Change, Option<BusinessUnit>), Row)> {
        let verdict = |word: &Option<String>| match word.as_deref() {
            None => Some(None),
            Some(word) => Verdict::parse(word).map(Some),
        };
        let (before, after) = (verdict(&self.before)?, verdict(&self.after)?);
        let change = match self.change.as_str() {
            "changed" => Change::Changed { before, after: after? },
            "superseded" => Change::Superseded(before),
            "unchanged" => Change::Unchanged(before?),
            "dead_lettered" => Change::DeadLettered,
            "unreadable" => Change::Unreadable,
            "not_storable" => Change::NotStorable,
            "ahead" => Change::Ahead,
            _ => return None,
        };
        let unit = match &self.business_unit {
            Some(unit) => Some(BusinessUnit::parse(unit).ok()?),
            None => None,
        };
        let samples =
            self.samples.iter().map(|sample| Coordinates::parse(sample)).collect::<Option<_>>()?;
        Some(((change, unit), Row { count: self.count, samples }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{Generation, LogPartition, Offset, Partition, RejectionCode};

    #[test]
    fn every_row_comes_back_from_its_line() {
        let verdicts = [Verdict::Accepted, Verdict::Rejected(RejectionCode::A007)];
        let some = || verdicts.into_iter().map(Some).chain([None]);
        let mut changes =
            vec![Change::DeadLettered, Change::Unreadable, Change::NotStorable, Change::Ahead];
        changes.extend(some().map(Change::Superseded));
        changes.extend(verdicts.map(Change::Unchanged));
        for after in verdicts {
            changes.extend(some().map(|before| Change::Changed { before, after }));
        }
        let log = LogPartition { generation: Generation(2), partition: Partition(7) };
        let row = Row { count: 3, samples: vec![log.at(Offset(42)), log.at(Offset(43))] };
        let mut report = Report::default();
        for change in changes {
            for unit in [None, BusinessUnit::parse("unit").ok()] {
                report.rows.insert((change, unit), row.clone());
            }
        }
        let back: BTreeMap<_, _> = report.lines().iter().map(|line| line.to_row().unwrap()).collect();
        assert_eq!(back, report.rows);
    }
}
