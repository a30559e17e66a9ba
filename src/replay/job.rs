//! What a job was asked for and how far it is, as its row in the store has them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::account::{BusinessUnit, CommunicationNumber, Offset, Partition, RejectionCode, Requester};
use crate::queue::ReadRange;
use crate::store::Job;

use super::report::{Line, Report};
use super::selection::{OutcomeFilter, Selection};
use super::window::Resolved;

/// What a job does with submissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It decides them by the rules and lists of today, and tells what changes.
    #[default]
    Redecide,
    /// It gives an empty store what was decided of them, and tells nobody.
    Rebuild,
}

/// What a job was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it does.
    pub mode: Mode,
    /// Which submissions of its ranges are meant.
    pub selection: Selection,
    /// At most so many records a second are gone through; none leaves it to queue and store.
    pub max_records_per_second: Option<u32>,
    /// With more errors than this it fails.
    pub max_errors: Option<u64>,
}

/// The text in a job's row is none that a replay writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what the store holds of the job cannot be read: another release may have written it")]
pub struct UnreadableJob;

#[derive(Serialize, Deserialize)]
struct RequestJson {
    #[serde(default)]
    is_rebuild: bool,
    is_of_rejected: bool,
    codes: Vec<String>,
    business_units: Vec<String>,
    requesters: Vec<String>,
    numbers: Option<Vec<String>>,
    max_records_per_second: Option<u32>,
    max_errors: Option<u64>,
}

impl Request {
    /// What the row of a job says.
    pub fn of(job: &Job) -> Result<Self, UnreadableJob> {
        Self::from_json(&job.job.request)
    }

    /// As the row has it.
    pub(super) fn to_json(&self) -> Result<String, serde_json::Error> {
        let Selection { outcome, business_units, requesters, numbers } = &self.selection;
        let (is_of_rejected, codes) = match outcome {
            OutcomeFilter::Any => (false, Vec::new()),
            OutcomeFilter::Rejected(codes) => {
                (true, codes.iter().map(|code| code.code().to_owned()).collect())
            }
        };
        serde_json::to_string(&RequestJson {
            is_rebuild: self.mode == Mode::Rebuild,
            is_of_rejected,
            codes,
            business_units: business_units.iter().map(|unit| unit.as_str().to_owned()).collect(),
            requesters: requesters.iter().map(|name| name.as_str().to_owned()).collect(),
            numbers: numbers
                .as_ref()
                .map(|it| it.iter().map(|number| number.as_str().to_owned()).collect()),
            max_records_per_second: self.max_records_per_second,
            max_errors: self.max_errors,
        })
    }

    /// What [`Request::to_json`] wrote.
    pub(super) fn from_json(text: &str) -> Result<Self, UnreadableJob> {
        let json: RequestJson = serde_json::from_str(text).map_err(|_| UnreadableJob)?;
        let codes = all(&json.codes, RejectionCode::parse)?;
        let outcome =
            if json.is_of_rejected { OutcomeFilter::Rejected(codes) } else { OutcomeFilter::Any };
        let numbers = |texts: &Vec<String>| all(texts, |text| CommunicationNumber::parse(text).ok());
        let selection = Selection {
            outcome,
            business_units: all(&json.business_units, |text| BusinessUnit::parse(text).ok())?,
            requesters: all(&json.requesters, |text| Requester::parse(text).ok())?,
            numbers: json.numbers.as_ref().map(numbers).transpose()?,
        };
        let RequestJson { is_rebuild, max_records_per_second, max_errors, .. } = json;
        let mode = if is_rebuild { Mode::Rebuild } else { Mode::Redecide };
        Ok(Self { mode, selection, max_records_per_second, max_errors })
    }
}

fn all<T, C: FromIterator<T>>(
    texts: &[String],
    parse: impl Fn(&str) -> Option<T>,
) -> Result<C, UnreadableJob> {
    texts.iter().map(|text| parse(text)).collect::<Option<C>>().ok_or(UnreadableJob)
}

/// How far a job is with a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reached {
    /// Everything before this is written.
    pub(super) applied: u64,
    /// Everything before this is written and told.
    pub(super) told: u64,
    /// Before this the job ends.
    pub(super) to: u64,
}

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub(super) partitions: BTreeMap<u32, Reached>,
    /// What became of what was gone through.
    pub report: Report,
}

#[derive(Serialize, Deserialize)]
struct ProgressJson {
    partitions: BTreeMap<u32, Reached>,
    read: u64,
    selected: u64,
    rows: Vec<Line>,
}

