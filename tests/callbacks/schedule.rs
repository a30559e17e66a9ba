//! The scheduler: one seed, one order of events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use penstock::account::{Generation, Offset, Partition, Timestamp};
use penstock::callbacks::breaker::BreakerOptions;
use penstock::callbacks::handshake::{Question, SenderOrigin};
use penstock::callbacks::routing::{DeliverFrom, Filter, Glob};
use penstock::callbacks::schedule::Schedule as RetrySchedule;
use penstock::callbacks::{
    Ambient, DeletedEvents, Deliverer, DelivererOptions, Endpoint, Housekeeper, HousekeepingOptions,
    StepOutcome,
};
use penstock::queue::{Headers, PollLimits, Queue, Record, Topic};
use penstock::store::{DeliveryState, EndpointName};
use penstock::telemetry::Metrics;
use uuid::Uuid;

use crate::checker;
use crate::memory::deliveries::{Backup, Guard, MemoryDeliveries};
use crate::memory::queue::{MemberId, MemoryQueue};
use crate::random::Random;
use crate::receivers::{ASKED, DEAD, ENDPOINTS, ORDERED, Receivers, WITH_HISTORY};
use crate::scheduler::{self, everything_is_committed, poll_now};

const GROUP: &str = "callbacks";
const PARTITIONS: u32 = 3;
const ACTIONS: u32 = 500;
const EVENTS: u32 = 40;
/// Accounts whose events they are.
const ACCOUNTS: u64 = 5;
/// Turns that one delivery takes at most, of the process that has it.
const TURNS_A_DELIVERY: u32 = 5;
/// Turns for which a process that was frozen still stands.
const LONGEST_FREEZE: u32 = 60;
/// Turns of everybody after which a pass of time comes while nothing fails any more.
const TURNS_A_PASS: u32 = 40;
const PASS_MS: u32 = 2_000;
const START_MS: i64 = 1_700_000_000_000;
/// Events from long before there was anybody to deliver them, and their numbers.
const HISTORY: std::ops::Range<u32> = 1_000..1_006;
const HISTORY_MS: i64 = START_MS - 24 * 3_600_000;

type Process = scheduler::Process<StepOutcome>;

/// What happens to processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Two crash and stand still as they like.
    Rough,
    /// One crashes, and its group is set back; nobody else can send what it has sent.
    Alone,
    /// Two go on for ever, so that they share what is parked.
    Calm,
    /// Two crash and stand still as they like, and the store is set back to what it held a while ago.
    Restored,
}

/// What a run does differently from what is right, or from what is usual.
#[derive(Clone, Copy)]
pub struct Schedule {
    pub guard_off: Option<Guard>,
    pub max_waiting: usize,
    pub fate: Fate,
    /// There is an event that the store cannot hold.
    pub has_poison: bool,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { guard_off: None, max_waiting: 20, fate: Fate::Rough, has_poison: false }
    }
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
    deliveries: MemoryDeliveries,
    receivers: Receivers,
    processes: Vec<Process>,
    /// What they do for all; it outlives them.
    housekeepers: Vec<scheduler::Process<Duration>>,
    clock: Instant,
    time_ms: Arc<AtomicI64>,
    fed: u32,
    /// When each event was fed first.
    fed_at: BTreeMap<u32, i64>,
    backup: Option<Backup>,
    /// Committed offsets that were found right.
    checked: BTreeMap<Partition, Offset>,
    /// Recorded frontiers that were found right.
    recorded: BTreeMap<Partition, Offset>,
}

impl Run {
    pub fn new(seed: u64, schedule: Schedule) -> Self {
        let deliveries =
            schedule.guard_off.map_or_else(MemoryDeliveries::default, MemoryDeliveries::without);
        if schedule.has_poison {
            deliveries.poison(checker::POISON);
        }
        let mut run = Self {
            schedule,
            max_records: 1 + usize::try_from(seed % 6).unwrap(),
            random: Random(seed),
            queue: MemoryQueue::new(PARTITIONS),
            receivers: Receivers::new(seed, deliveries.clone(), schedule.fate),
            deliveries,
            processes: Vec::new(),
            housekeepers: Vec::new(),
            clock: Instant::now(),
            time_ms: Arc::new(AtomicI64::new(START_MS)),
            fed: 0,
            fed_at: BTreeMap::new(),
            backup: None,
            checked: BTreeMap::new(),
            recorded: BTreeMap::new(),
        };
        HISTORY.for_each(|number| run.queue.append(Topic::Results, record(number, HISTORY_MS)));
        let processes = if schedule.fate == Fate::Alone { 1 } else { 2 };
        run.processes = (0..processes).map(|_| run.start()).collect();
        run.housekeepers = (0..2).map(|_| run.start_housekeeper()).collect();
        run
    }

