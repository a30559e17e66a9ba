//! An outbox and a receiver that answers anything, in virtual time: how often it is asked, and how each
//! delivery ends.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::tests::{at, endpoint, job, options};
use super::*;
use crate::callbacks::attempt::Answer;
use crate::callbacks::breaker::BreakerOptions;
use crate::callbacks::schedule::{Schedule, parse_retry_after};
use crate::store::Breaker;

const CLAIM_INTERVAL_MS: i64 = 500;
const MAX_RETRY_AFTER: Duration = Duration::from_mins(2);
/// Longer than any run needs; only idle time is skipped.
const MAX_STEPS: usize = 200_000;

/// What a receiver does with one request.
#[derive(Clone, Debug)]
struct Reaction {
    /// None: it cuts the connection, or says nothing until the timeout.
    status: Option<u16>,
    retry_after: Option<String>,
    takes_ms: i64,
}

/// What it says to a request with these events.
type Receiver<'a> = dyn FnMut(&[Arc<CloudEvent>], Timestamp) -> Reaction + 'a;

/// A request as the receiver saw it.
#[derive(Clone, Debug)]
struct Sent {
    events: Vec<String>,
    at: Timestamp,
    answered_at: Timestamp,
    /// How long it was to be left alone.
    asked: Option<Duration>,
}

/// What a process does around an outbox, and what the store does with what is parked.
struct World {
    outbox: Outbox,
    options: DelivererOptions,
    /// By event, what the store is to remember, and when it is due: what is leased when its lease has ended.
    parked: BTreeMap<String, (Timestamp, Job)>,
    breaker: Breaker,
    is_disabled: bool,
    landings: BTreeMap<(Timestamp, u64), (Landing, usize)>,
    sent: Vec<Sent>,
    ended: BTreeMap<String, Ending>,
}

fn world_options() -> DelivererOptions {
    let second = Duration::from_secs(1);
    DelivererOptions {
        schedule: Schedule {
            waits: vec![Duration::ZERO, 5 * second, 60 * second, 5 * second],
            jitter: 0.2,
            max_retry_after: MAX_RETRY_AFTER,
        },
        breaker: BreakerOptions {
            min_failures: 5,
            failing_for: 10 * second,
            probe_interval: 10 * second,
            max_probe_interval: 60 * second,
        },
        lease: 60 * second,
        max_claim: 100,
        ..options()
    }
}

impl World {
    fn new(endpoint: Endpoint, events: u32) -> Self {
        let mut world = Self {
            outbox: Outbox::new(Arc::new(endpoint), at(0)),
            options: world_options(),
            parked: BTreeMap::new(),
            breaker: Breaker::Closed,
            is_disabled: false,
            landings: BTreeMap::new(),
            sent: Vec::new(),
            ended: BTreeMap::new(),
        };
        for number in 0..events {
            let offered = world.outbox.offer(job(number, &format!("acc-{number}"), at(0)), false, at(0));
            world.take(offered.into_iter().collect());
        }
        world
    }

    fn take(&mut self, ended: Vec<Ended>) {
        for Ended { job, ending, failures, .. } in ended {
            let event = job.event.source.clone();
            if let Ending::Parked { due_at } = ending {
                self.parked.insert(event, (due_at, Job { failures, ..job }));
                continue;
            }
            self.parked.remove(&event);
            let again = self.ended.insert(event, ending);
            assert_eq!(again, None, "a delivery ends once");
        }
    }

    fn gate(&mut self, now: Timestamp) {
        let gate = match (self.is_disabled, self.breaker) {
            (true, _) => Gate::Shut,
            (false, Breaker::Closed) => Gate::Free,
            (false, Breaker::Open { .. }) => match self.options.breaker.probing(self.breaker, now) {
                Some(breaker @ Breaker::Open { probe_at: until, .. }) => {
                    self.breaker = breaker;
                    Gate::Probe { until }
                }
                _ => match self.outbox.gate() {
                    probe @ Gate::Probe { until } if until > now => probe,
                    _ => Gate::Shut,
                },
            },
        };
        self.outbox.set_gate(gate, now);
    }

    fn heed(&mut self, signal: Signal, now: Timestamp) {
        match signal {
            Signal::Works => self.breaker = Breaker::Closed,
            Signal::Fails => self.breaker = self.options.breaker.opened(now),
            Signal::Gone => self.is_disabled = true,
            Signal::Quiet(_) | Signal::Listens | Signal::Disagrees(_) => {}
        }
        self.gate(now);
    }

    fn claim(&mut self, now: Timestamp) {
        let Some(claim) = self.outbox.claim(now, self.options.max_claim) else { return };
        let mut due: Vec<_> = self.parked.values_mut().filter(|(due_at, _)| *due_at <= now).collect();
        due.sort_by_key(|(due_at, job)| (*due_at, job.key.event.0));
        let until = now.later(self.options.lease);
        let lease = |(due_at, job): &mut (Timestamp, Job)| {
            *due_at = until;
            let origin = Origin::Store { lease: 1, until };
            Job { origin, max_together: usize::MAX, ..job.clone() }
        };
        let leased = due.into_iter().take(claim.limit).map(lease).collect();
        self.outbox.add_leased(leased, now);
    }

