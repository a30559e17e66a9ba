//! The store's promises: a plan is applied whole or not at all, only if everything its view showed still
//! holds, and what was applied survives the process.

use penstock::account::{
    FrontierMove, LedgerEntry, Offset, Plan, Rejection, RejectionCode, RejectionNote, Verdict, View,
    Withdrawal,
};
use penstock::store::{Applied, OffsetRange, PersistedOutcome, StalePart, Store, Wanted};
use serde_json::json;

use super::accounts::{account, account_with, at, claim, log, note, rejected, write};

/// The data of one store, empty at first, that can be opened again and again.
pub(crate) trait StoreRig: Default + Send + Sync + 'static {
    /// The implementation.
    type Store: Store;

    /// Opens the store, or opens it again.
    fn open(&self) -> impl Future<Output = Self::Store> + Send;

    /// Ends the process that has the store, as far as the store can tell.
    fn close(&self, store: Self::Store) -> impl Future<Output = ()> + Send;
}

/// Names every test of the suite for one rig.
#[macro_export]
macro_rules! store_conformance {
    ($rig:ty) => {
        $crate::store_conformance!(@each $rig:
            an_empty_store_shows_nothing
            what_is_applied_is_shown
            nothing_else_is_shown
            what_is_applied_survives_the_process
            an_account_is_replaced_with_all_of_its_data
            a_frontier_that_moved_makes_a_plan_stale
            a_frontier_that_appeared_makes_a_plan_stale
            a_number_that_was_claimed_makes_a_plan_stale
            an_account_that_appeared_makes_a_plan_stale
            an_account_that_changed_makes_a_plan_stale
            a_rejection_that_was_noted_makes_a_plan_stale
            a_rejection_is_taken_back_and_replaced
            a_rejection_that_is_another_is_not_taken_back
            of_two_plans_on_one_view_one_is_applied
            outcomes_are_the_accepted_one_then_the_newest_rejections
            any_text_comes_back_as_it_was
            a_thousand_rows_are_one_plan
            an_empty_plan_is_done
            the_store_answers
        );
    };
    (@each $rig:ty: $($name:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::store::$name::<$rig>().await;
            }
        )+
    };
}

fn moved(partition: u32, expected: Option<u64>, next: u64) -> FrontierMove {
    FrontierMove { log: log(partition), expected: expected.map(Offset), next: Offset(next) }
}

fn range(partition: u32, from: u64, to: u64) -> OffsetRange {
    OffsetRange { log: log(partition), from: Offset(from), to: Offset(to) }
}

/// Three submissions of partition 0: one accepted, one rejected, one put aside.
fn first_plan() -> Plan {
    let accepted = account("n-0", "a-0");
    let refused = account("n-1", "a-1");
    let poison = account("n-2", "a-2");
    Plan {
        frontiers: vec![moved(0, None, 3)],
        claims: vec![claim(&accepted, at(0, 0))],
        accounts: vec![write(&accepted, None, at(0, 0))],
        rejections: vec![
            note(&refused, RejectionCode::A001, at(0, 1)),
            RejectionNote {
                coordinates: at(0, 2),
                communication: poison.communication(),
                rejection: Rejection::DeadLettered,
            },
        ],
        ..Plan::default()
    }
}

fn wanted() -> Wanted {
    let accounts = [account("n-0", "a-0"), account("n-1", "a-1"), account("n-2", "a-2")];
    Wanted {
        numbers: accounts.iter().map(|account| account.communication_number.clone()).collect(),
        accounts: accounts.iter().map(penstock::account::Account::key).collect(),
        ranges: vec![range(0, 0, 3), range(1, 0, 10)],
    }
}

fn assert_shows_first_plan(view: &View) {
    let accepted = account("n-0", "a-0");
    assert_eq!(view.frontiers.iter().collect::<Vec<_>>(), [(&log(0), &Offset(3))]);
    let claim = claim(&accepted, at(0, 0));
    let entry = LedgerEntry {
        fingerprint: claim.fingerprint,
        event_id: claim.event_id,
        coordinates: claim.coordinates,
    };
    assert_eq!(view.ledger.iter().collect::<Vec<_>>(), [(&accepted.communication_number, &entry)]);
    assert_eq!(view.accounts.len(), 1);
    let state = &view.accounts[&accepted.key()];
    assert_eq!(state.version, at(0, 0));
    assert_eq!(state.business_entity_ext_id, accepted.business_entity_ext_id);
    let refusal = rejected(&account("n-1", "a-1"), RejectionCode::A001);
    assert_eq!(view.rejections.len(), 2);
    assert_eq!(view.rejections[&at(0, 1)], Rejection::Decided(refusal));
    assert_eq!(view.rejections[&at(0, 2)], Rejection::DeadLettered);
}

