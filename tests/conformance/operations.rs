//! The promises of the operators' record: what is entered stays, and of the steps that exclude each other there is one.

use penstock::account::Timestamp;
use penstock::store::{
    By, NewOperation, NewStep, Operation, OperationId, OperationSelection, Operations, OperatorCommand,
    Stage, Step,
};
use uuid::Uuid;

use super::store::StoreRig;

/// Names every test of the suite for one rig.
#[macro_export]
macro_rules! operations_conformance {
    ($rig:ty) => {
        $crate::operations_conformance!(@each $rig:
            an_operation_is_entered_with_its_first_step_or_without
            an_id_is_taken_once
            of_each_stage_there_is_one_step
            of_many_that_use_an_approval_one_does
            operations_are_listed_the_newest_first
            operations_are_found_by_command_operator_and_time
            the_record_survives_the_process
        );
    };
    (@each $rig:ty: $($name:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::operations::$name::<$rig>().await;
            }
        )+
    };
}

fn id(number: u128) -> OperationId {
    OperationId(Uuid::from_u128(number))
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_unix_millis(1_700_000_000_123 + seconds * 1_000)
}

fn by(name: &str) -> By {
    By::new(name, "ops-1.bank.example".to_owned())
}

pub(crate) fn operation(number: u128, name: &str, seconds: i64) -> NewOperation {
    NewOperation {
        id: id(number),
        command: OperatorCommand::DlqDiscard,
        subject: "{\"class\":\"a \\u0041 'text' — 100%\",\"letters\":2}".to_owned(),
        by: by(name),
        reason: Some("a 'reason' — 100%".to_owned()),
        asked_at: time(seconds),
    }
}

pub(crate) fn step(step: Step, name: &str, seconds: i64) -> NewStep {
    NewStep { step, by: by(name), note: None, taken_at: time(seconds) }
}

fn steps(operation: &Operation) -> Vec<Step> {
    operation.steps.iter().map(|taken| taken.step.step).collect()
}

async fn ids(store: &impl Operations, selection: OperationSelection, limit: usize) -> Vec<u128> {
    let found = store.operations(&selection, limit).await.unwrap();
    found.iter().map(|found| found.operation.id.0.as_u128()).collect()
}

pub(crate) async fn an_operation_is_entered_with_its_first_step_or_without<
    R: StoreRig<Store: Operations>,
>() {
    let rig = R::default();
    let store = rig.open().await;
    assert_eq!(store.operation(id(1)).await.unwrap(), None);
    let (asked, begun) = (operation(1, "alice", 0), step(Step::Begun, "alice", 1));
    store.enter_operation(&asked, Some(&begun)).await.unwrap();
    let requested = NewOperation { reason: None, ..operation(2, "alice", 2) };
    store.enter_operation(&requested, None).await.unwrap();
    let found = store.operation(id(1)).await.unwrap().unwrap();
    assert_eq!(found.operation, asked);
    assert_eq!(found.steps.iter().map(|taken| &taken.step).collect::<Vec<_>>(), [&begun]);
    let found = store.operation(id(2)).await.unwrap().unwrap();
    assert_eq!((found.operation, found.steps), (requested, Vec::new()));
    rig.close(store).await;
}

pub(crate) async fn an_id_is_taken_once<R: StoreRig<Store: Operations>>() {
    let rig = R::default();
    let store = rig.open().await;
    store.enter_operation(&operation(1, "alice", 0), None).await.unwrap();
    let begun = step(Step::Begun, "bob", 1);
    store.enter_operation(&operation(1, "bob", 1), Some(&begun)).await.unwrap_err();
    let found = store.operation(id(1)).await.unwrap().unwrap();
    assert_eq!((&found.operation, steps(&found)), (&operation(1, "alice", 0), vec![]));
    rig.close(store).await;
}

pub(crate) async fn of_each_stage_there_is_one_step<R: StoreRig<Store: Operations>>() {
    let rig = R::default();
    let store = rig.open().await;
    let take = async |number, new: &NewStep| store.take_operation_step(id(number), new).await.unwrap();
    assert!(!take(1, &step(Step::Approved, "bob", 1)).await, "there is no such operation");
    store.enter_operation(&operation(1, "alice", 0), None).await.unwrap();
    assert!(take(1, &step(Step::Approved, "bob", 1)).await);
    assert!(!take(1, &step(Step::Refused, "carol", 2)).await);
    assert!(!take(1, &step(Step::Approved, "bob", 3)).await);
    assert!(take(1, &step(Step::Begun, "alice", 4)).await);
    let failed = NewStep { note: Some("a 'problem'".to_owned()), ..step(Step::Failed, "alice", 5) };
    assert!(take(1, &failed).await);
    assert!(!take(1, &step(Step::Done, "alice", 6)).await);
    let found = store.operation(id(1)).await.unwrap().unwrap();
    assert_eq!(steps(&found), [Step::Approved, Step::Begun, Step::Failed]);
    assert_eq!(found.at(Stage::Decision).unwrap().step, step(Step::Approved, "bob", 1));
    assert_eq!(found.last().unwrap().step, failed);
    rig.close(store).await;
}

