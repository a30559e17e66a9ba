//! When an operation that somebody asked for may be carried out, and when somebody may decide on it.

use std::time::Duration;

use crate::account::Timestamp;

use super::{By, NewStep, Operation, OperatorCommand, Stage, Step, TakenStep};

/// What is about to be carried out as one that was approved.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What.
    pub command: OperatorCommand,
    /// What it is about.
    pub subject: &'a str,
    /// Who, and where.
    pub by: &'a By,
    /// When.
    pub now: Timestamp,
    /// How old an approval may be.
    pub ttl: Duration,
}

/// Why an operation may not be carried out as approved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotApproved {
    /// It was carried out.
    #[error("it was used already: an approval is for once; ask anew without --approved")]
    Used,
    /// Another command was asked for.
    #[error("it is for {0}: repeat that command, or ask anew without --approved")]
    OtherCommand(OperatorCommand),
    /// The command was asked for about something else.
    #[error(
        "it is about something else than this command line, or what is selected has changed since: repeat the command \
         as it was asked for, or ask anew without --approved"
    )]
    OtherSubject,
    /// Nobody has decided on it.
    #[error("nobody has approved it yet: somebody else does by `penstock operations approve`")]
    Undecided,
    /// It was refused.
    #[error("{by} refused it: {why}")]
    Refused {
        /// Who.
        by: String,
        /// Why.
        why: String,
    },
    /// Who approved it asked for it, or carries it out.
    #[error("{0} approved it: who approves must be somebody else than who asks and who carries it out")]
    Own(String),
    /// It was approved too long ago.
    #[error(
        "it was approved at {0}, longer ago than operations.approval_ttl allows: ask anew without --approved"
    )]
    TooOld(Timestamp),
}

/// Why nobody may decide on an operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDecidable {
    /// It was carried out without.
    #[error("it was carried out without having been asked for: there is nothing to decide")]
    Begun,
    /// Somebody has decided on it.
    #[error("{by} decided on it already: it is {step}", step = .step.as_str())]
    Decided {
        /// Who.
        by: String,
        /// How.
        step: Step,
    },
    /// It is one's own.
    #[error("{0} asked for it: somebody else must approve it")]
    Own(String),
}

impl Operation {
    /// Whether it may be carried out, as approved.
    pub fn may_begin(&self, asked: Asked<'_>) -> Result<(), NotApproved> {
        if self.operation.command != asked.command {
            return Err(NotApproved::OtherCommand(self.operation.command));
        }
        if self.operation.subject != asked.subject {
            return Err(NotApproved::OtherSubject);
        }
        if self.at(Stage::Start).is_some() {
            return Err(NotApproved::Used);
        }
        let Some(decision) = self.at(Stage::Decision) else { return Err(NotApproved::Undecided) };
        let NewStep { step, by, note, .. } = &decision.step;
        if *step != Step::Approved {
            let why = note.clone().unwrap_or_default();
            return Err(NotApproved::Refused { by: by.operator.clone(), why });
        }
        if by.may_be(&self.operation.by) || by.may_be(asked.by) {
            return Err(NotApproved::Own(by.operator.clone()));
        }
        let approved_at = decision.known_at();
        if approved_at.later(asked.ttl) < asked.now {
            return Err(NotApproved::TooOld(approved_at));
        }
        Ok(())
    }

    /// Whether somebody may approve it, or refuse it: that may also who asked for it.
    pub fn may_be_decided(&self, step: Step, by: &By) -> Result<(), NotDecidable> {
        if let Some(TakenStep { step: NewStep { step, by, .. }, .. }) = self.at(Stage::Decision) {
            return Err(NotDecidable::Decided { by: by.operator.clone(), step: *step });
        }
        if self.at(Stage::Start).is_some() {
            return Err(NotDecidable::Begun);
        }
        if step == Step::Approved && by.may_be(&self.operation.by) {
            return Err(NotDecidable::Own(self.operation.by.operator.clone()));
        }
        Ok(())
    }
}

