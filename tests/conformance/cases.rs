//! The dead letters' promises: a letter is decided on once, and one process at a time puts it back.

use penstock::account::{Coordinates, Generation, LogPartition, Offset, Partition, Timestamp};
use penstock::store::{Case, CaseState, Cases, Decided, Decision, OffsetRange, RunnerId, SettledCase};
use uuid::Uuid;

use super::store::StoreRig;

/// Names every test of the suite for one rig.
#[macro_export]
macro_rules! cases_conformance {
    ($rig:ty) => {
        $crate::cases_conformance!(@each $rig:
            a_letter_is_decided_on_once
            a_decision_changes_only_what_it_may_follow
            cases_are_found_by_their_letters_places
            a_letter_is_put_back_by_one_at_a_time
            letters_are_taken_over_in_the_order_they_were_asked_for
            many_that_take_letters_over_at_once_share_without_overlap
            only_who_has_a_letter_settles_it
            what_was_decided_survives_the_process
            nothing_asked_is_nothing_done
        );
    };
    (@each $rig:ty: $($name:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::cases::$name::<$rig>().await;
            }
        )+
    };
}

fn letter(partition: u32, offset: u64) -> Coordinates {
    LogPartition { generation: Generation(1), partition: Partition(partition) }.at(Offset(offset))
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_unix_millis(1_700_000_000_000 + seconds * 1_000)
}

fn runner(number: u128) -> RunnerId {
    RunnerId(Uuid::from_u128(number))
}

fn decided(decision: Decision, seconds: i64) -> Decided {
    Decided {
        decision,
        operator: "somebody@somewhere".to_owned(),
        reason: "a 'reason' — 100%".to_owned(),
        now: time(seconds),
    }
}

fn all(partition: u32) -> OffsetRange {
    let log = LogPartition { generation: Generation(1), partition: Partition(partition) };
    OffsetRange { log, from: Offset(0), to: Offset(1_000) }
}

async fn states(store: &impl Cases) -> Vec<(u64, CaseState)> {
    let cases = store.cases(&[all(0)]).await.unwrap();
    cases.iter().map(|case| (case.letter.offset.0, case.state)).collect()
}

fn done(letter: Coordinates) -> SettledCase {
    SettledCase { letter, problem: None }
}

fn failed(letter: Coordinates) -> SettledCase {
    SettledCase { letter, problem: Some("its value was cut".to_owned()) }
}

pub(crate) async fn a_letter_is_decided_on_once<R: StoreRig<Store: Cases>>() {
    let rig = R::default();
    let store = rig.open().await;
    let redrive = decided(Decision::Redrive, 0);
    assert_eq!(store.decide(&[letter(0, 7), letter(0, 3)], &redrive).await.unwrap(), 2);
    let again = Decided { operator: "another".to_owned(), ..decided(Decision::Redrive, 9) };
    assert_eq!(store.decide(&[letter(0, 3), letter(0, 4)], &again).await.unwrap(), 1);
    let expected = Case {
        letter: letter(0, 3),
        state: CaseState::Requested,
        operator: "somebody@somewhere".to_owned(),
        reason: "a 'reason' — 100%".to_owned(),
        problem: None,
        decided_at: time(0),
        changed_at: time(0),
    };
    let cases = store.cases(&[all(0)]).await.unwrap();
    assert_eq!(cases[0], expected);
    let found: Vec<_> = cases.iter().map(|case| (case.letter.offset.0, &*case.operator)).collect();
    let somebody = "somebody@somewhere";
    assert_eq!(found, [(3, somebody), (4, "another"), (7, somebody)]);
    rig.close(store).await;
}

