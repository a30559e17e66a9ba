//! Which letters are meant, in the words of the command line.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::account::Timestamp;
use crate::cli::moment::Moment;
use crate::cli::operator::Grounds;
use crate::dead_letters::{LetterPlace, LetterSelection, Standing};
use crate::queue::Topic;
use crate::store::CaseState;

/// Options that say which letters are meant: those for which all of them hold.
#[derive(Args, Debug)]
pub(super) struct SelectionArgs {
    /// Those at these places of the dead-letter topic, as partition/offset [default: all]
    #[arg(value_name = "LETTER", value_parser = parse_place)]
    places: Vec<LetterPlace>,
    /// Those that came from this topic
    #[arg(long, value_enum)]
    from: Option<From>,
    /// Those that were put aside as this, as `list` shows it
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Those that were put aside for this reason, as `list` shows it; numbers in it may be others
    #[arg(long = "why", value_name = "REASON")]
    why: Option<String>,
    /// Those that were put aside then or later: a time such as 2026-11-24T08:00:00Z, or how long ago, such as 2h
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    since: Option<Moment>,
    /// Those that were put aside before: a time, or how long ago
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    until: Option<Moment>,
}

/// A topic that letters come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum From {
    /// Submissions that workers could not take.
    Submitted,
    /// Result events that callbacks could not take.
    Results,
}

/// How letters stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum State {
    /// Nobody has decided on them.
    Open,
    /// They are to be put back.
    Requested,
    /// They cannot be put back.
    Failed,
    /// They were put back.
    Redriven,
    /// They are left for good.
    Discarded,
}

impl State {
    fn standing(self) -> Standing {
        match self {
            Self::Open => Standing::Open,
            Self::Requested => Standing::Decided(CaseState::Requested),
            Self::Failed => Standing::Decided(CaseState::Failed),
            Self::Redriven => Standing::Decided(CaseState::Redriven),
            Self::Discarded => Standing::Decided(CaseState::Discarded),
        }
    }
}

/// The states as the library has them.
pub(super) fn standings(states: &[State]) -> BTreeSet<Standing> {
    states.iter().map(|state| state.standing()).collect()
}

pub(super) fn parse_place(text: &str) -> Result<LetterPlace, &'static str> {
    LetterPlace::parse(text).ok_or("must be a partition and an offset, such as 3/117")
}

impl SelectionArgs {
    /// The selection of those that stand so, for a command that changes something.
    pub(super) fn selection(self, standings: BTreeSet<Standing>, grounds: &Grounds) -> LetterSelection {
        let selection = self.listed(standings, grounds.at);
        LetterSelection { to: grounds.until(selection.to), ..selection }
    }

    /// The selection at `now` of those that stand so.
    pub(super) fn listed(self, standings: BTreeSet<Standing>, now: Timestamp) -> LetterSelection {
        LetterSelection {
            places: self.places.into_iter().collect(),
            topic: self.from.map(|from| match from {
                From::Submitted => Topic::Submitted,
                From::Results => Topic::Results,
            }),
            class: self.class,
            reason: self.why,
            from: self.since.map(|moment| moment.at(now)),
            to: self.until.map(|moment| moment.at(now)),
            standings,
        }
    }
}

/// Which letters are meant, for the record of what is done with them.
pub(super) fn subject(selection: &LetterSelection) -> Value {
    let LetterSelection { places, topic, class, reason, from, to, standings } = selection;
    json!({
        "places": places.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "from": topic.map(|topic| topic.name()),
        "class": class,
        "why": reason,
        "since": from.map(|at| at.to_string()),
        "until": to.map(|at| at.to_string()),
        "states": standings.iter().map(|standing| standing.as_str()).collect::<Vec<_>>(),
    })
}
