//! The promises, checked over what the queue and the store in memory hold.

use std::collections::BTreeMap;

use penstock::account::{
    AccountKey, Fingerprint, Generation, Offset, Partition, Rejection, RejectionNote, Verdict,
};
use penstock::queue::{Answer, Topic};

use crate::checker::{
    AccountRow, Check, DeadLetter, Ending, Event, Facts, LedgerRow, Noted, Order, RejectionRow, Stored,
    Submitted, World,
};
use crate::feed::Feed;
use crate::memory::queue::MemoryQueue;
use crate::memory::store::{MemoryStore, Tables};

/// Everything the two hold.
pub fn facts(queue: &MemoryQueue, store: &MemoryStore) -> Facts {
    let submitted = queue.log(Topic::Submitted).into_iter();
    Facts {
        submitted: submitted.map(|received| Submitted::of(received, Generation(1))).collect(),
        stored: stored(&store.tables()),
        events: queue.log(Topic::Results).into_iter().map(|event| Event::of(event).unwrap()).collect(),
        dead_letters: queue
            .log(Topic::DeadLetter)
            .into_iter()
            .map(|letter| DeadLetter::of(letter).unwrap())
            .collect(),
        ..Facts::default()
    }
}

fn stored(tables: &Tables) -> Stored {
    let claims = tables.ledger.iter().map(|claim| LedgerRow {
        number: claim.communication.number.clone(),
        fingerprint: claim.fingerprint,
        event_id: claim.event_id,
        coordinates: claim.coordinates,
    });
    let accounts = tables.accounts.iter().map(|(key, (version, account))| {
        let row = AccountRow { version: *version, fingerprint: Fingerprint::of(account) };
        (AccountKey::clone(key), row)
    });
    Stored {
        ledger: claims.collect(),
        rejections: tables.rejections.values().map(rejection_row).collect(),
        accounts: accounts.collect(),
        frontiers: tables.frontiers.clone(),
    }
}

fn rejection_row(note: &RejectionNote) -> RejectionRow {
    let noted = match note.rejection {
        Rejection::DeadLettered => Noted::DeadLettered,
        Rejection::Decided(outcome) => match outcome.verdict {
            Verdict::Rejected(code) => Noted::Rejected(code, outcome.event_id),
            Verdict::Accepted => panic!("{} is noted as rejected but accepted", note.coordinates),
        },
    };
    let number = note.communication.number.clone();
    RejectionRow { coordinates: note.coordinates, number, noted }
}

/// Promise 5: whatever lies before a committed offset is done.
pub fn is_done_up_to(
    queue: &MemoryQueue,
    store: &MemoryStore,
    partition: Partition,
    committed: Offset,
) -> Check {
    World::of(&facts(queue, store))?.is_done_up_to(partition, committed)
}

/// Promises 1 to 4 and 6 once everything has come to rest.
/// An account that a producer has spread over partitions has no order of its own to fold in.
pub fn check(queue: &MemoryQueue, store: &MemoryStore, feed: Feed) -> Check {
    let facts = facts(queue, store);
    let world = World::of(&facts)?;
    world.at_rest(match feed {
        Feed::Colliding | Feed::Separate => Order::ByAccount,
        Feed::SpreadAccounts => Order::Spread,
    })?;
    events_are_in_order(&world, &facts, queue)?;
    replies_are_true(&world, &facts, queue)
}

/// Events come in the order of what they tell: leaving repetitions aside, a partition of the results
/// topic is the outcomes of that partition of the submitted topic.
fn events_are_in_order(world: &World<'_>, facts: &Facts, queue: &MemoryQueue) -> Check {
    let mut outcomes: BTreeMap<Partition, Vec<String>> = BTreeMap::new();
    for submitted in &facts.submitted {
        if let Some(Ending::Accepted(id) | Ending::Rejected(_, id)) = world.ending(submitted)? {
            note_once(&mut outcomes, submitted.coordinates.log.partition, id.to_string());
        }
    }
    let mut told: BTreeMap<Partition, Vec<String>> = BTreeMap::new();
    for event in queue.log(Topic::Results) {
        note_once(&mut told, event.partition, event.record.headers.text("ce_id").unwrap().to_owned());
    }
    if told == outcomes { Ok(()) } else { Err("events are not in the order of outcomes".to_owned()) }
}

fn note_once(ids: &mut BTreeMap<Partition, Vec<String>>, partition: Partition, id: String) {
    let ids = ids.entry(partition).or_default();
    if !ids.contains(&id) {
        ids.push(id);
    }
}

/// No reply says anything but what is persisted.
fn replies_are_true(world: &World<'_>, facts: &Facts, queue: &MemoryQueue) -> Check {
    let log = queue.log(Topic::Submitted);
    for reply in queue.replies() {
        let sequence = reply.item.to_string();
        let place = log.iter().position(|r| r.record.headers.text("penstock-item") == Some(&sequence));
        let Some(submitted) = place.map(|place| &facts.submitted[place]) else {
            return Err(format!("a reply to nothing: {reply:?}"));
        };
        let told = match (world.ending(submitted)?, reply.answer) {
            (Some(Ending::DeadLettered), Answer::DeadLettered) => true,
            (Some(Ending::Accepted(id) | Ending::Repeated(id)), Answer::Decided(outcome)) => {
                outcome.verdict == Verdict::Accepted && outcome.event_id == id
            }
            (Some(Ending::Rejected(code, id)), Answer::Decided(outcome)) => {
                outcome.verdict == Verdict::Rejected(code) && outcome.event_id == id
            }
            _ => false,
        };
        if !told {
            return Err(format!("{} was answered otherwise than persisted", submitted.coordinates));
        }
    }
    Ok(())
}
