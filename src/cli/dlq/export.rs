//! `penstock dlq export`: letters with all that was in them.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::cli::Exit;
use crate::cli::config::PlaceArgs;
use crate::cli::operator::{OptionalReasonArgs, Said};
use crate::cli::output::{note, write_json};
use crate::cli::process::beside_ports;
use crate::cli::recorded::{Intended, recorded};
use crate::dead_letters::{Letter, Standing};
use crate::settings::Loaded;
use crate::store::OperatorCommand;

use super::each_letter;
use super::list::{LetterJson, letters};
use super::selection::{SelectionArgs, State, standings, subject};

/// Options of `penstock dlq export`.
#[derive(Args, Debug)]
pub(in crate::cli) struct ExportArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// Those that stand so; may be given again [default: all]
    #[arg(long = "state", value_enum)]
    states: Vec<State>,
    /// A new file, which only its owner may read; - writes to standard output
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    reason: OptionalReasonArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

/// A letter with all that was in it. Bytes are in Base64 (RFC 4648, with padding).
#[derive(Debug, Serialize)]
struct ExportedJson {
    #[serde(flatten)]
    letter: LetterJson,
    is_whole: bool,
    key: String,
    value: String,
    headers: Vec<(String, String)>,
}

impl ExportedJson {
    fn of(letter: &Letter) -> Self {
        let record = letter.record();
        let bytes = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        let headers = record.map(|record| {
            record.headers.iter().map(|(name, value)| (name.to_owned(), bytes(value))).collect()
        });
        Self {
            letter: LetterJson::of(letter),
            is_whole: letter.told.as_ref().is_none_or(|told| told.is_whole),
            key: record.map(|record| bytes(&record.key)).unwrap_or_default(),
            value: record.map(|record| bytes(&record.value)).unwrap_or_default(),
            headers: headers.unwrap_or_default(),
        }
    }
}

pub(super) async fn run(args: ExportArgs) -> anyhow::Result<Exit> {
    let ExportArgs { selection, states, out, reason, place } = args;
    let Loaded { settings, .. } = place.load()?;
    let grounds = Said::from(reason).grounds_beside(&settings).await?;
    let states = if states.is_empty() { Standing::ALL.into() } else { standings(&states) };
    let selection = selection.selection(states, &grounds);
    let subject = json!({ "selection": subject(&selection), "out": out.display().to_string() });
    let intended = Intended { command: OperatorCommand::DlqExport, subject, grounds };
    beside_ports(&settings, async |queue, store| {
        let export = async || {
            let mut file = created(&out)?;
            let mut count = 0;
            let exported = each_letter(&settings, queue, store, selection, |letter| {
                count += 1;
                write_json(&mut file, &ExportedJson::of(&letter))
            });
            let written = exported.await.and_then(|()| Ok(file.flush()?));
            written.with_context(|| format!("writing {}: it is not whole, remove it", out.display()))?;
            note(&format!("{} written", letters(count)))?;
            Ok(Exit::Ok)
        };
        Ok(recorded(&settings, store, intended, export).await?.exit())
    })
    .await
}

/// A new file that only its owner may read, or standard output.
fn created(path: &Path) -> anyhow::Result<Box<dyn Write>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufWriter::new(io::stdout().lock())));
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file = file.with_context(|| format!("creating {}, a new file", path.display()))?;
    Ok(Box::new(BufWriter::new(file)))
}
