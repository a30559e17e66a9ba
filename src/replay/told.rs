//! How submissions ended, by what was told of them: the results topic and the dead letters, held against the log.
//!
//! What was told once holds for ever, so a store that is rebuilt has the outcomes that clients and receivers know,
//! whatever the rules are by now.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::account::{
    CommunicationNumber, Coordinates, EventId, Fingerprint, Generation, Offset, Partition,
    RejectionCode, Timestamp, Told, Verdict,
};
use crate::events::{CloudEvent, told_by};
use crate::queue::{
    DeadLetter, PollLimits, Queue, QueueError, ReadRange, Reader, Received, Topic, first_appended_at,
};
use crate::spill::{Spill, SpillError};
use crate::worker::{Item, NOT_STORABLE};

use super::window::whole;

/// Why it cannot be found out.
#[derive(Debug, thiserror::Error)]
pub enum ToldError {
    /// The queue does not answer.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// There is no room for what is compared.
    #[error(transparent)]
    Spill(#[from] SpillError),
}

/// How submissions ended. A byte for each offset of the log.
#[derive(Debug, Default)]
pub(super) struct ToldOutcomes(BTreeMap<Partition, (Offset, Vec<u8>)>);

const NOTHING: u8 = 0;
const ACCEPTED: u8 = 1;
const SET_ASIDE: u8 = 2;
const NO_SUBMISSION: u8 = 3;
/// Codes of rejections, by their place among all of them, come after these.
const FIRST_CODE: u8 = 4;

fn byte_of(told: Told) -> u8 {
    match told {
        Told::Nothing => NOTHING,
        Told::SetAside => SET_ASIDE,
        Told::NoSubmission => NO_SUBMISSION,
        Told::Verdict(Verdict::Accepted) => ACCEPTED,
        Told::Verdict(Verdict::Rejected(code)) => {
            let place = RejectionCode::ALL.iter().position(|known| *known == code);
            place.and_then(|place| u8::try_from(place).ok()).map_or(NOTHING, |place| FIRST_CODE + place)
        }
    }
}

fn told_of(byte: u8) -> Told {
    match byte {
        NOTHING => Told::Nothing,
        ACCEPTED => Told::Verdict(Verdict::Accepted),
        SET_ASIDE => Told::SetAside,
        NO_SUBMISSION => Told::NoSubmission,
        code => {
            let code = RejectionCode::ALL.get(usize::from(code - FIRST_CODE));
            code.map_or(Told::Nothing, |code| Told::Verdict(Verdict::Rejected(*code)))
        }
    }
}

/// What one source says of a number.
#[derive(Debug, Serialize, Deserialize)]
struct Fact {
    number: Box<str>,
    says: Says,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Says {
    Submitted { at: (u32, u64), fingerprint: [u8; 32], appended_ms: i64 },
    Told { at: (u32, u64), event: [u8; 16], verdict: Verdict, time_ms: i64 },
}

impl ToldOutcomes {
    /// Reads what was told of these ranges of the log.
    pub(super) async fn read<Q: Queue>(
        queue: &Q,
        generation: Generation,
        ranges: &[ReadRange],
        (group, limits, scratch): (&str, PollLimits, &Path),
    ) -> Result<Self, ToldError> {
        let offsets = |range: &ReadRange| range.to.0.saturating_sub(range.from.0);
        let mut spill =
            Spill::begin(scratch, ranges.iter().map(offsets).sum::<u64>().saturating_mul(2))?;
        let mut outcomes = Self::default();
        for range in ranges {
            let bytes = vec![NOTHING; usize::try_from(offsets(range)).unwrap_or(usize::MAX)];
            outcomes.0.insert(range.partition, (range.from, bytes));
        }
        each(queue, Topic::Submitted, ranges.to_vec(), limits, |received| {
            let facts = received.into_iter().filter_map(|received| submitted(received, generation));
            gather(&mut spill, facts)
        })
        .await?;
        let results = whole(queue, Topic::Results, group).await?;
        each(queue, Topic::Results, results, limits, |received| {
            gather(&mut spill, received.iter().filter_map(told))
        })
        .await?;
        let letters = whole(queue, Topic::DeadLetter, group).await?;
        each(queue, Topic::DeadLetter, letters, limits, |received| {
            received.iter().filter_map(put_aside).for_each(|(at, told)| outcomes.note(at, told));
            Ok(())
        })
        .await?;
        for file in spill.into_files() {
            let mut facts = file.read()?;
            facts.sort_unstable_by(|a, b| a.number.cmp(&b.number));
            for of_number in facts.chunk_by(|a, b| a.number == b.number) {
                outcomes.note_number(of_number);
            }
        }
        Ok(outcomes)
    }

