//! `penstock dlq redrive` and `discard`: what becomes of letters.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::account::{CommunicationNumber, Coordinates, Submission};
use crate::cli::config::PlaceArgs;
use crate::cli::moment::now;
use crate::cli::operator::{Grounds, ReasonArgs, Said, operator};
use crate::cli::output::note;
use crate::cli::process::{AnyStore, beside_ports, beside_store};
use crate::cli::recorded::{Intended, Recorded, digest_of, recorded};
use crate::cli::{Exit, Misused, unavailable};
use crate::dead_letters::{Groups, Letter, LetterPlace, LetterSelection, Standing};
use crate::queue::Topic;
use crate::settings::{Loaded, Settings};
use crate::store::{CaseState, Cases, Decided, Decision, OperatorCommand, Store, Wanted};

use super::list::{letters, write_groups};
use super::outcomes::{Output, report};
use super::selection::{SelectionArgs, subject};
use super::{each_letter, each_part};

/// Letters that are decided on at a time.
const CHUNK: usize = 1_000;

/// Options of `penstock dlq redrive`.
#[derive(Args, Debug)]
pub(in crate::cli) struct RedriveArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// Also those that were discarded
    #[arg(long)]
    discarded: bool,
    #[command(flatten)]
    reason: ReasonArgs,
    /// How long to wait for their outcomes, a day at most
    #[arg(long, value_name = "TIME", value_parser = parse_wait, default_value = "2m")]
    wait: Duration,
    /// How the outcomes are told
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Do it
    #[arg(long)]
    apply: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Options of `penstock dlq discard`.
#[derive(Args, Debug)]
pub(in crate::cli) struct DiscardArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    #[command(flatten)]
    reason: ReasonArgs,
    /// Do it
    #[arg(long)]
    apply: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What is needed of a letter to tell what became of it.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    /// The topic that it came from.
    pub(super) topic: Option<Topic>,
    /// Its number, if it is a submission after all.
    pub(super) number: Option<CommunicationNumber>,
}

impl Chosen {
    fn of(letter: &Letter) -> Self {
        let submission = letter.submission();
        Self {
            topic: letter.told.as_ref().and_then(|told| told.topic),
            number: submission.map(|submission| submission.account.communication_number.clone()),
        }
    }
}

/// Letters that are chosen, and what they have in common.
#[derive(Default)]
struct Choice {
    chosen: BTreeMap<Coordinates, Chosen>,
    letters: Groups,
    /// Those that cannot be put back, by why.
    obstacles: BTreeMap<&'static str, u64>,
    left_out: BTreeSet<LetterPlace>,
}

/// Why a letter is left out whose account has moved on.
const SUPERSEDED: &str = "a newer submission of the same account was accepted since";
/// Longest wait for outcomes.
const LONGEST_WAIT: Duration = Duration::from_hours(24);
/// Letters that are told by name.
const SHOWN: usize = 5;

fn parse_wait(text: &str) -> Result<Duration, String> {
    let wait = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if wait > LONGEST_WAIT { Err("must be a day at most".to_owned()) } else { Ok(wait) }
}

impl Choice {
    /// Chooses a letter, unless something stands against it.
    fn add(&mut self, letter: &Letter, obstacle: Option<&'static str>) {
        if let Some(obstacle) = obstacle {
            *self.obstacles.entry(obstacle).or_default() += 1;
            self.left_out.insert(LetterPlace::from(letter.at));
            return;
        }
        self.letters.add(letter);
        self.chosen.insert(letter.at, Chosen::of(letter));
    }
}

pub(super) async fn redrive(args: RedriveArgs) -> anyhow::Result<Exit> {
    let RedriveArgs { selection, discarded, reason, wait, output, apply, place } = args;
    let Loaded { settings, .. } = place.load()?;
    let grounds = Said::from(reason).grounds_beside(&settings).await?;
    let mut standings = vec![Standing::Open, Standing::Decided(CaseState::Failed)];
    standings.extend(discarded.then_some(Standing::Decided(CaseState::Discarded)));
    let selection = selection.selection(standings.into_iter().collect(), &grounds);
    let asked = subject(&selection);
    let named = selection.places.clone();
    let choice = to_redrive(&settings, selection).await?;
    for (obstacle, count) in &choice.obstacles {
        note(&format!("{} cannot be put back: {obstacle}", letters(*count)))?;
    }
    if !is_to_be_done(&choice, &named, "put back", apply)? {
        return Ok(ending(&choice));
    }
    let ends = super::outcomes::ends(&settings).await?;
    let decision = if discarded { Decision::RedriveDiscarded } else { Decision::Redrive };
    let done = match decide(&settings, &choice, decision, asked, grounds).await? {
        Recorded::Done(done) => done,
        Recorded::Requested => return Ok(Exit::Requested),
    };
    let others = choice.chosen.len() as u64 - done;
    if others > 0 {
        note(&format!("{} of them decided on by somebody else meanwhile", letters(others)))?;
    }
    note(&format!("{} to be put back by a running worker", letters(done)))?;
    report(&settings, &choice.chosen, &ends, wait, output).await
}

