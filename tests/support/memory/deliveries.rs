//! The deliveries port in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use penstock::account::{LogPartition, Offset, Partition, Timestamp};
use penstock::events::CloudEvent;
use penstock::store::{
    Attempt, Attendance, Backlog, Changed, Claim, Counted, Deliveries, DeliveryKey, DeliveryRecord,
    DeliveryState, Ending, EndpointName, EndpointState, FrontierStep, GivingUp, KnownDeliveries, Leased,
    Line, Mark, NewDelivery, Place, ProcessId, RecordedFrontier, RecordedFrontiers, Redelivered,
    Released, Selection, Settled, StateCount, StoreError, WantedDeliveries,
};

use super::point;

/// A delivery as it is kept. They stand in the order in which they were recorded.
#[derive(Clone, Debug)]
pub struct Row {
    pub key: DeliveryKey,
    pub account: Arc<str>,
    pub event: Arc<CloudEvent>,
    pub state: DeliveryState,
    is_ordered: bool,
    recorded_at: Timestamp,
    since: Timestamp,
    reason: Option<String>,
    due_at: Timestamp,
    lease: u32,
    failures: u32,
    attempts: u32,
    last_attempt: Option<Attempt>,
    failed_attempts: Vec<Attempt>,
    number: i64,
}

impl Row {
    fn place(&self) -> Option<Place> {
        Place::of(self.state, self.since, self.number)
    }

    fn line(&self) -> Line {
        Line { endpoint: self.key.endpoint.clone(), account: Arc::clone(&self.account) }
    }

    fn holds(&self) -> bool {
        matches!(self.state, DeliveryState::Parked | DeliveryState::Waiting)
    }

    fn end(&mut self, ending: Ending, attempt: Option<&Attempt>, now: Timestamp) {
        if !matches!(ending, Ending::Parked { .. }) {
            self.since = now.max(self.since);
        }
        match ending {
            Ending::Delivered => self.state = DeliveryState::Delivered,
            Ending::Exhausted => self.state = DeliveryState::Exhausted,
            Ending::Parked { due_at } => (self.state, self.due_at) = (DeliveryState::Parked, due_at),
        }
        if let Some(attempt) = attempt {
            self.attempts += 1;
            self.last_attempt = Some(attempt.clone());
        }
    }

    fn note(&mut self, ending: Ending, attempt: Option<&Attempt>) {
        self.failed_attempts.extend(attempt.filter(|_| ending != Ending::Delivered).cloned());
    }

    fn is_selected(&self, selection: &Selection) -> bool {
        let Selection { endpoint, state, number, event, from, to } = selection;
        endpoint.as_ref().is_none_or(|name| *name == self.key.endpoint)
            && state.is_none_or(|state| state == self.state)
            && number.as_ref().is_none_or(|number| *number == self.event.source)
            && event.is_none_or(|event| event == self.key.event)
            && from.is_none_or(|from| self.since >= from)
            && to.is_none_or(|to| self.since < to)
    }
}

/// What keeps deliveries right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// What is said to be recorded is.
    Recording,
    /// The same, while there are no frontiers.
    Committing,
    /// What is recorded is shown as such.
    LookAtRecorded,
    /// A line in which something is parked is shown as held.
    LookAtHeld,
    /// What is parked behind something parked waits.
    Waiting,
    /// What is leased is due to nobody else.
    Leases,
    /// How far partitions are recorded is kept with what is recorded, so that it is set back with it.
    Frontiers,
    /// Frontiers move only from where they are said to stand.
    Stamps,
    /// Nothing is recorded with a frontier that stands elsewhere.
    Fences,
    /// What waits behind something that ends is due.
    Releasing,
    /// Since when endpoints are known survives the processes that told it.
    Registering,
}

/// What the store held at a moment.
#[derive(Clone)]
pub struct Backup {
    rows: Vec<Row>,
    endpoints: BTreeMap<EndpointName, EndpointState>,
    frontiers: HashMap<LogPartition, RecordedFrontier>,
}

