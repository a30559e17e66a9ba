//! The promises of callbacks, checked over what the topic, the store and the receivers hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use penstock::account::{Offset, Partition, Timestamp};
use penstock::queue::{Received, Topic};
use penstock::store::DeliveryState;

use crate::memory::deliveries::MemoryDeliveries;
use crate::memory::queue::MemoryQueue;
use crate::receivers::{DEAD, ENDPOINTS, ORDERED, Receivers, WITH_HISTORY};

/// Source of the event that the store cannot hold, where there is one.
pub const POISON: &str = "n-9";

fn is_poison(deliveries: &MemoryDeliveries, received: &Received) -> bool {
    deliveries.is_poisoned() && received.record.headers.text("ce_source") == Some(POISON)
}

/// The event's id; empty if it has none.
fn id_of(received: &Received) -> String {
    received.record.headers.text("ce_id").unwrap_or_default().to_owned()
}

/// The event's id, and the endpoints it must reach.
fn expected(deliveries: &MemoryDeliveries, received: &Received) -> (String, Vec<&'static str>) {
    let headers = &received.record.headers;
    let Some(id) = headers.text("ce_id") else { return (String::new(), Vec::new()) };
    let is_accepted = headers.text("ce_type") == Some("penstock.account.accepted");
    let time = headers.text("ce_time").map(|time| Timestamp::parse(time).unwrap());
    let takes = |name: &&str| *name != "accepted-only" || is_accepted;
    let is_early = |name: &str| name != WITH_HISTORY && time < deliveries.first_known(name);
    let reached = ENDPOINTS.into_iter().filter(takes).filter(|name| !is_early(name));
    (id.to_owned(), reached.collect())
}

/// Everything before the offsets, which are `what`, is recorded for each of its endpoints.
pub fn is_recorded_up_to(
    queue: &MemoryQueue,
    deliveries: &MemoryDeliveries,
    offsets: &BTreeMap<Partition, Offset>,
    what: &str,
) -> Result<(), String> {
    let recorded: BTreeSet<(String, String)> = deliveries
        .rows()
        .into_iter()
        .map(|row| (row.key.endpoint.to_string(), row.key.event.to_string()))
        .collect();
    for received in queue.log(Topic::Results) {
        if offsets.get(&received.partition).is_none_or(|offset| received.offset >= *offset) {
            continue;
        }
        let (id, endpoints) = expected(deliveries, &received);
        if is_poison(deliveries, &received) {
            has_dead_letter(queue, &id)?;
            continue;
        }
        for endpoint in endpoints {
            if !recorded.contains(&(endpoint.to_owned(), id.clone())) {
                let place = (received.partition, received.offset);
                return Err(format!("{place:?} is {what}, but {id} is not recorded for {endpoint}"));
            }
        }
    }
    Ok(())
}

/// What must hold when everything has come to rest.
pub fn check(
    queue: &MemoryQueue,
    deliveries: &MemoryDeliveries,
    receivers: &Receivers,
) -> Result<(), String> {
    let mut log = queue.log(Topic::Results);
    let mut states = HashMap::new();
    for row in deliveries.rows() {
        let key = (row.key.endpoint.to_string(), row.key.event.to_string());
        if states.insert(key.clone(), row.state).is_some() {
            return Err(format!("{key:?} is recorded twice"));
        }
    }
    let arrivals = receivers.arrivals();
    for received in &log {
        let (id, endpoints) = expected(deliveries, received);
        let is_early = |name: &&str| *name != WITH_HISTORY && !endpoints.contains(name);
        if let Some(name) = ENDPOINTS
            .iter()
            .find(|name| is_early(name) && states.contains_key(&((**name).to_owned(), id.clone())))
        {
            return Err(format!("{id} is older than {name}, and recorded for it"));
        }
        if is_poison(deliveries, received) {
            has_dead_letter(queue, &id)?;
            continue;
        }
        for endpoint in endpoints {
            let state = states.get(&(endpoint.to_owned(), id.clone()));
            let is_acknowledged = arrivals.iter().any(|arrival| {
                arrival.endpoint == endpoint && arrival.event_id == id && arrival.is_acknowledged
            });
            match (endpoint, state) {
                (DEAD, Some(DeliveryState::Parked | DeliveryState::Exhausted)) => {}
                (_, Some(DeliveryState::Delivered)) if is_acknowledged && endpoint != DEAD => {}
                _ => return Err(format!("{id} ends at {endpoint} as {state:?}, {is_acknowledged}")),
            }
        }
        if received.record.value.is_empty() {
            is_dead_lettered(queue, received)?;
        }
    }
    bodies_are_what_was_published(&log, receivers)?;
    // What the store cannot hold is not remembered either: read again, it goes out again.
    log.retain(|received| !is_poison(deliveries, received));
    is_in_order(&log, receivers)
}

fn has_dead_letter(queue: &MemoryQueue, id: &str) -> Result<(), String> {
    let letters = queue.log(Topic::DeadLetter);
    let is_it = |letter: &Received| letter.record.headers.text("ce_id") == Some(id);
    letters
        .iter()
        .any(is_it)
        .then_some(())
        .ok_or_else(|| format!("{id} is neither stored nor a dead letter"))
}

fn is_dead_lettered(queue: &MemoryQueue, received: &Received) -> Result<(), String> {
    let offset = received.offset.0.to_string();
    let partition = received.partition.0.to_string();
    let is_it = |letter: &Received| {
        let header = |name| letter.record.headers.text(name).map(str::to_owned);
        header("penstock-origin-offset").as_ref() == Some(&offset)
            && header("penstock-origin-partition").as_ref() == Some(&partition)
    };
    if queue.log(Topic::DeadLetter).iter().any(is_it) {
        Ok(())
    } else {
        Err(format!("{partition}/{offset} is no event and no dead letter"))
    }
}

fn bodies_are_what_was_published(log: &[Received], receivers: &Receivers) -> Result<(), String> {
    let bodies: HashMap<String, &[u8]> =
        log.iter().map(|received| (id_of(received), received.record.value.as_ref())).collect();
    for arrival in receivers.arrivals() {
        if bodies.get(&arrival.event_id) != Some(&arrival.body.as_slice()) {
            return Err(format!("{} arrived at {} changed", arrival.event_id, arrival.endpoint));
        }
    }
    Ok(())
}

/// By the first time each event was seen, the events of an account reach the ordered endpoint in the
/// order of the log; so they do by the first time each was acknowledged.
fn is_in_order(log: &[Received], receivers: &Receivers) -> Result<(), String> {
    let mut places = HashMap::new();
    for (place, received) in log.iter().enumerate() {
        places.entry(id_of(received)).or_insert((received.record.key.clone(), place));
    }
    for acknowledged_only in [false, true] {
        let mut seen = BTreeSet::new();
        let mut last = HashMap::new();
        for arrival in receivers.arrivals() {
            let counts = arrival.is_acknowledged || !acknowledged_only;
            if arrival.endpoint != ORDERED || !counts || !seen.insert(arrival.event_id.clone()) {
                continue;
            }
            let Some((account, place)) = places.get(&arrival.event_id) else { continue };
            let before = last.insert(account.clone(), *place);
            if before > Some(*place) {
                return Err(format!("{} of {account:?} arrived out of order", arrival.event_id));
            }
        }
    }
    Ok(())
}
