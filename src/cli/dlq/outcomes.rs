//! What became of letters that were put back.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::Serialize;

use crate::account::{Coordinates, LogPartition, Offset, Partition};
use crate::cli::output::{note, shown, table, write_json};
use crate::cli::process::{AnyStore, beside_ports};
use crate::cli::{Exit, options, unavailable};
use crate::dead_letters::LetterPlace;
use crate::queue::{Queue, ReadRange, Reader, Topic, redriven_from};
use crate::settings::Settings;
use crate::store::{Case, CaseState, Cases, OffsetRange, PersistedOutcome, Store};

use super::decide::Chosen;
use super::list::letters;

/// Between two looks at what was asked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Cases that are asked for at a time.
const CHUNK: usize = 1_000;
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

/// Where the partitions of the submissions end.
type Ends = BTreeMap<Partition, Offset>;

/// How far the submissions are.
#[derive(Default)]
struct Reach {
    ends: Ends,
    /// What workers have told the outcomes of.
    committed: Ends,
}

/// Where the submissions end now.
pub(super) async fn ends(settings: &Settings) -> anyhow::Result<Ends> {
    Ok(reach(settings).await?.ends)
}

async fn reach(settings: &Settings) -> anyhow::Result<Reach> {
    beside_ports(settings, async |queue, _| {
        let mut reach = Reach::default();
        let group = options::worker_group(&settings.queue);
        for one in queue.standing(Topic::Submitted, group).await.map_err(unavailable)? {
            reach.ends.insert(one.partition, one.end);
            reach.committed.insert(one.partition, one.committed.unwrap_or(Offset(0)));
        }
        Ok(reach)
    })
    .await
}

/// Waits for what becomes of letters that were to be put back, and tells it.
pub(super) async fn report(
    settings: &Settings,
    chosen: &BTreeMap<Coordinates, Chosen>,
    ends_before: &Ends,
    wait: Duration,
    output: Output,
) -> anyhow::Result<Exit> {
    let until = Instant::now() + wait;
    let cases = settled(settings, chosen, until).await?;
    let back = put_back(settings, chosen, ends_before).await?;
    let committed = decided(settings, &back, until).await?;
    let mut ended = BTreeMap::new();
    let store = AnyStore::open_beside(settings).await.map_err(unavailable)?;
    for (letter, one) in chosen {
        let how = match cases.get(letter) {
            None => Ended::Requested,
            Some(case) => match case.state {
                CaseState::Requested => Ended::Requested,
                CaseState::Discarded => Ended::Failed("somebody else has discarded it".to_owned()),
                CaseState::Failed => Ended::Failed(case.problem.clone().unwrap_or_default()),
                CaseState::Redriven if one.topic == Some(Topic::Results) => Ended::Published,
                CaseState::Redriven => {
                    let at = back.get(&LetterPlace::from(*letter)).copied();
                    outcome(&store, one, at.filter(|at| is_behind(*at, &committed))).await?
                }
            },
        };
        ended.insert(*letter, how);
    }
    store.close().await;
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
    let store = AnyStore::open_beside(settings).await.map_err(unavailable)?;
    let (mut cases, mut open) = (BTreeMap::new(), chosen.keys().copied().collect::<Vec<_>>());
    loop {
        for places in open.chunks(CHUNK) {
            let range =
                |at: &Coordinates| OffsetRange { log: at.log, from: at.offset, to: at.offset.next() };
            let ranges: Vec<_> = places.iter().map(range).collect();
            let found = store.cases(&ranges).await.map_err(unavailable)?;
            cases.extend(found.into_iter().map(|case| (case.letter, case)));
        }
        let is_open = |at: &Coordinates| {
            cases.get(at).is_some_and(|case: &Case| case.state == CaseState::Requested)
        };
        open.retain(is_open);
        if open.is_empty() || Instant::now() >= until {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    store.close().await;
    Ok(cases)
}

/// Where letters stand now on the topic of submissions, as the records say that were appended since.
async fn put_back(
    settings: &Settings,
    chosen: &BTreeMap<Coordinates, Chosen>,
    ends_before: &Ends,
) -> anyhow::Result<BTreeMap<LetterPlace, Coordinates>> {
    let wanted: BTreeSet<_> = chosen.keys().map(|at| LetterPlace::from(*at)).collect();
    let generation = options::generation(settings);
    let ends = ends(settings).await?;
    beside_ports(settings, async |queue, _| {
        let mut back = BTreeMap::new();
        let range = |(partition, to): (&Partition, &Offset)| {
            let from = ends_before.get(partition).copied().unwrap_or(Offset(0));
            (from < *to).then_some(ReadRange { partition: *partition, from, to: *to })
        };
        let ranges = ends.iter().filter_map(range).collect();
        let mut reader = queue.open_reader(Topic::Submitted, ranges).await.map_err(unavailable)?;
        while !reader.is_done() {
            for received in reader.read(options::reading(settings)).await.map_err(unavailable)? {
                let Some((partition, offset)) = redriven_from(&received.record.headers) else {
                    continue;
                };
                let place = LetterPlace { partition, offset };
                if wanted.contains(&place) {
                    let log = LogPartition { generation, partition: received.partition };
                    back.insert(place, log.at(received.offset));
                }
            }
        }
        Ok(back)
    })
    .await
}

/// What workers have told the outcomes of, once that is all of these places or the time is over.
async fn decided(
    settings: &Settings,
    back: &BTreeMap<LetterPlace, Coordinates>,
    until: Instant,
) -> anyhow::Result<Ends> {
    loop {
        let committed = reach(settings).await?.committed;
        let are_decided = back.values().all(|at| is_behind(*at, &committed));
        if are_decided || Instant::now() >= until {
            return Ok(committed);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn is_behind(at: Coordinates, committed: &Ends) -> bool {
    committed.get(&at.log.partition).is_some_and(|committed| at.offset < *committed)
}

/// How a submission ended that was put back there and is decided on; what is nowhere is not decided on yet.
async fn outcome(store: &AnyStore, one: &Chosen, at: Option<Coordinates>) -> anyhow::Result<Ended> {
    let (Some(number), Some(at)) = (&one.number, at) else { return Ok(Ended::Undecided) };
    let outcomes = store.outcomes(number, OUTCOMES).await.map_err(unavailable)?;
    Ok(ended_at(&outcomes, at))
}

/// The outcome of what stands there; if it has none of its own, it repeats what was accepted before.
fn ended_at(outcomes: &[PersistedOutcome], at: Coordinates) -> Ended {
    let own = outcomes.iter().find(|found| found.coordinates == at);
    match own.or(outcomes.first()) {
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
