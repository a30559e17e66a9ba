//! `penstock dlq show`: one letter.

use std::io::{self, Write};

use clap::Args;
use serde::Serialize;

use crate::cli::config::PlaceArgs;
use crate::cli::masked::{masked, masked_header};
use crate::cli::output::{shown, write_json};
use crate::cli::process::beside_ports;
use crate::cli::{Exit, Misused};
use crate::dead_letters::{Letter, LetterPlace, LetterSelection, Standing};
use crate::settings::Loaded;

use super::each_letter;
use super::list::LetterJson;
use super::selection::parse_place;

/// Options of `penstock dlq show`.
#[derive(Args, Debug)]
pub(in crate::cli) struct ShowArgs {
    /// Its place on the dead-letter topic, as partition/offset
    #[arg(value_name = "LETTER", value_parser = parse_place)]
    letter: LetterPlace,
    /// One JSON object, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// A letter with how it is built, for programs.
#[derive(Debug, Serialize)]
struct ShownJson {
    #[serde(flatten)]
    letter: LetterJson,
    obstacle: Option<&'static str>,
    headers: Vec<String>,
    key_bytes: usize,
    value_bytes: usize,
    masked_value: String,
}

impl ShownJson {
    fn of(letter: &Letter) -> Self {
        let record = letter.record();
        let names =
            record.map(|record| record.headers.iter().map(|(name, _)| masked_header(name)).collect());
        Self {
            letter: LetterJson::of(letter),
            obstacle: letter.obstacle(),
            headers: names.unwrap_or_default(),
            key_bytes: record.map_or(0, |record| record.key.len()),
            value_bytes: record.map_or(0, |record| record.value.len()),
            masked_value: record.map(|record| masked(&record.value)).unwrap_or_default(),
        }
    }
}

pub(super) async fn run(args: ShowArgs) -> anyhow::Result<Exit> {
    let ShowArgs { letter, json, place } = args;
    let Loaded { settings, .. } = place.load()?;
    let selection = LetterSelection {
        places: [letter].into(),
        topic: None,
        class: None,
        reason: None,
        from: None,
        to: None,
        standings: Standing::ALL.into(),
    };
    beside_ports(&settings, async |queue, store| {
        let mut found = None;
        each_letter(&settings, queue, store, selection, |letter| {
            found = Some(letter);
            Ok(())
        })
        .await?;
        let Some(found) = found else {
            let told = format!(
                "the dead-letter topic holds no letter {letter}; `penstock dlq list --each` shows those there are"
            );
            return Err(Misused(told).into());
        };
        let mut out = io::stdout().lock();
        let json_form = ShownJson::of(&found);
        if json {
            write_json(&mut out, &json_form)?;
        } else {
            write_text(&mut out, &json_form)?;
        }
        Ok(Exit::Ok)
    })
    .await
}

fn write_text(out: &mut impl Write, shown_letter: &ShownJson) -> io::Result<()> {
    let ShownJson { letter, obstacle, headers, key_bytes, value_bytes, masked_value } = shown_letter;
    writeln!(out, "{}  {}", letter.letter, letter.state)?;
    let mut line = |name: &str, text: &str| writeln!(out, "{name:<12} {}", shown(text));
    line("put aside", &letter.put_aside_at)?;
    if let Some(origin) = &letter.origin {
        let at = letter.origin_appended_at.as_deref().unwrap_or("a time that is not told");
        line("origin", &format!("{origin}, appended at {at}"))?;
    }
    line("class", &letter.class)?;
    line("reason", &letter.reason)?;
    if letter.redrives > 0 {
        let from = letter.redriven_from.as_deref().unwrap_or("a letter that is not told");
        line("put back", &format!("{} times, the last time from {from}", letter.redrives))?;
    }
    if let Some(obstacle) = obstacle {
        line("obstacle", &format!("cannot be put back: {obstacle}"))?;
    }
    if let Some(decision) = &letter.decision {
        let by = format!("{} by {}: {}", decision.decided_at, decision.operator, decision.reason);
        line("decided", &by)?;
        if let Some(problem) = &decision.problem {
            line("problem", problem)?;
        }
    }
    line("headers", &headers.join(", "))?;
    line("key", &format!("{key_bytes} bytes"))?;
    line("value", &format!("{value_bytes} bytes, masked: {masked_value}"))
}
