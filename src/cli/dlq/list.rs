//! `penstock dlq list`: what was put aside.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::cli::Exit;
use crate::cli::config::PlaceArgs;
use crate::cli::moment::now;
use crate::cli::output::{cell, note, shown, table, time, write_json};
use crate::cli::process::beside_ports;
use crate::dead_letters::{Group, GroupKey, Groups, Letter, LetterPlace, Standing};
use crate::settings::Loaded;

use super::each_letter;
use super::selection::{SelectionArgs, State, standings};

/// Options of `penstock dlq list`.
#[derive(Args, Debug)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// Those that stand so; may be given again [default: open, requested and failed]
    #[arg(long = "state", value_enum)]
    states: Vec<State>,
    /// Letter by letter
    #[arg(long)]
    each: bool,
    /// With --each, at most so many
    #[arg(long, value_name = "COUNT", default_value_t = 50, requires = "each")]
    limit: u64,
    /// How they are listed
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    place: PlaceArgs,
}

/// A form of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// One JSON object a line, for programs.
    Json,
}

pub(super) async fn run(args: ListArgs) -> anyhow::Result<Exit> {
    let ListArgs { selection, states, each, limit, output, place } = args;
    let Loaded { settings, .. } = place.load()?;
    let states = if states.is_empty() { Standing::UNSOLVED.into() } else { standings(&states) };
    let selection = selection.listed(states, now());
    beside_ports(&settings, async |queue, store| {
        let (mut groups, mut listed) = (Groups::default(), Vec::new());
        each_letter(&settings, queue, store, selection, |letter| {
            groups.add(&letter);
            if each && (listed.len() as u64) < limit {
                listed.push(LetterJson::of(&letter));
            }
            Ok(())
        })
        .await?;
        let mut out = io::stdout().lock();
        match (output, each) {
            (Output::Table, false) => write_groups(&mut out, &groups)?,
            (Output::Table, true) => write_letters(&mut out, &listed)?,
            (Output::Json, false) => {
                for (key, group) in groups.largest_first() {
                    write_json(&mut out, &GroupJson::of(key, group))?;
                }
            }
            (Output::Json, true) => {
                listed.iter().try_for_each(|letter| write_json(&mut out, letter))?;
            }
        }
        note(&match groups.letters() {
            0 => "no letter is selected".to_owned(),
            count if each && count > limit => {
                format!("{limit} of {}; --limit shows more", letters(count))
            }
            count => letters(count),
        })?;
        let is_unsolved = |key: &GroupKey| Standing::UNSOLVED.contains(&key.standing);
        let is_any_unsolved = groups.largest_first().iter().any(|(key, _)| is_unsolved(key));
        Ok(if is_any_unsolved { Exit::Differences } else { Exit::Ok })
    })
    .await
}

/// So many letters, in words.
pub(super) fn letters(count: u64) -> String {
    format!("{count} {}", if count == 1 { "letter" } else { "letters" })
}

/// Writes groups as a table.
pub(super) fn write_groups(out: &mut impl Write, groups: &Groups) -> anyhow::Result<()> {
    let mut rows = table(["letters", "state", "from", "class", "reason", "first", "last", "such as"]);
    let found = groups.largest_first();
    for (key, group) in &found {
        rows.add_row([
            group.count.to_string(),
            key.standing.as_str().to_owned(),
            key.topic.map_or("", |topic| topic.name()).to_owned(),
            cell(&key.class),
            shown(&key.reason),
            time(group.first_at),
            time(group.last_at),
            group.sample.to_string(),
        ]);
    }
    if !found.is_empty() {
        writeln!(out, "{rows}")?;
    }
    Ok(())
}

fn write_letters(out: &mut impl Write, listed: &[LetterJson]) -> anyhow::Result<()> {
    let mut rows = table(["letter", "state", "put aside", "origin", "class", "reason"]);
    for letter in listed {
        rows.add_row([
            letter.letter.clone(),
            letter.state.to_owned(),
            letter.put_aside_at.clone(),
            letter.origin.clone().unwrap_or_default(),
            cell(&letter.class),
            shown(&letter.reason),
        ]);
    }
    if !listed.is_empty() {
        writeln!(out, "{rows}")?;
    }
    Ok(())
}

/// A group, for programs.
#[derive(Debug, Serialize)]
struct GroupJson {
    letters: u64,
    state: &'static str,
    from: Option<&'static str>,
    class: String,
    reason: String,
    first_at: String,
    last_at: String,
    sample: String,
}

impl GroupJson {
    fn of(key: &GroupKey, group: &Group) -> Self {
        Self {
            letters: group.count,
            state: key.standing.as_str(),
            from: key.topic.map(|topic| topic.name()),
            class: key.class.clone(),
            reason: key.reason.clone(),
            first_at: time(group.first_at),
            last_at: time(group.last_at),
            sample: group.sample.to_string(),
        }
    }
}

/// A letter without what is in it, for programs.
#[derive(Debug, Serialize)]
pub(super) struct LetterJson {
    pub(super) letter: String,
    pub(super) state: &'static str,
    pub(super) put_aside_at: String,
    pub(super) origin: Option<String>,
    pub(super) origin_appended_at: Option<String>,
    pub(super) class: String,
    pub(super) reason: String,
    pub(super) redrives: u32,
    pub(super) redriven_from: Option<String>,
    pub(super) decision: Option<DecisionJson>,
}

/// What was decided of a letter, for programs.
#[derive(Debug, Serialize)]
pub(super) struct DecisionJson {
    pub(super) decided_at: String,
    pub(super) changed_at: String,
    pub(super) operator: String,
    pub(super) reason: String,
    pub(super) problem: Option<String>,
}

impl LetterJson {
    pub(super) fn of(letter: &Letter) -> Self {
        let told = letter.told.as_ref();
        let origin = told.and_then(|told| {
            let place = LetterPlace { partition: told.partition, offset: told.offset };
            told.topic.map(|topic| format!("{} {place}", topic.name()))
        });
        let redriven_from = told
            .and_then(|told| told.redriven_from)
            .map(|(partition, offset)| LetterPlace { partition, offset }.to_string());
        Self {
            letter: LetterPlace::from(letter.at).to_string(),
            state: letter.standing().as_str(),
            put_aside_at: time(letter.put_aside_at),
            origin,
            origin_appended_at: told.and_then(|told| told.appended_at).map(time),
            class: letter.class().to_owned(),
            reason: letter.reason().to_owned(),
            redrives: told.map_or(0, |told| told.redrives),
            redriven_from,
            decision: letter.case.as_ref().map(|case| DecisionJson {
                decided_at: time(case.decided_at),
                changed_at: time(case.changed_at),
                operator: case.operator.clone(),
                reason: case.reason.clone(),
                problem: case.problem.clone(),
            }),
        }
    }
}
