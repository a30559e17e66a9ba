//! The run: every connection sends its batches one after the other and checks each answer before
//! the next one goes out. What is kept does not grow with the number of items.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cli::output::progress_bar;

use super::answers::Answers;
use super::body::write_batch;
use super::client::{Client, ClientError, Target, Wanted};
use super::expected::{Checked, Right};
use super::feed::Feed;
use super::pace::Pace;

/// Longest latency that is told apart.
const MAX_LATENCY: Duration = Duration::from_hours(1);

/// What is to be run.
#[derive(Debug)]
pub(super) struct Plan {
    /// What is sent.
    pub(super) feed: Feed,
    /// How many connections send it.
    pub(super) connections: u64,
    /// Items per second of all connections together; none for as many as go.
    pub(super) items_per_second: Option<f64>,
    /// Where it goes.
    pub(super) target: Target,
    /// Where answers are kept, if they are.
    pub(super) answers: Option<Answers>,
}

/// What came of a run, or of a part of it.
#[derive(Debug)]
pub(super) struct Tally {
    /// Answers against expectations.
    pub(super) checked: Checked,
    /// Microseconds from when a batch was due to its final answer.
    pub(super) latency_us: Histogram<u64>,
    /// Items answered.
    pub(super) items: u64,
    /// Batches answered.
    pub(super) batches: u64,
    /// Items whose final answer came before their outcome.
    pub(super) pending: u64,
    /// Batches sent again because they were not taken.
    pub(super) retries: u64,
    /// Batches sent again because outcomes were pending.
    pub(super) resends: u64,
}

impl Tally {
    fn new() -> Result<Self, RunError> {
        let longest_us = u64::try_from(MAX_LATENCY.as_micros()).unwrap_or(u64::MAX);
        let latency_us = Histogram::new_with_bounds(1, longest_us, 3).map_err(RunError::Histogram)?;
        Ok(Self {
            checked: Checked::default(),
            latency_us,
            items: 0,
            batches: 0,
            pending: 0,
            retries: 0,
            resends: 0,
        })
    }

    fn merge(&mut self, other: &Self) {
        self.checked.merge(&other.checked);
        // Both have the same bounds, so every value fits.
        let _ = self.latency_us.add(&other.latency_us);
        self.items += other.items;
        self.batches += other.batches;
        self.pending += other.pending;
        self.retries += other.retries;
        self.resends += other.resends;
    }
}

/// How a run ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// What came of what was sent.
    pub(super) tally: Tally,
    /// How long it took.
    pub(super) duration: Duration,
    /// Why it ended before its time.
    pub(super) failure: Option<RunError>,
    /// Whether it was told to stop.
    pub(super) stopped: bool,
}

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    /// A batch got no final answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Answers cannot be kept.
    #[error("the file of answers cannot be written")]
    Answers(#[source] std::io::Error),
    /// Latencies cannot be recorded; a defect.
    #[error("the latency histogram cannot be made")]
    Histogram(#[source] hdrhistogram::CreationError),
    /// A connection's task died; a defect.
    #[error("a connection's task died")]
    Task(#[source] tokio::task::JoinError),
}

/// Runs a plan to its end, until `stop` is cancelled or until a batch gets no final answer.
pub(super) async fn run(plan: Plan, stop: &CancellationToken) -> Result<Ended, RunError> {
    let progress = progress_bar(plan.feed.items(), "items");
    let start = Instant::now();
    let pace = Arc::new(Pace::new(plan.items_per_second, start));
    let plan = Arc::new(plan);
    let stop_connections = stop.child_token();
    let mut tasks = JoinSet::new();
    for number in 0..plan.connections {
        let connection = Connection {
            number,
            client: Client::new(&plan.target)?,
            plan: Arc::clone(&plan),
            pace: Arc::clone(&pace),
            progress: progress.clone(),
            stop: stop_connections.clone(),
            tally: Tally::new()?,
        };
        tasks.spawn(connection.run());
    }
    let mut tally = Tally::new()?;
    let mut failure = None;
    while let Some(ended) = tasks.join_next().await {
        let error = match ended {
            Ok((part, error)) => {
                tally.merge(&part);
                error
            }
            Err(error) => Some(RunError::Task(error)),
        };
        if let Some(error) = error {
            // The others would fail the same way; the first failure tells the cause.
            stop_connections.cancel();
            failure.get_or_insert(error);
        }
    }
    progress.finish_and_clear();
    let stopped = stop.is_cancelled() && tally.items < plan.feed.items();
    Ok(Ended { tally, duration: start.elapsed(), failure, stopped })
}

/// One connection and what it has found so far.
struct Connection {
    number: u64,
    client: Client,
    plan: Arc<Plan>,
    pace: Arc<Pace>,
    progress: ProgressBar,
    stop: CancellationToken,
    tally: Tally,
}

impl Connection {
    async fn run(mut self) -> (Tally, Option<RunError>) {
        let stop = self.stop.clone();
        for batch in self.plan.feed.batches_of(self.number) {
            // A batch that is given up here is taken or not; resuming the run settles it.
            match stop.run_until_cancelled(self.send(batch)).await {
                Some(Ok(())) => {}
                Some(Err(error)) => return (self.tally, Some(error)),
                None => break,
            }
        }
        (self.tally, None)
    }

    async fn send(&mut self, batch: u64) -> Result<(), RunError> {
        let feed = &self.plan.feed;
        let items: Vec<_> = feed.batch(batch).map(|index| feed.item(index)).collect();
        let mut body = Vec::new();
        write_batch(&mut body, feed, &items);
        let due = self.pace.turn(items.len()).await;
        let answer = self.client.send(&Bytes::from(body)).await?;
        if let Some(answers) = &self.plan.answers {
            answers.add(batch, &answer.body).map_err(RunError::Answers)?;
        }
        let tally = &mut self.tally;
        let latency_us = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
        tally.latency_us.saturating_record(latency_us);
        let right = match self.plan.target.wanted {
            Wanted::Outcomes { .. } => Right::Outcome,
            Wanted::Queued => Right::OutcomeOrAccepted,
        };
        tally.checked.check(batch, &items, feed.business_unit(), right, &answer.body);
        tally.items += items.len() as u64;
        tally.batches += 1;
        tally.pending += answer.pending;
        tally.retries += answer.retries;
        tally.resends += answer.resends;
        self.progress.inc(items.len() as u64);
        Ok(())
    }
}
