//! Who runs a command, why, and by whose leave: what the store keeps of what operators do.

use clap::Args;

use crate::account::Timestamp;
use crate::settings::Settings;
use crate::store::{By, OperationId, Operations};

use super::moment::now;
use super::process::beside_store;
use super::{Misused, unavailable};

/// Who runs the command, and where.
pub(super) fn by() -> By {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let user = user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
    By::new(&user, rustix::system::uname().nodename().to_string_lossy().into_owned())
}

/// Who runs the command, and where, in one text.
pub(super) fn operator() -> String {
    by().operator
}

/// Takes a reason that says something.
pub(super) fn parse_reason(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    if text.is_empty() { Err("must say why") } else { Ok(text.to_owned()) }
}

/// Takes the id of an operation.
pub(super) fn parse_operation(text: &str) -> Result<OperationId, String> {
    OperationId::parse(text).map_err(|error| error.to_string())
}

/// Why a command is run that must say so, and by whose leave.
#[derive(Args, Clone, Debug)]
pub(super) struct ReasonArgs {
    /// Why, for the record
    #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
    reason: String,
    #[command(flatten)]
    leave: LeaveArgs,
}

/// Why a command is run that may say so, and by whose leave.
#[derive(Args, Clone, Debug)]
pub(super) struct OptionalReasonArgs {
    /// Why, for the record
    #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
    reason: Option<String>,
    #[command(flatten)]
    leave: LeaveArgs,
}

/// By whose leave a command is run.
#[derive(Args, Clone, Debug)]
struct LeaveArgs {
    /// Do what was asked for under this id, now that somebody has approved it (operations.approval)
    #[arg(long, value_name = "ID", value_parser = parse_operation)]
    approved: Option<OperationId>,
}

/// What is said of why a command is run.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// Why.
    pub(super) reason: Option<String>,
    /// What it is the approved form of.
    pub(super) approved: Option<OperationId>,
}

impl From<ReasonArgs> for Said {
    fn from(args: ReasonArgs) -> Self {
        Self { reason: Some(args.reason), approved: args.leave.approved }
    }
}

impl From<OptionalReasonArgs> for Said {
    fn from(args: OptionalReasonArgs) -> Self {
        Self { reason: args.reason, approved: args.leave.approved }
    }
}

/// Why a command is run, and which time it goes by.
#[derive(Clone, Debug)]
pub(super) struct Grounds {
    /// What was said.
    pub(super) said: Said,
    /// What "2h ago" refers to: when the command was asked for, so that what was approved is what is done.
    pub(super) at: Timestamp,
    /// Whether all that is selected must be settled by then.
    is_pinned: bool,
}

impl Said {
    /// The grounds, with the time of what was approved.
    pub(super) async fn grounds(
        self,
        settings: &Settings,
        store: &impl Operations,
    ) -> anyhow::Result<Grounds> {
        let is_pinned = settings.operations.approval || self.approved.is_some();
        let at = match self.approved {
            None => Timestamp::from_unix_millis(now().unix_millis()),
            Some(id) => {
                let found = store.operation(id).await.map_err(unavailable)?;
                found.ok_or_else(|| unknown(id))?.operation.asked_at
            }
        };
        Ok(Grounds { said: self, at, is_pinned })
    }

    /// The grounds of a command that has no store open yet.
    pub(super) async fn grounds_beside(self, settings: &Settings) -> anyhow::Result<Grounds> {
        if self.approved.is_none() {
            let at = Timestamp::from_unix_millis(now().unix_millis());
            return Ok(Grounds { said: self, at, is_pinned: settings.operations.approval });
        }
        beside_store(settings, async |store| self.grounds(settings, store).await).await
    }
}

impl Grounds {
    /// The end of a selection: where none is given and somebody must approve, the time it was asked for, so that
    /// nothing that comes later is done along.
    pub(super) fn until(&self, given: Option<Timestamp>) -> Option<Timestamp> {
        given.or(self.is_pinned.then_some(self.at))
    }

    /// Why, if that was said.
    pub(super) fn reason(&self) -> Option<&str> {
        self.said.reason.as_deref()
    }
}

/// Says that there is no such operation.
pub(super) fn unknown(id: OperationId) -> Misused {
    Misused(format!("there is no operation {id}; `penstock operations list` shows those there are"))
}
