//! What became of letters that were put back.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::Serialize;

use crate::account::{Coordinates, LogPartition, Offset, Partition, Timestamp};
use crate::cli::output::{note, shown, table, write_json};
use crate::cli::process::{AnyStore, beside_ports};
use crate::cli::{Exit, options, unavailable};
use crate::dead_letters::{LetterPlace, LetterSelection, Standing};
use crate::queue::{Queue, Topic};
use crate::settings::Settings;
use crate::store::{Case, CaseState, Cases, OffsetRange, PersistedOutcome, Store};

use super::decide::Chosen;
use super::each_letter;
use super::list::letters;

/// Between two looks at what was asked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How far the clocks of those who put letters aside may be behind.
const CLOCKS_DIFFER: Duration = Duration::from_mins(10);
/// Outcomes of a number that are looked at.
const OUTCOMES: usize = 100;

/// A form of the outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// How many ended how, for people.
    Table,
    /// One JSON object a letter, for programs.
    Json,
}

/// How a letter ended that was to be put back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ended {
    /// By the verdict on the submission.
    Verdict(&'static str),
    /// It is an event that callbacks take up.
    Published,
    /// It was put aside again.
    DeadLetterAgain,
    /// It cannot be put back.
    Failed(String),
    /// It was put back, and is not decided on yet.
    Undecided,
    /// No worker has put it back yet.
    Requested,
}

impl Ended {
    fn text(&self) -> &str {
        match self {
            Self::Verdict(verdict) => verdict,
            Self::Published => "published",
            Self::DeadLetterAgain => "dead letter again",
            Self::Failed(_) => "cannot be put back",
            Self::Undecided => "not decided yet",
            Self::Requested => "not put back yet",
        }
    }

    fn is_done(&self) -> bool {
        matches!(self, Self::Verdict(_) | Self::Published)
    }
}

#[derive(Debug, Serialize)]
struct EndedJson<'e> {
    letter: String,
    outcome: &'e str,
    problem: Option<&'e str>,
}

/// Where each partition of the submissions ends, by the group's own look at it.
type Ends = BTreeMap<Partition, Offset>;

/// Where the submissions end now.
pub(super) async fn ends(settings: &Settings) -> anyhow::Result<Ends> {
    let mut ends = Ends::new();
    beside_ports(settings, async |queue, _| {
        let group = options::worker_group(&settings.queue);
        let standing = queue.standing(Topic::Submitted, group).await.map_err(unavailable)?;
        ends = standing.into_iter().map(|one| (one.partition, one.end)).collect();
        Ok(Exit::Ok)
    })
    .await?;
    Ok(ends)
}

/// Waits for what becomes of letters that were to be put back, and tells it.
pub(super) async fn report(
    settings: &Settings,
    chosen: &BTreeMap<Coordinates, Chosen>,
    began: Timestamp,
    ends_before: &Ends,
    wait: Duration,
    output: Output,
) -> anyhow::Result<Exit> {
    let until = Instant::now() + wait;
    let cases = settled(settings, chosen, until).await?;
    let is_decided = decided_up_to(settings, ends(settings).await?, until).await?;
    let mut ended = BTreeMap::new();
    beside_ports(settings, async |queue, store| {
        let mut again = BTreeSet::new();
        let since = LetterSelection {
            places: BTreeSet::new(),
            topic: None,
            class: None,
            reason: None,
            from: Some(began.earlier(CLOCKS_DIFFER)),
            to: None,
            standings: Standing::ALL.into(),
        };
        each_letter(settings, queue, store, since, |letter| {
            let from = letter.told.and_then(|told| told.redriven_from);
            again.extend(from.map(|(partition, offset)| LetterPlace { partition, offset }));
            Ok(())
        })
        .await?;
        for (letter, one) in chosen {
            let how = match cases.get(letter) {
                None => Ended::Requested,
                Some(case) => match case.state {
                    CaseState::Requested | CaseState::Discarded => Ended::Requested,
                    CaseState::Failed => Ended::Failed(case.problem.clone().unwrap_or_default()),
                    CaseState::Redriven if again.contains(&LetterPlace::from(*letter)) => {
                        Ended::DeadLetterAgain
                    }
                    CaseState::Redriven if one.topic == Some(Topic::Results) => Ended::Published,
                    CaseState::Redriven if !is_decided => Ended::Undecided,
                    CaseState::Redriven => outcome(store, one, ends_before).await?,
                },
            };
            ended.insert(*letter, how);
        }
        Ok(Exit::Ok)
    })
    .await?;
    write(&mut io::stdout().lock(), output, &ended)?;
    tell_what_is_left(&ended)?;
    Ok(if ended.values().all(Ended::is_done) { Exit::Ok } else { Exit::Failure })
}

