//! The deliveries port's promises: one delivery an event and endpoint, leases that pass on, lines in
//! order, and what operators see and change.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use penstock::account::{EventId, Generation, LogPartition, Offset, Partition, Timestamp};
use penstock::events::CloudEvent;
use penstock::store::{
    Attempt, Attendance, Availability, Breaker, Changed, Claim, Deliveries, DeliveryKey, DeliveryState,
    Ending, EndpointName, EndpointState, FrontierStep, GivingUp, KnownDeliveries, Leased, Line, Mark,
    NewDelivery, ProcessId, RecordedFrontiers, Released, Selection, Settled, Stamp, StateCount,
    WantedDeliveries,
};
use uuid::Uuid;

/// The data of one implementation, empty at first, that can be opened again and again.
pub(crate) trait DeliveriesRig: Default + Send + Sync + 'static {
    /// The implementation.
    type Deliveries: Deliveries;

    /// Opens it, or opens it again.
    fn open_deliveries(&self) -> impl Future<Output = Self::Deliveries> + Send;

    /// Ends the process that has it, as far as it can tell.
    fn close_deliveries(&self, deliveries: Self::Deliveries) -> impl Future<Output = ()> + Send;
}

/// Names every test of the suite for one rig.
#[macro_export]
macro_rules! deliveries_conformance {
    ($rig:ty) => {
        $crate::deliveries_conformance!(@each $rig:
            what_is_recorded_is_known_and_survives_the_process
            a_delivery_is_recorded_once_and_only_its_delivery_changes_that
            what_is_due_is_claimed_with_its_event_as_it_was
            claims_take_what_is_due_longest_up_to_their_limit
            a_lease_that_ended_passes_on_and_its_old_holder_changes_nothing
            what_is_settled_goes_on_as_said
            many_claims_at_once_share_without_overlap
            an_ordered_line_has_one_delivery_due_at_a_time
            an_ordered_line_stays_in_order_while_it_grows_and_shrinks
            what_waits_for_nothing_is_released
            stranded_lines_are_looked_for_in_slices
            what_ended_long_ago_is_removed_counted_from_its_end
            what_is_parked_too_long_is_given_up_and_can_be_redelivered
            what_is_given_up_leaves_alone_what_is_under_way
            an_endpoints_state_changes_only_over_its_version
            an_endpoint_is_known_since_it_was_registered_first
            endpoints_of_older_deliveries_are_known_from_the_beginning
            endpoints_that_are_registered_at_once_are_known_by_one_of_the_times
            selections_list_and_count_the_newest_first
            what_is_selected_is_counted_no_further_than_asked
            failed_attempts_are_listed_in_their_order
            what_has_ended_is_delivered_again_on_demand
            a_redelivery_in_steps_takes_nothing_twice
            a_redelivery_in_steps_takes_each_once_while_others_end
            what_was_given_up_is_delivered_again_in_the_order_of_the_log
            what_is_parked_is_hastened_on_demand_but_not_what_may_be_leased
            deliveries_are_counted_by_endpoint_and_state
            the_backlog_is_counted_by_endpoint
            frontiers_move_with_what_is_recorded_and_survive_the_process
            a_frontier_moves_only_from_where_it_is_said_to_stand
            one_of_the_processes_that_report_themselves_is_the_first
            a_thousand_deliveries_are_one_call
            empty_calls_are_done
        );
    };
    (@each $rig:ty: $($name:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::deliveries::$name::<$rig>().await;
            }
        )+
    };
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_millis(1_700_000_000_000 + seconds * 1_000)
}

fn endpoint(name: &str) -> EndpointName {
    EndpointName::parse(name).unwrap()
}

pub(crate) fn event(number: u32) -> Arc<CloudEvent> {
    let further = vec![("subject".to_owned(), "a \"quoted\" ž \\ 😀\n".to_owned())];
    let trace = vec![("traceparent".to_owned(), "00-0-0-01".to_owned())];
    Arc::new(CloudEvent {
        id: EventId(Uuid::from_u128(number.into())),
        source: format!("n-{number}"),
        event_type: "penstock.account.accepted".to_owned(),
        further,
        trace,
        data: Bytes::from(format!("{{ \"n\" : {number}, \"text\":\"ž\\u0000\" }}")),
    })
}

fn key(name: &str, number: u32) -> DeliveryKey {
    DeliveryKey { endpoint: endpoint(name), event: event(number).id }
}

fn attempt(seconds: i64, status: Option<u16>) -> Attempt {
    let answer = "{\"error\": \"ž\"}".to_owned();
    Attempt { at: at(seconds), duration: Duration::from_millis(1_234), status, answer }
}

fn new(name: &str, number: u32, account: &str, ending: Ending) -> NewDelivery {
    NewDelivery {
        key: key(name, number),
        account: account.into(),
        event: event(number),
        is_ordered: false,
        ending,
        failures: 0,
        attempt: (ending == Ending::Delivered).then(|| attempt(0, Some(204))),
    }
}

fn parked(name: &str, number: u32, due: i64) -> NewDelivery {
    new(name, number, "acc", Ending::Parked { due_at: at(due) })
}

pub(crate) fn delivered(name: &str, number: u32) -> NewDelivery {
    new(name, number, "acc", Ending::Delivered)
}

pub(crate) fn in_line(number: u32, account: &str) -> NewDelivery {
    let ending = Ending::Parked { due_at: at(0) };
    NewDelivery { is_ordered: true, ..new("risk", number, account, ending) }
}

pub(crate) fn settled(leased: &Leased, ending: Ending) -> Settled {
    Settled {
        key: leased.key.clone(),
        lease: leased.lease,
        ending,
        failures: leased.failures + 1,
        attempt: Some(attempt(5, Some(500))),
    }
}

