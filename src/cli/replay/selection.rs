//! Which submissions are meant, in the words of the command line.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::account::{BusinessUnit, RejectionCode, Requester, Timestamp};
use crate::cli::numbers::read_numbers;
use crate::cli::operator::Grounds;
use crate::cli::recorded::digest_of;
use crate::cli::window::WindowArgs;
use crate::replay::{Bound, Mode, OutcomeFilter, Request, Selection, Window};
use crate::store::JobName;

/// Options that say which submissions are meant: those for which all of them hold.
#[derive(Args, Debug)]
pub(super) struct SelectionArgs {
    #[command(flatten)]
    window: WindowArgs,
    /// Those that ended so
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// Those that were rejected with this code; may be given again
    #[arg(long = "code", value_name = "CODE", value_parser = parse_code)]
    codes: Vec<RejectionCode>,
    /// Those that count for this business unit; may be given again
    #[arg(long = "business-unit", value_name = "UNIT", value_parser = parse_unit)]
    business_units: Vec<BusinessUnit>,
    /// Those that this system sent; may be given again
    #[arg(long = "requester", value_name = "NAME", value_parser = parse_requester)]
    requesters: Vec<Requester>,
    /// Those whose communicationNumber is a line of this file; - reads standard input
    #[arg(long, value_name = "FILE")]
    numbers: Option<PathBuf>,
}

/// How submissions ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Only {
    Rejected,
}

fn parse_code(text: &str) -> Result<RejectionCode, String> {
    RejectionCode::parse(text).ok_or_else(|| {
        let codes: Vec<_> = RejectionCode::ALL.iter().map(|code| code.code()).collect();
        format!("is no code of a rejection; there are: {}", codes.join(", "))
    })
}

fn parse_unit(text: &str) -> Result<BusinessUnit, String> {
    BusinessUnit::parse(text).map_err(|problem| problem.to_string())
}

fn parse_requester(text: &str) -> Result<Requester, String> {
    Requester::parse(text).map_err(|problem| problem.to_string())
}

impl SelectionArgs {
    /// The window at `now`.
    pub(super) fn window(&self, now: Timestamp) -> Window {
        self.window.window(now)
    }

    /// The window of a command that changes something.
    pub(super) fn window_until(&self, grounds: &Grounds) -> Window {
        let window = self.window(grounds.at);
        let to = match window.to {
            Bound::Open => grounds.until(None).map_or(Bound::Open, Bound::Time),
            given @ (Bound::Time(_) | Bound::Offset(_)) => given,
        };
        Window { to, ..window }
    }

    /// What is selected of the window; reads the file of numbers.
    pub(super) fn selection(self) -> anyhow::Result<Selection> {
        let codes: BTreeSet<_> = self.codes.into_iter().collect();
        let outcome = if self.only == Some(Only::Rejected) || !codes.is_empty() {
            OutcomeFilter::Rejected(codes)
        } else {
            OutcomeFilter::Any
        };
        Ok(Selection {
            outcome,
            business_units: self.business_units.into_iter().collect(),
            requesters: self.requesters.into_iter().collect(),
            numbers: self.numbers.as_deref().map(read_numbers).transpose()?,
        })
    }
}

/// What a job is to do, for the record of it.
pub(super) fn subject(name: &JobName, window: &Window, request: &Request, digest: &str) -> Value {
    let bound = |bound: Bound| match bound {
        Bound::Open => Value::Null,
        Bound::Time(at) => Value::from(at.to_string()),
        Bound::Offset(offset) => Value::from(offset.0),
    };
    let Request { mode, selection, max_records_per_second, max_errors } = request;
    let codes = match &selection.outcome {
        OutcomeFilter::Any => None,
        OutcomeFilter::Rejected(codes) => Some(codes.iter().map(|code| code.code()).collect::<Vec<_>>()),
    };
    let numbers = selection.numbers.as_ref().map(|numbers| {
        let texts = numbers.iter().map(|number| number.as_str().to_owned());
        json!({ "count": numbers.len(), "sha256": digest_of(texts) })
    });
    json!({
        "job": name.as_str(),
        "is_rebuild": *mode == Mode::Rebuild,
        "from": bound(window.from),
        "to": bound(window.to),
        "partitions": window.partitions.iter().map(|partition| partition.0).collect::<Vec<_>>(),
        "rejected_with": codes,
        "business_units": selection.business_units.iter().map(|unit| unit.as_str()).collect::<Vec<_>>(),
        "requesters": selection.requesters.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
        "numbers": numbers,
        "max_records_per_second": max_records_per_second,
        "max_errors": max_errors,
        "policy_digest": digest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_code_is_answered_with_those_there_are() {
        assert!(parse_code("A007").is_ok());
        assert!(parse_code("A999").unwrap_err().contains("A007"));
    }
}
