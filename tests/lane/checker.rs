//! The promises, checked over what the queue and the store hold.

use std::collections::{BTreeMap, HashMap, HashSet};

use penstock::account::{
    Account, AccountKey, Action, Claim, CommunicationNumber, Coordinates, EventId, Fingerprint,
    Generation, LogPartition, Offset, Partition, Rejection, RejectionCode, Verdict,
};
use penstock::queue::{Answer, Received, Topic};

use crate::feed::Feed;
use crate::memory::queue::MemoryQueue;
use crate::memory::store::{MemoryStore, Tables, ledger_by_number};

/// A record of the submitted topic as this checker reads it.
struct Submitted {
    coordinates: Coordinates,
    received: Received,
    account: Option<Account>,
}

impl Submitted {
    fn fingerprint(&self) -> Option<Fingerprint> {
        self.account.as_ref().map(Fingerprint::of)
    }
}

/// How a record ended, by what is persisted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Accepted(EventId),
    Rejected(RejectionCode, EventId),
    Repeated(EventId),
    DeadLettered,
}

type Check = Result<(), String>;

struct World {
    submitted: Vec<Submitted>,
    tables: Tables,
    events: Vec<Received>,
    dead_letters: Vec<Received>,
}

impl World {
    fn read(queue: &MemoryQueue, store: &MemoryStore) -> Self {
        let submitted = queue.log(Topic::Submitted).into_iter().map(|received| {
            let text = std::str::from_utf8(&received.record.value);
            Submitted {
                coordinates: coordinates(received.partition, received.offset),
                account: text.ok().and_then(|text| Account::parse(text).ok()),
                received,
            }
        });
        Self {
            submitted: submitted.collect(),
            tables: store.tables(),
            events: queue.log(Topic::Results),
            dead_letters: queue.log(Topic::DeadLetter),
        }
    }

    /// How a record ended; none when it has no ending yet.
    fn ending(&self, submitted: &Submitted) -> Result<Option<Ending>, String> {
        let Some(account) = &submitted.account else { return Ok(Some(Ending::DeadLettered)) };
        let at = submitted.coordinates;
        let ledger = ledger_by_number(&self.tables);
        let claim = ledger.get(&account.communication_number);
        let accepted = claim.filter(|claim| claim.coordinates == at).map(|claim| claim.event_id);
        let note = self.tables.rejections.get(&at).map(|note| note.rejection);
        let frontier = self.tables.frontiers.get(&at.log);
        let is_applied = frontier.is_some_and(|frontier| at.offset < *frontier);
        let repeats = claim.filter(|claim| Some(claim.fingerprint) == submitted.fingerprint());
        match (accepted, note) {
            (Some(_), Some(_)) => Err(format!("{at} has two outcomes")),
            (Some(event_id), None) => Ok(Some(Ending::Accepted(event_id))),
            (None, Some(Rejection::DeadLettered)) => Ok(Some(Ending::DeadLettered)),
            (None, Some(Rejection::Decided(outcome))) => match outcome.verdict {
                Verdict::Rejected(code) => Ok(Some(Ending::Rejected(code, outcome.event_id))),
                Verdict::Accepted => Err(format!("{at} is noted as a rejection but was accepted")),
            },
            (None, None) if !is_applied => Ok(None),
            (None, None) => match repeats {
                Some(claim) => Ok(Some(Ending::Repeated(claim.event_id))),
                None => Err(format!("{at} is before the frontier without an outcome")),
            },
        }
    }

    fn has_event(&self, id: EventId) -> bool {
        let id = id.to_string();
        self.events.iter().any(|event| event.record.headers.text("ce_id") == Some(&id))
    }

    fn has_dead_letter(&self, of: &Submitted) -> bool {
        let header = |letter: &Received, name| letter.record.headers.text(name).unwrap().to_owned();
        self.dead_letters.iter().any(|letter| {
            header(letter, "penstock-origin-partition") == of.received.partition.0.to_string()
                && header(letter, "penstock-origin-offset") == of.received.offset.0.to_string()
                && letter.record.value == of.received.record.value
        })
    }

