//! Every final answer as lines of a file, for whoever compares them later with what was persisted.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::account::Verdict;

use super::expected::outcomes_of;

/// A file with one JSON object per item that was answered; complete lines only, also after a kill.
#[derive(Debug)]
pub(super) struct Answers(Mutex<File>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    batch: u64,
    communication_number: &'a str,
    /// `accepted` or the code; none when it is no outcome of the contract.
    outcome: Option<&'static str>,
}

impl Answers {
    /// A new file; one that is there is replaced.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self(Mutex::new(File::create(path)?)))
    }

    /// Adds the final answer to a batch; one that is not the contract's adds nothing.
    pub(super) fn add(&self, batch: u64, answer: &[u8]) -> io::Result<()> {
        let mut lines = Vec::new();
        for (number, verdict) in outcomes_of(answer) {
            let outcome = verdict.map(Verdict::as_str);
            serde_json::to_writer(&mut lines, &Line { batch, communication_number: &number, outcome })?;
            lines.push(b'\n');
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_is_a_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("answers");
        let answers = Answers::create(&path).unwrap();
        let accepted =
            r#"{"resultType":"REQUEST_ACCEPTED","communicationNumber":"n1","accountExtId":"a"}"#;
        let rejected = r#"{"resultType":"REQUEST_REJECTED","communicationNumber":"n2","accountExtId":"a",
                           "errorCode":"A001"}"#;
        answers.add(3, format!(r#"{{"results":[{accepted},{rejected}]}}"#).as_bytes()).unwrap();
        answers.add(4, b"<html>").unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "{\"batch\":3,\"communicationNumber\":\"n1\",\"outcome\":\"accepted\"}\n\
             {\"batch\":3,\"communicationNumber\":\"n2\",\"outcome\":\"A001\"}\n"
        );
    }
}