pub(crate) async fn a_decision_changes_only_what_it_may_follow<R: StoreRig<Store: Cases>>() {
    let rig = R::default();
    let store = rig.open().await;
    let (redrive, discard) = (decided(Decision::Redrive, 0), decided(Decision::Discard, 1));
    let [requested, redriven, broken, discarded] = [0, 1, 2, 3].map(|offset| letter(0, offset));
    let everything = [requested, redriven, broken, discarded];
    store.decide(&[redriven, broken], &redrive).await.unwrap();
    store.lease_cases(runner(1), time(0), time(30), 9).await.unwrap();
    store.settle_cases(runner(1), &[done(redriven), failed(broken)], time(2)).await.unwrap();
    store.decide(&[requested], &redrive).await.unwrap();
    store.decide(&[discarded], &discard).await.unwrap();
    let problem = store.cases(&[all(0)]).await.unwrap().remove(2).problem;
    assert_eq!(problem.as_deref(), Some("its value was cut"));

    assert_eq!(store.decide(&everything, &discard).await.unwrap(), 1, "what failed");
    let expected =
        [CaseState::Requested, CaseState::Redriven, CaseState::Discarded, CaseState::Discarded];
    assert_eq!(states(&store).await, [0, 1, 2, 3].into_iter().zip(expected).collect::<Vec<_>>());
    assert_eq!(
        store.decide(&everything, &redrive).await.unwrap(),
        0,
        "what was discarded is meant by name"
    );
    let redrive = decided(Decision::RedriveDiscarded, 0);
    assert_eq!(store.decide(&everything, &redrive).await.unwrap(), 2, "what was discarded");
    let expected =
        [CaseState::Requested, CaseState::Redriven, CaseState::Requested, CaseState::Requested];
    assert_eq!(states(&store).await, [0, 1, 2, 3].into_iter().zip(expected).collect::<Vec<_>>());
    assert_eq!(store.cases(&[all(0)]).await.unwrap().remove(2).problem, None);
    rig.close(store).await;
}

pub(crate) async fn cases_are_found_by_their_letters_places<R: StoreRig<Store: Cases>>() {
    let rig = R::default();
    let store = rig.open().await;
    let other = LogPartition { generation: Generation(2), partition: Partition(0) }.at(Offset(5));
    let letters = [letter(0, 4), letter(0, 5), letter(0, 6), letter(1, 5), letter(2, 5), other];
    store.decide(&letters, &decided(Decision::Discard, 0)).await.unwrap();
    let range =
        |partition, from, to| OffsetRange { from: Offset(from), to: Offset(to), ..all(partition) };
    let found = store.cases(&[range(1, 5, 6), range(0, 5, 6)]).await.unwrap();
    let found: Vec<_> = found.iter().map(|case| case.letter).collect();
    assert_eq!(found, [letter(0, 5), letter(1, 5)]);
    rig.close(store).await;
}

pub(crate) async fn a_letter_is_put_back_by_one_at_a_time<R: StoreRig<Store: Cases>>() {
    let rig = R::default();
    let store = rig.open().await;
    store.decide(&[letter(0, 1)], &decided(Decision::Redrive, 0)).await.unwrap();
    store.decide(&[letter(0, 2)], &decided(Decision::Discard, 0)).await.unwrap();
    let lease =
        async |by, now, until| store.lease_cases(runner(by), time(now), time(until), 9).await.unwrap();
    assert_eq!(lease(1, 0, 30).await, [letter(0, 1)]);
    assert_eq!(lease(2, 29, 60).await, []);
    assert_eq!(lease(2, 30, 60).await, [letter(0, 1)], "the lease has ended");
    store.settle_cases(runner(2), &[done(letter(0, 1))], time(31)).await.unwrap();
    assert_eq!(lease(1, 99, 120).await, []);
    rig.close(store).await;
}

pub(crate) async fn letters_are_taken_over_in_the_order_they_were_asked_for<
    R: StoreRig<Store: Cases>,
>() {
    let rig = R::default();
    let store = rig.open().await;
    store.decide(&[letter(0, 1)], &decided(Decision::Redrive, 5)).await.unwrap();
    store.decide(&[letter(1, 9), letter(0, 8)], &decided(Decision::Redrive, 0)).await.unwrap();
    let lease = async || store.lease_cases(runner(1), time(6), time(30), 2).await.unwrap();
    assert_eq!(lease().await, [letter(0, 8), letter(1, 9)]);
    assert_eq!(lease().await, [letter(0, 8), letter(1, 9)], "what it has already comes first");
    let settled = [done(letter(0, 8)), done(letter(1, 9))];
    store.settle_cases(runner(1), &settled, time(7)).await.unwrap();
    assert_eq!(lease().await, [letter(0, 1)]);
    rig.close(store).await;
}

