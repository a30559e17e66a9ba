//! What operators do is in the record before it is done, and how it ended after that; and, where that is asked for, it
//! is done only once somebody else has approved it.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::settings::Settings;
use crate::store::{Asked, By, NewOperation, NewStep, OperationId, Operations, OperatorCommand, Step};
use crate::telemetry::with_causes;

use super::moment::now;
use super::operator::{Grounds, by, unknown};
use super::output::note;
use super::{Exit, Misused, unavailable};

/// Characters of what went wrong that are kept.
const PROBLEM_CHARS: usize = 1_000;

/// What a command is about to do.
#[derive(Debug)]
pub(super) struct Intended {
    /// What.
    pub(super) command: OperatorCommand,
    /// What it is about. Equal subjects are equal values; no account and nobody is named in it.
    pub(super) subject: Value,
    /// Why.
    pub(super) grounds: Grounds,
}

/// What became of what a command was about to do.
#[derive(Debug)]
#[must_use = "nothing was done if it is only requested"]
pub(super) enum Recorded<T> {
    /// It was carried out, with this result.
    Done(T),
    /// It was not: somebody else must approve it first.
    Requested,
}

impl Recorded<Exit> {
    /// How the command ends.
    pub(super) fn exit(self) -> Exit {
        match self {
            Self::Done(exit) => exit,
            Self::Requested => Exit::Requested,
        }
    }
}

/// What comes of carrying something out, as the record tells it.
pub(super) trait Carried {
    /// What is wrong with it, if anything is.
    fn problem(&self) -> Option<String>;
}

impl Carried for () {
    fn problem(&self) -> Option<String> {
        None
    }
}

impl Carried for u64 {
    fn problem(&self) -> Option<String> {
        None
    }
}

impl Carried for Exit {
    fn problem(&self) -> Option<String> {
        let is_done = *self == Self::Ok;
        (!is_done).then(|| format!("the command ended with {}, before all of it was done", *self as u8))
    }
}

/// Carries something out that an operator asked for: enters it into the record, does it, and enters how it ended.
/// Without somebody else's approval, where that is needed, it is only entered.
pub(super) async fn recorded<T: Carried>(
    settings: &Settings,
    store: &impl Operations,
    intended: Intended,
    work: impl AsyncFnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<Recorded<T>> {
    let by = by();
    let id = match intended.grounds.said.approved {
        Some(id) => {
            use_approval(settings, store, &intended, &by, id).await?;
            id
        }
        None if settings.operations.approval => {
            request(settings, store, intended, by).await?;
            return Ok(Recorded::Requested);
        }
        None => enter(store, intended, by.clone()).await?,
    };
    let done = work().await;
    let (step, note) = ending(&done);
    let end = NewStep { step, by, note, taken_at: now() };
    match store.take_operation_step(id, &end).await {
        Ok(true) => {}
        Ok(false) => tell_lost_end(id, "it has an end already")?,
        Err(error) => tell_lost_end(id, &with_causes(&error).to_string())?,
    }
    done.map(Recorded::Done)
}

/// A short name for many texts, in their order.
pub(super) fn digest_of(texts: impl Iterator<Item = String>) -> String {
    let mut digest = Sha256::new();
    for text in texts {
        digest.update(text.as_bytes());
        digest.update(b"\n");
    }
    let mut hex = String::new();
    for byte in digest.finalize() {
        let _infallible = write!(hex, "{byte:02x}");
    }
    hex
}

async fn enter(store: &impl Operations, intended: Intended, by: By) -> anyhow::Result<OperationId> {
    let taken_at = intended.grounds.at;
    let begun = NewStep { step: Step::Begun, by: by.clone(), note: None, taken_at };
    let operation = operation(intended, by);
    store.enter_operation(&operation, Some(&begun)).await.map_err(unavailable)?;
    Ok(operation.id)
}

/// Asks for somebody's approval.
async fn request(
    settings: &Settings,
    store: &impl Operations,
    intended: Intended,
    by: By,
) -> anyhow::Result<()> {
    let operation = operation(intended, by);
    store.enter_operation(&operation, None).await.map_err(unavailable)?;
    let (id, ttl) = (operation.id, settings.operations.approval_ttl);
    writeln!(io::stdout().lock(), "{id}")?;
    note(&format!(
        "requested, nothing is done: somebody else runs `penstock operations approve {id}`; within {ttl} of that, \
         repeat this command with --approved {id}"
    ))?;
    Ok(())
}

/// Uses the approval of an operation, unless that may not be used for this or somebody was faster.
async fn use_approval(
    settings: &Settings,
    store: &impl Operations,
    intended: &Intended,
    by: &By,
    id: OperationId,
) -> anyhow::Result<()> {
    let found = store.operation(id).await.map_err(unavailable)?.ok_or_else(|| unknown(id))?;
    let (command, now, ttl) = (intended.command, now(), settings.operations.approval_ttl.duration());
    let subject = intended.subject.to_string();
    let refused = |why: &dyn std::fmt::Display| Misused(format!("{id} cannot be used: {why}"));
    found.may_begin(Asked { command, subject: &subject, by, now, ttl }).map_err(|why| refused(&why))?;
    let note = intended.grounds.reason().map(str::to_owned);
    let begun = NewStep { step: Step::Begun, by: by.clone(), note, taken_at: now };
    if store.take_operation_step(id, &begun).await.map_err(unavailable)? {
        return Ok(());
    }
    Err(refused(&crate::store::NotApproved::Used).into())
}

fn operation(intended: Intended, by: By) -> NewOperation {
    let Intended { command, subject, grounds } = intended;
    NewOperation {
        id: OperationId::now(),
        command,
        subject: subject.to_string(),
        by,
        reason: grounds.said.reason,
        asked_at: grounds.at,
    }
}

fn ending<T: Carried>(done: &anyhow::Result<T>) -> (Step, Option<String>) {
    let problem = match done {
        Ok(done) => done.problem(),
        // Whoever read the output has seen enough.
        Err(error) if Exit::of(error) == Exit::Ok => None,
        Err(error) => Some(with_causes(error.as_ref()).to_string()),
    };
    match problem {
        None => (Step::Done, None),
        Some(problem) => (Step::Failed, Some(problem.chars().take(PROBLEM_CHARS).collect())),
    }
}

/// What was done is done: that its end is not in the record makes it no failure.
fn tell_lost_end(id: OperationId, why: &str) -> io::Result<()> {
    note(&format!("note: how {id} ended is not in the record: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_failure_unless_all_was_done() {
        assert_eq!(ending(&Ok(())), (Step::Done, None));
        assert_eq!(ending(&Ok(7_u64)), (Step::Done, None));
        assert_eq!(ending(&Ok(Exit::Ok)), (Step::Done, None));
        let (step, note) = ending(&Ok(Exit::Failure));
        assert!(step == Step::Failed && note.unwrap().contains("ended with 1"));
        let closed = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(ending::<()>(&Err(closed)), (Step::Done, None));
        let (step, note) = ending::<()>(&Err(anyhow::anyhow!("ž".repeat(2_000))));
        assert_eq!((step, note.unwrap().chars().count()), (Step::Failed, PROBLEM_CHARS));
    }

    #[test]
    fn a_digest_tells_texts_apart() {
        let of = |texts: &[&str]| digest_of(texts.iter().map(|text| (*text).to_owned()));
        assert_eq!(of(&["3/117"]).len(), 64);
        assert_ne!(of(&["3/1", "17"]), of(&["3/117"]));
    }
}
