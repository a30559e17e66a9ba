//! The replay jobs' promises: one runner at a time, and a step is there whole or not at all.

use penstock::account::{Plan, RejectionCode, Timestamp};
use penstock::store::{
    Applied, JobName, JobState, JobStep, NewJob, OffsetRange, OutcomeChange, Replays, RunnerId,
    StalePart, Store, Wanted,
};
use uuid::Uuid;

use super::accounts::{account, at, claim, log, note, rejected, write};
use super::store::StoreRig;

/// Names every test of the suite for one rig.
#[macro_export]
macro_rules! replays_conformance {
    ($rig:ty) => {
        $crate::replays_conformance!(@each $rig:
            a_job_is_entered_once
            jobs_are_listed_the_newest_first
            a_job_has_one_runner_at_a_time
            a_job_changes_its_state_only_from_where_it_is
            a_step_writes_all_that_belongs_to_it
            a_step_that_does_not_fit_writes_nothing
            nobody_but_the_runner_takes_a_step
            what_a_job_changed_is_found_by_its_place
            what_any_job_changed_is_found_by_its_place
            jobs_survive_the_process
        );
    };
    (@each $rig:ty: $($name:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::replays::$name::<$rig>().await;
            }
        )+
    };
}

fn name(text: &str) -> JobName {
    JobName::parse(text).unwrap()
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_unix_millis(1_700_000_000_000 + seconds * 1_000)
}

fn runner(number: u128) -> RunnerId {
    RunnerId(Uuid::from_u128(number))
}

fn job(text: &str) -> NewJob {
    NewJob {
        name: name(text),
        request: "{\"what\": \"is \\u0041sked\"}".to_owned(),
        progress: "{\"at\": 0}".to_owned(),
        policy_digest: "digest".to_owned(),
        operator: "somebody@somewhere".to_owned(),
        reason: "a 'reason' — 100%".to_owned(),
    }
}

fn step(text: &str, by: u128, progress: &str) -> JobStep {
    JobStep {
        name: name(text),
        runner: runner(by),
        progress: progress.to_owned(),
        now: time(5),
        until: time(35),
    }
}

fn change(offset: u64) -> OutcomeChange {
    let sent = account("n-1", "a-1");
    OutcomeChange {
        coordinates: at(0, offset),
        before: Some(rejected(&sent, RejectionCode::A001)),
        after: rejected(&sent, RejectionCode::A007),
    }
}

/// One that is leased by runner 1.
async fn leased<R: StoreRig<Store: Replays>>(rig: &R) -> R::Store {
    let store = rig.open().await;
    assert!(store.create_job(&job("job"), time(0)).await.unwrap());
    assert!(store.lease_job(&name("job"), runner(1), time(0), time(30)).await.unwrap());
    store
}

pub(crate) async fn a_job_is_entered_once<R: StoreRig<Store: Replays>>() {
    let rig = R::default();
    let store = rig.open().await;
    assert_eq!(store.job(&name("job")).await.unwrap(), None);
    assert!(store.create_job(&job("job"), time(0)).await.unwrap());
    let other = NewJob { reason: "another".to_owned(), ..job("job") };
    assert!(!store.create_job(&other, time(1)).await.unwrap());
    let entered = store.job(&name("job")).await.unwrap().unwrap();
    assert_eq!(entered.job, job("job"));
    assert_eq!((entered.state, entered.problem, entered.runner), (JobState::Running, None, None));
    assert_eq!((entered.created_at, entered.changed_at), (time(0), time(0)));
}

