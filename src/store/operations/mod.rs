//! The operators' port: the record of what they do, and of who agreed to it.
//!
//! An implementation promises, and the conformance suite checks: what is entered stays as it is, nothing of it is
//! changed or removed; an operation is entered with its first step or not at all; of the steps that exclude each
//! other an operation has one, whoever is faster.

mod approval;

use std::fmt;
use std::future::Future;

use uuid::Uuid;

use crate::account::Timestamp;

use super::StoreError;

pub use approval::{Asked, NotApproved, NotDecidable};

/// What operators do that is recorded. Its words are in the record for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperatorCommand {
    /// A job that decides a part of the log anew was begun.
    ReplayRun,
    /// A job goes on.
    ReplayResume,
    /// A job is stopped for now.
    ReplayPause,
    /// A job is ended.
    ReplayAbort,
    /// Dead letters are put back.
    DlqRedrive,
    /// Dead letters are left for good.
    DlqDiscard,
    /// Dead letters are written out with all that is in them.
    DlqExport,
    /// Nothing is sent to an endpoint for now.
    CallbacksPause,
    /// An endpoint is sent to again.
    CallbacksResume,
    /// Nothing is kept for an endpoint any more.
    CallbacksDisable,
    /// Deliveries are due anew.
    CallbacksRedeliver,
    /// Deliveries are given up.
    CallbacksDiscard,
    /// The results topic is gone through again.
    CallbacksReread,
    /// A partition is moved past records that its log has lost.
    FrontiersSkip,
    /// A communication is shown with whom it is about.
    ShowReveal,
}

impl OperatorCommand {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::ReplayRun,
        Self::ReplayResume,
        Self::ReplayPause,
        Self::ReplayAbort,
        Self::DlqRedrive,
        Self::DlqDiscard,
        Self::DlqExport,
        Self::CallbacksPause,
        Self::CallbacksResume,
        Self::CallbacksDisable,
        Self::CallbacksRedeliver,
        Self::CallbacksDiscard,
        Self::CallbacksReread,
        Self::FrontiersSkip,
        Self::ShowReveal,
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReplayRun => "replay.run",
            Self::ReplayResume => "replay.resume",
            Self::ReplayPause => "replay.pause",
            Self::ReplayAbort => "replay.abort",
            Self::DlqRedrive => "dlq.redrive",
            Self::DlqDiscard => "dlq.discard",
            Self::DlqExport => "dlq.export",
            Self::CallbacksPause => "callbacks.pause",
            Self::CallbacksResume => "callbacks.resume",
            Self::CallbacksDisable => "callbacks.disable",
            Self::CallbacksRedeliver => "callbacks.redeliver",
            Self::CallbacksDiscard => "callbacks.discard",
            Self::CallbacksReread => "callbacks.reread",
            Self::FrontiersSkip => "frontiers.skip",
            Self::ShowReveal => "show.reveal",
        }
    }

    /// The command of this word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|command| command.as_str() == text)
    }
}

impl fmt::Display for OperatorCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The id of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub Uuid);

/// Not the id of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be the id of an operation, as `penstock operations list` shows it")]
pub struct OperationIdError;

impl OperationId {
    /// A new one; later ones are larger.
    #[must_use]
    pub fn now() -> Self {
        Self(Uuid::now_v7())
    }

    /// Takes a text that is one.
    pub fn parse(text: &str) -> Result<Self, OperationIdError> {
        Uuid::parse_str(text).map(Self).map_err(|_| OperationIdError)
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Who does something, and on which host, by their own account: nobody has checked it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// Who, as `name@host`.
    pub operator: String,
    /// The host.
    pub host: String,
}

impl By {
    /// Somebody on a host.
    #[must_use]
    pub fn new(name: &str, host: String) -> Self {
        Self { operator: format!("{name}@{host}"), host }
    }

    /// The operator without the host.
    pub fn name(&self) -> &str {
        let name = self.operator.strip_suffix(&self.host).and_then(|rest| rest.strip_suffix('@'));
        name.unwrap_or(&self.operator)
    }