pub(crate) async fn claim(
    deliveries: &impl Deliveries,
    name: &str,
    limit: usize,
    now: i64,
) -> Vec<Leased> {
    let claims = [Claim { endpoint: endpoint(name), limit }];
    deliveries.claim(&claims, at(now), at(now + 60)).await.unwrap()
}

pub(crate) fn numbers(leased: &[Leased]) -> Vec<String> {
    leased.iter().map(|leased| leased.event.source.clone()).collect()
}

async fn states(deliveries: &impl Deliveries) -> Vec<(String, DeliveryState)> {
    let mut all: Vec<_> = deliveries
        .list(&Selection::default(), 100)
        .await
        .unwrap()
        .into_iter()
        .map(|record| (record.number, record.state))
        .collect();
    all.sort();
    all
}

pub(crate) async fn what_is_recorded_is_known_and_survives_the_process<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    deliveries.record(&[delivered("risk", 1), parked("risk", 2, 0)], &[], at(0)).await.unwrap();
    rig.close_deliveries(deliveries).await;

    let deliveries = rig.open_deliveries().await;
    let line = |name: &str, account: &str| Line { endpoint: endpoint(name), account: account.into() };
    let wanted = WantedDeliveries {
        keys: vec![key("risk", 1), key("risk", 2), key("risk", 3), key("other", 1), key("risk", 1)],
        lines: vec![line("risk", "acc"), line("risk", "other"), line("other", "acc")],
        logs: Vec::new(),
    };
    let known = deliveries.look(&wanted).await.unwrap();
    assert_eq!(known.recorded, [key("risk", 1), key("risk", 2)].into());
    assert_eq!(known.held, [line("risk", "acc")].into());
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn a_delivery_is_recorded_once_and_only_its_delivery_changes_that<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    deliveries.record(&[parked("risk", 1, 0), delivered("risk", 2)], &[], at(0)).await.unwrap();
    deliveries.record(&[parked("risk", 1, 50), parked("risk", 2, 0)], &[], at(1)).await.unwrap();
    let states_after = states(&deliveries).await;
    assert_eq!(states_after[0].1, DeliveryState::Parked);
    assert_eq!(states_after[1].1, DeliveryState::Delivered);
    let leased = claim(&deliveries, "risk", 9, 2).await;
    assert_eq!(numbers(&leased), ["n-1"], "due as first said");

    // A process that woke up late has delivered it after all.
    deliveries.record(&[delivered("risk", 1)], &[], at(3)).await.unwrap();
    assert_eq!(states(&deliveries).await[0].1, DeliveryState::Delivered);
    let late = settled(&leased[0], Ending::Parked { due_at: at(4) });
    deliveries.settle(&[late], at(4)).await.unwrap();
    assert_eq!(states(&deliveries).await[0].1, DeliveryState::Delivered);
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn what_is_due_is_claimed_with_its_event_as_it_was<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    let failed = NewDelivery {
        failures: 1,
        attempt: Some(attempt(0, None)),
        ..new("risk", 1, "LT/acc ž", Ending::Parked { due_at: at(5) })
    };
    deliveries.record(&[failed], &[], at(0)).await.unwrap();
    assert!(claim(&deliveries, "risk", 9, 4).await.is_empty(), "not due");
    assert!(claim(&deliveries, "other", 9, 5).await.is_empty(), "another endpoint's");
    let leased = claim(&deliveries, "risk", 9, 5).await;
    let expected = Leased {
        key: key("risk", 1),
        account: "LT/acc ž".into(),
        event: event(1),
        lease: 1,
        failures: 1,
        recorded_at: at(0),
    };
    assert_eq!(leased, [expected]);
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn claims_take_what_is_due_longest_up_to_their_limit<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    let new = [
        parked("risk", 1, 30),
        parked("risk", 2, 10),
        parked("risk", 3, 20),
        parked("other", 4, 0),
        parked("other", 5, 0),
        parked("third", 6, 0),
    ];
    deliveries.record(&new, &[], at(0)).await.unwrap();
    let claims = [
        Claim { endpoint: endpoint("risk"), limit: 2 },
        Claim { endpoint: endpoint("other"), limit: 1 },
    ];
    let leased = deliveries.claim(&claims, at(40), at(100)).await.unwrap();
    let mut found = numbers(&leased);
    found.sort();
    assert_eq!(found, ["n-2", "n-3", "n-4"]);
    assert_eq!(numbers(&claim(&deliveries, "risk", 9, 40).await), ["n-1"]);
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn a_lease_that_ended_passes_on_and_its_old_holder_changes_nothing<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    deliveries.record(&[parked("risk", 1, 0)], &[], at(0)).await.unwrap();
    let old = claim(&deliveries, "risk", 9, 0).await;
    assert!(claim(&deliveries, "risk", 9, 59).await.is_empty(), "the lease holds");
    let new = claim(&deliveries, "risk", 9, 60).await;
    assert_eq!((old[0].lease, new[0].lease), (1, 2));

    deliveries.settle(&[settled(&old[0], Ending::Exhausted)], at(61)).await.unwrap();
    assert_eq!(states(&deliveries).await[0].1, DeliveryState::Parked);
    deliveries.settle(&[settled(&new[0], Ending::Delivered)], at(62)).await.unwrap();
    assert_eq!(states(&deliveries).await[0].1, DeliveryState::Delivered);
    deliveries.settle(&[settled(&new[0], Ending::Exhausted)], at(63)).await.unwrap();
    assert_eq!(states(&deliveries).await[0].1, DeliveryState::Delivered, "it has ended");
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn what_is_settled_goes_on_as_said<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    let new: Vec<_> = (1..=4).map(|number| parked("risk", number, 0)).collect();
    deliveries.record(&new, &[], at(0)).await.unwrap();
    let leased = claim(&deliveries, "risk", 9, 0).await;
    let back =
        Settled { attempt: None, failures: 0, ..settled(&leased[3], Ending::Parked { due_at: at(7) }) };
    let endings = [
        settled(&leased[0], Ending::Delivered),
        settled(&leased[1], Ending::Exhausted),
        settled(&leased[2], Ending::Parked { due_at: at(8) }),
        back,
    ];
    deliveries.settle(&endings, at(6)).await.unwrap();
    let mut records = deliveries.list(&Selection::default(), 9).await.unwrap();
    records.sort_by_key(|record| record.key.clone());
    let found: Vec<_> = records
        .iter()
        .map(|record| (record.state, record.attempts, record.due_at, record.last_attempt.is_some()))
        .collect();
    let expected = [
        (DeliveryState::Delivered, 1, None, true),
        (DeliveryState::Exhausted, 1, None, true),
        (DeliveryState::Parked, 1, Some(at(8)), true),
        (DeliveryState::Parked, 0, Some(at(7)), false),
    ];
    assert_eq!(found, expected);
    let again = claim(&deliveries, "risk", 9, 8).await;
    let counts: Vec<_> = again.iter().map(|leased| (leased.lease, leased.failures)).collect();
    assert_eq!(counts, [(2, 0), (2, 1)], "given back without an attempt, and failed once");
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn many_claims_at_once_share_without_overlap<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    let new: Vec<_> = (0..200).map(|number| parked("risk", number, 0)).collect();
    deliveries.record(&new, &[], at(0)).await.unwrap();
    let claims = (0..8).map(|_| {
        let deliveries = deliveries.clone();
        tokio::spawn(async move { claim(&deliveries, "risk", 25, 1).await })
    });
    let mut all = Vec::new();
    for claimed in claims.collect::<Vec<_>>() {
        all.extend(numbers(&claimed.await.unwrap()));
    }
    // What one claim has locked another passes over, so one may find less than there is.
    all.extend(numbers(&claim(&deliveries, "risk", 200, 1).await));
    let claimed = all.len();
    all.sort();
    all.dedup();
    assert_eq!((claimed, all.len()), (200, 200));
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn an_ordered_line_has_one_delivery_due_at_a_time<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    let new = [in_line(1, "a"), in_line(2, "a"), in_line(3, "b"), in_line(4, "a")];
    deliveries.record(&new, &[], at(0)).await.unwrap();
    deliveries.record(&[in_line(5, "b")], &[], at(1)).await.unwrap();

    let mut order = Vec::new();
    for second in 2..20 {
        let leased = claim(&deliveries, "risk", 9, second).await;
        order.push(numbers(&leased).join(" "));
        let endings: Vec<_> = leased.iter().map(|leased| settled(leased, Ending::Delivered)).collect();
        deliveries.settle(&endings, at(second)).await.unwrap();
    }
    order.retain(|turn| !turn.is_empty());
    assert_eq!(order, ["n-1 n-3", "n-2 n-5", "n-4"]);
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn an_ordered_line_stays_in_order_while_it_grows_and_shrinks<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    let growing = deliveries.clone();
    let grow = tokio::spawn(async move {
        for number in 0..60 {
            growing.record(&[in_line(number, "a")], &[], at(0)).await.unwrap();
        }
    });
    let mut order = Vec::new();
    let deadline = Instant::now() + Duration::from_mins(1);
    while order.len() < 60 && Instant::now() < deadline {
        let leased = claim(&deliveries, "risk", 9, 0).await;
        assert!(leased.len() <= 1, "two of one line at a time: {:?}", numbers(&leased));
        order.extend(numbers(&leased));
        let endings: Vec<_> = leased.iter().map(|leased| settled(leased, Ending::Delivered)).collect();
        deliveries.settle(&endings, at(0)).await.unwrap();
        tokio::task::yield_now().await;
    }
    grow.await.unwrap();
    let expected: Vec<String> = (0..60).map(|number| format!("n-{number}")).collect();
    assert_eq!(order, expected, "none is left behind");
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn what_waits_for_nothing_is_released<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    deliveries.record(&[in_line(1, "a"), in_line(2, "a"), in_line(3, "a")], &[], at(0)).await.unwrap();
    // Its head was delivered by a process that woke up late: nobody had it leased.
    let head = NewDelivery { ending: Ending::Delivered, ..in_line(1, "a") };
    deliveries.record(&[head], &[], at(1)).await.unwrap();
    assert!(claim(&deliveries, "risk", 9, 2).await.is_empty());
    let released = deliveries.release_stranded(None, 10, at(3)).await.unwrap();
    assert_eq!(released, Released { count: 1, after: None });
    assert_eq!(numbers(&claim(&deliveries, "risk", 9, 3).await), ["n-2"]);
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn stranded_lines_are_looked_for_in_slices<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    let accounts = ["a", "b", "c", "d", "e"];
    let lines = accounts.iter().zip([1, 11, 21, 31, 41]);
    let new: Vec<_> = lines
        .flat_map(|(account, first)| (first..first + 3).map(|number| in_line(number, account)))
        .collect();
    deliveries.record(&new, &[], at(0)).await.unwrap();
    // The heads of b, d and e were delivered by a process that woke up late.
    let heads = [(11, "b"), (31, "d"), (41, "e")]
        .map(|(number, account)| NewDelivery { ending: Ending::Delivered, ..in_line(number, account) });
    deliveries.record(&heads, &[], at(1)).await.unwrap();
    let (mut after, mut released, mut slices) = (None, 0, 0);
    loop {
        let slice = deliveries.release_stranded(after.as_ref(), 2, at(2)).await.unwrap();
        (released, slices) = (released + slice.count, slices + 1);
        after = slice.after;
        if after.is_none() {
            break;
        }
        assert!(slices < 9, "it comes to an end");
    }
    assert_eq!((released, slices), (3, 3));
    let mut due = numbers(&claim(&deliveries, "risk", 9, 3).await);
    due.sort();
    assert_eq!(due, ["n-1", "n-12", "n-21", "n-32", "n-42"]);
    rig.close_deliveries(deliveries).await;
}