    fn send(&mut self, now: Timestamp, receiver: &mut Receiver<'_>) {
        while let Some((flight, events)) = self.outbox.take_off(now, &self.options) {
            let Reaction { status, retry_after, takes_ms } = receiver(&events, now);
            let answered_at = Timestamp::from_unix_millis(now.unix_millis() + takes_ms);
            let retry_after = retry_after.and_then(|text| parse_retry_after(&text, answered_at));
            let answered = match status {
                Some(status) => Ok(Answer { status, retry_after, body: String::new() }),
                None => Err(NoAnswer("cut off".to_owned())),
            };
            let asked = match Verdict::of(&answered) {
                Verdict::Throttled(asked) => Some(asked),
                _ => None,
            };
            let events = events.iter().map(|event| event.source.clone()).collect();
            self.sent.push(Sent { events, at: now, answered_at, asked });
            let landing = Landing { flight, answered, at: now, duration: Duration::ZERO };
            self.landings.insert((answered_at, flight), (landing, self.sent.len()));
        }
    }

    /// Goes on until everything has ended, nothing can happen any more, or `end` has come.
    fn run(&mut self, mut now: Timestamp, end: Timestamp, receiver: &mut Receiver<'_>) -> Timestamp {
        for step in 0.. {
            assert!(step < MAX_STEPS, "no end at {now}: {} requests", self.sent.len());
            self.gate(now);
            let given_back = self.outbox.give_back_if_shut(now);
            self.take(given_back);
            if now.unix_millis() % CLAIM_INTERVAL_MS == 0 {
                self.claim(now);
            }
            self.send(now, receiver);
            if let Some(((landed_at, _), (landing, _))) = self.landings.pop_first() {
                now = now.max(landed_at);
                let random = f64::from(u32::try_from(step % 10).unwrap()) / 10.0;
                let (ended, signal) = self.outbox.land(landing, now, random, &self.options);
                self.take(ended);
                if let Some(signal) = signal {
                    self.heed(signal, now);
                }
                continue;
            }
            let is_over = self.parked.is_empty() && self.outbox.is_idle();
            if is_over || self.is_disabled || now >= end {
                break;
            }
            let next = now.unix_millis().div_euclid(CLAIM_INTERVAL_MS) * CLAIM_INTERVAL_MS;
            now = Timestamp::from_unix_millis(next + CLAIM_INTERVAL_MS);
        }
        now
    }

    fn requests_with(&self, event: &str) -> usize {
        self.sent.iter().filter(|sent| sent.events.iter().any(|sent| sent == event)).count()
    }
}

/// How one asks to be left alone.
fn wish() -> impl Strategy<Value = String> {
    const DATES: [&str; 3] =
        ["Thu, 01 Jan 1970 00:00:00 GMT", "Tuesday, 14-Nov-23 22:14:20 GMT", "Fri Dec 31 23:59:59 9999"];
    prop_oneof![
        3 => Just("0".to_owned()),
        2 => (0_u32..400).prop_map(|seconds| seconds.to_string()),
        1 => Just("9".repeat(30)),
        3 => prop::sample::select(&DATES[..]).prop_map(str::to_owned),
    ]
}

fn retry_after() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        3 => Just(None),
        8 => wish().prop_map(Some),
        1 => Just(Some("-1".to_owned())),
        1 => Just(Some("soon".to_owned())),
    ]
}

fn reaction() -> impl Strategy<Value = Reaction> {
    let status = prop_oneof![
        4 => Just(Some(429_u16)),
        2 => Just(Some(503)),
        3 => Just(Some(200)),
        1 => Just(None),
        1 => Just(Some(400)),
        3 => (100_u16..600).prop_filter("410 has a test of its own", |status| *status != 410).prop_map(Some),
    ];
    let takes_ms = prop_oneof![Just(0_i64), 0_i64..50, 0_i64..15_000];
    (status, retry_after(), takes_ms).prop_map(|(status, retry_after, takes_ms)| Reaction {
        status,
        retry_after,
        takes_ms,
    })
}

