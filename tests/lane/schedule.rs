//! The scheduler: one seed, one order of events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use penstock::account::{Generation, LogPartition, Offset, Partition, Policy};
use penstock::queue::{PollLimits, Queue, Topic};
use penstock::telemetry::Metrics;
use penstock::worker::{Backoff, BrakeOptions, Lane, LaneOptions, StepOutcome};

use crate::checker::Facts;
use crate::facts;
use crate::feed::{Feed, record, scripted};
use crate::memory::queue::MemoryQueue;
use crate::memory::store::{Guard, MemoryStore, Tables};
use crate::random::Random;
use crate::scheduler::{self, everything_is_committed, poll_now};

pub const GROUP: &str = "workers";
const PARTITIONS: u32 = 3;
const LANES: usize = 2;
const ACTIONS: u32 = 600;
const RECORDS: u32 = 60;
/// Turns of every lane within which all of them have nothing left to do, once nothing fails any more.
const PROGRESS_TURNS: u32 = 4_000;

type Process = scheduler::Process<StepOutcome>;

/// What a log still holds when a store is set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    Everything,
    WhatTheStoreLost,
    Less,
}

/// What a run does differently from what is right.
#[allow(clippy::struct_excessive_bools, reason = "each is one thing that may happen")]
#[derive(Clone, Copy, Default)]
pub struct Schedule {
    pub guard_off: Option<Guard>,
    pub acknowledges_early: bool,
    pub appends_backwards: bool,
    pub feed: Feed,
    pub restores_backups: bool,
    /// The log loses what is done, and holds places without records.
    pub trims: bool,
}

impl Schedule {
    pub fn without(guard: Guard) -> Self {
        Self { guard_off: Some(guard), ..Self::default() }
    }
}

pub struct Run {
    schedule: Schedule,
    max_records: usize,
    random: Random,
    queue: MemoryQueue,
    store: MemoryStore,
    processes: Vec<Process>,
    backup: Option<Tables>,
    clock: Instant,
    fed: u32,
}

impl Run {
    pub fn new(seed: u64, schedule: Schedule) -> Self {
        let queue = MemoryQueue::new(PARTITIONS);
        if schedule.acknowledges_early {
            queue.acknowledge_early();
        }
        if schedule.appends_backwards {
            queue.append_backwards();
        }
        let store = schedule.guard_off.map_or_else(MemoryStore::default, MemoryStore::without);
        let mut run = Self {
            schedule,
            max_records: 1 + usize::try_from(seed % 6).unwrap(),
            random: Random(seed),
            queue,
            store,
            processes: Vec::new(),
            backup: None,
            clock: Instant::now(),
            fed: 0,
        };
        run.processes = (0..LANES).map(|_| run.start()).collect();
        run
    }

    /// Lets things happen, then lets the lanes drain in peace and checks the promises.
    pub fn finish(mut self) -> Result<(), String> {
        let mut high_water = BTreeMap::new();
        for _ in 0..ACTIONS {
            self.act()?;
            // A restored store is behind the committed offsets until it has caught up.
            if !self.schedule.restores_backups {
                self.check_commits(&mut high_water)?;
            }
        }
        while self.fed < RECORDS {
            self.feed();
        }
        self.trouble()?;
        if self.schedule.trims {
            (0..PARTITIONS).for_each(|partition| {
                self.queue.append_mark(Topic::Submitted, Partition(partition));
            });
        }
        self.drain()?;
        self.queue.settle();
        facts::check(&self.queue, &self.store, self.schedule.feed)?;
        self.everything_is_committed()
    }

    /// Things fail while nobody crashes: a new process would hide that the one before stood still.
    fn trouble(&mut self) -> Result<(), String> {
        for _ in 0..ACTIONS {
            let index = usize::try_from(self.random.below(LANES as u64)).unwrap();
            let below = u32::try_from(self.random.below(12)).unwrap();
            match self.random.below(40) {
                0 => self.queue.slow_polls(below),
                1 => self.queue.slow_publishing(below),
                2 => self.queue.fail_publishing(below * below),
                3 => self.store.fail_next(below / 4),
                4 => self.clock += Duration::from_millis(400),
                _ => self.poll(index)?,
            }
        }
        Ok(())
    }

    /// What there is after the feed was processed in peace.
    pub fn finished_facts(mut self) -> Facts {
        self.feed_and_drain(RECORDS).unwrap();
        facts::facts(&self.queue, &self.store)
    }

    /// The first lane is frozen `points` points after an UPDATE of an unknown account arrived; only
    /// then another producer creates that account, on a partition that is read before. The second
    /// lane takes over and finds the UPDATE in order; then the first one wakes up.
    pub fn taken_over_after(mut self, points: u32) -> Result<(), String> {
        let (frozen, other) = (0, 1);
        self.drain()?;
        self.queue.append(Topic::Submitted, scripted("e", "n1", "UPDATE"));
        for _ in 0..points {
            self.poll(frozen)?;
        }
        self.processes[frozen].expire();
        self.queue.append(Topic::Submitted, scripted("c", "n2", "CREATE"));
        for _ in 0..200 {
            self.poll(other)?;
        }
        self.drain()?;
        facts::check(&self.queue, &self.store, Feed::SpreadAccounts)
    }

