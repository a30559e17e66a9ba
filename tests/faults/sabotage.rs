//! Negative controls: a lane with one guard switched off, in a process of its own over the real
//! servers, in a situation that the guard is for. The checker must object; with the guard it must not.
//!
//! Guards cannot be switched off in the binary. The lane is the real one, run by this test program; what
//! breaks the guard stands between it and the real ports.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use penstock::account::{CommunicationNumber, Generation, Offset, Partition, Plan, Policy, View};
use penstock::queue::kafka::{KafkaConsumer, KafkaQueue, KafkaQueueOptions, KafkaReader};
use penstock::queue::{
    Assignment, ChannelInbox, PollLimits, Queue, QueueError, ReadRange, Record, Reply, ReplyAddress,
    Start, Topic,
};
use penstock::store::postgres::{PostgresStore, PostgresStoreOptions};
use penstock::store::{Applied, OffsetRange, PersistedOutcome, Store, StoreError, Wanted};
use penstock::telemetry::Metrics;
use penstock::worker::{Backoff, BrakeOptions, Lane, LaneOptions};
use tokio_util::sync::CancellationToken;

use crate::installation::{GROUP, PARTITIONS};

/// Numbers that begin so make a lane stop at its gate.
pub const GATE: &str = "gate";
/// What a lane says when it stands at its gate.
pub const AT_GATE: &str = "at the gate";
/// What a lane says when what it was about to apply is applied, or was found stale.
pub const PAST_GATE: &str = "past the gate";

/// A guard that is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// None is: the control of the control.
    None,
    /// A frontier moves from wherever it stands.
    FrontierCompareAndSet,
    /// An account is written over whatever version is there.
    AccountCompareAndSet,
    /// What was applied before is decided anew.
    ReadBack,
    /// Offsets are committed before events are acknowledged.
    OffsetsAfterAcknowledgement,
}

/// Where a lane waits for a line on its input, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    Nowhere,
    BeforeApply,
    AfterApply,
}

impl Guard {
    const ALL: [(&'static str, Self); 5] = [
        ("none", Self::None),
        ("frontier", Self::FrontierCompareAndSet),
        ("account", Self::AccountCompareAndSet),
        ("read-back", Self::ReadBack),
        ("offsets", Self::OffsetsAfterAcknowledgement),
    ];

    /// Its word on the command line of the lane's process.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, guard)| *guard == self).map_or("none", |(word, _)| word)
    }
}

impl Gate {
    const ALL: [(&'static str, Self); 3] =
        [("nowhere", Self::Nowhere), ("before", Self::BeforeApply), ("after", Self::AfterApply)];

    /// Its word on the command line of the lane's process.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, gate)| *gate == self).map_or("nowhere", |(word, _)| word)
    }
}

/// Runs one lane until the process is ended: brokers, prefix, database URL, guard, gate.
pub async fn run_lane(arguments: &[String]) -> anyhow::Result<()> {
    let [brokers, prefix, url, guard, gate] = arguments else {
        anyhow::bail!("a lane takes five arguments");
    };
    let guard = Guard::ALL.iter().find(|(word, _)| word == guard).context("an unknown guard")?.1;
    let gate = Gate::ALL.iter().find(|(word, _)| word == gate).context("an unknown gate")?.1;
    let queue_options = KafkaQueueOptions {
        brokers: brokers.clone(),
        topic_prefix: prefix.clone(),
        partitions: PARTITIONS,
        session_timeout: Duration::from_secs(6),
        heartbeat_interval: Duration::from_millis(500),
        ..KafkaQueueOptions::default()
    };
    let queue = KafkaQueue::open(queue_options, Metrics::disabled()).await?;
    let consumer = queue.subscribe(Topic::Submitted, GROUP).await?;
    let inner = PostgresStore::open(PostgresStoreOptions::new(url.as_str())).await?;
    let store = SabotagedStore { inner, guard, gate, is_past_gate: Arc::default() };
    let options = LaneOptions {
        generation: Generation(1),
        event_type_prefix: "penstock".to_owned(),
        poll: PollLimits { max_records: 100, max_bytes: 1 << 20, max_wait: Duration::from_millis(100) },
        commit_interval: Duration::from_millis(200),
        backoff: Backoff { initial: Duration::from_millis(50), max: Duration::from_secs(1) },
        brake: BrakeOptions { max_share: 1.0, window_records: 1_000, pause: Duration::ZERO },
    };
    let queue = SabotagedQueue { inner: queue, guard };
    let policy = Arc::new(Policy::default());
    let lane = Lane::new(0, queue, consumer, store, policy, options, Metrics::disabled());
    Box::pin(lane.run(CancellationToken::new())).await?;
    Ok(())
}

/// The real queue, but for events that are acknowledged before they are sent.
#[derive(Clone)]
struct SabotagedQueue {
    inner: KafkaQueue,
    guard: Guard,
}

impl Queue for SabotagedQueue {
    type Consumer = KafkaConsumer;
    type Reader = KafkaReader;
    type Inbox = ChannelInbox;

    fn system(&self) -> &'static str {
        self.inner.system()
    }

    fn max_record_bytes(&self) -> usize {
        self.inner.max_record_bytes()
    }