fn given_up_at(seconds: i64) -> GivingUp {
    GivingUp { reason: "a test".to_owned(), now: at(seconds), leases_end: at(seconds + 60) }
}

pub(crate) async fn what_ended_long_ago_is_removed_counted_from_its_end<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    let failed = NewDelivery { attempt: Some(attempt(0, Some(500))), ..parked("risk", 1, 0) };
    let redelivered = delivered("other", 5);
    deliveries
        .record(&[failed, delivered("risk", 2), parked("risk", 3, 0), redelivered], &[], at(0))
        .await
        .unwrap();
    deliveries.record(&[delivered("risk", 4), parked("late", 6, 99)], &[], at(10)).await.unwrap();
    // It was recorded long ago and ends now; so does what is sent again, and what arrives after all.
    let leased = claim(&deliveries, "risk", 1, 15).await;
    deliveries.settle(&[settled(&leased[0], Ending::Exhausted)], at(15)).await.unwrap();
    let other = Selection { endpoint: Some(endpoint("other")), ..Selection::default() };
    assert_eq!(deliveries.redeliver(&other, Mark::start(at(14)), 9, at(14)).await.unwrap().count, 1);
    let leased = claim(&deliveries, "other", 9, 14).await;
    deliveries.settle(&[settled(&leased[0], Ending::Delivered)], at(15)).await.unwrap();
    deliveries.record(&[delivered("late", 6)], &[], at(16)).await.unwrap();

    assert_eq!(deliveries.remove_ended(at(11), 1).await.unwrap(), 1, "its limit");
    assert_eq!(deliveries.remove_ended(at(11), 9).await.unwrap(), 1);
    assert_eq!(deliveries.remove_ended(at(15), 9).await.unwrap(), 0);
    let left: Vec<String> = states(&deliveries).await.into_iter().map(|(number, _)| number).collect();
    assert_eq!(left, ["n-1", "n-3", "n-5", "n-6"], "2 and 4 had ended when they were recorded");
    assert_eq!(deliveries.remove_ended(at(16), 9).await.unwrap(), 2);
    assert_eq!(deliveries.failed_attempts(&key("risk", 1)).await.unwrap(), []);
    assert_eq!(deliveries.remove_ended(at(17), 9).await.unwrap(), 1);
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn what_is_parked_too_long_is_given_up_and_can_be_redelivered<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    deliveries
        .record(&[in_line(1, "a"), in_line(2, "a"), parked("other", 3, 0)], &[], at(0))
        .await
        .unwrap();
    deliveries
        .record(&[in_line(4, "a"), parked("other", 5, 0), delivered("other", 6)], &[], at(10))
        .await
        .unwrap();
    let old = Selection { to: Some(at(10)), ..Selection::default() };
    assert_eq!(deliveries.give_up(&old, &given_up_at(20), 2).await.unwrap(), 2, "its limit");
    assert_eq!(deliveries.give_up(&old, &given_up_at(20), 9).await.unwrap(), 1);
    assert_eq!(deliveries.give_up(&old, &given_up_at(20), 9).await.unwrap(), 0);
    assert_eq!(numbers(&claim(&deliveries, "risk", 9, 20).await), ["n-4"], "the line goes on");
    let exhausted = Selection { state: Some(DeliveryState::Exhausted), ..Selection::default() };
    let listed = deliveries.list(&exhausted, 9).await.unwrap();
    let told: Vec<_> = listed.iter().map(|record| (record.since, record.reason.as_deref())).collect();
    assert_eq!(told, [(at(20), Some("a test")); 3]);

    // What is taken up again has all its time once more.
    assert_eq!(deliveries.redeliver(&exhausted, Mark::start(at(30)), 9, at(30)).await.unwrap().count, 3);
    assert_eq!(deliveries.give_up(&old, &given_up_at(31), 9).await.unwrap(), 0);
    let risk = Selection { endpoint: Some(endpoint("risk")), ..Selection::default() };
    let reasons = deliveries.list(&risk, 9).await.unwrap().into_iter().map(|record| record.reason);
    assert_eq!(reasons.collect::<Vec<_>>(), [None, None, None]);
    assert_eq!(deliveries.give_up(&risk, &given_up_at(99), 9).await.unwrap(), 3, "whatever is selected");
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn what_is_given_up_leaves_alone_what_is_under_way<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    let new = [parked("risk", 1, 0), parked("risk", 2, 0), parked("risk", 3, 500)];
    deliveries.record(&new, &[], at(0)).await.unwrap();
    let leased = claim(&deliveries, "risk", 1, 1).await;
    let all = Selection::default();
    assert_eq!(deliveries.give_up(&all, &given_up_at(2), 9).await.unwrap(), 2);
    deliveries.settle(&[settled(&leased[0], Ending::Delivered)], at(3)).await.unwrap();
    let (delivered, exhausted) = (DeliveryState::Delivered, DeliveryState::Exhausted);
    let found: Vec<_> = states(&deliveries).await.into_iter().map(|(_, state)| state).collect();
    assert_eq!(found, [delivered, exhausted, exhausted]);
    // Whoever had one before has no say any more.
    deliveries.record(&[parked("risk", 4, 0)], &[], at(3)).await.unwrap();
    let leased = claim(&deliveries, "risk", 1, 4).await;
    assert_eq!(deliveries.give_up(&all, &given_up_at(65), 9).await.unwrap(), 1, "its lease has ended");
    deliveries.settle(&[settled(&leased[0], Ending::Delivered)], at(66)).await.unwrap();
    assert_eq!(states(&deliveries).await[3].1, exhausted);
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn an_endpoints_state_changes_only_over_its_version<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    assert_eq!(deliveries.endpoint_states().await.unwrap(), []);
    let first = EndpointState {
        breaker: Breaker::Open { since: at(1), probe_at: at(2), probes: 3 },
        changed_at: at(1),
        ..EndpointState::unknown(endpoint("risk"))
    };
    assert_eq!(deliveries.change_endpoint(&first).await.unwrap(), Changed::Done);
    assert_eq!(deliveries.change_endpoint(&first).await.unwrap(), Changed::TooLate);
    let stored = deliveries.endpoint_states().await.unwrap();
    assert_eq!(stored, [EndpointState { version: 1, ..first }]);
    let second = EndpointState {
        availability: Availability::Disabled,
        reason: "410 Gone".to_owned(),
        breaker: Breaker::Closed,
        ..stored[0].clone()
    };
    assert_eq!(deliveries.change_endpoint(&second).await.unwrap(), Changed::Done);
    let stored = deliveries.endpoint_states().await.unwrap();
    assert_eq!(stored, [EndpointState { version: 2, ..second }]);
    rig.close_deliveries(deliveries).await;
}

