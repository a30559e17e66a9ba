//! What the README shows is true: its commands run, its answers are those that come back, and its table
//! of rejection codes is the code's.

use std::collections::BTreeMap;
use std::process::Output;

use penstock::account::RejectionCode;
use penstock::cli::Exit;
use serde_json::Value;
use tokio::process::Command;

use crate::process::{DEADLINE, Dev, penstock, text};

const README: &str = include_str!("../../README.md");

/// A command of the README that is marked with `<!-- tested -->` or `<!-- tested: 400 -->`.
struct Shown {
    command: String,
    /// The HTTP status it must get, when it is not a success.
    refused_with: Option<String>,
    /// The JSON that the README shows as its output.
    output: Option<Value>,
}

fn shown() -> Vec<Shown> {
    README
        .split("<!-- tested")
        .skip(1)
        .filter(|part| !MARKS.iter().any(|mark| part.starts_with(&format!(": {mark} -->"))))
        .map(|part| {
            let (mark, rest) = part.split_once("-->").unwrap();
            let command = block(rest, "```sh\n").expect("a command follows the mark");
            let output = block(rest, "```json\n").map(|json| serde_json::from_str(json).unwrap());
            let refused_with = mark.trim().strip_prefix(": ").map(str::to_owned);
            Shown { command: command.to_owned(), refused_with, output }
        })
        .collect()
}

/// Marks of blocks with a test of their own.
const MARKS: [&str; 8] =
    ["production", "callbacks", "replay plan", "replay run", "dlq", "operations", "audit", "rebuild"];

/// The commands of the block with a mark, one a line.
pub(crate) fn commands_marked(mark: &str) -> Vec<&'static str> {
    assert!(MARKS.contains(&mark));
    let (_, rest) = README.split_once(&format!("<!-- tested: {mark} -->")).unwrap();
    block(rest, "```sh\n").unwrap().lines().map(|line| line.split(" #").next().unwrap().trim()).collect()
}

/// The first block that `fence` opens.
fn block<'a>(text: &'a str, fence: &str) -> Option<&'a str> {
    text.split_once(fence)?.1.split_once("```").map(|(block, _)| block)
}

/// Runs a command of the README against `dev` instead of the addresses it names.
async fn run_shown(shown: &Shown, dev: &Dev) -> Output {
    let binary = penstock(&[]).as_std().get_program().to_str().unwrap().to_owned();
    let command = shown
        .command
        .replace("http://127.0.0.1:8080", &dev.url)
        .replace("http://127.0.0.1:9464", &dev.admin)
        .replace(
            "cargo run --release -- load --items 200000",
            "penstock load --items 4000 --url \"$URL\"",
        )
        .replace("cargo run --release --", "penstock")
        .replace("curl ", "curl --write-out '\\n%{http_code}' ");
    // Commands that a reader finds on the path.
    let script = format!("penstock() {{ '{binary}' \"$@\"; }}\n{command}");
    let mut shell = Command::new("sh");
    shell.args(["-euc", &script]).current_dir(env!("CARGO_MANIFEST_DIR")).kill_on_drop(true);
    shell.env("URL", &dev.url);
    tokio::time::timeout(DEADLINE, shell.output()).await.unwrap().unwrap()
}

/// JSON without what differs from run to run.
fn timeless(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.remove("timeElapsedMs");
            fields.values_mut().for_each(|field| *field = timeless(field.take()));
        }
        Value::Array(entries) => entries.iter_mut().for_each(|entry| *entry = timeless(entry.take())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    value
}

#[tokio::test]
async fn the_commands_do_what_the_readme_says() {
    let directory = tempfile::tempdir().unwrap();
    let dev = Dev::start(&directory, &[]).await;
    let commands = shown();
    assert!(commands.len() > 5, "the commands were not found");
    for shown in commands {
        let output = run_shown(&shown, &dev).await;
        let (said, complained) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{}\n{said}{complained}", shown.command);
        if !shown.command.contains("curl ") {
            continue;
        }
        let (body, status) = said.rsplit_once('\n').unwrap();
        assert_eq!(status, shown.refused_with.as_deref().unwrap_or("200"), "{}\n{said}", shown.command);
        if let Some(expected) = shown.output {
            let answer = serde_json::from_str(body).unwrap();
            assert_eq!(timeless(answer), timeless(expected), "{}", shown.command);
        }
    }
}

#[test]
fn the_first_command_starts_dev() {
    let first = block(README, "```sh\n").unwrap();
    assert_eq!(first.trim(), "cargo run --release -- dev");
}

#[test]
fn the_table_of_exit_codes_is_the_one_help_prints() {
    for (exit, meaning) in Exit::ALL {
        let row = format!("| {} | {meaning}", exit as u8);
        assert!(README.lines().any(|line| line.starts_with(&row)), "no row {row}");
    }
}

#[test]
fn the_table_of_codes_is_complete_and_right() {
    let told: BTreeMap<&str, &str> = README
        .lines()
        .filter_map(|line| {
            let (code, description) =
                line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | ")?;
            Some((code, description))
        })
        .filter(|(code, _)| RejectionCode::parse(code).is_some())
        .collect();
    let codes = RejectionCode::ALL.iter().map(|code| (code.code(), code.description())).collect();
    assert_eq!(told, codes);
}
