//! What an audit comes to: sums, and what breaks them.

use serde::{Deserialize, Serialize};

use crate::account::Coordinates;

/// How many there are of everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records of the window.
    pub submitted: u64,
    /// Those that are accepted.
    pub accepted: u64,
    /// Those that repeat what was accepted.
    pub repeated: u64,
    /// Those that are rejected.
    pub rejected: u64,
    /// Those that were put aside.
    pub dead: u64,
    /// Those that no worker has applied and told yet.
    pub in_flight: u64,
    /// What is to be told, and what is.
    pub results: Sums,
    /// What is to be brought to an endpoint, and what is recorded.
    pub deliveries: Sums,
    /// What is to lie among the dead letters, and what does.
    pub dead_letters: Sums,
    /// Accounts that were looked at.
    pub accounts: u64,
    /// What breaks a sum.
    pub findings: u64,
}

/// What is due somewhere, and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// So much is due.
    pub due: u64,
    /// So much of it is there.
    pub found: u64,
    /// So much of it is on its way.
    pub in_flight: u64,
    /// So much of it may have been there, and is no longer kept.
    pub not_kept: u64,
}

impl Sums {
    /// What is due and neither there, nor on its way, nor no longer kept.
    pub fn missing(&self) -> u64 {
        self.due.saturating_sub(self.found + self.in_flight + self.not_kept)
    }

    fn add(&mut self, other: &Self) {
        self.due += other.due;
        self.found += other.found;
        self.in_flight += other.in_flight;
        self.not_kept += other.not_kept;
    }
}

impl Counts {
    /// Those of the submissions that have no outcome.
    pub fn without_outcome(&self) -> u64 {
        let known = self.accepted + self.repeated + self.rejected + self.dead + self.in_flight;
        self.submitted.saturating_sub(known)
    }

    /// Whether in equals out.
    pub fn balance(&self) -> bool {
        let sums = [&self.results, &self.deliveries, &self.dead_letters];
        self.findings == 0
            && self.without_outcome() == 0
            && sums.into_iter().all(|sums| sums.missing() == 0)
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.submitted += other.submitted;
        self.accepted += other.accepted;
        self.repeated += other.repeated;
        self.rejected += other.rejected;
        self.dead += other.dead;
        self.in_flight += other.in_flight;
        self.results.add(&other.results);
        self.deliveries.add(&other.deliveries);
        self.dead_letters.add(&other.dead_letters);
        self.accounts += other.accounts;
        self.findings += other.findings;
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident, $word:literal, $told:literal, $remedy:literal;)+) => {
        /// What breaks a sum.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$doc])* $kind,)+
        }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];

            /// It in a word.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $word,)+
                }
            }

            /// It in a sentence.
            pub fn told(self) -> &'static str {
                match self {
                    $(Self::$kind => $told,)+
                }
            }

            /// What to do about it.
            pub fn remedy(self) -> &'static str {
                match self {
                    $(Self::$kind => $remedy,)+
                }
            }
        }
    };
}

kinds! {
    /// A submission was passed over.
    NoOutcome, "no_outcome", "it was applied and has no outcome",
        "penstock replay run --partition … --from-offset … --to-offset … decides it";
    /// A submission is in the ledger and in the rejections.
    TwoOutcomes, "two_outcomes", "it is accepted and rejected",
        "keep the evidence; the event that was told says which row is wrong";
    /// A row of the ledger or the rejections has no submission.
    RowWithoutRecord, "row_without_record", "the store has a row for it, the log has no record there",
        "find out who wrote the row, or whether store and log belong together";
    /// A row is not what the submission makes it.
    RowAltered, "row_altered", "its row is not what the submission makes it",
        "find out who changed the row; restore the store and let it catch up, or replay into an empty one";
    /// An outcome was not told.
    ResultMissing, "result_missing", "its outcome is not on the results topic",
        "set the workers' group back to the offset: what is applied is told again under the same id";
    /// An event tells no outcome that there is.
    ResultWithoutOutcome, "result_without_outcome", "an event tells an outcome that it does not have",
        "find out who wrote the event; a store that was restored has it after it has caught up";
    /// An event is not what penstock writes.
    ResultAltered, "result_altered", "an event is not what penstock writes of it",
        "find out who wrote the event";
    /// Copies of an event differ.
    ResultsDiffer, "results_differ", "copies of one event differ", "find out who wrote the event";
    /// A delivery was not recorded.
    DeliveryMissing, "delivery_missing", "a delivery that is due is not recorded",
        "penstock callbacks reread brings it, unless the endpoint was disabled or took other events then";
    /// A delivery is of no event.
    DeliveryWithoutResult, "delivery_without_result", "a delivery is recorded of an event that is not there",
        "find out who wrote the row or removed the event";
    /// A delivery holds another event.
    DeliveryAltered, "delivery_altered", "a delivery does not hold the event that was told",
        "find out who changed the row";
    /// A dead letter is missing.
    LetterMissing, "letter_missing", "it was put aside, and its dead letter is not there",
        "set the group back to the offset: it is put aside again";
    /// A dead letter is of what was not put aside.
    LetterWithoutCause, "letter_without_cause", "a dead letter tells of a record that was not put aside",
        "penstock dlq show tells what it is; penstock dlq discard closes it";
    /// A dead letter does not hold the record.
    LetterAltered, "letter_altered", "its dead letter does not hold the record", "find out who wrote the letter";
    /// An account is not there.
    AccountMissing, "account_missing", "it was accepted, and its account is not there",
        "restore the store and let it catch up, or replay into an empty one";
    /// An account is older than its last accepted submission.
    AccountStale, "account_stale", "its account is older than this accepted submission",
        "restore the store and let it catch up, or replay into an empty one";
    /// An account is not what its submission makes it.
    AccountAltered, "account_altered", "its account is not what the submission makes it",
        "find out who changed the row; restore the store and let it catch up";
    /// An account comes from no accepted submission.
    AccountWithoutSubmission, "account_without_submission", "an account comes from no accepted submission",
        "find out who wrote the row";
}

/// Something that breaks a sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// The communication's number, where there is one.
    pub number: Option<Box<str>>,
    /// Where its submission stands, or where a row says so.
    pub at: Option<Coordinates>,
    /// Where else to look: a place on a topic, an endpoint, an event.
    pub further: Option<String>,
}

impl Finding {
    pub(super) fn of(kind: Kind, number: &str) -> Self {
        Self { kind, number: Some(number.into()), at: None, further: None }
    }

    #[must_use]
    pub(super) fn at(self, at: Coordinates) -> Self {
        Self { at: Some(at), ..self }
    }

    #[must_use]
    pub(super) fn further(self, further: String) -> Self {
        Self { further: Some(further), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_there_on_its_way_or_no_longer_kept() {
        let results = Sums { due: 6, found: 3, in_flight: 1, not_kept: 2 };
        let mut counts =
            Counts { submitted: 3, accepted: 1, in_flight: 2, results, ..Counts::default() };
        assert!(counts.balance());
        counts.results.found = 2;
        assert_eq!((counts.results.missing(), counts.balance()), (1, false));
        counts.results.found = 3;
        counts.submitted = 4;
        assert_eq!((counts.without_outcome(), counts.balance()), (1, false));
        counts.repeated = 1;
        assert!(counts.balance());
        counts.findings = 1;
        assert!(!counts.balance());
    }
}