impl Progress {
    /// That of a job that has not begun.
    pub(super) fn at_the_beginning(window: &Resolved) -> Self {
        let reached = |range: &ReadRange| {
            let at = range.from.0;
            (range.partition.0, Reached { applied: at, told: at, to: range.to.0 })
        };
        let partitions = window.ranges.iter().map(reached).collect();
        Self { partitions, report: Report::default() }
    }

    /// Offsets that are gone through, and all there are to go through from the beginning of the job on that are
    /// known.
    pub fn offsets(&self) -> (u64, u64) {
        let left: u64 = self.partitions.values().map(|it| it.to.saturating_sub(it.applied)).sum();
        (self.report.read, self.report.read + left)
    }

    /// What is written and may not be told, and what is still to be decided.
    pub(super) fn ranges(&self) -> (Vec<ReadRange>, Vec<ReadRange>) {
        let range = |partition: &u32, from: u64, to: u64| ReadRange {
            partition: Partition(*partition),
            from: Offset(from),
            to: Offset(to),
        };
        let untold = self.partitions.iter().map(|(at, it)| range(at, it.told, it.applied));
        let left = self.partitions.iter().map(|(at, it)| range(at, it.applied, it.to));
        let is_some = |range: &ReadRange| range.from < range.to;
        (untold.filter(is_some).collect(), left.filter(is_some).collect())
    }

    pub(super) fn apply(&mut self, through: &[(Partition, Offset)]) {
        for (partition, next) in through {
            if let Some(reached) = self.partitions.get_mut(&partition.0) {
                reached.applied = reached.applied.max(next.0);
            }
        }
    }

    pub(super) fn tell(&mut self) {
        for reached in self.partitions.values_mut() {
            reached.told = reached.applied;
        }
    }

    /// As the row has it.
    pub(super) fn to_json(&self) -> Result<String, serde_json::Error> {
        let Report { read, selected, .. } = self.report;
        let (partitions, rows) = (self.partitions.clone(), self.report.lines());
        serde_json::to_string(&ProgressJson { partitions, read, selected, rows })
    }

    /// What a job's row says.
    pub fn from_json(text: &str) -> Result<Self, UnreadableJob> {
        let json: ProgressJson = serde_json::from_str(text).map_err(|_| UnreadableJob)?;
        let rows = json.rows.iter().map(Line::to_row).collect::<Option<_>>().ok_or(UnreadableJob)?;
        let report = Report { read: json.read, selected: json.selected, rows };
        Ok(Self { partitions: json.partitions, report })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_request_comes_back_from_its_row() {
        let full = Request {
            mode: Mode::Rebuild,
            selection: Selection {
                outcome: OutcomeFilter::Rejected(BTreeSet::from([RejectionCode::A007])),
                business_units: BusinessUnit::parse("north").into_iter().collect(),
                requesters: Requester::parse("CORE").into_iter().collect(),
                numbers: Some(CommunicationNumber::parse("n-1").into_iter().collect()),
            },
            max_records_per_second: Some(500),
            max_errors: Some(3),
        };
        let bare = Request {
            mode: Mode::Redecide,
            selection: Selection::default(),
            max_records_per_second: None,
            max_errors: None,
        };
        for request in [full, bare] {
            assert_eq!(Request::from_json(&request.to_json().unwrap()), Ok(request));
        }
        assert_eq!(Request::from_json("{}"), Err(UnreadableJob));
    }

    #[test]
    fn what_is_written_and_not_told_is_told_before_anything_else_is_decided() {
        let range = |from, to| ReadRange { partition: Partition(3), from: Offset(from), to: Offset(to) };
        let window = Resolved { ranges: vec![range(5, 20)], shortened: Vec::new() };
        let mut progress = Progress::at_the_beginning(&window);
        assert_eq!(progress.ranges(), (vec![], vec![range(5, 20)]));
        progress.apply(&[(Partition(3), Offset(9)), (Partition(4), Offset(9))]);
        let progress_then = Progress::from_json(&progress.to_json().unwrap()).unwrap();
        assert_eq!(progress_then, progress);
        assert_eq!(progress.ranges(), (vec![range(5, 9)], vec![range(9, 20)]));
        progress.tell();
        progress.apply(&[(Partition(3), Offset(20))]);
        assert_eq!(progress.ranges(), (vec![range(9, 20)], vec![]));
    }
}