/// How many requests a second there may be at most, of whom asks to be left alone with every answer.
fn most_in_a_second(sent: &[Sent]) -> usize {
    let in_second_of = |first: &Sent| {
        let until = first.at.later(Duration::from_secs(1));
        sent.iter().filter(|sent| first.at <= sent.at && sent.at < until).count()
    };
    sent.iter().map(in_second_of).max().unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a receiver answers, and however slowly: no delivery is sent more often than the schedule
    /// says, no request goes out while the receiver wants to be left alone, and everything has ended a
    /// bounded time after it works again.
    #[test]
    fn any_receiver_is_asked_a_bounded_number_of_times(
        reactions in prop::collection::vec(reaction(), 1..60),
        concurrency in 1_usize..5,
        batch in prop_oneof![Just(1_usize), 2_usize..9],
    ) {
        let mut world = World::new(Endpoint { batch, concurrency, ..endpoint() }, 10);
        let mut answers = reactions.iter().cycle();
        let mut any = |_: &[Arc<CloudEvent>], _| answers.next().unwrap().clone();
        let now = world.run(at(0), at(3_000), &mut any);
        let misbehaved = world.sent.len();
        let works = Reaction { status: Some(200), retry_after: None, takes_ms: 1 };
        let end = world.run(now, now.later(Duration::from_mins(10)), &mut |_, _| works.clone());
        prop_assert_eq!(world.ended.len(), 10, "{} of 10 ended by {} after {}", world.ended.len(), end, now);

        let attempts = world.options.schedule.waits.len() + 1;
        // A request with several events that is refused goes out again in halves, and that counts once.
        let halvings = batch.next_power_of_two().ilog2() as usize;
        for number in 0..10 {
            let requests = world.requests_with(&format!("n-{number}"));
            prop_assert!(requests <= attempts * (1 + halvings), "{requests} requests with one event");
        }
        for throttled in world.sent[..misbehaved].iter().filter(|sent| sent.asked.is_some()) {
            let granted = throttled.asked.unwrap_or_default().clamp(Duration::from_secs(1), MAX_RETRY_AFTER);
            let until = throttled.answered_at.later(granted);
            let early = world.sent.iter().find(|sent| throttled.answered_at < sent.at && sent.at < until);
            // An acknowledgement of a probe by then is what may end it early, and nothing else.
            prop_assert!(early.is_none(), "{:?} although {:?}", early, throttled);
        }
    }

    /// Who answers every request by asking to be left alone gets no more requests a second than go out at
    /// a time, in whatever words it asks.
    #[test]
    fn whoever_only_asks_to_be_left_alone_is(
        words in prop::collection::vec(wish(), 1..20),
        takes_ms in prop_oneof![Just(0_i64), 0_i64..2_000],
        concurrency in 1_usize..9,
    ) {
        let mut words = words.iter().cycle();
        let mut world = World::new(Endpoint { concurrency, ..endpoint() }, 40);
        world.run(at(0), at(1_000), &mut |_, _| Reaction {
            status: Some(429),
            retry_after: words.next().cloned(),
            takes_ms,
        });
        let most = most_in_a_second(&world.sent);
        prop_assert!(most <= concurrency, "{most} requests in a second, {concurrency} at a time");
        // After the first quiet time one goes alone.
        let first = world.sent[0].answered_at;
        let later_on: Vec<Sent> = world.sent.iter().filter(|sent| sent.at > first).cloned().collect();
        prop_assert!(most_in_a_second(&later_on) <= 1);
    }

    /// One event that is refused costs the others of its batch nothing but requests: of a refusal that
    /// says so it is a few at once, of anything else a few attempts.
    #[test]
    fn a_refused_event_takes_no_other_with_it(
        batch in 2_usize..70,
        bad in prop::collection::btree_set(0_u32..60, 1..4),
        status in prop_oneof![Just(400_u16), Just(413), Just(422), Just(500)],
        concurrency in 1_usize..4,
    ) {
        let mut world = World::new(Endpoint { batch, concurrency, ..endpoint() }, 60);
        // What fails is no outage here.
        world.options.breaker.min_failures = u32::MAX;
        let names: Vec<String> = bad.iter().map(|number| format!("n-{number}")).collect();
        world.run(at(0), at(5_000), &mut |events, _| {
            let is_refused = events.iter().any(|event| names.contains(&event.source));
            Reaction { status: Some(if is_refused { status } else { 200 }), retry_after: None, takes_ms: 1 }
        });
        for number in 0..60 {
            let (name, is_bad) = (format!("n-{number}"), bad.contains(&number));
            let expected = if is_bad { Ending::Exhausted } else { Ending::Delivered };
            prop_assert_eq!(world.ended.get(&name), Some(&expected), "{}", name);
            let last = world.sent.iter().rfind(|sent| sent.events.contains(&name));
            if status < 500 && !is_bad {
                prop_assert!(last.unwrap().at < at(1), "{:?} with an event that is taken", last);
            }
        }
    }
}

#[test]
fn whoever_says_that_it_is_gone_hears_no_more() {
    let mut world = World::new(Endpoint { concurrency: 4, ..endpoint() }, 40);
    world.run(at(0), at(5_000), &mut |_, _| Reaction {
        status: Some(410),
        retry_after: None,
        takes_ms: 3,
    });
    assert!(world.sent.len() <= 4, "{} requests", world.sent.len());
    assert_eq!((world.parked.len(), world.ended.len()), (40, 0), "and everything is kept");
}