fn assert_shows_nothing(view: &View) {
    let View { frontiers, ledger, accounts, rejections } = view;
    assert!(frontiers.is_empty() && ledger.is_empty() && accounts.is_empty() && rejections.is_empty());
}

async fn apply(store: &impl Store, plan: &Plan) {
    assert_eq!(store.apply(plan).await.unwrap(), Applied::Done);
}

/// Applies a plan that one guard is to stop, and sees that this part of it is named and nothing of it is there.
async fn assert_stale(store: &impl Store, part: StalePart, mut plan: Plan) {
    let bystander = account("bystander", "bystander");
    plan.claims.push(claim(&bystander, at(7, 0)));
    plan.accounts.push(write(&bystander, None, at(7, 0)));
    plan.rejections.push(note(&bystander, RejectionCode::A002, at(7, 1)));
    plan.frontiers.push(moved(7, None, 2));
    assert_eq!(store.apply(&plan).await.unwrap(), Applied::Stale(part));
    let wanted = Wanted {
        numbers: vec![bystander.communication_number.clone()],
        accounts: vec![bystander.key()],
        ranges: vec![range(7, 0, 10)],
    };
    assert_shows_nothing(&store.load(&wanted).await.unwrap());
}

pub(crate) async fn an_empty_store_shows_nothing<R: StoreRig>() {
    let rig = R::default();
    let store = rig.open().await;
    assert_shows_nothing(&store.load(&wanted()).await.unwrap());
    assert_shows_nothing(&store.load(&Wanted::default()).await.unwrap());
    let number = account("n-0", "a-0").communication_number;
    assert_eq!(store.outcomes(&number, 10).await.unwrap(), []);
}

pub(crate) async fn what_is_applied_is_shown<R: StoreRig>() {
    let rig = R::default();
    let store = rig.open().await;
    apply(&store, &first_plan()).await;
    assert_shows_first_plan(&store.load(&wanted()).await.unwrap());
    let mut repeated = wanted();
    repeated.numbers.extend(repeated.numbers.clone());
    repeated.accounts.extend(repeated.accounts.clone());
    repeated.ranges.extend(repeated.ranges.clone());
    assert_shows_first_plan(&store.load(&repeated).await.unwrap());
}

pub(crate) async fn nothing_else_is_shown<R: StoreRig>() {
    let rig = R::default();
    let store = rig.open().await;
    apply(&store, &first_plan()).await;
    let other = account_with("N-0", "a-0", &json!({"businessUnit": "unit"}));
    let view = store
        .load(&Wanted {
            numbers: vec![other.communication_number.clone()],
            accounts: vec![other.key()],
            ranges: vec![range(0, 1, 2), range(1, 0, 10)],
        })
        .await
        .unwrap();
    assert!(view.ledger.is_empty(), "numbers differ by case");
    assert!(view.accounts.is_empty(), "no unit is not any unit");
    assert_eq!(view.rejections.keys().collect::<Vec<_>>(), [&at(0, 1)]);
    assert_eq!(view.frontiers.len(), 1, "a range asks for its partition's frontier");
}

pub(crate) async fn what_is_applied_survives_the_process<R: StoreRig>() {
    let rig = R::default();
    let store = rig.open().await;
    apply(&store, &first_plan()).await;
    rig.close(store).await;
    assert_shows_first_plan(&rig.open().await.load(&wanted()).await.unwrap());
}