impl Backup {
    /// Up to where each partition was recorded.
    pub fn recorded_frontiers(&self) -> BTreeMap<Partition, Offset> {
        offsets(&self.frontiers)
    }
}

fn offsets(frontiers: &HashMap<LogPartition, RecordedFrontier>) -> BTreeMap<Partition, Offset> {
    frontiers.iter().map(|(log, frontier)| (log.partition, frontier.next)).collect()
}

#[derive(Default)]
struct State {
    guard_off: Option<Guard>,
    rows: Vec<Row>,
    endpoints: BTreeMap<EndpointName, EndpointState>,
    frontiers: HashMap<LogPartition, RecordedFrontier>,
    processes: BTreeMap<ProcessId, Timestamp>,
    /// Source of the event that cannot be recorded.
    poison: Option<String>,
    outages: u32,
    /// Deliveries recorded so far.
    recorded: i64,
    /// Since when endpoints were known at first, whatever became of the store.
    first_known: BTreeMap<EndpointName, Timestamp>,
}

#[derive(Clone, Default)]
pub struct MemoryDeliveries {
    state: Arc<Mutex<State>>,
}

impl MemoryDeliveries {
    pub fn without(guard: Guard) -> Self {
        let deliveries = Self::default();
        deliveries.lock().guard_off = Some(guard);
        deliveries
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn rows(&self) -> Vec<Row> {
        self.lock().rows.clone()
    }

    /// Up to where each partition is recorded.
    pub fn recorded_frontiers(&self) -> BTreeMap<Partition, Offset> {
        offsets(&self.lock().frontiers)
    }

    /// Since when an endpoint is known.
    pub fn first_known(&self, endpoint: &str) -> Option<Timestamp> {
        let state = self.lock();
        state.first_known.iter().find(|(name, _)| name.as_str() == endpoint).map(|(_, since)| *since)
    }

    /// A process is gone, and everything with it that is kept nowhere else.
    pub fn crash(&self) {
        let mut state = self.lock();
        if !state.is_on(Guard::Registering) {
            state.endpoints.values_mut().for_each(|known| known.known_since = None);
        }
    }

    pub fn backup(&self) -> Backup {
        let state = self.lock();
        let State { rows, endpoints, frontiers, .. } = &*state;
        Backup { rows: rows.clone(), endpoints: endpoints.clone(), frontiers: frontiers.clone() }
    }

    /// Loses everything since the backup, as a restore or a standby that was behind does.
    pub fn restore(&self, backup: &Backup) {
        let mut state = self.lock();
        let Backup { rows, endpoints, frontiers } = backup.clone();
        (state.rows, state.endpoints) = (rows, endpoints);
        if state.is_on(Guard::Frontiers) {
            state.frontiers = frontiers;
        }
    }

    pub fn state(&self, endpoint: &str, event_id: &str) -> Option<DeliveryState> {
        let state = self.lock();
        let is_it =
            |key: &DeliveryKey| key.endpoint.as_str() == endpoint && key.event.to_string() == event_id;
        state.rows.iter().find(|row| is_it(&row.key)).map(|row| row.state)
    }

    /// From now on no delivery of this event can be recorded.
    pub fn poison(&self, source: &str) {
        self.lock().poison = Some(source.to_owned());
    }

    pub fn is_poisoned(&self) -> bool {
        self.lock().poison.is_some()
    }

    /// The next `operations` calls fail; half of those that write are carried out all the same.
    pub fn fail_next(&self, operations: u32) {
        self.lock().outages = operations;
    }

    /// An operation between two points.
    async fn between<T>(&self, operation: impl FnOnce(&mut State) -> T) -> Result<T, StoreError> {
        point().await;
        let result = {
            let mut state = self.lock();
            let outage = || StoreError::Unavailable { action: "a test", cause: "an outage".into() };
            if state.outages == 0 {
                Ok(operation(&mut state))
            } else {
                state.outages -= 1;
                if state.outages.is_multiple_of(2) {
                    operation(&mut state);
                }
                Err(outage())
            }
        };
        point().await;
        result
    }
}

impl State {
    fn is_on(&self, guard: Guard) -> bool {
        self.guard_off != Some(guard)
    }