/// Since when endpoints are known, in seconds, by their names.
async fn known_since(deliveries: &impl Deliveries) -> Vec<(String, Option<Timestamp>)> {
    let states = deliveries.endpoint_states().await.unwrap().into_iter();
    states.map(|state| (state.name.to_string(), state.known_since)).collect()
}

pub(crate) async fn an_endpoint_is_known_since_it_was_registered_first<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    deliveries.register(&[]).await.unwrap();
    deliveries.register(&[(endpoint("risk"), at(5)), (endpoint("audit"), at(6))]).await.unwrap();
    let risk = EndpointState { known_since: Some(at(5)), ..EndpointState::unknown(endpoint("risk")) };
    let stored = deliveries.endpoint_states().await.unwrap();
    assert_eq!(stored[1], risk, "nothing else is known of it");
    // What is recorded and changed since does not make it older or newer.
    deliveries.record(&[delivered("risk", 1)], &[step(0, 5, None)], at(7)).await.unwrap();
    let paused = EndpointState { availability: Availability::Paused, known_since: None, ..risk };
    assert_eq!(deliveries.change_endpoint(&paused).await.unwrap(), Changed::Done);
    let late = EndpointState::unknown(endpoint("late"));
    assert_eq!(deliveries.change_endpoint(&late).await.unwrap(), Changed::Done);
    rig.close_deliveries(deliveries).await;

    let deliveries = rig.open_deliveries().await;
    for since in [9, 1] {
        let all = ["risk", "late", "audit"].map(|name| (endpoint(name), at(since)));
        deliveries.register(&all).await.unwrap();
    }
    let expected = [("audit", 6), ("late", 9), ("risk", 5)];
    assert_eq!(
        known_since(&deliveries).await,
        expected.map(|(name, since)| (name.to_owned(), Some(at(since))))
    );
    let states = deliveries.endpoint_states().await.unwrap();
    assert_eq!((states[2].availability, states[2].version), (Availability::Paused, 1));
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn endpoints_of_older_deliveries_are_known_from_the_beginning<R: DeliveriesRig>() {
    for is_any_delivered in [true, false] {
        let rig = R::default();
        let deliveries = rig.open_deliveries().await;
        let new: Vec<_> = is_any_delivered.then(|| delivered("risk", 1)).into_iter().collect();
        let steps: Vec<_> = (!is_any_delivered).then(|| step(0, 5, None)).into_iter().collect();
        deliveries.record(&new, &steps, at(1)).await.unwrap();
        deliveries.register(&[(endpoint("risk"), at(5)), (endpoint("audit"), at(5))]).await.unwrap();
        deliveries.register(&[(endpoint("later"), at(6))]).await.unwrap();
        let beginning = Timestamp::from_unix_millis(0);
        let expected = [("audit", beginning), ("later", at(6)), ("risk", beginning)];
        assert_eq!(
            known_since(&deliveries).await,
            expected.map(|(name, since)| (name.to_owned(), Some(since)))
        );
        rig.close_deliveries(deliveries).await;
    }
}