    /// What was told of a submission.
    pub(super) fn of(&self, coordinates: Coordinates) -> Told {
        let Some((from, bytes)) = self.0.get(&coordinates.log.partition) else { return Told::Nothing };
        let place =
            coordinates.offset.0.checked_sub(from.0).and_then(|place| usize::try_from(place).ok());
        place.and_then(|place| bytes.get(place)).map_or(Told::Nothing, |byte| told_of(*byte))
    }

    fn note(&mut self, (partition, offset): (u32, u64), told: Told) {
        let Some((from, bytes)) = self.0.get_mut(&Partition(partition)) else { return };
        let place = offset.checked_sub(from.0).and_then(|place| usize::try_from(place).ok());
        if let Some(byte) = place.and_then(|place| bytes.get_mut(place)) {
            *byte = byte_of(told);
        }
    }

    /// An event tells of the submission that was appended when it says. One that was accepted stays so; of other
    /// outcomes the one that was told last holds.
    fn note_number(&mut self, facts: &[Fact]) {
        let Some(number) = facts.first().and_then(|fact| CommunicationNumber::parse(&fact.number).ok())
        else {
            return;
        };
        let mut submitted: Vec<_> = facts
            .iter()
            .filter_map(|fact| match fact.says {
                Says::Submitted { at, fingerprint, appended_ms } => Some((at, fingerprint, appended_ms)),
                Says::Told { .. } => None,
            })
            .collect();
        submitted.sort_unstable();
        let mut told: Vec<_> = facts
            .iter()
            .filter_map(|fact| match fact.says {
                Says::Told { at, event, verdict, time_ms } => Some((at, event, verdict, time_ms)),
                Says::Submitted { .. } => None,
            })
            .collect();
        told.sort_unstable_by_key(|(at, ..)| *at);
        let is_accepted = |verdict: Verdict| verdict == Verdict::Accepted;
        for phase in [false, true] {
            for (_, event, verdict, time_ms) in told.iter().filter(|it| is_accepted(it.2) == phase) {
                let is_of = |(_, fingerprint, appended_ms): &&((u32, u64), [u8; 32], i64)| {
                    let fingerprint = Fingerprint::from_bytes(*fingerprint);
                    appended_ms == time_ms
                        && EventId::of(&number, &fingerprint, *verdict).0.as_bytes() == event
                };
                // Of two that were appended together, the first was accepted and the second repeats it.
                let most = if phase { 1 } else { usize::MAX };
                for (at, ..) in submitted.iter().filter(is_of).take(most) {
                    self.note(*at, Told::Verdict(*verdict));
                }
            }
        }
    }
}

fn gather(spill: &mut Spill<Fact>, facts: impl Iterator<Item = Fact>) -> Result<(), ToldError> {
    let mut encoded = spill.encoder();
    for fact in facts {
        encoded.push(fact.number.as_bytes(), &fact)?;
    }
    Ok(spill.add(&encoded)?)
}

async fn each<Q: Queue>(
    queue: &Q,
    topic: Topic,
    ranges: Vec<ReadRange>,
    limits: PollLimits,
    mut work: impl FnMut(Vec<Received>) -> Result<(), ToldError>,
) -> Result<(), ToldError> {
    let mut reader = queue.open_reader(topic, ranges).await?;
    while !reader.is_done() {
        work(reader.read(limits).await?)?;
    }
    Ok(())
}

fn submitted(received: Received, generation: Generation) -> Option<Fact> {
    let (at, appended_ms) =
        ((received.partition.0, received.offset.0), first_appended_at(&received).unix_millis());
    let item = Item::decode(received, generation);
    let submission = item.submission()?;
    let number = submission.account.communication_number.as_str().into();
    let fingerprint = *submission.fingerprint.as_bytes();
    Some(Fact { number, says: Says::Submitted { at, fingerprint, appended_ms } })
}

fn told(received: &Received) -> Option<Fact> {
    let record = &received.record;
    let event = CloudEvent::from_kafka(record.headers.iter(), record.value.clone()).ok()?;
    let (communication, verdict) = told_by(&event)?;
    let says = Says::Told {
        at: (received.partition.0, received.offset.0),
        event: *event.id.0.as_bytes(),
        verdict,
        time_ms: event.time().map(Timestamp::unix_millis)?,
    };
    Some(Fact { number: communication.number.as_str().into(), says })
}

fn put_aside(received: &Received) -> Option<((u32, u64), Told)> {
    let letter = DeadLetter::parse(&received.record)?;
    let told = if letter.class == NOT_STORABLE { Told::SetAside } else { Told::NoSubmission };
    let at = (letter.partition.0, letter.offset.0);
    (letter.topic == Some(Topic::Submitted)).then_some((at, told))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::LogPartition;

    const LOG: LogPartition = LogPartition { generation: Generation(1), partition: Partition(0) };

    fn number() -> CommunicationNumber {
        CommunicationNumber::parse("n-1").unwrap()
    }

    fn submitted(offset: u64, content: u8, appended_ms: i64) -> Fact {
        let says = Says::Submitted { at: (0, offset), fingerprint: [content; 32], appended_ms };
        Fact { number: "n-1".into(), says }
    }

    fn told(offset: u64, content: u8, verdict: Verdict, time_ms: i64) -> Fact {
        let event = EventId::of(&number(), &Fingerprint::from_bytes([content; 32]), verdict);
        let says = Says::Told { at: (0, offset), event: *event.0.as_bytes(), verdict, time_ms };
        Fact { number: "n-1".into(), says }
    }

    fn noted(facts: &[Fact]) -> Vec<Told> {
        let mut outcomes = ToldOutcomes::default();
        outcomes.0.insert(Partition(0), (Offset(5), vec![NOTHING; 4]));
        outcomes.note_number(facts);
        (5..9).map(|offset| outcomes.of(LOG.at(Offset(offset)))).collect()
    }

    #[test]
    fn every_outcome_has_a_byte_of_its_own() {
        let codes = RejectionCode::ALL.iter().map(|code| Told::Verdict(Verdict::Rejected(*code)));
        let others =
            [Told::Nothing, Told::SetAside, Told::NoSubmission, Told::Verdict(Verdict::Accepted)];
        for told in codes.chain(others) {
            assert_eq!(told_of(byte_of(told)), told);
        }
    }

    #[test]
    fn an_event_tells_of_the_submission_that_it_is_of() {
        let rejected = Verdict::Rejected(RejectionCode::A007);
        let facts = [
            submitted(5, 1, 100),
            submitted(6, 1, 200),
            submitted(7, 2, 200),
            submitted(8, 1, 300),
            told(0, 1, rejected, 100),
            told(1, 1, Verdict::Accepted, 200),
            told(2, 2, Verdict::Rejected(RejectionCode::O005), 200),
            told(3, 1, Verdict::Accepted, 999),
        ];
        let expected = [
            Told::Verdict(rejected),
            Told::Verdict(Verdict::Accepted),
            Told::Verdict(Verdict::Rejected(RejectionCode::O005)),
            Told::Nothing,
        ];
        assert_eq!(noted(&facts), expected);
    }

    #[test]
    fn what_a_replay_changed_holds() {
        let a007 = Verdict::Rejected(RejectionCode::A007);
        let a008 = Verdict::Rejected(RejectionCode::A008);
        let changed = [submitted(5, 1, 100), told(0, 1, a007, 100), told(9, 1, a008, 100)];
        assert_eq!(noted(&changed)[0], Told::Verdict(a008), "the last one");
        let accepted = [submitted(5, 1, 100), told(0, 1, Verdict::Accepted, 100), told(9, 1, a007, 100)];
        assert_eq!(noted(&accepted)[0], Told::Verdict(Verdict::Accepted), "what is accepted stays");
    }

    #[test]
    fn the_first_of_two_that_came_together_was_accepted() {
        let both = [submitted(6, 1, 100), submitted(5, 1, 100), told(0, 1, Verdict::Accepted, 100)];
        assert_eq!(noted(&both)[..2], [Told::Verdict(Verdict::Accepted), Told::Nothing]);
    }
}