    async fn publish(&self, topic: Topic, records: Vec<Record>) -> Result<(), QueueError> {
        if self.guard == Guard::OffsetsAfterAcknowledgement && topic == Topic::Results {
            // They would be sent a little later, but the process dies before that.
            return Ok(());
        }
        self.inner.publish(topic, records).await
    }

    async fn subscribe(&self, topic: Topic, group: &str) -> Result<KafkaConsumer, QueueError> {
        self.inner.subscribe(topic, group).await
    }

    async fn find(
        &self,
        topic: Topic,
        partition: Partition,
        start: Start,
    ) -> Result<Offset, QueueError> {
        self.inner.find(topic, partition, start).await
    }

    async fn open_reader(
        &self,
        topic: Topic,
        ranges: Vec<ReadRange>,
    ) -> Result<KafkaReader, QueueError> {
        self.inner.open_reader(topic, ranges).await
    }

    async fn open_inbox(&self) -> Result<ChannelInbox, QueueError> {
        self.inner.open_inbox().await
    }

    async fn reply(&self, to: ReplyAddress, replies: Vec<Reply>) {
        self.inner.reply(to, replies).await;
    }

    async fn check(&self) -> Result<(), QueueError> {
        self.inner.check().await
    }

    async fn standing(&self, topic: Topic, group: &str) -> Result<Vec<Assignment>, QueueError> {
        self.inner.standing(topic, group).await
    }

    async fn set_committed(
        &self,
        topic: Topic,
        group: &str,
        partition: Partition,
        offset: Offset,
    ) -> Result<(), QueueError> {
        self.inner.set_committed(topic, group, partition, offset).await
    }
}

/// The real store behind a gate, with one of its guards undone.
#[derive(Clone)]
struct SabotagedStore {
    inner: PostgresStore,
    guard: Guard,
    gate: Gate,
    is_past_gate: Arc<AtomicBool>,
}

impl SabotagedStore {
    /// Waits once at its gate; true when it did.
    async fn wait_at(&self, gate: Gate, plan: &Plan) -> bool {
        let numbers = plan.claims.iter().map(|claim| &claim.communication.number);
        let mut numbers = numbers.chain(plan.rejections.iter().map(|note| &note.communication.number));
        let is_meant = numbers.any(|number| number.as_str().starts_with(GATE));
        if self.gate != gate || !is_meant || self.is_past_gate.swap(true, Ordering::Relaxed) {
            return false;
        }
        crate::program::say(AT_GATE);
        // An ended input is as good as a line: whoever wrote there is gone.
        let read = || std::io::stdin().read_line(&mut String::new());
        let _ = tokio::task::spawn_blocking(read).await;
        true
    }

    /// The plan as if the view had shown what is there now.
    async fn undo_compare_and_set(&self, plan: &Plan) -> Result<Plan, StoreError> {
        let nothing = |log| OffsetRange { log, from: Offset(0), to: Offset(0) };
        let wanted = Wanted {
            accounts: plan.accounts.iter().map(|write| write.key.clone()).collect(),
            ranges: plan.frontiers.iter().map(|step| nothing(step.log)).collect(),
            ..Wanted::default()
        };
        let now = self.inner.load(&wanted).await?;
        let mut plan = plan.clone();
        if matches!(self.guard, Guard::FrontierCompareAndSet | Guard::ReadBack) {
            for step in &mut plan.frontiers {
                step.expected = now.frontiers.get(&step.log).copied();
                step.next = step.next.max(step.expected.unwrap_or(step.next));
            }
        }
        if self.guard == Guard::AccountCompareAndSet {
            for write in &mut plan.accounts {
                write.expected = now.accounts.get(&write.key).map(|state| state.version);
            }
        }
        Ok(plan)
    }
}

impl Store for SabotagedStore {
    fn system(&self) -> &'static str {
        self.inner.system()
    }

    async fn load(&self, wanted: &Wanted) -> Result<View, StoreError> {
        let mut view = self.inner.load(wanted).await?;
        if self.guard == Guard::ReadBack {
            view.rejections.clear();
            for range in wanted.ranges.iter().filter(|range| range.from < range.to) {
                if let Some(frontier) = view.frontiers.get_mut(&range.log) {
                    *frontier = (*frontier).min(range.from);
                }
            }
        }
        Ok(view)
    }

    async fn apply(&self, plan: &Plan) -> Result<Applied, StoreError> {
        let was_at_gate = self.wait_at(Gate::BeforeApply, plan).await;
        let applied = match self.guard {
            Guard::None | Guard::OffsetsAfterAcknowledgement => self.inner.apply(plan).await,
            Guard::FrontierCompareAndSet | Guard::AccountCompareAndSet | Guard::ReadBack => {
                let plan = self.undo_compare_and_set(plan).await?;
                self.inner.apply(&plan).await
            }
        };
        if was_at_gate {
            crate::program::say(PAST_GATE);
        }
        self.wait_at(Gate::AfterApply, plan).await;
        applied
    }

    async fn outcomes(
        &self,
        number: &CommunicationNumber,
        limit: usize,
    ) -> Result<Vec<PersistedOutcome>, StoreError> {
        self.inner.outcomes(number, limit).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.inner.check().await
    }
}
