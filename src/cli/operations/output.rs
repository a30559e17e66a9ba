//! An operation as text and as JSON.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use crate::cli::output::{shown, time};
use crate::store::{NewOperation, NewStep, Operation, TakenStep, Witness};

/// An operation, for programs.
#[derive(Debug, Serialize)]
pub(super) struct OperationJson {
    id: String,
    command: &'static str,
    /// `requested`, or its last step.
    state: &'static str,
    subject: Value,
    operator: String,
    host: String,
    reason: Option<String>,
    asked_at: String,
    #[serde(flatten)]
    witness: WitnessJson,
    steps: Vec<StepJson>,
}

/// A step of one, for programs.
#[derive(Debug, Serialize)]
struct StepJson {
    step: &'static str,
    operator: String,
    host: String,
    note: Option<String>,
    taken_at: String,
    #[serde(flatten)]
    witness: WitnessJson,
}

/// What the store's server knows of it, for programs; nothing where there is no server.
#[derive(Debug, Default, Serialize)]
struct WitnessJson {
    database_user: Option<String>,
    client_address: Option<String>,
    recorded_at: Option<String>,
}

impl WitnessJson {
    fn of(witness: Option<&Witness>) -> Self {
        let Some(witness) = witness else { return Self::default() };
        Self {
            database_user: Some(witness.database_user.clone()),
            client_address: witness.client_address.clone(),
            recorded_at: Some(time(witness.recorded_at)),
        }
    }
}

impl StepJson {
    fn of(TakenStep { step, witness }: &TakenStep) -> Self {
        let NewStep { step, by, note, taken_at } = step;
        Self {
            step: step.as_str(),
            operator: by.operator.clone(),
            host: by.host.clone(),
            note: note.clone(),
            taken_at: time(*taken_at),
            witness: WitnessJson::of(witness.as_ref()),
        }
    }
}

impl OperationJson {
    pub(super) fn of(found: &Operation) -> Self {
        let NewOperation { id, command, subject, by, reason, asked_at } = &found.operation;
        Self {
            id: id.to_string(),
            command: command.as_str(),
            state: state(found),
            subject: serde_json::from_str(subject).unwrap_or_else(|_| Value::from(subject.as_str())),
            operator: by.operator.clone(),
            host: by.host.clone(),
            reason: reason.clone(),
            asked_at: time(*asked_at),
            witness: WitnessJson::of(found.witness.as_ref()),
            steps: found.steps.iter().map(StepJson::of).collect(),
        }
    }
}

/// Where an operation stands. One that is begun and has no end goes on, or its command was killed.
pub(super) fn state(found: &Operation) -> &'static str {
    found.last().map_or("requested", |taken| taken.step.step.as_str())
}

/// Writes an operation for people.
pub(super) fn write_text(out: &mut impl Write, found: &Operation) -> io::Result<()> {
    let NewOperation { id, command, subject, by, reason, asked_at } = &found.operation;
    writeln!(out, "{id}  {command}  {}", state(found))?;
    writeln!(out, "subject   {}", shown(subject))?;
    let operator = shown(&by.operator);
    write_line(out, "asked", &format!("{} by {operator}", time(*asked_at)), reason.as_deref())?;
    write_witness(out, found.witness.as_ref())?;
    for TakenStep { step, witness } in &found.steps {
        let operator = shown(&step.by.operator);
        let at = format!("{} by {operator}", time(step.taken_at));
        write_line(out, step.step.as_str(), &at, step.note.as_deref())?;
        write_witness(out, witness.as_ref())?;
    }
    Ok(())
}

fn write_line(out: &mut impl Write, name: &str, text: &str, note: Option<&str>) -> io::Result<()> {
    let note = note.map(|note| format!(": {}", shown(note))).unwrap_or_default();
    writeln!(out, "{name:<9} {text}{note}")
}

fn write_witness(out: &mut impl Write, witness: Option<&Witness>) -> io::Result<()> {
    let Some(Witness { database_user, client_address, recorded_at }) = witness else { return Ok(()) };
    let from = client_address.as_deref().unwrap_or("the server's own host");
    let (user, at) = (shown(database_user), time(*recorded_at));
    writeln!(out, "          entered {at} by the database user {user} from {from}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Timestamp;
    use crate::store::{By, OperationId, OperatorCommand, Step};

    #[test]
    fn an_operation_is_shown_with_all_that_is_known_of_it() {
        let at = Timestamp::from_unix_millis(1_700_000_000_000);
        let by = By::new("alice\u{1b}", "ops-1".to_owned());
        let witness = Witness {
            database_user: "penstock".to_owned(),
            client_address: Some("10.0.0.1".to_owned()),
            recorded_at: at,
        };
        let operation = NewOperation {
            id: OperationId::parse("019358f0-7d0c-7c3f-a5b2-6e0c5c1d2f3a").unwrap(),
            command: OperatorCommand::ReplayPause,
            subject: "{\"job\":\"a\"}".to_owned(),
            by: by.clone(),
            reason: Some("ticket-7".to_owned()),
            asked_at: at,
        };
        let begun = NewStep { step: Step::Begun, by, note: None, taken_at: at };
        let steps = vec![TakenStep { step: begun, witness: None }];
        let found = Operation { operation, witness: Some(witness), steps };
        let mut text = Vec::new();
        write_text(&mut text, &found).unwrap();
        let expected = "019358f0-7d0c-7c3f-a5b2-6e0c5c1d2f3a  replay.pause  begun\n\
                        subject   {\"job\":\"a\"}\n\
                        asked     2023-11-14T22:13:20Z by alice\\u{1b}@ops-1: ticket-7\n\
                        \x20         entered 2023-11-14T22:13:20Z by the database user penstock from 10.0.0.1\n\
                        begun     2023-11-14T22:13:20Z by alice\\u{1b}@ops-1\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        let json = serde_json::to_value(OperationJson::of(&found)).unwrap();
        assert_eq!((&json["subject"]["job"], &json["state"]), (&"a".into(), &"begun".into()));
        assert_eq!(json["client_address"], "10.0.0.1");
        assert_eq!(json["steps"][0]["database_user"], Value::Null);
    }
}