pub(crate) async fn of_many_that_use_an_approval_one_does<R: StoreRig<Store: Operations>>() {
    let rig = R::default();
    let store = rig.open().await;
    store.enter_operation(&operation(1, "alice", 0), None).await.unwrap();
    let mut users = tokio::task::JoinSet::new();
    for number in 0..8 {
        let store = store.clone();
        users.spawn(async move {
            let begun = step(Step::Begun, &format!("user-{number}"), number);
            store.take_operation_step(id(1), &begun).await.unwrap()
        });
    }
    let taken = users.join_all().await;
    assert_eq!(taken.into_iter().filter(|taken| *taken).count(), 1);
    rig.close(store).await;
}

pub(crate) async fn operations_are_listed_the_newest_first<R: StoreRig<Store: Operations>>() {
    let rig = R::default();
    let store = rig.open().await;
    assert_eq!(ids(&store, OperationSelection::default(), 10).await, []);
    for (number, seconds) in [(3, 0), (1, 5), (2, 5), (4, 3)] {
        let begun = step(Step::Begun, "alice", seconds);
        store.enter_operation(&operation(number, "alice", seconds), Some(&begun)).await.unwrap();
        assert!(
            store
                .take_operation_step(id(number), &step(Step::Done, "alice", seconds + 1))
                .await
                .unwrap()
        );
    }
    assert_eq!(ids(&store, OperationSelection::default(), 10).await, [2, 1, 4, 3]);
    assert_eq!(ids(&store, OperationSelection::default(), 3).await, [2, 1, 4], "not rows of steps");
    let found = store.operations(&OperationSelection::default(), 10).await.unwrap();
    assert!(found.iter().all(|found| steps(found) == [Step::Begun, Step::Done]), "{found:?}");
    rig.close(store).await;
}

pub(crate) async fn operations_are_found_by_command_operator_and_time<R: StoreRig<Store: Operations>>() {
    let rig = R::default();
    let store = rig.open().await;
    let revealed = OperatorCommand::ShowReveal;
    for (number, name, command) in [
        (1, "alice", OperatorCommand::DlqDiscard),
        (2, "bob", revealed),
        (3, "alice", revealed),
        (4, "alice@home", revealed),
    ] {
        let seconds = i64::try_from(number).unwrap();
        let asked = NewOperation { command, ..operation(number, name, seconds) };
        store.enter_operation(&asked, None).await.unwrap();
    }
    assert!(
        store.take_operation_step(id(2), &step(Step::Approved, "carol", 9)).await.unwrap(),
        "somebody else's"
    );
    let all = OperationSelection::default;
    let operator = |name: &str| OperationSelection { operator: Some(name.to_owned()), ..all() };
    let command = |command| OperationSelection { command: Some(command), ..all() };
    let between = |from, to| OperationSelection { from: Some(time(from)), to: Some(time(to)), ..all() };
    for (selection, expected) in [
        (operator("alice"), &[3, 1][..]),
        (operator("alice@ops-1.bank.example"), &[3, 1]),
        (operator("alice@home"), &[4]),
        (operator("alice@elsewhere"), &[]),
        (operator("carol"), &[2]),
        (operator("carol@ops-1.bank.example"), &[2]),
        (command(revealed), &[4, 3, 2]),
        (command(OperatorCommand::ReplayRun), &[]),
        (between(2, 4), &[3, 2]),
        (OperationSelection { command: Some(revealed), ..operator("alice") }, &[3]),
    ] {
        assert_eq!(ids(&store, selection.clone(), 10).await, expected, "{selection:?}");
    }
    rig.close(store).await;
}

pub(crate) async fn the_record_survives_the_process<R: StoreRig<Store: Operations>>() {
    let rig = R::default();
    let store = rig.open().await;
    let begun = step(Step::Begun, "alice", 1);
    store.enter_operation(&operation(1, "alice", 0), Some(&begun)).await.unwrap();
    let before = store.operation(id(1)).await.unwrap();
    rig.close(store).await;
    let store = rig.open().await;
    assert_eq!(store.operation(id(1)).await.unwrap(), before);
    rig.close(store).await;
}
