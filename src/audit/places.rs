//! What is known of one place from which dead letters may come, or whose outcome was changed.

use super::bounds::Bounds;
use super::facts::{Digest, Id, Letter, LetterDue, Origin, PlaceFact, PlaceSays, TopicPlace, event_id};
use super::findings::{Counts, Finding, Kind};
use super::numbers::Ended;

/// What a submission ends with that was put aside.
const DEAD: &str = "dead";

/// What a place comes to.
#[derive(Debug, Default)]
pub(super) struct Reckoned {
    pub(super) counts: Counts,
    pub(super) findings: Vec<Finding>,
    /// How a submission ended that was put aside.
    pub(super) ended: Option<Ended>,
}

#[derive(Default)]
struct Said {
    due: Vec<LetterDue>,
    letters: Vec<Letter>,
    changed: Vec<Changed>,
    others: Vec<PlaceSays>,
}

struct Changed {
    before: Option<Id>,
    after: Id,
    is_recent: bool,
}

/// Reckons up what is said of a place.
pub(super) fn reckon(facts: Vec<PlaceFact>, bounds: &Bounds) -> Reckoned {
    let Some(at) = facts.first().map(|fact| fact.at) else { return Reckoned::default() };
    let mut said = Said::default();
    for PlaceFact { says, .. } in facts {
        match says {
            PlaceSays::LetterDue(due) => said.due.push(due),
            PlaceSays::Letter(letter) => said.letters.push(letter),
            PlaceSays::Changed { before, after, is_recent } => {
                said.changed.push(Changed { before, after, is_recent });
            }
            other => said.others.push(other),
        }
    }
    let mut reckoning = Reckoning { at, bounds, came_to: Reckoned::default() };
    reckoning.letters(&said);
    for other in &said.others {
        reckoning.other(other, &said.changed);
    }
    reckoning.came_to.counts.findings = reckoning.came_to.findings.len() as u64;
    reckoning.came_to
}

struct Reckoning<'a> {
    at: Origin,
    bounds: &'a Bounds,
    came_to: Reckoned,
}

impl Reckoning<'_> {
    fn find(&mut self, kind: Kind, number: Option<&str>, further: Option<String>) {
        let (at, elsewhere) = match self.at {
            Origin::Submitted(at) => (Some(at), None),
            Origin::Results(place) => (None, Some(format!("results {}", shown(place)))),
        };
        let number = number.map(Into::into);
        self.came_to.findings.push(Finding { kind, number, at, further: further.or(elsewhere) });
    }

    /// What was put aside lies among the dead letters, and nothing else does.
    fn letters(&mut self, said: &Said) {
        let Some(due) = said.due.first() else {
            if let (Some(letter), true) = (said.letters.first(), self.is_audited()) {
                let further = format!("dead letter {}", shown(letter.at));
                self.find(Kind::LetterWithoutCause, None, Some(further));
            }
            return;
        };
        let number = due.number.as_deref();
        let is_lost = self.bounds.may_have_lost_letter(due.appended_ms);
        let is_there = !said.letters.is_empty();
        // What is a submission has a row, or a letter that an earlier release wrote of it: nothing else excuses it.
        let is_excused = number.is_none() && is_lost;
        if due.is_only_outcome && !is_there && !is_excused {
            if said.changed.iter().any(|change| change.is_recent) {
                // Its row went from one place to another while the table was read.
                self.came_to.counts.in_flight += 1;
                return;
            }
            return self.find(Kind::NoOutcome, number, None);
        }
        if let Origin::Submitted(at) = self.at {
            self.came_to.counts.dead += 1;
            self.came_to.ended = Some(Ended { at, content: due.content, outcome: DEAD });
        }
        let sums = &mut self.came_to.counts.dead_letters;
        sums.due += 1;
        if is_there {
            sums.found += 1;
            self.contents(due.record, number, &said.letters);
        } else if is_lost {
            sums.not_kept += 1;
        } else {
            self.find(Kind::LetterMissing, number, None);
        }
    }

    /// Letters of one record all hold it.
    fn contents(&mut self, record: Digest, number: Option<&str>, letters: &[Letter]) {
        let is_another = |letter: &&Letter| letter.record.is_some_and(|held| held != record);
        if let Some(letter) = letters.iter().find(is_another) {
            let further = format!("dead letter {}", shown(letter.at));
            self.find(Kind::LetterAltered, number, Some(further));
        }
    }

    fn is_audited(&self) -> bool {
        match self.at {
            Origin::Submitted(at) => !self.bounds.is_narrowed && self.bounds.is_audited(at),
            // Which of these are settled only the group of the callbacks knows.
            Origin::Results(_) => false,
        }
    }

    fn other(&mut self, says: &PlaceSays, changed: &[Changed]) {
        match says {
            PlaceSays::Former { number, event, told_at } => {
                let explains = |change: &Changed| {
                    change.before == Some(*event) || change.is_recent && change.after == *event
                };
                if !changed.iter().any(explains) {
                    let further = format!("results {}, event {}", shown(*told_at), event_id(*event));
                    self.find(Kind::ResultWithoutOutcome, Some(number), Some(further));
                }
            }
            PlaceSays::Untold { number, event } => {
                if changed.iter().any(|change| change.is_recent && change.after == *event) {
                    self.came_to.counts.results.in_flight += 1;
                } else {
                    let further = format!("event {}", event_id(*event));
                    self.find(Kind::ResultMissing, Some(number), Some(further));
                }
            }
            PlaceSays::Both { number } => {
                if !changed.iter().any(|change| change.is_recent) {
                    self.find(Kind::TwoOutcomes, Some(number), None);
                }
            }
            PlaceSays::Delivered { number, event } => {
                if !changed.iter().any(|change| change.is_recent && change.after == *event) {
                    let further = format!("event {}", event_id(*event));
                    self.find(Kind::DeliveryWithoutResult, Some(number), Some(further));
                }
            }
            PlaceSays::LetterDue(_) | PlaceSays::Letter(_) | PlaceSays::Changed { .. } => {}
        }
    }
}

fn shown(place: TopicPlace) -> String {
    format!("{}/{}", place.partition, place.offset)
}
