//! The topics behind the log: what was told, and what was put aside.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::account::{Generation, LogPartition, Offset, Partition, Timestamp, Verdict};
use crate::audit::facts::{
    Letter, NumberFact, Origin, PlaceFact, PlaceSays, Says, Told, TopicPlace, event_digest, id,
    record_digest, subject_digest,
};
use crate::audit::run::{AuditError, Stage, Telling};
use crate::callbacks::event_of;
use crate::callbacks::routing::Origin as EventOrigin;
use crate::events::{CloudEvent, told_by};
use crate::queue::{
    Assignment, DeadLetter, PollLimits, Queue, QueueError, ReadRange, Received, Start, Topic,
};
use crate::spill::SpillError;
use crate::store::{Availability, EndpointState};

use super::{Facts, Gathered, Kept, Receiver, Scope, letter_due, next_of};

/// How long before a submission's append its event may have been told, by clocks that differ.
const SLACK: Duration = Duration::from_mins(5);

/// How a topic behind the log is to be read.
pub(in crate::audit) struct Behind {
    ranges: Vec<ReadRange>,
    /// Offsets up to which a group has committed.
    committed: BTreeMap<Partition, Offset>,
    /// Partitions of which records were deleted that may matter.
    deleted: BTreeSet<Partition>,
}

impl Behind {
    /// From the first record that may follow from what was appended to the log since then.
    pub(in crate::audit) async fn look(
        queue: &impl Queue,
        topic: Topic,
        group: &str,
        since_ms: Option<i64>,
    ) -> Result<Self, QueueError> {
        let standing = queue.standing(topic, group).await?;
        let committed = |one: &Assignment| (one.partition, one.committed.unwrap_or(Offset(0)));
        let committed = standing.iter().map(committed).collect();
        let since = since_ms.map(|since| Timestamp::from_unix_millis(since).earlier(SLACK));
        let (mut ranges, mut deleted) = (Vec::new(), BTreeSet::new());
        for Assignment { partition, earliest, end, .. } in standing {
            let from = match since {
                Some(since) => queue.find(topic, partition, Start::Time(since)).await?,
                None => end,
            };
            if from <= earliest && earliest > Offset(0) {
                deleted.insert(partition);
            }
            if from < end {
                ranges.push(ReadRange { partition, from, to: end });
            }
        }
        Ok(Self { ranges, committed, deleted })
    }

    /// Reads it, facts made of each piece; tells up to when what was appended to a partition may be deleted.
    async fn read(
        &self,
        queue: &impl Queue,
        (topic, stage): (Topic, Stage),
        into: &mut Gathered,
        (limits, tell): (PollLimits, &mut impl Telling),
        make: impl Fn(&[Received], &mut Facts) -> Result<(), SpillError> + Clone + Send + 'static,
    ) -> Result<BTreeMap<Partition, i64>, AuditError> {
        // Of a partition without a record nobody knows how much is deleted.
        let mut first: BTreeMap<Partition, i64> =
            self.deleted.iter().map(|partition| (*partition, i64::MAX)).collect();
        let mut reader = queue.open_reader(topic, self.ranges.clone()).await?;
        let next = async || {
            let received = next_of(&mut reader, limits, stage, tell).await?;
            for received in received.iter().flatten() {
                if let Some(first) = first.get_mut(&received.partition) {
                    *first = (*first).min(received.appended_at.unix_millis());
                }
            }
            Ok(received)
        };
        into.gather(next, move |received, facts| make(&received, facts)).await?;
        Ok(first)
    }
}

/// Reads the results; tells up to when they may be deleted.
pub(in crate::audit) async fn results<Q: Queue>(
    queue: &Q,
    (behind, states): (&Behind, &[EndpointState]),
    kept: &Kept,
    into: &mut Gathered,
    tell: &mut impl Telling,
) -> Result<BTreeMap<Partition, i64>, AuditError> {
    let state_of =
        |receiver: &Receiver| states.iter().find(|state| state.name == receiver.name).cloned();
    let states: Vec<_> = kept.scope.receivers.iter().map(state_of).collect();
    let (kept, committed, limits) = (kept.clone(), behind.committed.clone(), kept.scope.limits);
    let make = move |received: &[Received], facts: &mut Facts| {
        received.iter().try_for_each(|received| {
            let is_recorded = is_committed(&committed, received);
            result(received, is_recorded, (&kept, &states), facts)
        })
    };
    behind.read(queue, (Topic::Results, Stage::Results), into, (limits, tell), make).await
}