    /// Lets things happen, then lets everything drain in peace and checks the promises.
    pub fn finish(mut self) -> Result<(), String> {
        if self.schedule.fate == Fate::Calm {
            self.share_partitions()?;
        }
        for _ in 0..ACTIONS {
            self.act()?;
            self.check_commits()?;
            self.receivers.violation().map_or(Ok(()), Err)?;
        }
        while self.fed < EVENTS {
            self.feed();
        }
        self.drain()?;
        if let Some(violation) = self.receivers.violation() {
            return Err(violation);
        }
        checker::check(&self.queue, &self.deliveries, &self.receivers)?;
        self.everything_is_committed()
    }

    fn start_housekeeper(&self) -> scheduler::Process<Duration> {
        let time = Arc::clone(&self.time_ms);
        let clock = move || Timestamp::from_unix_millis(time.load(Ordering::Relaxed));
        let names = ENDPOINTS.into_iter().map(|name| EndpointName::parse(name).unwrap()).collect();
        let ambient = Ambient::new(clock, || 0.0);
        let metrics = Metrics::disabled();
        let mut housekeeper =
            Housekeeper::new(self.deliveries.clone(), names, housekeeping(), ambient, metrics);
        let nobody = MemberId(0);
        scheduler::Process::new(self.queue.clone(), nobody, self.clock, async move |_| {
            Ok::<_, String>(housekeeper.round().await)
        })
    }

    fn start(&mut self) -> Process {
        let queue = self.queue.new_handle();
        let consumer = poll_now(queue.subscribe(Topic::Results, GROUP)).unwrap();
        let member = consumer.id();
        let (time, chance) =
            (Arc::clone(&self.time_ms), AtomicI64::new(self.random.next().cast_signed()));
        let ambient = Ambient::new(
            move || Timestamp::from_unix_millis(time.load(Ordering::Relaxed)),
            move || {
                let mut random = Random(chance.load(Ordering::Relaxed).cast_unsigned());
                let drawn = u32::try_from(random.below(1_000)).unwrap();
                chance.store(random.0.cast_signed(), Ordering::Relaxed);
                f64::from(drawn) / 1_000.0
            },
        );
        let mut deliverer = Deliverer::new(
            queue.clone(),
            consumer,
            self.deliveries.clone(),
            self.receivers.sender(),
            ENDPOINTS.into_iter().map(endpoint).collect(),
            options(self.max_records, self.schedule.max_waiting),
            ambient,
            Metrics::disabled(),
        );
        Process::new(queue, member, self.clock, async move |now| deliverer.step(now).await)
    }

    /// Lets everybody get partitions before there is anything on them.
    fn share_partitions(&mut self) -> Result<(), String> {
        for _ in 0..200 {
            (0..self.processes.len()).try_for_each(|index| self.poll(index))?;
        }
        Ok(())
    }

    fn act(&mut self) -> Result<(), String> {
        let index = usize::try_from(self.random.below(self.processes.len() as u64)).unwrap();
        match (self.random.below(104), self.schedule.fate) {
            (0..70, _) => return self.poll(index),
            (70..80, _) => self.feed(),
            (80..83, Fate::Rough | Fate::Alone) | (80..81, Fate::Restored) => self.crash(index),
            (81..86, Fate::Restored) => self.back_up_or_restore(),
            (83..87, Fate::Rough) | (86..87, Fate::Restored) => self.freeze(index),
            (83..84, Fate::Alone) => self.set_back(),
            (100, _) => self.queue.slow_polls(u32::try_from(self.random.below(8)).unwrap()),
            (101, _) => self.queue.fail_publishing(u32::try_from(self.random.below(16)).unwrap()),
            (102, Fate::Rough | Fate::Restored) => self.processes[index].lose_a_partition(),
            (103, _) => self.trim(),
            (87..89, _) => self.queue.fail_next(u32::try_from(self.random.below(4)).unwrap()),
            (89..92, _) => self.deliveries.fail_next(u32::try_from(self.random.below(4)).unwrap()),
            _ => {
                // Without crashes no lease may end before its request does.
                let longest = if self.schedule.fate == Fate::Calm { 3 } else { 5 };
                let millis = self.random.pick(&[5, 50, 400, 3_000, 20_000][..longest]);
                self.pass(millis);
            }
        }
        Ok(())
    }

    fn pass(&mut self, millis: u32) {
        self.clock += Duration::from_millis(millis.into());
        self.time_ms.fetch_add(millis.into(), Ordering::Relaxed);
    }