    /// A record is done when its outcome is persisted and told.
    fn is_done(&self, submitted: &Submitted) -> Check {
        let at = submitted.coordinates;
        match self.ending(submitted)? {
            None => Err(format!("{at} has no outcome")),
            Some(Ending::DeadLettered) if !self.has_dead_letter(submitted) => {
                Err(format!("{at} has no dead letter"))
            }
            Some(Ending::Accepted(id) | Ending::Rejected(_, id)) if !self.has_event(id) => {
                Err(format!("{at} has no event"))
            }
            Some(_) => Ok(()),
        }
    }
}

fn coordinates(partition: Partition, offset: Offset) -> Coordinates {
    LogPartition { generation: Generation(1), partition }.at(offset)
}

/// Promise 5: whatever lies before a committed offset is done.
pub fn is_done_up_to(
    queue: &MemoryQueue,
    store: &MemoryStore,
    partition: Partition,
    committed: Offset,
) -> Check {
    let world = World::read(queue, store);
    world
        .submitted
        .iter()
        .filter(|submitted| submitted.received.partition == partition)
        .filter(|submitted| submitted.received.offset < committed)
        .try_for_each(|submitted| world.is_done(submitted))
        .map_err(|violation| format!("committed {partition:?} up to {committed:?}, but {violation}"))
}

/// Promises 1 to 4 and 6 once everything has come to rest.
/// An account that a producer has spread over partitions has no order of its own to fold in.
pub fn check(queue: &MemoryQueue, store: &MemoryStore, feed: Feed) -> Check {
    let world = World::read(queue, store);
    no_number_twice(&world)?;
    world.submitted.iter().try_for_each(|submitted| world.is_done(submitted))?;
    events_are_of_outcomes(&world)?;
    match feed {
        Feed::Colliding | Feed::Separate => accounts_are_the_fold(&world)?,
        Feed::SpreadAccounts => accounts_follow_some_order(&world)?,
    }
    replies_are_true(&world, queue)
}

/// Promise 2.
fn no_number_twice(world: &World) -> Check {
    let mut numbers = HashSet::new();
    for claim in &world.tables.ledger {
        let number = &claim.communication.number;
        if !numbers.insert(number) {
            return Err(format!("{number:?} is twice in the ledger"));
        }
        let record = world.submitted.iter().find(|submitted| submitted.coordinates == claim.coordinates);
        let is_of_record = record.is_some_and(|record| record.fingerprint() == Some(claim.fingerprint));
        if !is_of_record {
            return Err(format!("{number:?} is in the ledger without its record"));
        }
    }
    Ok(())
}

/// Promise 3: every event tells a persisted outcome, and all copies of one id are alike.
fn events_are_of_outcomes(world: &World) -> Check {
    let mut known: HashMap<String, &[u8]> = HashMap::new();
    for event in &world.events {
        let id = event.record.headers.text("ce_id").unwrap().to_owned();
        let body = known.entry(id.clone()).or_insert(&event.record.value);
        if *body != event.record.value {
            return Err(format!("event {id} has two bodies"));
        }
    }
    let mut told = HashSet::new();
    for submitted in &world.submitted {
        if let Some(Ending::Accepted(id) | Ending::Rejected(_, id)) = world.ending(submitted)? {
            told.insert(id.to_string());
        }
    }
    match known.keys().find(|id| !told.contains(*id)) {
        Some(id) => Err(format!("event {id} tells an outcome that was not persisted")),
        None => Ok(()),
    }
}

