//! The scans' promises: every row of a table is brought once, as it was written.

use std::collections::BTreeSet;

use penstock::account::{
    Account, Claim, LedgerEntry, Plan, RejectionCode, RejectionNote, Timestamp, Withdrawal,
};
use penstock::store::{
    AccountRow, Applied, ChangeRow, Deliveries, DeliveryRow, DeliveryState, Ending, JobName, JobStep,
    LedgerRow, NewJob, OutcomeChange, Page, RejectionRow, Replays, RunnerId, ScanPlace, Scans, Store,
    StoreError,
};
use serde_json::json;
use uuid::Uuid;

use super::accounts::{account, account_with, at, claim, note, rejected, write};
use super::deliveries::{delivered, event};
use super::store::StoreRig;

/// Names every test of the suite for one rig.
#[macro_export]
macro_rules! scans_conformance {
    ($rig:ty) => {
        $crate::scans_conformance!(@each $rig:
            an_empty_table_has_no_rows
            rows_are_brought_as_they_were_written
            every_row_of_many_pages_is_brought_once
        );
    };
    (@each $rig:ty: $($name:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::scans::$name::<$rig>().await;
            }
        )+
    };
}

/// Every row of a table, page after page; how many pages there were.
async fn all<T>(scan: impl AsyncFn(ScanPlace) -> Result<Page<T>, StoreError>) -> (Vec<T>, usize) {
    let (mut rows, mut pages) = (Vec::new(), 0);
    let mut place = Some(ScanPlace::default());
    while let Some(from) = place {
        let page = scan(from).await.unwrap();
        assert!(page.next.is_none_or(|next| next > from), "it goes on");
        rows.extend(page.rows);
        place = page.next;
        pages += 1;
    }
    (rows, pages)
}

pub(crate) async fn an_empty_table_has_no_rows<R: StoreRig<Store: Scans>>() {
    let rig = R::default();
    let store = rig.open().await;
    assert!(all(async |from| store.scan_ledger(from).await).await.0.is_empty());
    assert!(all(async |from| store.scan_rejections(from).await).await.0.is_empty());
    assert!(all(async |from| store.scan_accounts(from).await).await.0.is_empty());
    assert!(all(async |from| store.scan_deliveries(from).await).await.0.is_empty());
    assert!(all(async |from| store.scan_changes(from).await).await.0.is_empty());
}

fn full() -> Account {
    let fields = json!({
        "businessUnit": "north ž", "accountType": "current", "accountPurpose": "salary", "bankTitle": "Bank",
        "bic": "BANKLT2X", "isOtherFinInstAccount": true, "accountStatus": "CLOSED", "action": "UPDATE",
        "openingDate": "2023-09-05T08:07:34.123456Z", "closingDate": "2024-01-01T00:00:00.5Z",
        "suspensionReasons": "none",
    });
    account_with("n-1", "a-1", &fields)
}

pub(crate) async fn rows_are_brought_as_they_were_written<
    R: StoreRig<Store: Scans + Replays + Deliveries>,
>() {
    let rig = R::default();
    let store = rig.open().await;
    let (full, bare, refused) = (full(), account("n-2", "a-2"), account("n-3", "a-3"));
    let notes = vec![
        note(&refused, RejectionCode::A007, at(0, 3)),
        RejectionNote {
            rejection: penstock::account::Rejection::DeadLettered,
            ..note(&refused, RejectionCode::A001, at(1, 4))
        },
    ];
    let plan = Plan {
        claims: vec![claim(&full, at(0, 1)), claim(&bare, at(0, 2))],
        accounts: vec![write(&bare, None, at(0, 2)), write(&full, None, at(0, 1))],
        rejections: notes.clone(),
        ..Plan::default()
    };
    assert_eq!(store.apply(&plan).await.unwrap(), Applied::Done);

    let (mut ledger, _) = all(async |from| store.scan_ledger(from).await).await;
    ledger.sort_by_key(|row| row.entry.coordinates);
    assert_eq!(
        ledger,
        [&full, &bare].iter().zip(1..).map(|(it, offset)| row(it, offset)).collect::<Vec<_>>()
    );
    let (mut rejections, _) = all(async |from| store.scan_rejections(from).await).await;
    rejections.sort_by_key(|row| row.coordinates);
    let expected = notes.into_iter().map(|RejectionNote { coordinates, communication, rejection }| {
        RejectionRow { coordinates, communication, rejection: Some(rejection) }
    });
    assert_eq!(rejections, expected.collect::<Vec<_>>());
    let (mut accounts, _) = all(async |from| store.scan_accounts(from).await).await;
    accounts.sort_by_key(|row| row.version);
    let expected = [(&full, 1), (&bare, 2)].map(|(account, offset)| AccountRow {
        key: account.key(),
        version: at(0, offset),
        account: Some(Box::new(account.clone())),
    });
    assert_eq!(accounts, expected);
    changes(&store, &refused).await;
    deliveries(&store).await;
}