pub(crate) async fn endpoints_that_are_registered_at_once_are_known_by_one_of_the_times<
    R: DeliveriesRig,
>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    let both = |since| [(endpoint("risk"), at(since)), (endpoint("audit"), at(since))];
    let registering = (1..9).map(|since| {
        let (deliveries, mut both) = (deliveries.clone(), both(since));
        both.rotate_left(usize::from(since % 2 == 0));
        async move { deliveries.register(&both).await }
    });
    for registered in futures_util::future::join_all(registering).await {
        registered.unwrap();
    }
    let known = known_since(&deliveries).await;
    deliveries.register(&both(9)).await.unwrap();
    assert_eq!(known_since(&deliveries).await, known);
    assert!(known.iter().all(|(_, since)| *since >= Some(at(1)) && *since < Some(at(9))), "{known:?}");
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn selections_list_and_count_the_newest_first<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    deliveries.record(&[parked("risk", 1, 9), delivered("risk", 2)], &[], at(0)).await.unwrap();
    deliveries.record(&[delivered("other", 2), delivered("risk", 3)], &[], at(5)).await.unwrap();
    let expect = async |selection: Selection, expected: &[&str]| {
        let found = deliveries.list(&selection, 9).await.unwrap();
        let found: Vec<String> =
            found.iter().map(|record| format!("{} {}", record.key.endpoint, record.number)).collect();
        assert_eq!(found, expected, "{selection:?}");
        let counted = deliveries.count(&selection, None).await.unwrap();
        assert_eq!((counted.count, counted.may_be_more), (expected.len() as u64, false));
    };
    let all = Selection::default();
    expect(all.clone(), &["risk n-3", "other n-2", "risk n-2", "risk n-1"]).await;
    expect(Selection { endpoint: Some(endpoint("other")), ..all.clone() }, &["other n-2"]).await;
    expect(Selection { state: Some(DeliveryState::Parked), ..all.clone() }, &["risk n-1"]).await;
    let number = Some("n-2".to_owned());
    expect(Selection { number, ..all.clone() }, &["other n-2", "risk n-2"]).await;
    expect(Selection { event: Some(event(3).id), ..all.clone() }, &["risk n-3"]).await;
    expect(Selection { from: Some(at(5)), ..all.clone() }, &["risk n-3", "other n-2"]).await;
    expect(Selection { to: Some(at(5)), ..all.clone() }, &["risk n-2", "risk n-1"]).await;
    let first = &deliveries.list(&all, 1).await.unwrap()[0];
    assert_eq!((first.attempts, first.recorded_at, first.due_at), (1, at(5), None));
    assert_eq!(first.last_attempt, Some(attempt(0, Some(204))));
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn what_is_selected_is_counted_no_further_than_asked<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    let new: Vec<_> = (1..=3).map(|number| parked("risk", number, 9)).collect();
    deliveries.record(&new, &[], at(0)).await.unwrap();
    deliveries.record(&[delivered("audit", 1), delivered("risk", 4)], &[], at(0)).await.unwrap();
    let all = Selection::default();
    for (limit, count, may_be_more) in [
        (None, 5, false),
        (Some(6), 5, false),
        (Some(5), 5, true),
        (Some(3), 3, true),
        (Some(1), 1, true),
    ] {
        let counted = deliveries.count(&all, limit).await.unwrap();
        assert_eq!((counted.count, counted.may_be_more), (count, may_be_more), "{limit:?}");
    }
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn failed_attempts_are_listed_in_their_order<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    let failed = NewDelivery { attempt: Some(attempt(0, None)), ..parked("risk", 1, 0) };
    deliveries.record(&[failed], &[], at(0)).await.unwrap();
    for (second, ending) in [(1, Ending::Parked { due_at: at(2) }), (2, Ending::Delivered)] {
        let leased = claim(&deliveries, "risk", 9, second).await;
        let ended = Settled { attempt: Some(attempt(second, Some(500))), ..settled(&leased[0], ending) };
        deliveries.settle(&[ended], at(second)).await.unwrap();
    }
    let attempts = deliveries.failed_attempts(&key("risk", 1)).await.unwrap();
    assert_eq!(attempts, [attempt(0, None), attempt(1, Some(500))]);
    assert_eq!(deliveries.list(&Selection::default(), 1).await.unwrap()[0].attempts, 3);
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn what_has_ended_is_delivered_again_on_demand<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    let line = |number, ending| NewDelivery { ending, ..in_line(number, "a") };
    let new = [
        line(1, Ending::Delivered),
        line(2, Ending::Exhausted),
        line(3, Ending::Delivered),
        delivered("other", 4),
        parked("other", 5, 500),
    ];
    deliveries.record(&new, &[], at(0)).await.unwrap();
    let risk = Selection { endpoint: Some(endpoint("risk")), ..Selection::default() };
    let first = deliveries.redeliver(&risk, Mark::start(at(1)), 2, at(1)).await.unwrap();
    assert_eq!(first.count, 2, "the first two");
    assert_eq!(numbers(&claim(&deliveries, "risk", 9, 1).await), ["n-1"], "one after the other");
    let other = Selection { endpoint: Some(endpoint("other")), ..Selection::default() };
    let ended = deliveries.redeliver(&other, Mark::start(at(1)), 9, at(1)).await.unwrap();
    assert_eq!(ended.count, 1, "what is parked stays so");
    assert_eq!(numbers(&claim(&deliveries, "other", 9, 1).await), ["n-4"]);
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn a_redelivery_in_steps_takes_nothing_twice<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    let new: Vec<_> = (1..=5).map(|number| delivered("risk", number)).collect();
    deliveries.record(&new, &[], at(0)).await.unwrap();
    deliveries.record(&[delivered("audit", 6)], &[], at(0)).await.unwrap();
    let all = Selection { state: Some(DeliveryState::Delivered), ..Selection::default() };
    let (mut mark, mut steps) = (Mark::start(at(1)), Vec::new());
    for second in 1..=4 {
        let step = deliveries.redeliver(&all, mark.clone(), 2, at(second)).await.unwrap();
        // It is delivered again before the next step.
        let mut leased = claim(&deliveries, "audit", 9, second).await;
        leased.extend(claim(&deliveries, "risk", 9, second).await);
        let endings: Vec<_> = leased.iter().map(|leased| settled(leased, Ending::Delivered)).collect();
        deliveries.settle(&endings, at(second)).await.unwrap();
        steps.push(numbers(&leased).join(" "));
        mark = step.mark;
    }
    assert_eq!(steps, ["n-6 n-1", "n-2 n-3", "n-4 n-5", ""], "endpoint by endpoint");
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn a_redelivery_in_steps_takes_each_once_while_others_end<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    // The first recorded was delivered last, and some were at the same time.
    deliveries.record(&[parked("risk", 8, 0)], &[], at(0)).await.unwrap();
    let new: Vec<_> = (1..=6).map(|number| delivered("risk", number)).collect();
    deliveries.record(&new, &[], at(1)).await.unwrap();
    deliveries.record(&[delivered("risk", 7)], &[], at(2)).await.unwrap();
    let leased = claim(&deliveries, "risk", 9, 3).await;
    deliveries.settle(&[settled(&leased[0], Ending::Delivered)], at(3)).await.unwrap();
    let all = Selection { state: Some(DeliveryState::Delivered), ..Selection::default() };
    let (mut mark, mut steps) = (Mark::start(at(10)), Vec::new());
    for second in 10..=14 {
        let step = deliveries.redeliver(&all, mark.clone(), 2, at(second)).await.unwrap();
        let leased = claim(&deliveries, "risk", 9, second).await;
        assert_eq!(leased.len() as u64, step.count);
        // Where it is delivered again the clock is behind; others end meanwhile.
        let endings: Vec<_> = leased.iter().map(|leased| settled(leased, Ending::Delivered)).collect();
        deliveries.settle(&endings, at(5)).await.unwrap();
        let other = delivered("risk", 20 + u32::try_from(second).unwrap());
        deliveries.record(&[other], &[], at(second)).await.unwrap();
        let mut taken = numbers(&leased);
        taken.sort();
        steps.push(taken.join(" "));
        mark = step.mark;
    }
    assert_eq!(steps, ["n-1 n-2", "n-3 n-4", "n-5 n-6", "n-7 n-8", ""]);
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn what_was_given_up_is_delivered_again_in_the_order_of_the_log<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    let line = [in_line(1, "a"), in_line(2, "a"), in_line(3, "a")];
    deliveries.record(&line, &[], at(0)).await.unwrap();
    // What waits is given up before what it waits for.
    for second in [20, 21, 22] {
        let given_up = deliveries.give_up(&Selection::default(), &given_up_at(second), 1).await;
        assert_eq!(given_up.unwrap(), 1);
    }
    let (mut mark, mut order) = (Mark::start(at(30)), Vec::new());
    for second in 30..33 {
        let all = Selection::default();
        let step = deliveries.redeliver(&all, mark, 1, at(second)).await.unwrap();
        let leased = claim(&deliveries, "risk", 9, second).await;
        deliveries.settle(&[settled(&leased[0], Ending::Exhausted)], at(second)).await.unwrap();
        order.extend(numbers(&leased));
        mark = step.mark;
    }
    assert_eq!(order, ["n-1", "n-2", "n-3"]);
    assert_eq!(deliveries.redeliver(&Selection::default(), mark, 9, at(40)).await.unwrap().count, 0);
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn what_is_parked_is_hastened_on_demand_but_not_what_may_be_leased<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    let new = [
        NewDelivery { failures: 4, ..parked("risk", 1, 500) },
        parked("risk", 2, 600),
        parked("risk", 3, 0),
        delivered("risk", 4),
        parked("other", 5, 500),
    ];
    deliveries.record(&new, &[], at(0)).await.unwrap();
    let leased = claim(&deliveries, "risk", 9, 1).await;
    assert_eq!(numbers(&leased), ["n-3"]);
    let risk = Selection { endpoint: Some(endpoint("risk")), ..Selection::default() };
    assert_eq!(deliveries.hasten(&risk, at(61), 1, at(2)).await.unwrap(), 1, "its limit");
    assert_eq!(deliveries.hasten(&risk, at(61), 9, at(2)).await.unwrap(), 1);
    assert_eq!(deliveries.hasten(&risk, at(61), 9, at(2)).await.unwrap(), 0);
    let hastened = claim(&deliveries, "risk", 9, 2).await;
    let mut found = numbers(&hastened);
    found.sort();
    assert_eq!(found, ["n-1", "n-2"]);
    assert!(hastened.iter().all(|leased| leased.failures == 0), "the schedule begins anew");
    deliveries.settle(&[settled(&leased[0], Ending::Delivered)], at(3)).await.unwrap();
    let records = deliveries.list(&Selection { event: Some(event(3).id), ..risk }, 9).await.unwrap();
    assert_eq!(records[0].state, DeliveryState::Delivered, "its lease was left alone");
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn deliveries_are_counted_by_endpoint_and_state<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    assert_eq!(deliveries.state_counts().await.unwrap(), []);
    let new = [parked("risk", 1, 9), parked("risk", 2, 5), delivered("risk", 3), delivered("other", 3)];
    deliveries.record(&new, &[], at(0)).await.unwrap();
    let mut counts: Vec<_> = deliveries
        .state_counts()
        .await
        .unwrap()
        .into_iter()
        .map(|found| {
            let StateCount { endpoint, state, count, oldest_at, due_at } = found;
            (endpoint.to_string(), state.as_str(), count.count, oldest_at, due_at)
        })
        .collect();
    counts.sort();
    let expected = [
        ("other".to_owned(), "delivered", 1, None, None),
        ("risk".to_owned(), "delivered", 1, None, None),
        ("risk".to_owned(), "parked", 2, Some(at(0)), Some(at(5))),
    ];
    assert_eq!(counts, expected);
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn the_backlog_is_counted_by_endpoint<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    assert_eq!(deliveries.backlog().await.unwrap(), []);
    deliveries.record(&[in_line(1, "a"), delivered("other", 1)], &[], at(0)).await.unwrap();
    deliveries.record(&[in_line(2, "a"), parked("third", 1, 0)], &[], at(5)).await.unwrap();
    let backlog = deliveries.backlog().await.unwrap();
    let found: Vec<_> = backlog
        .iter()
        .map(|found| (found.endpoint.as_str(), found.count.count, found.oldest_at))
        .collect();
    assert_eq!(found, [("risk", 2, at(0)), ("third", 1, at(5))]);
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn a_thousand_deliveries_are_one_call<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    let new: Vec<_> = (0..1_000).map(|number| parked("risk", number, 0)).collect();
    deliveries.record(&new, &[], at(0)).await.unwrap();
    let leased = claim(&deliveries, "risk", 1_000, 0).await;
    let expected: Vec<String> = (0..1_000).map(|number| format!("n-{number}")).collect();
    assert_eq!(numbers(&leased), expected);
    let endings: Vec<_> = leased.iter().map(|leased| settled(leased, Ending::Delivered)).collect();
    deliveries.settle(&endings, at(1)).await.unwrap();
    let selection = Selection { state: Some(DeliveryState::Delivered), ..Selection::default() };
    assert_eq!(deliveries.count(&selection, None).await.unwrap().count, 1_000);
    rig.close_deliveries(deliveries).await;
}