    fn has_frontiers(&self) -> bool {
        self.is_on(Guard::Committing)
    }

    fn is_held(&self, line: &Line) -> bool {
        self.rows.iter().any(|row| row.holds() && row.line() == *line)
    }

    fn is_parked(&self, line: &Line) -> bool {
        self.rows.iter().any(|row| row.state == DeliveryState::Parked && row.line() == *line)
    }

    /// Whether a frontier stands where it is said to.
    fn may_move(&self, step: &FrontierStep) -> bool {
        let known = self.frontiers.get(&step.log).map(|frontier| frontier.stamp);
        let is_expected = known == step.expected || known == Some(step.stamp);
        is_expected || !self.has_frontiers() || !self.is_on(Guard::Stamps)
    }

    fn move_frontier(&mut self, step: &FrontierStep) {
        if self.has_frontiers() {
            let frontier = RecordedFrontier { next: step.next, stamp: step.stamp };
            self.frontiers.insert(step.log, frontier);
        }
    }

    fn record(&mut self, new: &NewDelivery, now: Timestamp) {
        let (key, attempt) = (&new.key, new.attempt.as_ref());
        if let Some(row) = self.rows.iter_mut().find(|row| row.key == *key) {
            row.note(new.ending, attempt);
            if new.ending == Ending::Delivered && row.state != DeliveryState::Delivered {
                row.end(new.ending, attempt, now);
                row.lease += 1;
                row.reason = None;
            }
            return;
        }
        let waits = self.is_on(Guard::Waiting)
            && new.is_ordered
            && matches!(new.ending, Ending::Parked { .. })
            && self.is_held(&new.line());
        self.recorded += 1;
        let mut row = Row {
            key: key.clone(),
            account: Arc::clone(&new.account),
            event: Arc::clone(&new.event),
            state: DeliveryState::Parked,
            is_ordered: new.is_ordered,
            recorded_at: now,
            since: now,
            reason: None,
            due_at: now,
            lease: 0,
            failures: new.failures,
            attempts: 0,
            last_attempt: None,
            failed_attempts: Vec::new(),
            number: self.recorded,
        };
        row.end(new.ending, attempt, now);
        row.note(new.ending, attempt);
        if waits {
            row.state = DeliveryState::Waiting;
        }
        self.rows.push(row);
    }

    fn settle(&mut self, settled: &Settled, now: Timestamp) {
        let (ending, attempt) = (settled.ending, settled.attempt.as_ref());
        let Some(row) = self.rows.iter_mut().find(|row| row.key == settled.key) else { return };
        row.note(ending, attempt);
        if row.state == DeliveryState::Parked && row.lease == settled.lease {
            row.end(ending, attempt, now);
            row.failures = settled.failures;
            if row.is_ordered && row.state != DeliveryState::Parked {
                let line = row.line();
                self.release(&line, now);
            }
        }
    }

