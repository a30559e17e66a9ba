//! What is known of one communicationNumber, and whether it fits together.

use std::collections::{BTreeMap, BTreeSet};

use crate::account::{CommunicationNumber, Coordinates, EventId, Fingerprint, RejectionCode, Verdict};

use super::bounds::Bounds;
use super::facts::{
    Accepted, AccountFact, AccountSays, Id, LetterDue, Noted, NotedAs, NumberFact, Origin, PlaceFact,
    PlaceSays, Recorded, Says, Submitted, Told, event_id, id,
};
use super::findings::{Counts, Finding, Kind};

/// What a number comes to.
#[derive(Debug, Default)]
pub(super) struct Reckoned {
    pub(super) counts: Counts,
    pub(super) findings: Vec<Finding>,
    /// Deliveries that are missing, unless their rows moved while they were read.
    pub(super) missing: Vec<MissingDelivery>,
    /// What only another source can tell of a place.
    pub(super) places: Vec<PlaceFact>,
    /// What accounts must be by it.
    pub(super) accounts: Vec<AccountFact>,
    /// How its submissions ended, each with its content.
    pub(super) ended: Vec<Ended>,
}

/// How a submission ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) at: Coordinates,
    pub(super) content: [u8; 32],
    pub(super) outcome: &'static str,
}

/// What a submission ends with that repeats what was accepted.
const REPEATED: &str = "repeated";

/// A delivery that was not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MissingDelivery {
    pub(super) endpoint: u16,
    pub(super) event: Id,
    pub(super) finding: Finding,
}

/// Everything that is said of a number.
#[derive(Default)]
struct Said {
    submitted: Vec<Submitted>,
    accepted: Vec<Accepted>,
    noted: BTreeMap<Coordinates, Noted>,
    told: BTreeMap<Id, Vec<Told>>,
    recorded: Vec<Recorded>,
}

/// Reckons up what is said of a number.
pub(super) fn reckon(facts: Vec<NumberFact>, bounds: &Bounds) -> Reckoned {
    let Some(number) = facts.first().map(|fact| fact.number.clone()) else { return Reckoned::default() };
    let mut said = Said::default();
    for NumberFact { says, .. } in facts {
        match says {
            Says::Submitted(submitted) => said.submitted.push(submitted),
            Says::Accepted(accepted) => said.accepted.push(accepted),
            Says::Noted(noted) => drop(said.noted.insert(noted.at, noted)),
            Says::Told(told) => said.told.entry(told.event).or_default().push(told),
            Says::Recorded(recorded) => said.recorded.push(recorded),
        }
    }
    said.submitted.sort_unstable_by_key(|submitted| submitted.at);
    let mut reckoning =
        Reckoning { number: &number, bounds, came_to: Reckoned::default(), outcomes: BTreeMap::new() };
    reckoning.submissions(&said);
    reckoning.rows(&said);
    reckoning.results(&said);
    reckoning.deliveries(&said);
    reckoning.came_to.counts.findings = reckoning.came_to.findings.len() as u64;
    reckoning.came_to
}

struct Reckoning<'a> {
    number: &'a str,
    bounds: &'a Bounds,
    came_to: Reckoned,
    /// Outcomes of its submissions by the event that tells them, each with when its submissions were appended.
    outcomes: BTreeMap<Id, Outcome>,
}

struct Outcome {
    verdict: Verdict,
    subject: u64,
    /// Where, and when, the submissions that ended so were appended.
    submissions: Vec<(Coordinates, i64)>,
}

impl Outcome {
    fn is_of(&self, at: Coordinates) -> bool {
        self.submissions.iter().any(|(of, _)| *of == at)
    }
}