pub(crate) async fn jobs_are_listed_the_newest_first<R: StoreRig<Store: Replays>>() {
    let rig = R::default();
    let store = rig.open().await;
    assert_eq!(store.jobs(10).await.unwrap(), []);
    for (seconds, text) in (0..).zip(["b", "a", "c"]) {
        assert!(store.create_job(&job(text), time(seconds)).await.unwrap());
    }
    let names = async |limit| {
        let jobs = store.jobs(limit).await.unwrap();
        jobs.into_iter().map(|job| job.job.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(10).await, ["c", "a", "b"]);
    assert_eq!(names(2).await, ["c", "a"]);
}

pub(crate) async fn a_job_has_one_runner_at_a_time<R: StoreRig<Store: Replays>>() {
    let rig = R::default();
    let store = leased(&rig).await;
    let lease = async |by, now, until| {
        store.lease_job(&name("job"), runner(by), time(now), time(until)).await.unwrap()
    };
    assert!(!lease(2, 29, 60).await, "it is the first one's");
    assert!(lease(1, 10, 40).await, "who has it may have it for longer");
    assert!(!lease(2, 39, 60).await);
    assert!(lease(2, 40, 60).await, "who was silent has lost it");
    assert!(!lease(1, 41, 90).await);
    assert_eq!(store.job(&name("job")).await.unwrap().unwrap().runner, Some((runner(2), time(60))));
    assert!(!store.lease_job(&name("unknown"), runner(1), time(0), time(1)).await.unwrap());
    assert!(store.create_job(&job("other"), time(0)).await.unwrap());
    let taking = (0..8).map(|by| store.lease_job(&OTHER, runner(by), time(0), time(30)));
    let taken = futures_util::future::join_all(taking).await;
    assert_eq!(taken.into_iter().filter(|taken| *taken.as_ref().unwrap()).count(), 1);
}

static OTHER: std::sync::LazyLock<JobName> = std::sync::LazyLock::new(|| name("other"));

pub(crate) async fn a_job_changes_its_state_only_from_where_it_is<R: StoreRig<Store: Replays>>() {
    let rig = R::default();
    let store = leased(&rig).await;
    let go = async |from: &[JobState], to, problem| {
        store.move_job(&name("job"), from, to, problem, time(7)).await.unwrap()
    };
    assert!(!go(&[JobState::Paused, JobState::Failed], JobState::Running, None).await);
    assert!(go(&[JobState::Running], JobState::Failed, Some("a 'problem'")).await);
    let failed = store.job(&name("job")).await.unwrap().unwrap();
    assert_eq!((failed.state, failed.changed_at), (JobState::Failed, time(7)));
    assert_eq!((failed.problem.as_deref(), failed.runner), (Some("a 'problem'"), None));
    assert!(!store.lease_job(&name("job"), runner(1), time(8), time(9)).await.unwrap());
    assert!(go(&[JobState::Paused, JobState::Failed], JobState::Running, None).await);
    assert_eq!(store.job(&name("job")).await.unwrap().unwrap().problem, None);
    assert!(
        !store.move_job(&name("x"), &JobState::ALL, JobState::Aborted, None, time(7)).await.unwrap()
    );
}

pub(crate) async fn a_step_writes_all_that_belongs_to_it<R: StoreRig<Store: Replays>>() {
    let rig = R::default();
    let store = leased(&rig).await;
    let sent = account("n-1", "a-1");
    let plan = Plan {
        claims: vec![claim(&sent, at(0, 1))],
        accounts: vec![write(&sent, None, at(0, 1))],
        rejections: vec![note(&account("n-2", "a-2"), RejectionCode::A001, at(0, 2))],
        ..Plan::default()
    };
    let applied = store.take_step(&step("job", 1, "{\"at\": 2}"), &plan, &[change(1), change(2)]).await;
    assert_eq!(applied.unwrap(), Applied::Done);
    let known = store.job(&name("job")).await.unwrap().unwrap();
    assert_eq!((known.job.progress.as_str(), known.changed_at), ("{\"at\": 2}", time(5)));
    assert_eq!(known.runner, Some((runner(1), time(35))));
    let ranges = vec![OffsetRange { log: log(0), from: at(0, 0).offset, to: at(0, 9).offset }];
    let numbers = vec![sent.communication_number.clone()];
    let wanted = Wanted { numbers, ranges: ranges.clone(), ..Wanted::default() };
    let view = store.load(&wanted).await.unwrap();
    assert_eq!((view.ledger.len(), view.rejections.len()), (1, 1));
    assert_eq!(store.outcome_changes(&name("job"), &ranges).await.unwrap().len(), 2);
    let bare = store.take_step(&step("job", 1, "{}"), &Plan::default(), &[]).await;
    assert_eq!(bare.unwrap(), Applied::Done);
}

pub(crate) async fn a_step_that_does_not_fit_writes_nothing<R: StoreRig<Store: Replays>>() {
    let rig = R::default();
    let store = leased(&rig).await;
    let sent = account("n-1", "a-1");
    let plan = Plan { claims: vec![claim(&sent, at(0, 1))], ..Plan::default() };
    let first = store.take_step(&step("job", 1, "{\"at\": 1}"), &plan, &[]).await.unwrap();
    assert_eq!(first, Applied::Done);
    let again = store.take_step(&step("job", 1, "{\"at\": 2}"), &plan, &[change(1)]).await.unwrap();
    assert_eq!(again, Applied::Stale(StalePart::Claim));
    let known = store.job(&name("job")).await.unwrap().unwrap();
    assert_eq!(known.job.progress, "{\"at\": 1}");
    let ranges = [OffsetRange { log: log(0), from: at(0, 0).offset, to: at(0, 9).offset }];
    assert_eq!(store.outcome_changes(&name("job"), &ranges).await.unwrap(), []);
}

pub(crate) async fn nobody_but_the_runner_takes_a_step<R: StoreRig<Store: Replays>>() {
    let rig = R::default();
    let store = leased(&rig).await;
    let sent = account("n-1", "a-1");
    let plan = Plan { claims: vec![claim(&sent, at(0, 1))], ..Plan::default() };
    let refused = async |by| {
        let applied = store.take_step(&step("job", by, "{}"), &plan, &[change(1)]).await.unwrap();
        applied == Applied::Stale(StalePart::Job)
    };
    assert!(refused(2).await, "it is another one's");
    let moved =
        store.move_job(&name("job"), &[JobState::Running], JobState::Paused, None, time(6)).await;
    assert!(moved.unwrap());
    assert!(refused(1).await, "it is paused");
    let moved =
        store.move_job(&name("job"), &[JobState::Paused], JobState::Running, None, time(7)).await;
    assert!(moved.unwrap());
    assert!(refused(1).await, "it goes on, with whoever takes it next");
    assert!(store.lease_job(&name("job"), runner(2), time(8), time(38)).await.unwrap());
    let numbers = vec![sent.communication_number.clone()];
    let view = store.load(&Wanted { numbers, ..Wanted::default() }).await.unwrap();
    assert!(view.ledger.is_empty());
    assert_eq!(store.job(&name("job")).await.unwrap().unwrap().job.progress, job("job").progress);
}

pub(crate) async fn what_a_job_changed_is_found_by_its_place<R: StoreRig<Store: Replays>>() {
    let rig = R::default();
    let store = leased(&rig).await;
    let accepted = OutcomeChange {
        coordinates: at(0, 4),
        before: None,
        after: penstock::account::Outcome {
            verdict: penstock::account::Verdict::Accepted,
            event_id: claim(&account("n-4", "a-4"), at(0, 4)).event_id,
        },
    };
    let changes = [change(1), change(3), accepted];
    let step = step("job", 1, "{}");
    assert_eq!(store.take_step(&step, &Plan::default(), &changes).await.unwrap(), Applied::Done);
    let within = async |text, partition, from: u64, to: u64| {
        let (log, from, to) = (log(partition), at(0, from).offset, at(0, to).offset);
        let mut found =
            store.outcome_changes(&name(text), &[OffsetRange { log, from, to }]).await.unwrap();
        found.sort_by_key(|change| change.coordinates);
        found
    };
    assert_eq!(within("job", 0, 0, 10).await, changes);
    assert_eq!(within("job", 0, 1, 4).await, [change(1), change(3)]);
    assert_eq!(within("job", 0, 2, 3).await, []);
    assert_eq!(within("job", 1, 0, 10).await, []);
    assert_eq!(within("other", 0, 0, 10).await, []);
    assert_eq!(store.outcome_changes(&name("job"), &[]).await.unwrap(), []);
}

pub(crate) async fn what_any_job_changed_is_found_by_its_place<R: StoreRig<Store: Replays>>() {
    let rig = R::default();
    let store = leased(&rig).await;
    let take = async |text: &str, by, now, offsets: &[u64]| {
        let changes: Vec<_> = offsets.iter().map(|offset| change(*offset)).collect();
        let step = JobStep { now: time(now), ..step(text, by, "{}") };
        let applied = store.take_step(&step, &Plan::default(), &changes).await.unwrap();
        assert_eq!(applied, Applied::Done);
    };
    take("job", 1, 9, &[1, 2, 4]).await;
    assert!(store.create_job(&job("earlier"), time(0)).await.unwrap());
    assert!(store.lease_job(&name("earlier"), runner(2), time(0), time(30)).await.unwrap());
    take("earlier", 2, 5, &[2, 3]).await;
    let found = store.changes_at(&[at(0, 4), at(0, 2), at(1, 1), at(0, 9)]).await.unwrap();
    let told = found.iter().map(|it| (it.job.as_str(), it.change, it.changed_at)).collect::<Vec<_>>();
    let expected =
        [("earlier", change(2), time(5)), ("job", change(2), time(9)), ("job", change(4), time(9))];
    assert_eq!(told, expected);
    assert_eq!(store.changes_at(&[]).await.unwrap(), []);
    rig.close(store).await;
}

pub(crate) async fn jobs_survive_the_process<R: StoreRig<Store: Replays>>() {
    let rig = R::default();
    let store = leased(&rig).await;
    let step = step("job", 1, "{\"at\": 3}");
    assert_eq!(store.take_step(&step, &Plan::default(), &[change(1)]).await.unwrap(), Applied::Done);
    let before = store.job(&name("job")).await.unwrap();
    rig.close(store).await;
    let store = rig.open().await;
    assert_eq!(store.job(&name("job")).await.unwrap(), before);
    let ranges = [OffsetRange { log: log(0), from: at(0, 0).offset, to: at(0, 9).offset }];
    assert_eq!(store.outcome_changes(&name("job"), &ranges).await.unwrap(), [change(1)]);
}