    fn release(&mut self, line: &Line, now: Timestamp) -> bool {
        if self.is_parked(line) || !self.is_on(Guard::Releasing) {
            return false;
        }
        let mut waiting = self.rows.iter_mut().filter(|row| row.state == DeliveryState::Waiting);
        let Some(next) = waiting.find(|row| row.line() == *line) else { return false };
        (next.state, next.due_at) = (DeliveryState::Parked, now);
        true
    }
}

impl Deliveries for MemoryDeliveries {
    async fn look(&self, wanted: &WantedDeliveries) -> Result<KnownDeliveries, StoreError> {
        self.between(|state| KnownDeliveries {
            recorded: {
                let is_on = state.is_on(Guard::LookAtRecorded);
                let is_recorded =
                    |key: &&DeliveryKey| is_on && state.rows.iter().any(|row| row.key == **key);
                wanted.keys.iter().filter(is_recorded).cloned().collect()
            },
            held: {
                let is_held = |line: &&Line| state.is_on(Guard::LookAtHeld) && state.is_held(line);
                wanted.lines.iter().filter(is_held).cloned().collect()
            },
            frontiers: {
                let has_frontiers = state.has_frontiers();
                let is_wanted = |log: &LogPartition| {
                    wanted.logs.iter().any(|wanted| {
                        wanted.partition == log.partition && wanted.generation >= log.generation
                    })
                };
                let known = state.frontiers.iter().filter(|(log, _)| has_frontiers && is_wanted(log));
                let known = known.map(|(log, frontier)| (*log, *frontier)).collect();
                RecordedFrontiers { known, is_upgraded: !has_frontiers }
            },
        })
        .await
    }

    async fn record(
        &self,
        new: &[NewDelivery],
        frontiers: &[FrontierStep],
        now: Timestamp,
    ) -> Result<Vec<LogPartition>, StoreError> {
        self.between(|state| {
            if new.iter().any(|new| state.poison.as_deref() == Some(new.event.source.as_str())) {
                return Err(StoreError::Poison { action: "a test", cause: "it does not fit".into() });
            }
            let stale = frontiers.iter().filter(|step| !state.may_move(step));
            let stale: Vec<_> = stale.map(|step| step.log).collect();
            if !stale.is_empty() && state.is_on(Guard::Fences) {
                return Ok(stale);
            }
            // The last one is forgotten when the guard is off.
            let is_forgotten = !state.is_on(Guard::Recording) || !state.is_on(Guard::Committing);
            let count = new.len() - usize::from(is_forgotten && !new.is_empty());
            new[..count].iter().for_each(|new| state.record(new, now));
            frontiers
                .iter()
                .filter(|step| !stale.contains(&step.log))
                .for_each(|step| state.move_frontier(step));
            Ok(stale)
        })
        .await?
    }