pub(crate) async fn many_that_take_letters_over_at_once_share_without_overlap<
    R: StoreRig<Store: Cases>,
>() {
    let rig = R::default();
    let store = rig.open().await;
    let letters: Vec<_> = (0..100).map(|offset| letter(0, offset)).collect();
    store.decide(&letters, &decided(Decision::Redrive, 0)).await.unwrap();
    let mut takers = tokio::task::JoinSet::new();
    for number in 0..8 {
        let store = store.clone();
        takers.spawn(async move {
            let mut taken = Vec::new();
            loop {
                let more = store.lease_cases(runner(number), time(1), time(30), 7).await.unwrap();
                if more.is_empty() {
                    return taken;
                }
                let settled: Vec<_> = more.iter().map(|letter| done(*letter)).collect();
                store.settle_cases(runner(number), &settled, time(2)).await.unwrap();
                taken.extend(more);
            }
        });
    }
    let mut taken: Vec<_> = takers.join_all().await.into_iter().flatten().collect();
    taken.sort_unstable();
    assert_eq!(taken, letters);
    rig.close(store).await;
}

pub(crate) async fn only_who_has_a_letter_settles_it<R: StoreRig<Store: Cases>>() {
    let rig = R::default();
    let store = rig.open().await;
    store.decide(&[letter(0, 1), letter(0, 2)], &decided(Decision::Redrive, 0)).await.unwrap();
    store.settle_cases(runner(1), &[done(letter(0, 1))], time(1)).await.unwrap();
    assert_eq!(store.lease_cases(runner(1), time(0), time(30), 9).await.unwrap().len(), 2);
    store.settle_cases(runner(2), &[done(letter(0, 1))], time(1)).await.unwrap();
    assert_eq!(store.lease_cases(runner(2), time(30), time(60), 1).await.unwrap(), [letter(0, 1)]);
    let settled = [failed(letter(0, 1)), done(letter(0, 2)), done(letter(0, 3))];
    store.settle_cases(runner(1), &settled, time(31)).await.unwrap();
    assert_eq!(states(&store).await, [(1, CaseState::Requested), (2, CaseState::Redriven)]);
    store.settle_cases(runner(2), &[done(letter(0, 1))], time(32)).await.unwrap();
    store.settle_cases(runner(2), &[failed(letter(0, 1))], time(33)).await.unwrap();
    let case = store.cases(&[all(0)]).await.unwrap().remove(0);
    assert_eq!((case.state, case.changed_at, case.decided_at), (CaseState::Redriven, time(32), time(0)));
    rig.close(store).await;
}

pub(crate) async fn what_was_decided_survives_the_process<R: StoreRig<Store: Cases>>() {
    let rig = R::default();
    let store = rig.open().await;
    store.decide(&[letter(0, 1)], &decided(Decision::Discard, 0)).await.unwrap();
    let before = store.cases(&[all(0)]).await.unwrap();
    rig.close(store).await;
    let store = rig.open().await;
    assert_eq!(store.cases(&[all(0)]).await.unwrap(), before);
    rig.close(store).await;
}

pub(crate) async fn nothing_asked_is_nothing_done<R: StoreRig<Store: Cases>>() {
    let rig = R::default();
    let store = rig.open().await;
    assert_eq!(store.decide(&[], &decided(Decision::Redrive, 0)).await.unwrap(), 0);
    assert_eq!(store.cases(&[]).await.unwrap(), []);
    assert_eq!(store.lease_cases(runner(1), time(0), time(1), 0).await.unwrap(), []);
    store.settle_cases(runner(1), &[], time(0)).await.unwrap();
    rig.close(store).await;
}
