//! The promises of callbacks, checked over what is on the topic, what receivers have seen, and what the
//! store has of deliveries.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use uuid::Uuid;

use crate::events::Event;
use crate::installation::Stored;
use crate::receivers::Arrival;

/// An endpoint: what it must get, and what its receiver has seen.
#[derive(Clone, Debug)]
pub struct Seen {
    pub endpoint: &'static str,
    /// The types that it takes; all when empty.
    pub event_types: Vec<&'static str>,
    /// Whether its receiver is one that takes events at all.
    pub is_live: bool,
    pub arrivals: Vec<Arrival>,
}

/// All that is known after a run.
#[derive(Clone, Debug)]
pub struct Facts {
    pub events: BTreeMap<Uuid, Event>,
    pub seen: Vec<Seen>,
    pub stored: Vec<Stored>,
}

/// How often there was what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Deliveries that had to be made.
    pub deliveries: usize,
    /// Of them parked at dead endpoints.
    pub parked: usize,
    /// Events that a receiver acknowledged although it had done so before.
    pub repeated: usize,
    /// Events that came and were not acknowledged.
    pub unacknowledged: usize,
}

impl Facts {
    /// Every event is acknowledged by every live endpoint that takes it, and recorded so; it is parked for
    /// every dead one; and nothing else was sent or recorded.
    pub fn check(&self) -> Result<Counts, String> {
        let mut counts = Counts::default();
        let mut states: HashMap<(&str, Uuid), &str> = HashMap::new();
        for stored in &self.stored {
            states.insert((&stored.endpoint, stored.event_id), &stored.state);
        }
        for seen in &self.seen {
            self.check_endpoint(seen, &states, &mut counts)?;
        }
        if states.len() != counts.deliveries {
            return Err(format!("{} deliveries are recorded, {counts:?}", states.len()));
        }
        Ok(counts)
    }

    fn check_endpoint(
        &self,
        seen: &Seen,
        states: &HashMap<(&str, Uuid), &str>,
        counts: &mut Counts,
    ) -> Result<(), String> {
        let endpoint = seen.endpoint;
        let takes = |kind: &str| seen.event_types.is_empty() || seen.event_types.contains(&kind);
        let mut acknowledged = HashSet::new();
        for arrival in &seen.arrivals {
            let event = self.events.get(&arrival.event).filter(|event| takes(&event.kind));
            let event = event.ok_or(format!("{} is not for {endpoint}", arrival.event))?;
            let is_same = |request: &crate::receivers::Captured| {
                let id = event.id.to_string();
                request.body == event.body
                    && request.headers.get("ce-id").is_some_and(|found| *found == id)
                    && request.headers.get("webhook-id").is_some_and(|found| *found == id)
            };
            if arrival.request.as_deref().is_some_and(|request| !is_same(request)) {
                return Err(format!("{} arrived at {endpoint} changed", arrival.event));
            }
            if !arrival.is_acknowledged {
                counts.unacknowledged += 1;
            } else if !acknowledged.insert(arrival.event) {
                counts.repeated += 1;
            }
        }
        for event in self.events.values().filter(|event| takes(&event.kind)) {
            counts.deliveries += 1;
            let has_it = acknowledged.contains(&event.id);
            match (seen.is_live, states.get(&(endpoint, event.id)).copied()) {
                (true, Some("delivered")) if has_it => {}
                (false, Some("parked" | "waiting")) if !has_it => counts.parked += 1,
                (_, state) => {
                    let id = event.id;
                    return Err(format!("{id} is {state:?} for {endpoint}; acknowledged: {has_it}"));
                }
            }
        }
        Ok(())
    }
}

/// Every event reaches its receiver for the first time only after all earlier ones of its account were
/// acknowledged there, and is acknowledged itself in the end. What has been acknowledged may come again.
pub fn is_in_order(events: &BTreeMap<Uuid, Event>, arrivals: &[Arrival]) -> Result<(), String> {
    let mut lines: BTreeMap<&[u8], Vec<&Event>> = BTreeMap::new();
    for event in events.values() {
        lines.entry(&event.key).or_default().push(event);
    }
    for line in lines.values_mut() {
        line.sort_by_key(|event| event.place);
    }
    // How many of a line, from its beginning, are acknowledged.
    let mut done: BTreeMap<&[u8], usize> = BTreeMap::new();
    let mut acknowledged = BTreeSet::new();
    for arrival in arrivals {
        let event = events.get(&arrival.event).ok_or(format!("{} is none", arrival.event))?;
        let (line, done) = (&lines[&*event.key], done.entry(&event.key).or_default());
        let is_next = line.get(*done).is_some_and(|next| next.id == event.id);
        if !is_next && !acknowledged.contains(&event.id) {
            let (account, missing) = (&event.subject, line[*done].id);
            return Err(format!("{} of {account} came before {missing} had", event.id));
        }
        if is_next && arrival.is_acknowledged {
            *done += 1;
            acknowledged.insert(event.id);
        }
    }
    let missing = events.len() - acknowledged.len();
    if missing == 0 { Ok(()) } else { Err(format!("{missing} events were never acknowledged")) }
}