    async fn claim(
        &self,
        claims: &[Claim],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Leased>, StoreError> {
        self.between(|state| {
            let has_leases = state.is_on(Guard::Leases);
            let mut leased = Vec::new();
            for claim in claims {
                let mut due: Vec<&mut Row> = state
                    .rows
                    .iter_mut()
                    .filter(|row| row.key.endpoint == claim.endpoint)
                    .filter(|row| row.state == DeliveryState::Parked && row.due_at <= now)
                    .collect();
                due.sort_by_key(|row| row.due_at);
                for row in due.into_iter().take(claim.limit) {
                    row.lease += 1;
                    row.due_at = if has_leases { until } else { now };
                    leased.push(Leased {
                        key: row.key.clone(),
                        account: Arc::clone(&row.account),
                        event: Arc::clone(&row.event),
                        lease: row.lease,
                        failures: row.failures,
                        recorded_at: row.recorded_at,
                    });
                }
            }
            leased
        })
        .await
    }

    async fn settle(&self, settled: &[Settled], now: Timestamp) -> Result<(), StoreError> {
        self.between(|state| settled.iter().for_each(|settled| state.settle(settled, now))).await
    }

    async fn remove_ended(&self, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        self.between(|state| {
            let mut removed = 0;
            state.rows.retain(|row| {
                let is_old = !row.holds() && row.since < before && removed < limit as u64;
                removed += u64::from(is_old);
                !is_old
            });
            removed
        })
        .await
    }

    async fn give_up(
        &self,
        selection: &Selection,
        giving_up: &GivingUp,
        limit: usize,
    ) -> Result<u64, StoreError> {
        self.between(|state| {
            let mut lines = Vec::new();
            for live in DeliveryState::LIVE {
                let mut chosen: Vec<&mut Row> = state
                    .rows
                    .iter_mut()
                    .filter(|row| row.state == live && row.is_selected(selection))
                    .filter(|row| {
                        let due = row.due_at;
                        live == DeliveryState::Waiting
                            || due <= giving_up.now
                            || due > giving_up.leases_end
                    })
                    .collect();
                chosen.sort_by_key(|row| row.since);
                for row in chosen.into_iter().take(limit - lines.len()) {
                    row.state = DeliveryState::Exhausted;
                    row.since = giving_up.now;
                    row.reason = Some(giving_up.reason.clone());
                    row.lease += 1;
                    lines.push(row.line());
                }
            }
            for line in &lines {
                state.release(line, giving_up.now);
            }
            lines.len() as u64
        })
        .await
    }

    async fn release_stranded(
        &self,
        after: Option<&Line>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Released, StoreError> {
        self.between(|state| {
            let lines: std::collections::BTreeSet<Line> =
                state.rows.iter().filter(|row| row.holds()).map(Row::line).collect();
            let slice: Vec<Line> = lines
                .into_iter()
                .filter(|line| after.is_none_or(|after| line > after))
                .take(limit)
                .collect();
            let count = slice.iter().filter(|line| state.release(line, now)).count() as u64;
            let is_whole = slice.len() < limit;
            Released { count, after: slice.last().filter(|_| !is_whole).cloned() }
        })
        .await
    }

    async fn attend(
        &self,
        process: ProcessId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Attendance, StoreError> {
        self.between(|state| {
            state.processes.insert(process, until);
            state.processes.retain(|id, until| *id == process || *until >= now);
            let first = state.processes.first_key_value().map(|(id, _)| *id);
            let processes = state.processes.len() as u64;
            Attendance { processes, is_first: first == Some(process) }
        })
        .await
    }

    async fn register(&self, endpoints: &[(EndpointName, Timestamp)]) -> Result<(), StoreError> {
        self.between(|state| {
            let is_told = state.endpoints.values().any(|known| known.known_since.is_some());
            let has_delivered = !state.rows.is_empty() || !state.frontiers.is_empty();
            let is_older = has_delivered && !is_told;
            for (name, since) in endpoints {
                let unknown = || EndpointState::unknown(name.clone());
                let known = state.endpoints.entry(name.clone()).or_insert_with(unknown);
                let since = if is_older { Timestamp::from_unix_millis(0) } else { *since };
                known.known_since.get_or_insert(since);
                state.first_known.entry(name.clone()).or_insert(since);
            }
        })
        .await
    }

    async fn endpoint_states(&self) -> Result<Vec<EndpointState>, StoreError> {
        self.between(|state| state.endpoints.values().cloned().collect()).await
    }

    async fn change_endpoint(&self, change: &EndpointState) -> Result<Changed, StoreError> {
        self.between(|state| {
            let known = state.endpoints.get(&change.name);
            let version = known.map_or(0, |known| known.version);
            let known_since = known.and_then(|known| known.known_since);
            if version != change.version {
                return Changed::TooLate;
            }
            let changed = EndpointState { version: version + 1, known_since, ..change.clone() };
            state.endpoints.insert(change.name.clone(), changed);
            Changed::Done
        })
        .await
    }

    async fn list(
        &self,
        selection: &Selection,
        limit: usize,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        self.between(|state| {
            let mut selected: Vec<&Row> =
                state.rows.iter().filter(|row| row.is_selected(selection)).rev().collect();
            selected.sort_by_key(|row| std::cmp::Reverse(row.since));
            let record = |row: &Row| DeliveryRecord {
                key: row.key.clone(),
                number: row.event.source.clone(),
                state: row.state,
                recorded_at: row.recorded_at,
                since: row.since,
                reason: row.reason.clone(),
                due_at: (row.state == DeliveryState::Parked).then_some(row.due_at),
                attempts: row.attempts,
                last_attempt: row.last_attempt.clone(),
            };
            selected.into_iter().take(limit).map(record).collect()
        })
        .await
    }

    async fn count(&self, selection: &Selection, limit: Option<u64>) -> Result<Counted, StoreError> {
        self.between(|state| {
            let selected = state.rows.iter().filter(|row| row.is_selected(selection)).count() as u64;
            let limit = limit.unwrap_or(u64::MAX);
            Counted { count: selected.min(limit), may_be_more: selected >= limit }
        })
        .await
    }

    async fn failed_attempts(&self, key: &DeliveryKey) -> Result<Vec<Attempt>, StoreError> {
        self.between(|state| {
            let row = state.rows.iter().find(|row| row.key == *key);
            row.map(|row| row.failed_attempts.clone()).unwrap_or_default()
        })
        .await
    }

    async fn redeliver(
        &self,
        selection: &Selection,
        mark: Mark,
        limit: usize,
        now: Timestamp,
    ) -> Result<Redelivered, StoreError> {
        self.between(|state| {
            let mut lines = Vec::new();
            let now = now.max(mark.began());
            let mut redelivered = Redelivered { count: 0, mark: mark.clone() };
            let mut chosen: Vec<(Place, &mut Row)> = state
                .rows
                .iter_mut()
                .filter(|row| row.is_selected(selection))
                .filter_map(|row| row.place().map(|place| (place, row)))
                .filter(|(place, row)| mark.is_before(&row.key.endpoint, *place))
                .collect();
            chosen.sort_by(|(a, row), (b, other)| (&row.key.endpoint, a).cmp(&(&other.key.endpoint, b)));
            for (place, row) in chosen.into_iter().take(limit) {
                row.state = if row.is_ordered { DeliveryState::Waiting } else { DeliveryState::Parked };
                (row.due_at, row.failures, row.lease) = (now, 0, row.lease + 1);
                (row.since, row.reason) = (now, None);
                lines.push(row.line());
                let reached = redelivered.mark.reaching(row.key.endpoint.clone(), place);
                redelivered = Redelivered { count: redelivered.count + 1, mark: reached };
            }
            for line in &lines {
                state.release(line, now);
            }
            redelivered
        })
        .await
    }

    async fn hasten(
        &self,
        selection: &Selection,
        due_after: Timestamp,
        limit: usize,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.between(|state| {
            let is_parked = |row: &&mut Row| {
                row.state == DeliveryState::Parked
                    && row.due_at > due_after
                    && row.is_selected(selection)
            };
            let mut count = 0;
            for row in state.rows.iter_mut().filter(is_parked).take(limit) {
                (row.due_at, row.failures, row.lease) = (now, 0, row.lease + 1);
                count += 1;
            }
            count
        })
        .await
    }

    async fn state_counts(&self) -> Result<Vec<StateCount>, StoreError> {
        self.between(|state| {
            let mut counts: BTreeMap<(EndpointName, DeliveryState), StateCount> = BTreeMap::new();
            for row in &state.rows {
                let (endpoint, state) = (row.key.endpoint.clone(), row.state);
                let due_at = (state == DeliveryState::Parked).then_some(row.due_at);
                let oldest_at = row.holds().then_some(row.since);
                let count = Counted::default();
                let entry = counts.entry((endpoint.clone(), state));
                let found = entry.or_insert(StateCount { endpoint, state, count, oldest_at, due_at });
                found.count.count += 1;
                found.oldest_at = found.oldest_at.min(oldest_at);
                found.due_at = found.due_at.min(due_at);
            }
            counts.into_values().collect()
        })
        .await
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        self.between(|state| {
            let mut backlog: BTreeMap<EndpointName, Backlog> = BTreeMap::new();
            for row in state.rows.iter().filter(|row| row.holds()) {
                let (endpoint, oldest_at) = (row.key.endpoint.clone(), row.since);
                let count = Counted::default();
                let entry = backlog.entry(endpoint.clone());
                let found = entry.or_insert(Backlog { endpoint, count, oldest_at });
                found.count.count += 1;
                found.oldest_at = found.oldest_at.min(oldest_at);
            }
            backlog.into_values().collect()
        })
        .await
    }
}