/// Whether a group has committed a record.
fn is_committed(committed: &BTreeMap<Partition, Offset>, received: &Received) -> bool {
    committed.get(&received.partition).is_some_and(|committed| received.offset < *committed)
}

fn result(
    received: &Received,
    is_recorded: bool,
    (kept, states): (&Kept, &[Option<EndpointState>]),
    facts: &mut Facts,
) -> Result<(), SpillError> {
    let scope = &kept.scope;
    let Ok(event) = event_of(received) else {
        // What callbacks cannot read they put aside; nobody else looks at it.
        if is_recorded && scope.numbers.is_none() && !scope.receivers.is_empty() {
            unreadable_result(received, facts)?;
        }
        return Ok(());
    };
    let due = due(&event, &scope.receivers, states);
    let number = event.source.as_str().into();
    let says = Says::Told(told(received, &event, due, is_recorded));
    kept.number(facts, &NumberFact { number, says })
}

fn due(event: &CloudEvent, receivers: &[Receiver], states: &[Option<EndpointState>]) -> Vec<u16> {
    let origin = EventOrigin::of(event);
    let is_due = |(receiver, state): &(&Receiver, &Option<EndpointState>)| {
        let known_since = state.as_ref().and_then(|state| state.known_since);
        receiver.filter.takes(&event.event_type, &origin)
            && receiver.deliver_from.takes(event.time(), known_since)
            // Of one that callbacks do not know yet nothing is kept.
            && state.as_ref().is_some_and(|state| state.availability != Availability::Disabled)
    };
    let due = receivers.iter().zip(states).enumerate().filter(|(_, of)| is_due(of));
    due.filter_map(|(place, _)| u16::try_from(place).ok()).collect()
}

fn told(received: &Received, event: &CloudEvent, due: Vec<u16>, is_recorded: bool) -> Told {
    let subject = |(communication, verdict): (_, Verdict)| (verdict, subject_digest(&communication));
    Told {
        at: TopicPlace { partition: received.partition.0, offset: received.offset.0 },
        event: id(event.id),
        outcome: told_by(event).map(subject),
        time_ms: event.time().map(Timestamp::unix_millis),
        is_replayed: event.further.iter().any(|(name, _)| name == "replay"),
        content: event_digest(event),
        appended_ms: received.appended_at.unix_millis(),
        due,
        is_recorded,
    }
}

fn unreadable_result(received: &Received, facts: &mut Facts) -> Result<(), SpillError> {
    let Received { partition, offset, .. } = received;
    let due = letter_due(received, false);
    let at = Origin::Results(TopicPlace { partition: partition.0, offset: offset.0 });
    facts.others.place(&PlaceFact { at, says: PlaceSays::LetterDue(due) })
}

/// Reads the dead letters; tells up to when they may be deleted.
pub(in crate::audit) async fn letters<Q: Queue>(
    queue: &Q,
    scope: &Scope,
    behind: &Behind,
    into: &mut Gathered,
    tell: &mut impl Telling,
) -> Result<BTreeMap<Partition, i64>, AuditError> {
    let Scope { generation, limits, .. } = *scope;
    let make = move |received: &[Received], facts: &mut Facts| {
        let mut letters = received.iter().filter_map(|received| letter(received, generation));
        letters.try_for_each(|letter| facts.others.place(&letter))
    };
    behind.read(queue, (Topic::DeadLetter, Stage::DeadLetters), into, (limits, tell), make).await
}

fn letter(received: &Received, generation: Generation) -> Option<PlaceFact> {
    let letter = DeadLetter::parse(&received.record)?;
    let DeadLetter { partition, offset, .. } = letter;
    let at = match letter.topic? {
        Topic::Submitted => Origin::Submitted(LogPartition { generation, partition }.at(offset)),
        Topic::Results => Origin::Results(TopicPlace { partition: partition.0, offset: offset.0 }),
        Topic::DeadLetter => return None,
    };
    let place = TopicPlace { partition: received.partition.0, offset: received.offset.0 };
    let record = letter.is_whole.then(|| record_digest(&letter.record));
    Some(PlaceFact { at, says: PlaceSays::Letter(Letter { at: place, record }) })
}