fn log(partition: u32) -> LogPartition {
    LogPartition { generation: Generation(1), partition: Partition(partition) }
}

fn step(partition: u32, next: u64, expected: Option<Stamp>) -> FrontierStep {
    FrontierStep { log: log(partition), next: Offset(next), stamp: Stamp::new(), expected }
}

async fn frontiers_of(deliveries: &impl Deliveries, logs: &[LogPartition]) -> RecordedFrontiers {
    let wanted = WantedDeliveries { logs: logs.to_vec(), ..WantedDeliveries::default() };
    deliveries.look(&wanted).await.unwrap().frontiers
}

async fn frontier(deliveries: &impl Deliveries, partition: u32) -> Option<(u64, Stamp)> {
    let frontiers = frontiers_of(deliveries, &[log(partition), log(9)]).await;
    assert!(!frontiers.is_upgraded, "it knew frontiers from the beginning");
    frontiers.known.get(&log(partition)).map(|found| (found.next.0, found.stamp))
}

pub(crate) async fn frontiers_move_with_what_is_recorded_and_survive_the_process<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    assert_eq!(frontier(&deliveries, 0).await, None);
    let (first, other) = (step(0, 5, None), step(1, 0, None));
    let unmoved = deliveries.record(&[delivered("risk", 1)], &[first, other], at(0)).await.unwrap();
    assert_eq!(unmoved, []);
    // Events that nobody takes move it too, and so may nothing at all.
    let second = step(0, 8, Some(first.stamp));
    assert_eq!(deliveries.record(&[], &[second], at(1)).await.unwrap(), []);
    rig.close_deliveries(deliveries).await;

    let deliveries = rig.open_deliveries().await;
    assert_eq!(frontier(&deliveries, 0).await, Some((8, second.stamp)));
    assert_eq!(frontier(&deliveries, 1).await, Some((0, other.stamp)));
    assert_eq!(frontier(&deliveries, 9).await, None);
    let of_the_next = LogPartition { generation: Generation(2), partition: Partition(0) };
    let known = frontiers_of(&deliveries, &[of_the_next]).await;
    assert_eq!(known.known.get(&of_the_next), None);
    assert_eq!(known.before(of_the_next), Some(Offset(8)));
    assert_eq!(known.before(log(0)), None);
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn a_frontier_moves_only_from_where_it_is_said_to_stand<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    let first = step(0, 5, None);
    deliveries.record(&[], &[first], at(0)).await.unwrap();
    let stands = Some((5, first.stamp));

    let (new, other) = ([in_line(1, "a"), delivered("risk", 2)], step(1, 3, None));
    for wrong in [None, Some(Stamp::new())] {
        let unmoved = deliveries.record(&new, &[step(0, 9, wrong), other], at(1)).await.unwrap();
        assert_eq!((unmoved, frontier(&deliveries, 0).await), (vec![log(0)], stands), "{wrong:?}");
    }
    assert_eq!(states(&deliveries).await.len(), 0, "nothing is recorded with it");
    assert_eq!(frontier(&deliveries, 1).await, None, "nor does another move");
    let lost = step(2, 4, Some(Stamp::new()));
    assert_eq!(deliveries.record(&[], &[lost], at(2)).await.unwrap(), [log(2)]);
    assert_eq!(frontier(&deliveries, 2).await, None, "what it moves from is gone");

    // One whose answer was lost is tried again, also with more.
    let again = FrontierStep { next: Offset(7), ..first };
    assert_eq!(deliveries.record(&[], &[again], at(3)).await.unwrap(), []);
    let second = step(0, 6, Some(first.stamp));
    for _ in 0..2 {
        assert_eq!(deliveries.record(&[], &[second], at(4)).await.unwrap(), []);
        assert_eq!(frontier(&deliveries, 0).await, Some((6, second.stamp)));
    }
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn one_of_the_processes_that_report_themselves_is_the_first<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    let (first, second) = (ProcessId::new(), ProcessId::new());
    let attend = |process, now, until| deliveries.attend(process, at(now), at(until));
    let there = |processes, is_first| Attendance { processes, is_first };
    assert_eq!(attend(second, 0, 30).await.unwrap(), there(1, true), "alone");
    assert_eq!(attend(first, 1, 31).await.unwrap(), there(2, true), "it began earlier");
    assert_eq!(attend(second, 2, 32).await.unwrap(), there(2, false));
    assert_eq!(attend(second, 31, 61).await.unwrap(), there(2, false), "the other is still there");
    assert_eq!(attend(second, 32, 62).await.unwrap(), there(1, true), "the other is gone");
    assert_eq!(attend(first, 33, 63).await.unwrap(), there(2, true), "it was only slow");
    // Who ends says so.
    assert_eq!(attend(first, 34, 33).await.unwrap(), there(2, true));
    assert_eq!(attend(second, 34, 64).await.unwrap(), there(1, true));
    rig.close_deliveries(deliveries).await;
}

pub(crate) async fn empty_calls_are_done<R: DeliveriesRig>() {
    let rig = R::default();
    let deliveries = rig.open_deliveries().await;
    assert_eq!(deliveries.look(&WantedDeliveries::default()).await.unwrap(), KnownDeliveries::default());
    deliveries.record(&[], &[], at(0)).await.unwrap();
    assert_eq!(deliveries.claim(&[], at(0), at(1)).await.unwrap(), []);
    deliveries.settle(&[], at(0)).await.unwrap();
    assert_eq!(deliveries.remove_ended(at(0), 10).await.unwrap(), 0);
    assert_eq!(deliveries.give_up(&Selection::default(), &given_up_at(0), 10).await.unwrap(), 0);
    assert_eq!(deliveries.release_stranded(None, 10, at(0)).await.unwrap(), Released::default());
    rig.close_deliveries(deliveries).await;
}