fn row(account: &Account, offset: u64) -> LedgerRow {
    let Claim { communication, fingerprint, event_id, coordinates } = claim(account, at(0, offset));
    LedgerRow { communication, entry: LedgerEntry { fingerprint, event_id, coordinates } }
}

async fn changes(store: &(impl Scans + Replays), refused: &Account) {
    let now = Timestamp::from_unix_millis(1_700_000_000_000);
    let (name, runner) = (JobName::parse("job").unwrap(), RunnerId(Uuid::from_u128(1)));
    let text = || "{}".to_owned();
    let job = NewJob {
        name: name.clone(),
        request: text(),
        progress: text(),
        policy_digest: text(),
        operator: text(),
        reason: text(),
    };
    assert!(store.create_job(&job, now).await.unwrap());
    let until = Timestamp::from_unix_millis(1_700_000_030_000);
    assert!(store.lease_job(&name, runner, now, until).await.unwrap());
    let before = rejected(refused, RejectionCode::A007);
    let change = OutcomeChange {
        coordinates: at(0, 3),
        before: Some(before),
        after: rejected(refused, RejectionCode::A001),
    };
    let step = JobStep { name: name.clone(), runner, progress: text(), now, until };
    let withdrawals = vec![Withdrawal { coordinates: at(0, 3), event_id: before.event_id }];
    let rejections = vec![note(refused, RejectionCode::A001, at(0, 3))];
    let plan = Plan { withdrawals, rejections, ..Plan::default() };
    assert_eq!(store.take_step(&step, &plan, &[change]).await.unwrap(), Applied::Done);
    let (changes, _) = all(async |from| store.scan_changes(from).await).await;
    assert_eq!(changes, [ChangeRow { job: name, change }]);
}

async fn deliveries(store: &(impl Scans + Deliveries)) {
    let now = Timestamp::from_unix_millis(1_700_000_000_000);
    let new = delivered("risk", 1);
    let key = new.key.clone();
    assert_eq!(new.ending, Ending::Delivered);
    store.record(&[new], &[], now).await.unwrap();
    let (deliveries, _) = all(async |from| store.scan_deliveries(from).await).await;
    let expected = DeliveryRow {
        key,
        number: event(1).source.clone(),
        state: DeliveryState::Delivered,
        recorded_at: now,
        event: Some((*event(1)).clone()),
    };
    assert_eq!(deliveries, [expected]);
}

pub(crate) async fn every_row_of_many_pages_is_brought_once<R: StoreRig<Store: Scans>>() {
    const ROWS: u64 = 40_000;
    let rig = R::default();
    let store = rig.open().await;
    let numbers: Vec<_> = (0..ROWS).map(|number| format!("n-{number:05}")).collect();
    for chunk in numbers.chunks(5_000) {
        let claims =
            chunk.iter().zip(0..).map(|(number, offset)| claim(&account(number, "a"), at(0, offset)));
        let plan = Plan { claims: claims.collect(), ..Plan::default() };
        assert_eq!(store.apply(&plan).await.unwrap(), Applied::Done);
    }
    let (rows, pages) = all(async |from| store.scan_ledger(from).await).await;
    let found: BTreeSet<_> =
        rows.iter().map(|row| row.communication.number.as_str().to_owned()).collect();
    assert_eq!((rows.len(), found.len()), (numbers.len(), numbers.len()));
    assert!(pages > 1, "all of it is one page");
}