    /// The store is set back under lanes that run and have nothing left to read; then `more` records
    /// follow. Meanwhile the log loses what `keeps` says of what the store has lost.
    pub fn set_back_under_running_lanes(mut self, more: u32, keeps: Keeps) -> Result<(), String> {
        self.feed_and_drain(RECORDS / 3)?;
        let backup = self.store.tables();
        let ends_of_backup = self.queue.ends(Topic::Submitted);
        self.feed_and_drain(RECORDS / 3)?;
        for (partition, end) in self.queue.ends(Topic::Submitted) {
            let of_backup = ends_of_backup.get(&partition).copied().unwrap_or(Offset(0));
            let begin = match keeps {
                Keeps::Everything => Offset(0),
                Keeps::WhatTheStoreLost => of_backup,
                Keeps::Less => Offset(u64::midpoint(of_backup.0, end.0)),
            };
            self.queue.trim(Topic::Submitted, partition, begin);
        }
        self.store.restore(backup);
        self.feed_and_drain(more)?;
        facts::check(&self.queue, &self.store, self.schedule.feed)?;
        self.everything_is_committed()
    }

    fn feed_and_drain(&mut self, records: u32) -> Result<(), String> {
        (0..records).for_each(|_| self.feed());
        self.drain()
    }

    /// A partition whose beginning is lost while lanes cannot say yet from where to read it: the store is
    /// away for long. `missing` says whether something is lost that was not applied.
    pub fn trimmed_before_it_is_started(mut self, is_missing: bool) -> Result<(), String> {
        self.feed_and_drain(RECORDS / 3)?;
        let ends = self.queue.ends(Topic::Submitted);
        self.store.fail_next(1_000);
        (0..LANES).for_each(|index| self.crash(index));
        (0..RECORDS / 3).for_each(|_| self.feed());
        for _ in 0..100 {
            (0..LANES).try_for_each(|index| self.poll(index))?;
        }
        for (partition, end) in ends {
            let begin = if is_missing { end.next() } else { end };
            self.queue.trim(Topic::Submitted, partition, begin);
        }
        self.drain()?;
        facts::check(&self.queue, &self.store, self.schedule.feed)?;
        self.everything_is_committed()
    }

    /// Lets the lanes work while no event is acknowledged: how many records are persisted then, and how
    /// many of them are committed. What comes after is as promised.
    pub fn held_up(mut self) -> Result<(usize, u64), String> {
        self.drain()?;
        self.queue.slow_publishing(1_000);
        self.queue.append(Topic::Submitted, scripted("c", "n0", "CREATE"));
        for number in 1..9 {
            self.queue.append(Topic::Submitted, scripted("c", &format!("n{number}"), "UPDATE"));
        }
        for _ in 0..500 {
            (0..LANES).try_for_each(|index| self.poll(index))?;
        }
        let persisted = self.store.tables().ledger.len();
        let committed =
            self.queue.committed(Topic::Submitted, GROUP).values().map(|offset| offset.0).sum();
        self.queue.slow_publishing(0);
        self.drain()?;
        facts::check(&self.queue, &self.store, self.schedule.feed)?;
        self.everything_is_committed()?;
        Ok((persisted, committed))
    }

    fn start(&mut self) -> Process {
        let queue = self.queue.new_handle();
        let consumer = poll_now(queue.subscribe(Topic::Submitted, GROUP)).unwrap();
        let member = consumer.id();
        let metrics = Metrics::disabled();
        let (store, policy) = (self.store.clone(), Arc::new(Policy::default()));
        let mut lane =
            Lane::new(0, queue.clone(), consumer, store, policy, options(self.max_records), metrics);
        Process::new(queue, member, self.clock, async move |now| lane.step(now).await)
    }

    fn act(&mut self) -> Result<(), String> {
        let index = usize::try_from(self.random.below(LANES as u64)).unwrap();
        match self.random.below(106) {
            0..70 => return self.poll(index),
            70..78 => self.feed(),
            // Up to longer than a batch takes to be read, persisted and followed by the next.
            78..80 => self.queue.slow_publishing(u32::try_from(self.random.below(12)).unwrap()),
            100 => self.queue.slow_polls(u32::try_from(self.random.below(8)).unwrap()),
            101..103 => self.queue.fail_publishing(u32::try_from(self.random.below(64)).unwrap()),
            103 => self.processes[index].lose_a_partition(),
            104 if self.schedule.trims => self.trim(),
            105 if self.schedule.trims => self.append_mark(),
            80..83 => self.crash(index),
            83..91 => self.freeze(index),
            91..94 => self.queue.fail_next(u32::try_from(self.random.below(4)).unwrap()),
            94..97 => self.store.fail_next(u32::try_from(self.random.below(4)).unwrap()),
            97 => self.set_back(),
            98 if self.schedule.restores_backups => self.back_up_or_restore(),
            _ => self.clock += Duration::from_millis(400),
        }
        Ok(())
    }

