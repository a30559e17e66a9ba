//! `penstock dlq`: dead letters as cases to be solved.

mod decide;
mod export;
mod list;
mod outcomes;
mod selection;
mod show;

use clap::Subcommand;

use crate::dead_letters::{Letter, LetterSelection, Survey};
use crate::queue::Queue;
use crate::settings::Settings;
use crate::store::Cases;

use super::output::progress_bar;
use super::{Exit, options, runtime, unavailable};

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub(super) enum DlqCommand {
    /// Show what was put aside, grouped by what the letters have in common. Ends with 3 when something is to be
    /// decided
    #[command(before_help = "Example: penstock dlq list --since 3days")]
    List(Box<list::ListArgs>),
    /// Show one letter: where it came from, why it was put aside, what was decided of it. Values are masked
    #[command(before_help = "Example: penstock dlq show 3/117")]
    Show(show::ShowArgs),
    /// Put letters back on the topic they came from; a running worker does it. Without --apply it only shows which
    #[command(
        before_help = "Example: penstock dlq redrive --class not_storable --reason ticket-7 --apply"
    )]
    Redrive(Box<decide::RedriveArgs>),
    /// Leave letters for good: they are listed as discarded from then on. Without --apply it only shows which
    #[command(before_help = "Example: penstock dlq discard 3/117 --reason test-message --apply")]
    Discard(Box<decide::DiscardArgs>),
    /// Write letters as JSON lines, with all that was in them: personal data
    #[command(before_help = "Example: penstock dlq export --class not_an_account --out letters.ndjson")]
    Export(Box<export::ExportArgs>),
}

/// Runs `penstock dlq`.
pub(super) fn run(command: DlqCommand) -> anyhow::Result<Exit> {
    let runtime = runtime()?;
    match command {
        DlqCommand::List(args) => runtime.block_on(list::run(*args)),
        DlqCommand::Show(args) => runtime.block_on(show::run(args)),
        DlqCommand::Redrive(args) => runtime.block_on(decide::redrive(*args)),
        DlqCommand::Discard(args) => runtime.block_on(decide::discard(*args)),
        DlqCommand::Export(args) => runtime.block_on(export::run(*args)),
    }
}

/// Goes through the letters that are selected.
async fn each_letter(
    settings: &Settings,
    queue: &impl Queue,
    store: &impl Cases,
    selection: LetterSelection,
    mut with: impl FnMut(Letter) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let each = async |letters: Vec<Letter>| letters.into_iter().try_for_each(&mut with);
    each_part(settings, queue, store, selection, each).await
}

/// Goes through the letters that are selected, part by part.
async fn each_part(
    settings: &Settings,
    queue: &impl Queue,
    store: &impl Cases,
    selection: LetterSelection,
    mut with: impl AsyncFnMut(Vec<Letter>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (group, limits) = (options::worker_group(&settings.queue), options::reading(settings));
    let generation = options::generation(settings);
    let survey = Survey::begin(queue, store, generation, group, selection, limits).await;
    let mut survey = survey.map_err(unavailable)?;
    let progress = progress_bar(survey.letters(), "letters");
    while let Some(letters) = survey.next().await.map_err(unavailable)? {
        progress.set_position(survey.read());
        with(letters).await?;
    }
    progress.finish_and_clear();
    Ok(())
}