    /// Another event; now and then one that was published before, as a worker does after a crash, or
    /// something that is no event.
    fn feed(&mut self) {
        if self.fed >= EVENTS {
            return;
        }
        self.fed += 1;
        if self.random.below(10) == 0 {
            // A place without a record, as the end of a transaction leaves.
            let partition = self.partition();
            self.queue.append_mark(Topic::Results, partition);
        }
        let number = match self.random.below(10) {
            0 => u32::try_from(self.random.below(self.fed.into())).unwrap(),
            _ => self.fed,
        };
        let is_garbage = number == self.fed && self.random.below(15) == 0;
        let now = self.time_ms.load(Ordering::Relaxed);
        let time = *self.fed_at.entry(number).or_insert(now);
        let record = if is_garbage { garbage(number) } else { record(number, time) };
        self.queue.append(Topic::Results, record);
    }

    fn crash(&mut self, index: usize) {
        self.processes[index].crash();
        self.deliveries.crash();
        self.processes[index] = self.start();
    }

    /// The log of a partition loses some of what is recorded and committed, also by the backup.
    fn trim(&mut self) {
        let partition = self.partition();
        let of = |offsets: &BTreeMap<Partition, Offset>| offsets.get(&partition).copied();
        let recorded = of(&self.deliveries.recorded_frontiers());
        let restored = self.backup.as_ref().map_or(recorded, |backup| of(&backup.recorded_frontiers()));
        let committed = of(&self.queue.committed(Topic::Results, GROUP));
        let done = recorded.min(restored).min(committed).unwrap_or(Offset(0));
        self.queue.trim(Topic::Results, partition, Offset(self.random.below(done.0 + 1)));
    }

    fn partition(&mut self) -> Partition {
        Partition(u32::try_from(self.random.below(PARTITIONS.into())).unwrap())
    }

    /// An operator sets the group back, which takes that nobody is in it.
    fn set_back(&mut self) {
        self.crash(0);
        let partition = self.partition();
        // Not to what the log has lost.
        let offset = Offset(self.random.below(8)).max(self.queue.begin(Topic::Results, partition));
        self.queue.set_back(Topic::Results, GROUP, partition, offset);
        self.checked.clear();
    }

    /// The store is backed up, or loses all that came since. One that knows nothing of a partition is refused,
    /// so it is backed up only when it knows all.
    fn back_up_or_restore(&mut self) {
        if self.deliveries.recorded_frontiers().len() < PARTITIONS as usize {
            return;
        }
        match self.backup.take_if(|_| self.random.below(2) == 0) {
            Some(backup) => self.deliveries.restore(&backup),
            None => self.backup = Some(self.deliveries.backup()),
        }
    }

    /// A process stands still for so long that the group goes on without it.
    fn freeze(&mut self, index: usize) {
        self.processes[index].freeze(self.random.below(LONGEST_FREEZE.into()));
    }

    /// Lets one process go on up to its next point.
    fn poll(&mut self, index: usize) -> Result<(), String> {
        let is_turn = self.random.below(10) == 0;
        if let Some(housekeeper) = self.housekeepers.get_mut(index).filter(|_| is_turn) {
            housekeeper.poll(self.clock)?;
        }
        self.processes[index].poll(self.clock)
    }

    /// Turns of everybody within which nothing is left to do, once nothing fails any more: what each delivery takes,
    /// what each process may still stand still for, the longest wait that may be under way, and the sweep that finds
    /// every line that is left without a head after it.
    fn progress_turns(&self) -> u32 {
        let events = EVENTS + u32::try_from(HISTORY.len()).unwrap();
        let work = events * u32::try_from(ENDPOINTS.len()).unwrap() * TURNS_A_DELIVERY;
        let freezes = u32::try_from(self.processes.len()).unwrap() * LONGEST_FREEZE;
        let DelivererOptions { schedule, breaker, lease, .. } = options(self.max_records, 0);
        let longest_retry = schedule.waits.iter().max().unwrap().mul_f64(1.0 + schedule.jitter);
        let HousekeepingOptions { interval, max_sweep, .. } = housekeeping();
        let rounds = u32::try_from(ACCOUNTS).unwrap().div_ceil(u32::try_from(max_sweep).unwrap());
        let waits = [longest_retry, schedule.max_retry_after, lease, breaker.max_probe_interval];
        let longest = waits.into_iter().max().unwrap() + interval * (rounds + 1);
        let waited = longest.as_millis() / u128::from(PASS_MS);
        work + freezes + u32::try_from(waited).unwrap() * TURNS_A_PASS
    }

    /// Receivers get well, and everybody works until nothing is left to do.
    fn drain(&mut self) -> Result<(), String> {
        self.queue.fail_next(0);
        self.queue.fail_publishing(0);
        self.deliveries.fail_next(0);
        self.receivers.heal();
        let most_turns = self.progress_turns();
        for turn in 0..most_turns {
            (0..self.processes.len()).try_for_each(|index| self.poll(index))?;
            if turn.is_multiple_of(TURNS_A_PASS) {
                self.pass(PASS_MS);
            }
            self.check_commits()?;
            if turn.is_multiple_of(50) && self.is_at_rest() {
                return Ok(());
            }
        }
        Err(format!("the deliverers did not come to rest within {most_turns} turns"))
    }

