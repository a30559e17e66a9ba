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

#[cfg(test)]
mod tests {
    use super::super::bounds::LogBounds;
    use super::*;
    use crate::account::{Coordinates, Generation, LogPartition, Offset, Partition};
    use crate::replay::{Span, Window};

    const BEFORE: Id = [1; 16];
    const AFTER: Id = [2; 16];

    fn at(offset: u64) -> Coordinates {
        let log = LogPartition { generation: Generation(1), partition: Partition(0) };
        log.at(Offset(offset))
    }

    /// A log of ten settled records.
    fn bounds() -> Bounds {
        let (from, to) = (Offset(0), Offset(10));
        let span = Span { partition: Partition(0), from, to, settled: to, deleted_before: None };
        let log = LogBounds { span, appended_ms: Some((1_000, 2_000)), is_copied: false };
        Bounds::of(Generation(1), &Window::whole(), &[log], true)
    }

    fn found(bounds: &Bounds, says: Vec<PlaceSays>) -> Vec<Kind> {
        let at = Origin::Submitted(at(3));
        let facts = says.into_iter().map(|says| PlaceFact { at, says }).collect();
        reckon(facts, bounds).findings.into_iter().map(|finding| finding.kind).collect()
    }

    fn changed(is_recent: bool) -> PlaceSays {
        PlaceSays::Changed { before: Some(BEFORE), after: AFTER, is_recent }
    }

    fn due(number: Option<&str>) -> PlaceSays {
        PlaceSays::LetterDue(LetterDue {
            number: number.map(Into::into),
            record: 7,
            content: [0; 32],
            appended_ms: 1_500,
            is_only_outcome: true,
        })
    }

    #[test]
    fn what_a_replay_is_at_is_on_its_way_and_what_it_was_at_is_not() {
        let place = TopicPlace { partition: 0, offset: 5 };
        let former = |event| PlaceSays::Former { number: "n".into(), event, told_at: place };
        let delivered = PlaceSays::Delivered { number: "n".into(), event: AFTER };
        let untold = PlaceSays::Untold { number: "n".into(), event: AFTER };
        let both = PlaceSays::Both { number: "n".into() };
        let bounds = bounds();
        for (says, kind, is_excused_later) in [
            (former(BEFORE), Kind::ResultWithoutOutcome, true),
            (former(AFTER), Kind::ResultWithoutOutcome, false),
            (delivered, Kind::DeliveryWithoutResult, false),
            (untold, Kind::ResultMissing, false),
            (both, Kind::TwoOutcomes, false),
            (due(Some("n")), Kind::NoOutcome, false),
        ] {
            assert_eq!(found(&bounds, vec![says.clone()]), [kind], "{says:?} by itself");
            assert_eq!(
                found(&bounds, vec![says.clone(), changed(true)]),
                [],
                "{says:?} beside a replay"
            );
            let later = found(&bounds, vec![says.clone(), changed(false)]);
            assert_eq!(later.is_empty(), is_excused_later, "{says:?} long after a replay");
        }
    }

    #[test]
    fn only_what_is_no_submission_is_excused_by_letters_that_are_no_longer_kept() {
        let mut bounds = bounds();
        bounds.letters_deleted_ms.insert(Partition(4), i64::MAX);
        assert_eq!(found(&bounds, vec![due(Some("n"))]), [Kind::NoOutcome]);
        assert_eq!(found(&bounds, vec![due(None)]), []);
    }

    #[test]
    fn a_letter_holds_its_record_and_has_a_cause() {
        let letter =
            |record| PlaceSays::Letter(Letter { at: TopicPlace { partition: 1, offset: 2 }, record });
        let bounds = bounds();
        assert_eq!(found(&bounds, vec![due(None), letter(Some(7)), letter(None)]), []);
        assert_eq!(found(&bounds, vec![due(None), letter(Some(8))]), [Kind::LetterAltered]);
        assert_eq!(found(&bounds, vec![letter(Some(7))]), [Kind::LetterWithoutCause]);
    }
}