/// Promise 4: accounts are what their accepted submissions, in log order, make of them; and each
/// outcome that depends on the account's state fits the state at its place in the log.
fn accounts_are_the_fold(world: &World) -> Check {
    let ledger: HashMap<CommunicationNumber, &Claim> = ledger_by_number(&world.tables);
    let mut accounts: BTreeMap<AccountKey, (Coordinates, &Account)> = BTreeMap::new();
    for submitted in &world.submitted {
        let Some(account) = &submitted.account else { continue };
        let at = submitted.coordinates;
        let state = accounts.get(&account.key()).map(|(_, state)| *state);
        let ending = world.ending(submitted)?;
        match ending {
            Some(Ending::Accepted(_)) => {
                if let Some(code) = rule(account, state) {
                    return Err(format!("{at} was accepted against {code} (account state)"));
                }
                accounts.insert(account.key(), (at, account));
            }
            Some(Ending::Rejected(RejectionCode::O005, _)) => {
                let claim = ledger.get(&account.communication_number);
                let is_conflict =
                    claim.is_some_and(|claim| Some(claim.fingerprint) != submitted.fingerprint());
                if !is_conflict {
                    return Err(format!("{at} was rejected as a conflict with nothing"));
                }
            }
            Some(Ending::Rejected(code, _)) if rule(account, state) != Some(code) => {
                return Err(format!("{at} was rejected with {code} against its account state"));
            }
            _ => {}
        }
    }
    let is_same = accounts.len() == world.tables.accounts.len()
        && accounts.iter().all(|(key, (version, account))| {
            world.tables.accounts.get(key).is_some_and(|row| row.0 == *version && *row.1 == **account)
        });
    if is_same { Ok(()) } else { Err("an account is not the fold of its submissions".to_owned()) }
}

/// Without an order of the log: an account is created once, stays with its customer, and is what one
/// of its accepted submissions says.
fn accounts_follow_some_order(world: &World) -> Check {
    let mut accepted: BTreeMap<AccountKey, Vec<(Coordinates, &Account)>> = BTreeMap::new();
    for submitted in &world.submitted {
        if let (Some(account), Some(Ending::Accepted(_))) =
            (&submitted.account, world.ending(submitted)?)
        {
            accepted.entry(account.key()).or_default().push((submitted.coordinates, account));
        }
    }
    for (key, submissions) in &accepted {
        let creates = submissions.iter().filter(|(_, account)| account.action == Action::Create).count();
        if creates != 1 {
            return Err(format!(
                "{} was created twice or never: {creates}",
                key.account_ext_id.as_str()
            ));
        }
        let customers: HashSet<_> =
            submissions.iter().map(|(_, account)| &account.business_entity_ext_id).collect();
        if customers.len() != 1 {
            return Err("an account has two customers".to_owned());
        }
        let row = world.tables.accounts.get(key);
        let is_of_one = |row: &(Coordinates, _)| submissions.iter().any(|(at, _)| *at == row.0);
        if !row.is_some_and(|(version, account)| is_of_one(&(*version, account))) {
            return Err("an account is none of its submissions".to_owned());
        }
    }
    Ok(())
}

/// The rules that the feed can break, written down a second time.
fn rule(account: &Account, state: Option<&Account>) -> Option<RejectionCode> {
    if account.currency_code.as_str() == "XEU" {
        return Some(RejectionCode::A001);
    }
    match (state, account.action) {
        (None, Action::Update) => Some(RejectionCode::A010),
        (Some(state), _) if state.business_entity_ext_id != account.business_entity_ext_id => {
            Some(RejectionCode::A011)
        }
        (Some(_), Action::Create) => Some(RejectionCode::A009),
        (None, Action::Create) | (Some(_), Action::Update) => None,
    }
}

/// No reply says anything but what is persisted.
fn replies_are_true(world: &World, queue: &MemoryQueue) -> Check {
    for reply in queue.replies() {
        let sequence = reply.item.to_string();
        let of_reply = |submitted: &&Submitted| {
            submitted.received.record.headers.text("penstock-item") == Some(&sequence)
        };
        let Some(submitted) = world.submitted.iter().find(of_reply) else {
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