pub(crate) async fn an_account_is_replaced_with_all_of_its_data<R: StoreRig>() {
    let rig = R::default();
    let store = rig.open().await;
    apply(&store, &first_plan()).await;
    let changed = account_with("n-9", "a-0", &json!({"businessEntityExtId": "customer-2"}));
    let plan = Plan {
        claims: vec![claim(&changed, at(0, 9))],
        accounts: vec![write(&changed, Some(at(0, 0)), at(0, 9))],
        frontiers: vec![moved(0, Some(3), 10)],
        ..Plan::default()
    };
    apply(&store, &plan).await;
    let view = store.load(&wanted()).await.unwrap();
    assert_eq!(view.accounts[&changed.key()].version, at(0, 9));
    assert_eq!(view.accounts[&changed.key()].business_entity_ext_id.as_str(), "customer-2");
    assert_eq!(view.frontiers[&log(0)], Offset(10));
}

pub(crate) async fn a_frontier_that_moved_makes_a_plan_stale<R: StoreRig>() {
    let rig = R::default();
    let store = rig.open().await;
    apply(&store, &first_plan()).await;
    assert_stale(
        &store,
        StalePart::Frontier,
        Plan { frontiers: vec![moved(0, Some(2), 5)], ..Plan::default() },
    )
    .await;
    assert_stale(
        &store,
        StalePart::Frontier,
        Plan { frontiers: vec![moved(3, Some(2), 5)], ..Plan::default() },
    )
    .await;
    assert_eq!(store.load(&wanted()).await.unwrap().frontiers[&log(0)], Offset(3));
}

pub(crate) async fn a_frontier_that_appeared_makes_a_plan_stale<R: StoreRig>() {
    let rig = R::default();
    let store = rig.open().await;
    apply(&store, &first_plan()).await;
    assert_stale(
        &store,
        StalePart::Frontier,
        Plan { frontiers: vec![moved(0, None, 5)], ..Plan::default() },
    )
    .await;
}

pub(crate) async fn a_number_that_was_claimed_makes_a_plan_stale<R: StoreRig>() {
    let rig = R::default();
    let store = rig.open().await;
    apply(&store, &first_plan()).await;
    let other = account("n-0", "other");
    assert_stale(
        &store,
        StalePart::Claim,
        Plan { claims: vec![claim(&other, at(0, 3))], ..Plan::default() },
    )
    .await;
}

pub(crate) async fn an_account_that_appeared_makes_a_plan_stale<R: StoreRig>() {
    let rig = R::default();
    let store = rig.open().await;
    apply(&store, &first_plan()).await;
    let other = account("n-3", "a-0");
    assert_stale(
        &store,
        StalePart::Account,
        Plan { accounts: vec![write(&other, None, at(0, 3))], ..Plan::default() },
    )
    .await;
}

pub(crate) async fn an_account_that_changed_makes_a_plan_stale<R: StoreRig>() {
    let rig = R::default();
    let store = rig.open().await;
    apply(&store, &first_plan()).await;
    let other = account("n-3", "a-0");
    for expected in [at(0, 1), at(1, 0)] {
        let accounts = vec![write(&other, Some(expected), at(0, 3))];
        assert_stale(&store, StalePart::Account, Plan { accounts, ..Plan::default() }).await;
    }
    let unknown = vec![write(&account("n-3", "unknown"), Some(at(0, 0)), at(0, 3))];
    assert_stale(&store, StalePart::Account, Plan { accounts: unknown, ..Plan::default() }).await;
}

pub(crate) async fn a_rejection_that_was_noted_makes_a_plan_stale<R: StoreRig>() {
    let rig = R::default();
    let store = rig.open().await;
    apply(&store, &first_plan()).await;
    let rejections = vec![note(&account("n-3", "a-3"), RejectionCode::A002, at(0, 1))];
    assert_stale(&store, StalePart::Rejection, Plan { rejections, ..Plan::default() }).await;
}

pub(crate) async fn a_rejection_is_taken_back_and_replaced<R: StoreRig>() {
    let rig = R::default();
    let store = rig.open().await;
    apply(&store, &first_plan()).await;
    let refused = account("n-1", "a-1");
    let withdraw = |code| {
        let event_id = rejected(&refused, code).event_id;
        vec![Withdrawal { coordinates: at(0, 1), event_id }]
    };
    let rejections = vec![note(&refused, RejectionCode::A007, at(0, 1))];
    let withdrawals = withdraw(RejectionCode::A001);
    apply(&store, &Plan { withdrawals, rejections, ..Plan::default() }).await;
    let view = store.load(&wanted()).await.unwrap();
    let other = Rejection::Decided(rejected(&refused, RejectionCode::A007));
    assert_eq!(view.rejections[&at(0, 1)], other);
    assert_eq!(view.rejections.len(), 2);
    let accepted = Plan {
        claims: vec![claim(&refused, at(0, 1))],
        accounts: vec![write(&refused, None, at(0, 1))],
        withdrawals: withdraw(RejectionCode::A007),
        ..Plan::default()
    };
    apply(&store, &accepted).await;
    let view = store.load(&wanted()).await.unwrap();
    assert_eq!(view.rejections.keys().collect::<Vec<_>>(), [&at(0, 2)]);
    assert!(view.ledger.contains_key(&refused.communication_number));
    let outcomes = store.outcomes(&refused.communication_number, 10).await.unwrap();
    assert_eq!(outcomes.len(), 1);
}