    fn feed(&mut self) {
        if self.fed < RECORDS {
            let record = record(&mut self.random, self.fed, self.schedule.feed);
            self.queue.append(Topic::Submitted, record);
            self.fed += 1;
        }
    }

    fn crash(&mut self, index: usize) {
        self.processes[index].crash();
        self.processes[index] = self.start();
    }

    /// Takes a backup of the store; the next time the store is set back to it, under running lanes or
    /// with everything stopped.
    fn back_up_or_restore(&mut self) {
        let Some(backup) = self.backup.take() else {
            // A backup from before a partition was ever heard of cannot be told from a foreign store.
            let tables = self.store.tables();
            self.backup = (tables.frontiers.len() == PARTITIONS as usize).then_some(tables);
            return;
        };
        if self.random.below(2) == 0 {
            (0..LANES).for_each(|index| self.crash(index));
        }
        self.store.restore(backup);
    }

    /// A lane stands still for so long that the group goes on without it.
    fn freeze(&mut self, index: usize) {
        self.processes[index].freeze(self.random.below(60));
    }

    /// An operator sets the group back, which takes that nobody is in it.
    fn set_back(&mut self) {
        for index in 0..LANES {
            self.crash(index);
        }
        let partition = self.partition();
        // Not to what the log has lost.
        let offset = Offset(self.random.below(8)).max(self.queue.begin(Topic::Submitted, partition));
        self.queue.set_back(Topic::Submitted, GROUP, partition, offset);
    }

    fn partition(&mut self) -> Partition {
        Partition(u32::try_from(self.random.below(u64::from(PARTITIONS))).unwrap())
    }

    /// The log of a partition loses some of what is applied, told and committed, also by the backup.
    fn trim(&mut self) {
        let partition = self.partition();
        let log = LogPartition { generation: Generation(1), partition };
        let frontier = |tables: &Tables| tables.frontiers.get(&log).copied().unwrap_or(Offset(0));
        let applied = frontier(&self.store.tables());
        let restored = self.backup.as_ref().map_or(applied, frontier);
        let committed = self.queue.committed(Topic::Submitted, GROUP);
        let committed = committed.get(&partition).copied().unwrap_or(Offset(0));
        let done = applied.min(restored).min(committed);
        self.queue.trim(Topic::Submitted, partition, Offset(self.random.below(done.0 + 1)));
    }

    fn append_mark(&mut self) {
        let partition = self.partition();
        self.queue.append_mark(Topic::Submitted, partition);
    }

    /// Lets one lane go on up to its next point.
    fn poll(&mut self, index: usize) -> Result<(), String> {
        self.processes[index].poll(self.clock)
    }

    /// Everybody works until nobody finds anything more to do, which nothing but work may take long.
    fn drain(&mut self) -> Result<(), String> {
        self.queue.fail_next(0);
        self.queue.fail_publishing(0);
        self.store.fail_next(0);
        let mut idle_rounds = 0;
        for _ in 0..PROGRESS_TURNS {
            // Idle for long enough that a lane looks whether the store was set back.
            self.clock += Duration::from_millis(150);
            for index in 0..LANES {
                self.poll(index)?;
            }
            let is_idle = self.processes.iter().all(|process| process.last() == Some(StepOutcome::Idle));
            idle_rounds = if is_idle { idle_rounds + 1 } else { 0 };
            if idle_rounds > 50 {
                return Ok(());
            }
        }
        Err(format!("the lanes did not come to rest within {PROGRESS_TURNS} turns"))
    }

    /// Promise 5 at this very moment.
    fn check_commits(&self, high_water: &mut BTreeMap<Partition, Offset>) -> Result<(), String> {
        for (partition, offset) in self.queue.committed(Topic::Submitted, GROUP) {
            let before = high_water.insert(partition, offset);
            if before < Some(offset) {
                facts::is_done_up_to(&self.queue, &self.store, partition, offset)?;
            }
        }
        Ok(())
    }

    fn everything_is_committed(&self) -> Result<(), String> {
        everything_is_committed(&self.queue, Topic::Submitted, GROUP)
    }
}

pub fn options(max_records: usize) -> LaneOptions {
    LaneOptions {
        generation: Generation(1),
        event_type_prefix: "penstock".to_owned(),
        poll: PollLimits { max_records, max_bytes: 1 << 20, max_wait: Duration::ZERO },
        commit_interval: Duration::from_secs(1),
        backoff: Backoff { initial: Duration::from_millis(1), max: Duration::from_millis(1) },
        brake: BrakeOptions { max_share: 1.0, window_records: 1_000, pause: Duration::ZERO },
    }
}