impl Reckoning<'_> {
    fn find(&mut self, kind: Kind, at: Coordinates) {
        self.came_to.findings.push(Finding::of(kind, self.number).at(at));
    }

    fn ask(&mut self, at: Coordinates, says: PlaceSays) {
        self.came_to.places.push(PlaceFact { at: Origin::Submitted(at), says });
    }

    fn event_of(&self, submitted: &Submitted, verdict: Verdict) -> Option<Id> {
        let number = CommunicationNumber::parse(self.number).ok()?;
        let fingerprint = Fingerprint::from_bytes(submitted.fingerprint);
        Some(id(EventId::of(&number, &fingerprint, verdict)))
    }

    /// Whether an event tells that a submission has ended so; in whatever way, where that is not known.
    fn is_of(&self, event: Id, verdict: Option<Verdict>, submitted: &Submitted) -> bool {
        verdicts(verdict).any(|verdict| self.event_of(submitted, verdict) == Some(event))
    }

    /// Each submission has one outcome, or is on its way.
    fn submissions(&mut self, said: &Said) {
        for submitted in &said.submitted {
            self.came_to.counts.submitted += 1;
            if submitted.is_settled {
                self.submission(submitted, said);
            } else {
                self.came_to.counts.in_flight += 1;
                let own = said.accepted.iter().any(|accepted| accepted.at == submitted.at);
                if own {
                    self.accounts(submitted, false);
                }
            }
        }
    }

    fn submission(&mut self, submitted: &Submitted, said: &Said) {
        let at = submitted.at;
        let own = said.accepted.iter().find(|accepted| accepted.at == at);
        let noted = said.noted.get(&at);
        if own.is_some() && noted.is_some() {
            let number = self.number.into();
            self.ask(at, PlaceSays::Both { number });
        }
        if let Some(accepted) = own {
            self.came_to.counts.accepted += 1;
            self.accepted(submitted, accepted);
        } else if let Some(noted) = noted {
            self.noted(submitted, noted);
        } else if said.accepted.iter().any(|accepted| is_repeated(submitted, accepted)) {
            self.came_to.counts.repeated += 1;
            self.ended(submitted, REPEATED);
        } else {
            // What an earlier release could not read lies among the dead letters, and nowhere else.
            self.ask(at, self.letter_due(submitted, true));
        }
    }

    fn accepted(&mut self, submitted: &Submitted, accepted: &Accepted) {
        let event = self.event_of(submitted, Verdict::Accepted);
        let is_it = accepted.fingerprint == submitted.fingerprint
            && accepted.subject == submitted.subject
            && Some(accepted.event) == event;
        if !is_it {
            self.find(Kind::RowAltered, submitted.at);
        }
        self.outcome(submitted, Verdict::Accepted);
        self.accounts(submitted, true);
    }

    fn noted(&mut self, submitted: &Submitted, noted: &Noted) {
        let at = submitted.at;
        let is_subject = noted.subject == submitted.subject;
        let is_it = match noted.as_what {
            NotedAs::DeadLettered => {
                self.ask(at, self.letter_due(submitted, false));
                is_subject
            }
            NotedAs::Rejected(verdict, event) => {
                self.came_to.counts.rejected += 1;
                self.outcome(submitted, verdict);
                is_subject
                    && verdict != Verdict::Accepted
                    && Some(event) == self.event_of(submitted, verdict)
            }
            NotedAs::Unreadable => {
                self.came_to.counts.rejected += 1;
                false
            }
        };
        if !is_it {
            self.find(Kind::RowAltered, at);
        }
    }

    fn letter_due(&self, submitted: &Submitted, is_only_outcome: bool) -> PlaceSays {
        PlaceSays::LetterDue(LetterDue {
            number: Some(self.number.into()),
            record: submitted.record,
            content: submitted.fingerprint,
            appended_ms: submitted.appended_ms,
            is_only_outcome,
        })
    }

    fn ended(&mut self, submitted: &Submitted, outcome: &'static str) {
        let (at, content) = (submitted.at, submitted.fingerprint);
        self.came_to.ended.push(Ended { at, content, outcome });
    }

    fn outcome(&mut self, submitted: &Submitted, verdict: Verdict) {
        self.ended(submitted, verdict.as_str());
        let Some(event) = self.event_of(submitted, verdict) else { return };
        let outcome = Outcome { verdict, subject: submitted.subject, submissions: Vec::new() };
        let outcome = self.outcomes.entry(event).or_insert(outcome);
        outcome.submissions.push((submitted.at, submitted.appended_ms));
    }

    fn accounts(&mut self, submitted: &Submitted, is_settled: bool) {
        let Some(state) = &submitted.state else { return };
        self.came_to.accounts.push(AccountFact {
            key: state.key.clone(),
            says: AccountSays::Accepted {
                number: self.number.into(),
                at: submitted.at,
                version: state.version,
                content: state.content,
                is_settled,
            },
        });
    }

    /// Every row has its submission.
    fn rows(&mut self, said: &Said) {
        let known: BTreeSet<_> = said.submitted.iter().map(|submitted| submitted.at).collect();
        let rows = said.accepted.iter().map(|accepted| accepted.at).chain(said.noted.keys().copied());
        for at in rows.filter(|at| !known.contains(at) && self.bounds.is_audited(*at)) {
            self.find(Kind::RowWithoutRecord, at);
        }
    }

    /// Every outcome is told, and nothing else.
    fn results(&mut self, said: &Said) {
        let outcomes = std::mem::take(&mut self.outcomes);
        for (event, outcome) in &outcomes {
            let copies = said.told.get(event).map_or(&[][..], Vec::as_slice);
            self.result(*event, outcome, copies);
        }
        for (event, copies) in &said.told {
            if copies.iter().any(|copy| copy.content != copies[0].content) {
                let finding = Finding::of(Kind::ResultsDiffer, self.number);
                self.came_to.findings.push(finding.further(told_at(&copies[0])));
            } else if !outcomes.contains_key(event) {
                self.other_result(copies, said, &outcomes);
            }
        }
        self.outcomes = outcomes;
    }

    fn result(&mut self, event: Id, outcome: &Outcome, copies: &[Told]) {
        let is_as_written = |copy: &Told| copy.outcome == Some((outcome.verdict, outcome.subject));
        if let Some(copy) = copies.iter().find(|copy| !is_as_written(copy)) {
            let (at, _) = outcome.submissions[0];
            let finding = Finding::of(Kind::ResultAltered, self.number).at(at);
            self.came_to.findings.push(finding.further(told_at(copy)));
        }
        for (at, appended_ms) in &outcome.submissions {
            self.came_to.counts.results.due += 1;
            if copies.iter().any(|copy| copy.time_ms == Some(*appended_ms)) {
                self.came_to.counts.results.found += 1;
            } else if self.bounds.may_have_lost_result(Some(at.log.partition), *appended_ms) {
                self.came_to.counts.results.not_kept += 1;
            } else {
                self.ask(*at, PlaceSays::Untold { number: self.number.into(), event });
            }
        }
    }

    /// An event that tells no outcome that there is: one that there was before a replay, one of a submission on its
    /// way, one from outside of the window, or nobody's.
    fn other_result(&mut self, copies: &[Told], said: &Said, outcomes: &BTreeMap<Id, Outcome>) {
        let Some(copy) = copies.first() else { return };
        let verdict = copy.outcome.map(|(verdict, _)| verdict);
        let is_of = |submitted: &&Submitted| self.is_of(copy.event, verdict, submitted);
        let of: Vec<_> = said.submitted.iter().filter(is_of).collect();
        let settled = of.iter().find(|submitted| submitted.is_settled);
        let is_replayed = |at: Coordinates| {
            let current = outcomes.iter().filter(|(_, outcome)| outcome.is_of(at));
            let mut told = current.filter_map(|(event, _)| said.told.get(event)).flatten();
            told.any(|copy| copy.is_replayed)
        };
        if of.iter().any(|submitted| is_replayed(submitted.at)) {
            // What a replay has changed says so, also where nothing else is left of it.
        } else if self.bounds.may_have_come_later(Some(copy.at.partition), copy.time_ms) {
            // A dead letter that was put back since has an event that its first place does not have.
        } else if let Some(submitted) = settled.filter(|_| of.iter().all(|it| it.is_settled)) {
            let former =
                PlaceSays::Former { number: self.number.into(), event: copy.event, told_at: copy.at };
            self.ask(submitted.at, former);
        } else if of.is_empty() && self.bounds.must_be_submitted(Some(copy.at.partition), copy.time_ms) {
            let finding = Finding::of(Kind::ResultWithoutOutcome, self.number);
            self.came_to.findings.push(finding.further(told_at(copy)));
        }
    }

    /// Every event is recorded for its endpoints, and nothing else is.
    fn deliveries(&mut self, said: &Said) {
        let mut recorded: BTreeMap<(Id, u16), &Recorded> = BTreeMap::new();
        recorded.extend(said.recorded.iter().map(|it| ((it.event, it.endpoint), it)));
        for copies in said.told.values() {
            self.deliveries_of(copies, &mut recorded);
        }
        for ((event, _), recorded) in recorded {
            let Some(copies) = said.told.get(&event) else {
                self.delivery_of_nothing(recorded, said);
                continue;
            };
            self.delivery(recorded, copies);
        }
    }

    fn deliveries_of(&mut self, copies: &[Told], recorded: &mut BTreeMap<(Id, u16), &Recorded>) {
        let Some(first) = copies.first() else { return };
        let due: BTreeSet<u16> = copies.iter().flat_map(|copy| copy.due.iter().copied()).collect();
        for endpoint in due {
            let of = || copies.iter().filter(|copy| copy.due.contains(&endpoint));
            let sums = &mut self.came_to.counts.deliveries;
            sums.due += 1;
            if let Some(recorded) = recorded.remove(&(first.event, endpoint)) {
                sums.found += 1;
                self.delivery(recorded, copies);
            } else if of().all(|copy| !copy.is_recorded) {
                sums.in_flight += 1;
            } else if of().any(|copy| self.bounds.may_have_lost_delivery(copy.appended_ms)) {
                sums.not_kept += 1;
            } else {
                let finding = Finding::of(Kind::DeliveryMissing, self.number);
                let finding = finding.further(format!("event {}", event_id(first.event)));
                self.came_to.missing.push(MissingDelivery { endpoint, event: first.event, finding });
            }
        }
    }

    fn delivery(&mut self, recorded: &Recorded, copies: &[Told]) {
        let is_of =
            |copy: &Told| recorded.content == Some(copy.content) && recorded.time_ms == copy.time_ms;
        if !copies.iter().any(is_of) {
            self.delivery_finding(Kind::DeliveryAltered, recorded);
        }
    }

    /// A delivery whose event was not met: that is missing, or came after the results were read, or never was.
    fn delivery_of_nothing(&mut self, recorded: &Recorded, said: &Said) {
        let time_ms = recorded.time_ms;
        let mut on_their_way = said.submitted.iter().filter(|submitted| !submitted.is_settled);
        let is_kept = time_ms.is_some_and(|time| !self.bounds.may_have_lost_result(None, time));
        let of = said.submitted.iter().find(|it| self.is_of(recorded.event, None, it));
        if recorded.content.is_none() {
            self.delivery_finding(Kind::DeliveryAltered, recorded);
        } else if self.outcomes.contains_key(&recorded.event)
            || on_their_way.any(|submitted| self.is_of(recorded.event, None, submitted))
        {
            // That its event is not there is told already, or it was not there yet.
        } else if !is_kept {
            // The event may have been deleted.
        } else if let Some(submitted) = of {
            let number = self.number.into();
            self.ask(submitted.at, PlaceSays::Delivered { number, event: recorded.event });
        } else if self.bounds.must_be_submitted(None, time_ms) {
            self.delivery_finding(Kind::DeliveryWithoutResult, recorded);
        }
    }

    fn delivery_finding(&mut self, kind: Kind, recorded: &Recorded) {
        let finding = Finding::of(kind, self.number);
        self.came_to.findings.push(finding.further(format!("event {}", event_id(recorded.event))));
    }
}

/// Whether a submission repeats what was accepted, which does not come after it.
fn is_repeated(submitted: &Submitted, accepted: &Accepted) -> bool {
    let is_later = accepted.at.log == submitted.at.log && accepted.at > submitted.at;
    accepted.fingerprint == submitted.fingerprint && !is_later
}

/// The verdict, or each there is where none is known.
fn verdicts(told: Option<Verdict>) -> impl Iterator<Item = Verdict> {
    let all = RejectionCode::ALL.iter().copied().map(Verdict::Rejected).chain([Verdict::Accepted]);
    all.filter(move |verdict| told.is_none_or(|told| told == *verdict))
}

fn told_at(told: &Told) -> String {
    format!("results {}/{}, event {}", told.at.partition, told.at.offset, event_id(told.event))
}