pub(crate) async fn a_rejection_that_is_another_is_not_taken_back<R: StoreRig>() {
    let rig = R::default();
    let store = rig.open().await;
    apply(&store, &first_plan()).await;
    let event_id = rejected(&account("n-1", "a-1"), RejectionCode::A001).event_id;
    let other = rejected(&account("n-1", "a-1"), RejectionCode::A002).event_id;
    for (place, event_id) in [(at(0, 1), other), (at(0, 2), event_id), (at(1, 1), event_id)] {
        let withdrawals = vec![Withdrawal { coordinates: place, event_id }];
        assert_stale(&store, StalePart::Withdrawal, Plan { withdrawals, ..Plan::default() }).await;
    }
    assert_shows_first_plan(&store.load(&wanted()).await.unwrap());
}

pub(crate) async fn of_two_plans_on_one_view_one_is_applied<R: StoreRig>() {
    let rig = R::default();
    let store = rig.open().await;
    let plans: Vec<_> = (0..8).map(|_| first_plan()).collect();
    let applied = futures_util::future::join_all(plans.iter().map(|plan| store.apply(plan))).await;
    let done = applied.into_iter().filter(|applied| matches!(applied, Ok(Applied::Done))).count();
    assert_eq!(done, 1);
    assert_shows_first_plan(&store.load(&wanted()).await.unwrap());
}

pub(crate) async fn outcomes_are_the_accepted_one_then_the_newest_rejections<R: StoreRig>() {
    let rig = R::default();
    let store = rig.open().await;
    let sent = account("n-0", "a-0");
    // Newest is by time: partition 2 before partition 1, and the accepted one in between.
    for (partition, code) in [(2, RejectionCode::A001), (1, RejectionCode::A010)] {
        let rejections = vec![note(&sent, code, at(partition, 0))];
        apply(&store, &Plan { rejections, ..Plan::default() }).await;
    }
    apply(&store, &first_plan()).await;
    let rejections = vec![note(&sent, RejectionCode::O005, at(0, 5))];
    apply(&store, &Plan { rejections, ..Plan::default() }).await;

    let expected: Vec<_> = [
        (Verdict::Accepted, at(0, 0)),
        (Verdict::Rejected(RejectionCode::O005), at(0, 5)),
        (Verdict::Rejected(RejectionCode::A010), at(1, 0)),
        (Verdict::Rejected(RejectionCode::A001), at(2, 0)),
    ]
    .map(|(verdict, coordinates)| PersistedOutcome {
        communication: sent.communication(),
        coordinates,
        outcome: Some(match verdict {
            Verdict::Accepted => {
                penstock::account::Outcome { verdict, event_id: claim(&sent, coordinates).event_id }
            }
            Verdict::Rejected(code) => rejected(&sent, code),
        }),
    })
    .to_vec();
    let number = &sent.communication_number;
    assert_eq!(store.outcomes(number, 10).await.unwrap(), expected);
    assert_eq!(store.outcomes(number, 2).await.unwrap(), expected[..2]);
    let put_aside = account("n-2", "a-2");
    let outcomes = store.outcomes(&put_aside.communication_number, 10).await.unwrap();
    assert_eq!(outcomes.len(), 1);
    assert_eq!((outcomes[0].outcome, outcomes[0].coordinates), (None, at(0, 2)));
}