impl TakenStep {
    /// When it was taken: by the store's server, if that knows.
    pub fn known_at(&self) -> Timestamp {
        self.witness.as_ref().map_or(self.step.taken_at, |witness| witness.recorded_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{NewOperation, OperationId, Witness};

    const DAY: Duration = Duration::from_hours(24);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_millis(1_700_000_000_000 + seconds * 1_000)
    }

    fn by(name: &str) -> By {
        By::new(name, "ops-1".to_owned())
    }

    fn step(step: Step, name: &str, seconds: i64) -> TakenStep {
        let step = NewStep { step, by: by(name), note: None, taken_at: at(seconds) };
        TakenStep { step, witness: None }
    }

    fn asked_by_alice(steps: Vec<TakenStep>) -> Operation {
        let operation = NewOperation {
            id: OperationId::now(),
            command: OperatorCommand::DlqDiscard,
            subject: "{\"letters\":2}".to_owned(),
            by: by("alice"),
            reason: None,
            asked_at: at(0),
        };
        Operation { operation, witness: None, steps }
    }

    fn asked(by: &By) -> Asked<'_> {
        let (command, subject) = (OperatorCommand::DlqDiscard, "{\"letters\":2}");
        Asked { command, subject, by, now: at(3_600), ttl: DAY }
    }

    #[test]
    fn what_somebody_else_approved_may_be_carried_out_as_it_was_asked_for() {
        let (alice, bob) = (by("alice"), by("bob"));
        let approved = asked_by_alice(vec![step(Step::Approved, "bob", 60)]);
        assert_eq!(approved.may_begin(asked(&alice)), Ok(()));
        assert_eq!(approved.may_begin(asked(&by("carol"))), Ok(()));
        assert!(matches!(approved.may_begin(asked(&bob)), Err(NotApproved::Own(_))));
        let other = Asked { command: OperatorCommand::DlqRedrive, ..asked(&alice) };
        assert!(matches!(approved.may_begin(other), Err(NotApproved::OtherCommand(_))));
        let other = Asked { subject: "{\"letters\":3}", ..asked(&alice) };
        assert_eq!(approved.may_begin(other), Err(NotApproved::OtherSubject));
        let on_time = Asked { now: at(60 + 86_400), ..asked(&alice) };
        assert_eq!(approved.may_begin(on_time), Ok(()));
        let late = Asked { now: at(61 + 86_400), ..asked(&alice) };
        assert_eq!(approved.may_begin(late), Err(NotApproved::TooOld(at(60))));
    }

    #[test]
    fn what_is_not_approved_or_used_may_not_be_carried_out() {
        let alice = by("alice");
        let ended = |steps| asked_by_alice(steps).may_begin(asked(&alice)).unwrap_err();
        assert_eq!(ended(Vec::new()), NotApproved::Undecided);
        assert!(matches!(ended(vec![step(Step::Refused, "bob", 1)]), NotApproved::Refused { .. }));
        assert!(matches!(ended(vec![step(Step::Approved, "alice", 1)]), NotApproved::Own(_)));
        let used = vec![step(Step::Approved, "bob", 1), step(Step::Begun, "alice", 2)];
        assert_eq!(ended(used), NotApproved::Used);
        assert_eq!(ended(vec![step(Step::Begun, "alice", 2)]), NotApproved::Used);
    }

    #[test]
    fn the_age_of_an_approval_is_told_by_the_server() {
        let mut approved = asked_by_alice(vec![step(Step::Approved, "bob", 900_000_000)]);
        let (database_user, client_address) = ("penstock".to_owned(), None);
        let witness = Witness { database_user, client_address, recorded_at: at(1) };
        approved.steps[0].witness = Some(witness);
        let late = Asked { now: at(86_402), ..asked(&approved.operation.by) };
        assert_eq!(approved.may_begin(late), Err(NotApproved::TooOld(at(1))));
    }

    #[test]
    fn a_request_is_decided_once_and_approved_by_somebody_else() {
        let open = asked_by_alice(Vec::new());
        assert_eq!(open.may_be_decided(Step::Approved, &by("bob")), Ok(()));
        assert!(matches!(open.may_be_decided(Step::Approved, &by("alice")), Err(NotDecidable::Own(_))));
        assert_eq!(open.may_be_decided(Step::Refused, &by("alice")), Ok(()), "to take it back");
        let decided = asked_by_alice(vec![step(Step::Refused, "bob", 1)]);
        let again = decided.may_be_decided(Step::Approved, &by("carol")).unwrap_err();
        assert_eq!(again.to_string(), "bob@ops-1 decided on it already: it is refused");
        let begun = asked_by_alice(vec![step(Step::Begun, "alice", 1)]);
        assert_eq!(begun.may_be_decided(Step::Approved, &by("bob")), Err(NotDecidable::Begun));
    }
}