    fn is_at_rest(&self) -> bool {
        let is_done = |state| matches!(state, DeliveryState::Delivered | DeliveryState::Exhausted);
        let mut rows = self.deliveries.rows().into_iter();
        let is_settled = rows.all(|row| is_done(row.state) || row.key.endpoint.as_str() == DEAD);
        is_settled && self.everything_is_committed().is_ok()
    }

    fn check_commits(&mut self) -> Result<(), String> {
        let recorded = self.deliveries.recorded_frontiers();
        if recorded != self.recorded {
            checker::is_recorded_up_to(&self.queue, &self.deliveries, &recorded, "said to be recorded")?;
            self.recorded = recorded;
        }
        // What was committed may be lost by the store; it is read again.
        let committed = self.queue.committed(Topic::Results, GROUP);
        if committed != self.checked && self.schedule.fate != Fate::Restored {
            checker::is_recorded_up_to(&self.queue, &self.deliveries, &committed, "committed")?;
            self.checked = committed;
        }
        Ok(())
    }

    fn everything_is_committed(&self) -> Result<(), String> {
        everything_is_committed(&self.queue, Topic::Results, GROUP)
    }
}

fn record(number: u32, time: i64) -> Record {
    let verdict = if number.is_multiple_of(3) { "rejected" } else { "accepted" };
    let mut headers = Headers::default();
    headers.push("content-type", "application/json");
    headers.push("ce_specversion", "1.0");
    headers.push("ce_id", Uuid::from_u128(number.into()).to_string());
    headers.push("ce_source", format!("n-{number}"));
    headers.push("ce_type", format!("penstock.account.{verdict}"));
    headers.push("ce_time", Timestamp::from_unix_millis(time).to_string());
    let key = Bytes::from(format!("LT/acc-{}", u64::from(number) % ACCOUNTS));
    Record { key, value: Bytes::from(format!("{{\"number\": {number}}}")), headers }
}

fn garbage(number: u32) -> Record {
    let key = Bytes::from(format!("LT/acc-{}", u64::from(number) % ACCOUNTS));
    Record { key, value: Bytes::new(), headers: Headers::default() }
}

fn endpoint(name: &str) -> Endpoint {
    let event_types = match name {
        "accepted-only" => vec![Glob::new("*.accepted")],
        _ => Vec::new(),
    };
    Endpoint {
        name: EndpointName::parse(name).unwrap(),
        filter: Filter { event_types, ..Filter::default() },
        deliver_from: if name == WITH_HISTORY {
            DeliverFrom::Beginning
        } else {
            DeliverFrom::Configured
        },
        keys: Vec::new().into(),
        is_ordered: name == ORDERED,
        batch: 1,
        is_structured: false,
        concurrency: 2,
        rate: None,
        drain_rate: None,
        handshake: (name == ASKED).then(|| Question {
            origin: SenderOrigin::parse("penstock.bank.example").unwrap(),
            requests_per_minute: None,
        }),
    }
}

fn housekeeping() -> HousekeepingOptions {
    HousekeepingOptions {
        interval: Duration::from_secs(30),
        slice_pause: Duration::from_secs(1),
        retention: Duration::from_hours(1_000),
        max_parked_age: Duration::from_hours(1_000),
        lease: Duration::from_mins(1),
        max_sweep: 2,
    }
}

fn options(max_records: usize, max_waiting: usize) -> DelivererOptions {
    let waits = [5, 30, 60, 120, 120, 120, 120, 120, 120].map(Duration::from_secs).to_vec();
    DelivererOptions {
        generation: Generation(1),
        deleted_events: DeletedEvents::Refuse,
        schedule: RetrySchedule { waits, jitter: 0.2, max_retry_after: Duration::from_mins(1) },
        breaker: BreakerOptions {
            min_failures: 4,
            failing_for: Duration::from_secs(2),
            probe_interval: Duration::from_secs(5),
            max_probe_interval: Duration::from_secs(20),
        },
        poll: PollLimits { max_records, max_bytes: 1 << 20, max_wait: Duration::ZERO },
        max_waiting,
        patience: Duration::from_millis(100),
        lease: Duration::from_mins(1),
        claim_interval: Duration::from_millis(200),
        max_claim: 4,
        refresh_interval: Duration::from_secs(1),
        commit_interval: Duration::from_secs(1),
        retry_wait: Duration::from_millis(1),
    }
}