pub(crate) async fn any_text_comes_back_as_it_was<R: StoreRig>() {
    let rig = R::default();
    let store = rig.open().await;
    let texts = [
        "quote ' double \" back \\ slash",
        "100% _under_ [x] {\"json\": null}",
        "🏦 Zürich — Ђ \u{202e}right-to-left",
        "line\nbreak\ttab\r\u{1}\u{7f}\u{85}",
        "null",
        "123",
        "0.10",
        "true",
        " leading and trailing ",
        "e\u{301} is not é",
    ];
    for (offset, text) in (0..).zip(texts) {
        let fields = json!({
            "requester": text, "businessUnit": text, "businessEntityExtId": text, "accountNumber": text,
            "accountType": text, "accountPurpose": text, "bankTitle": text, "bic": text,
            "currencyCode": text, "suspensionReasons": text, "isOtherFinInstAccount": true,
            "closingDate": "2024-02-29T23:59:59.123456789Z",
        });
        let sent = account_with(text, text, &fields);
        let plan = Plan {
            claims: vec![claim(&sent, at(0, offset))],
            accounts: vec![write(&sent, None, at(0, offset))],
            rejections: vec![note(&sent, RejectionCode::O005, at(1, offset))],
            ..Plan::default()
        };
        apply(&store, &plan).await;
        let wanted = Wanted {
            numbers: vec![sent.communication_number.clone()],
            accounts: vec![sent.key()],
            ranges: vec![],
        };
        let view = store.load(&wanted).await.unwrap();
        let entry = view.ledger[&sent.communication_number];
        assert_eq!(entry.fingerprint, claim(&sent, at(0, offset)).fingerprint, "{text:?}");
        assert_eq!(view.accounts[&sent.key()].business_entity_ext_id.as_str(), text);
        let outcomes = store.outcomes(&sent.communication_number, 10).await.unwrap();
        assert_eq!(outcomes.len(), 2, "{text:?}");
        assert!(
            outcomes.iter().all(|outcome| outcome.communication == sent.communication()),
            "{text:?}"
        );
    }
}

pub(crate) async fn a_thousand_rows_are_one_plan<R: StoreRig>() {
    let rig = R::default();
    let store = rig.open().await;
    let accounts: Vec<_> =
        (0..1_000).map(|n| account(&format!("n-{n:04}"), &format!("a-{n:04}"))).collect();
    let places = || (0..).map(|offset| at(0, offset));
    let mut plan = Plan {
        frontiers: vec![moved(0, None, 1_000)],
        claims: accounts.iter().zip(places()).map(|(account, at)| claim(account, at)).collect(),
        accounts: accounts.iter().zip(places()).map(|(account, at)| write(account, None, at)).collect(),
        rejections: accounts
            .iter()
            .zip(places())
            .map(|(account, place)| note(account, RejectionCode::O005, at(1, place.offset.0)))
            .collect(),
        ..Plan::default()
    };
    apply(&store, &plan).await;
    let wanted = Wanted {
        numbers: accounts.iter().map(|account| account.communication_number.clone()).collect(),
        accounts: accounts.iter().map(penstock::account::Account::key).collect(),
        ranges: vec![range(0, 0, 1_000), range(1, 0, 1_000)],
    };
    let view = store.load(&wanted).await.unwrap();
    assert_eq!((view.ledger.len(), view.accounts.len(), view.rejections.len()), (1_000, 1_000, 1_000));

    // One row of a thousand that is not as the view showed stops all the others.
    plan.frontiers = vec![moved(0, Some(1_000), 2_000)];
    plan.claims.clear();
    plan.rejections.clear();
    for (write, offset) in plan.accounts.iter_mut().zip(0..) {
        write.expected = Some(write.version);
        write.version = at(0, 1_000 + offset);
    }
    plan.accounts[500].expected = Some(at(0, 999_999));
    assert_eq!(store.apply(&plan).await.unwrap(), Applied::Stale(StalePart::Account));
    plan.accounts[500].expected = Some(at(0, 500));
    apply(&store, &plan).await;
    let view = store.load(&wanted).await.unwrap();
    assert_eq!(view.accounts[&accounts[999].key()].version, at(0, 1_999));
}

pub(crate) async fn an_empty_plan_is_done<R: StoreRig>() {
    let rig = R::default();
    let store = rig.open().await;
    apply(&store, &Plan::default()).await;
}

pub(crate) async fn the_store_answers<R: StoreRig>() {
    let rig = R::default();
    let store = rig.open().await;
    store.check().await.unwrap();
}