/// The cases once none of them is to be put back any more, or the time is over.
async fn settled(
    settings: &Settings,
    chosen: &BTreeMap<Coordinates, Chosen>,
    until: Instant,
) -> anyhow::Result<BTreeMap<Coordinates, Case>> {
    let mut spans: BTreeMap<LogPartition, OffsetRange> = BTreeMap::new();
    for at in chosen.keys() {
        let (log, from, to) = (at.log, at.offset, at.offset.next());
        let span = spans.entry(log).or_insert(OffsetRange { log, from, to });
        (span.from, span.to) = (span.from.min(from), span.to.max(to));
    }
    let spans: Vec<_> = spans.into_values().collect();
    let store = AnyStore::open_beside(settings).await.map_err(unavailable)?;
    let cases = loop {
        let cases = match store.cases(&spans).await {
            Ok(cases) => cases,
            Err(error) => break Err(unavailable(error)),
        };
        let cases = cases.into_iter().filter(|case| chosen.contains_key(&case.letter));
        let cases: BTreeMap<_, _> = cases.map(|case| (case.letter, case)).collect();
        let is_settled = cases.values().all(|case| case.state != CaseState::Requested);
        if is_settled || Instant::now() >= until {
            break Ok(cases);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    store.close().await;
    cases
}

/// Whether the workers have told the outcomes of all submissions before these ends; waits for it.
async fn decided_up_to(settings: &Settings, ends: Ends, until: Instant) -> anyhow::Result<bool> {
    let group = options::worker_group(&settings.queue);
    loop {
        let mut is_decided = false;
        beside_ports(settings, async |queue, _| {
            let standing = queue.standing(Topic::Submitted, group).await.map_err(unavailable)?;
            is_decided = standing.iter().all(|one| {
                let end = ends.get(&one.partition).copied().unwrap_or(Offset(0));
                end == one.earliest || one.committed.is_some_and(|committed| committed >= end)
            });
            Ok(Exit::Ok)
        })
        .await?;
        if is_decided || Instant::now() >= until {
            return Ok(is_decided);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How a submission ended that was put back and is decided on.
async fn outcome(store: &AnyStore, one: &Chosen, ends_before: &Ends) -> anyhow::Result<Ended> {
    let Some(number) = &one.number else { return Ok(Ended::Undecided) };
    let outcomes = store.outcomes(number, OUTCOMES).await.map_err(unavailable)?;
    Ok(newest(&outcomes, ends_before))
}

/// The outcome of what was put back behind these ends; if there is none, it repeats what was accepted before.
fn newest(outcomes: &[PersistedOutcome], ends_before: &Ends) -> Ended {
    let is_new = |found: &&PersistedOutcome| {
        let end = ends_before.get(&found.coordinates.log.partition);
        end.is_none_or(|end| found.coordinates.offset >= *end)
    };
    let found = outcomes.iter().filter(is_new).max_by_key(|found| found.coordinates);
    match found.or(outcomes.first()) {
        Some(PersistedOutcome { outcome: Some(outcome), .. }) => {
            Ended::Verdict(outcome.verdict.as_str())
        }
        Some(PersistedOutcome { outcome: None, .. }) => Ended::DeadLetterAgain,
        None => Ended::Undecided,
    }
}

fn write(
    out: &mut impl Write,
    output: Output,
    ended: &BTreeMap<Coordinates, Ended>,
) -> anyhow::Result<()> {
    if output == Output::Json {
        return ended.iter().try_for_each(|(letter, how)| {
            let problem = if let Ended::Failed(problem) = how { Some(&**problem) } else { None };
            let letter = LetterPlace::from(*letter).to_string();
            write_json(out, &EndedJson { letter, outcome: how.text(), problem })
        });
    }
    let mut counts: BTreeMap<&Ended, u64> = BTreeMap::new();
    for how in ended.values() {
        *counts.entry(how).or_default() += 1;
    }
    let mut rows = table(["letters", "outcome", "why"]);
    for (how, count) in counts {
        let why = if let Ended::Failed(problem) = how { shown(problem) } else { String::new() };
        rows.add_row([count.to_string(), how.text().to_owned(), why]);
    }
    writeln!(out, "{rows}")?;
    Ok(())
}

/// Tells what to do about letters that are not at their end.
fn tell_what_is_left(ended: &BTreeMap<Coordinates, Ended>) -> io::Result<()> {
    let count = |wanted: &Ended| ended.values().filter(|how| *how == wanted).count() as u64;
    let requested = count(&Ended::Requested);
    if requested > 0 {
        note(&format!(
            "{} still to be put back: is a worker running? `penstock dlq list --state requested` shows them",
            letters(requested)
        ))?;
    }
    let undecided = count(&Ended::Undecided);
    if undecided > 0 {
        note(&format!("{} put back, but not decided on in this time", letters(undecided)))?;
    }
    let again = count(&Ended::DeadLetterAgain);
    if again > 0 {
        note(&format!(
            "{} put aside again for what is still wrong with them: `penstock dlq list` shows them anew",
            letters(again)
        ))?;
    }
    Ok(())
}