pub(super) async fn discard(args: DiscardArgs) -> anyhow::Result<Exit> {
    let DiscardArgs { selection, reason, apply, place } = args;
    let Loaded { settings, .. } = place.load()?;
    let grounds = Said::from(reason).grounds_beside(&settings).await?;
    let standings = [Standing::Open, Standing::Decided(CaseState::Failed)];
    let selection = selection.selection(standings.into(), &grounds);
    let asked = subject(&selection);
    let named = selection.places.clone();
    let choice = to_discard(&settings, selection).await?;
    if !is_to_be_done(&choice, &named, "discarded", apply)? {
        return Ok(ending(&choice));
    }
    let done = match decide(&settings, &choice, Decision::Discard, asked, grounds).await? {
        Recorded::Done(done) => done,
        Recorded::Requested => return Ok(Exit::Requested),
    };
    note(&format!(
        "{} discarded; `penstock dlq redrive --discarded` takes them up again",
        letters(done)
    ))?;
    Ok(Exit::Ok)
}

/// Finds the letters that are meant and may be put back.
async fn to_redrive(settings: &Settings, selection: LetterSelection) -> anyhow::Result<Choice> {
    beside_ports(settings, async |queue, store| {
        let mut choice = Choice::default();
        each_part(settings, queue, store, selection, async |letters| {
            let newer = of_newer_accounts(store, &letters).await?;
            for letter in &letters {
                let superseded = newer.contains(&letter.at).then_some(SUPERSEDED);
                choice.add(letter, letter.obstacle().or(superseded));
            }
            Ok(())
        })
        .await?;
        Ok(choice)
    })
    .await
}

/// The letters that were submissions of accounts which have a newer state.
async fn of_newer_accounts(
    store: &AnyStore,
    letters: &[Letter],
) -> anyhow::Result<BTreeSet<Coordinates>> {
    let submissions = letters.iter().filter_map(|letter| Some((letter.at, letter.submission()?)));
    let submissions: Vec<_> = submissions.collect();
    let accounts = submissions.iter().map(|(_, submission)| submission.account.key()).collect();
    let view = store.load(&Wanted { accounts, ..Wanted::default() }).await.map_err(unavailable)?;
    let has_newer = |submission: &Submission| {
        let state = view.accounts.get(&submission.account.key());
        state.is_some_and(|state| state.version.may_follow(submission.version()))
    };
    Ok(submissions.iter().filter(|(_, it)| has_newer(it)).map(|(at, _)| *at).collect())
}

/// Finds the letters that are meant and may be discarded.
async fn to_discard(settings: &Settings, selection: LetterSelection) -> anyhow::Result<Choice> {
    beside_ports(settings, async |queue, store| {
        let mut choice = Choice::default();
        each_letter(settings, queue, store, selection, |letter| {
            choice.add(&letter, None);
            Ok(())
        })
        .await?;
        Ok(choice)
    })
    .await
}

/// Whether there is something to do, and it is to be done; tells what it would be otherwise. An error when a letter is
/// named of which this cannot be done.
fn is_to_be_done(
    choice: &Choice,
    named: &BTreeSet<LetterPlace>,
    done: &str,
    apply: bool,
) -> anyhow::Result<bool> {
    let chosen: BTreeSet<_> = choice.chosen.keys().map(|at| LetterPlace::from(*at)).collect();
    let is_missing = |place: &&LetterPlace| !chosen.contains(place) && !choice.left_out.contains(place);
    let missing: Vec<_> = named.iter().filter(is_missing).map(ToString::to_string).collect();
    if !missing.is_empty() {
        let more = if missing.len() > SHOWN { ", …" } else { "" };
        let shown = missing.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        let told = format!(
            "{} that cannot be {done}: {shown}{more}; `penstock dlq show` tells how one stands, `penstock dlq list \
             --each` which there are. Nothing is changed",
            letters(missing.len() as u64)
        );
        return Err(Misused(told).into());
    }
    let count = chosen.len() as u64;
    if count == 0 {
        note(&format!("no letter is selected that can be {done}"))?;
    } else if !apply {
        write_groups(&mut io::stdout().lock(), &choice.letters)?;
        note(&format!("{} would be {done}; nothing is changed, --apply does it", letters(count)))?;
    }
    Ok(count > 0 && apply)
}

/// How a command ends that changes nothing.
fn ending(choice: &Choice) -> Exit {
    if choice.chosen.is_empty() { Exit::Ok } else { Exit::Differences }
}

/// Notes what is decided, part by part, and records it; tells for how many letters that is new. `asked` is which
/// letters were meant; the record also tells which those were.
async fn decide(
    settings: &Settings,
    choice: &Choice,
    decision: Decision,
    asked: Value,
    grounds: Grounds,
) -> anyhow::Result<Recorded<u64>> {
    let reason = grounds.reason().unwrap_or_default().to_owned();
    let places: Vec<_> = choice.chosen.keys().copied().collect();
    let named = places.iter().map(|at| LetterPlace::from(*at).to_string());
    let subject = json!({
        "selection": asked, "letters": places.len(), "letters_sha256": digest_of(named),
    });
    let command = match decision {
        Decision::Redrive | Decision::RedriveDiscarded => OperatorCommand::DlqRedrive,
        Decision::Discard => OperatorCommand::DlqDiscard,
    };
    let intended = Intended { command, subject, grounds };
    beside_store(settings, async |store| {
        recorded(settings, store, intended, async || {
            let decided = Decided { decision, operator: operator(), reason, now: now() };
            let mut done = 0;
            for places in places.chunks(CHUNK) {
                done += store.decide(places, &decided).await.map_err(unavailable)?;
            }
            Ok(done)
        })
        .await
    })
    .await
}