    /// Whether this may be the same person: the same name, on whichever host.
    pub fn may_be(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

/// What the server of the store itself knows of who entered a row. An embedded store has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The database user of the session.
    pub database_user: String,
    /// The address that it came from; none on a local socket.
    pub client_address: Option<String>,
    /// When, by the server's clock.
    pub recorded_at: Timestamp,
}

/// An operation as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOperation {
    /// Its id.
    pub id: OperationId,
    /// What.
    pub command: OperatorCommand,
    /// What it is about: a JSON object, equal for equal subjects. No account and nobody is named in it.
    pub subject: String,
    /// Who, and where.
    pub by: By,
    /// Why, if that was said.
    pub reason: Option<String>,
    /// When, to the millisecond.
    pub asked_at: Timestamp,
}

/// What happens to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Somebody agreed to it.
    Approved,
    /// Somebody did not.
    Refused,
    /// It is being carried out.
    Begun,
    /// It was carried out.
    Done,
    /// It was not, or not whole.
    Failed,
}

/// Steps of one stage exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Whether it may be carried out.
    Decision,
    /// That it is carried out.
    Start,
    /// How that ended.
    End,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Approved, Self::Refused, Self::Begun, Self::Done, Self::Failed];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Refused => "refused",
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// The step of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.as_str() == text)
    }

    /// Its stage.
    pub fn stage(self) -> Stage {
        match self {
            Self::Approved | Self::Refused => Stage::Decision,
            Self::Begun => Stage::Start,
            Self::Done | Self::Failed => Stage::End,
        }
    }
}

impl Stage {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decision => "decision",
            Self::Start => "start",
            Self::End => "end",
        }
    }
}

/// A step as it is entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewStep {
    /// What.
    pub step: Step,
    /// Who, and where.
    pub by: By,
    /// Why, or what went wrong.
    pub note: Option<String>,
    /// When, to the millisecond.
    pub taken_at: Timestamp,
}

/// A step as it stands in the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenStep {
    /// As it was entered.
    pub step: NewStep,
    /// What the store's server knows of it.
    pub witness: Option<Witness>,
}

/// An operation as it stands in the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// As it was asked for.
    pub operation: NewOperation,
    /// What the store's server knows of it.
    pub witness: Option<Witness>,
    /// What happened to it, in the order of the stages.
    pub steps: Vec<TakenStep>,
}

impl Operation {
    /// Its step of a stage.
    pub fn at(&self, stage: Stage) -> Option<&TakenStep> {
        self.steps.iter().find(|taken| taken.step.step.stage() == stage)
    }

    /// The last step; none while nobody has decided on it.
    pub fn last(&self) -> Option<&TakenStep> {
        [Stage::End, Stage::Start, Stage::Decision].into_iter().find_map(|stage| self.at(stage))
    }
}

/// Which operations are meant: those for which all of it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperationSelection {
    /// The command.
    pub command: Option<OperatorCommand>,
    /// Who asked for it or took a step of it: with the host, or on any.
    pub operator: Option<String>,
    /// Asked for then or later.
    pub from: Option<Timestamp>,
    /// Asked for before.
    pub to: Option<Timestamp>,
}

/// The record of what operators do.
pub trait Operations: Clone + Send + Sync + 'static {
    /// Enters an operation, and its first step if it takes one at once.
    fn enter_operation(
        &self,
        operation: &NewOperation,
        step: Option<&NewStep>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Enters a step of an operation. False when there is no such operation, or a step of that stage: nothing is
    /// entered then.
    fn take_operation_step(
        &self,
        id: OperationId,
        step: &NewStep,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// An operation.
    fn operation(
        &self,
        id: OperationId,
    ) -> impl Future<Output = Result<Option<Operation>, StoreError>> + Send;

    /// Operations, those first that were asked for last.
    fn operations(
        &self,
        selection: &OperationSelection,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Operation>, StoreError>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_steps_are_found_by_their_names() {
        for command in OperatorCommand::ALL {
            assert_eq!(OperatorCommand::parse(command.as_str()), Some(command));
        }
        for step in Step::ALL {
            assert_eq!(Step::parse(step.as_str()), Some(step));
        }
        assert_eq!(OperatorCommand::parse("replay"), None);
    }

    #[test]
    fn an_operator_is_the_same_on_every_host() {
        let by = |name: &str, host: &str| By::new(name, host.to_owned());
        assert_eq!(by("alice", "ops-1").operator, "alice@ops-1");
        assert_eq!(by("alice@bank", "ops-1").name(), "alice@bank");
        assert!(by("alice", "ops-1").may_be(&by("alice", "ops-2")));
        assert!(!by("alice", "ops-1").may_be(&by("bob", "ops-1")));
    }
}
