//! Batches that are accepted: what is published, when, and what is answered.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use penstock::account::RejectionCode;
use penstock::queue::{Answer, Envelope, Record};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::account::account;
use crate::harness::{
    ACCOUNT, ALL, BATCH, Harness, JsonText, SANDBOX, Setup, account_with, body_of, header,
};
use crate::ports::{FakeQueue, INBOX, accepted, eventually, rejected};

const EXAMPLE: &str = include_str!("../../src/intake/openapi/examples/mandatory-fields.json");

/// Keys of the records of each publish call.
fn waves(queue: &FakeQueue) -> Vec<Vec<String>> {
    let key = |record: &Record| String::from_utf8(record.key.to_vec()).unwrap();
    queue.published().iter().map(|records| records.iter().map(key).collect()).collect()
}

fn pending(response: &reqwest::Response) -> usize {
    header(response, "penstock-pending").unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_contracts_example_is_answered_item_by_item() {
    let first = AtomicBool::new(true);
    let queue = FakeQueue::new(move |_| {
        let is_first = first.swap(false, Ordering::SeqCst);
        Some(if is_first { accepted() } else { rejected(RejectionCode::O005) })
    });
    let intake = Harness::with(Setup { queue, ..Setup::default() }).await;
    let response = intake.post(BATCH).body(EXAMPLE).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(pending(&response), 0);
    assert!(uuid::Uuid::parse_str(header(&response, "penstock-batch").unwrap()).is_ok());
    assert_eq!(header(&response, "content-type"), Some("application/json"));
    let mut body = body_of(response).await;
    assert!(body["timeElapsedMs"].take().is_u64());
    assert!(body["results"][0]["timeElapsedMs"].take().is_u64());
    assert!(body["results"][1]["timeElapsedMs"].take().is_u64());
    let number = "1b1e1c23-f62f-4338-90b9-8d54993dd2cd";
    assert_eq!(
        body,
        json!({
            "results": [
                {
                    "resultType": "REQUEST_ACCEPTED",
                    "communicationNumber": number,
                    "accountExtId": "accountExtId3",
                    "businessUnit": "sandbox",
                    "timeElapsedMs": null,
                },
                {
                    "resultType": "REQUEST_REJECTED",
                    "communicationNumber": number,
                    "accountExtId": "accountExtId4",
                    "businessUnit": "sandbox",
                    "errorCode": "O005",
                    "errorDescription": "CommunicationNumber already used in AMLYZE",
                    "timeElapsedMs": null,
                },
            ],
            "timeElapsedMs": null,
        })
    );
}

#[tokio::test]
async fn every_item_is_published_with_the_bytes_received() {
    let intake = Harness::new().await;
    let odd = r#"{ "unknown" : 1.0e2,  "communicationNumber":"\u006e1","requester":"S","businessUnit":"north",
        "businessEntityExtId":"O","accountExtId":"a1","accountNumber":"1","accountStatus":"ACTIVE",
        "currencyCode":"EUR","openingDate":"2023-09-05T10:07:34+02:00","bic":null }"#;
    let plain = account("n2", "a2").to_string();
    let body = format!("{{\"x\":[],\"accounts\":\n[ {odd} ,{plain}]}}");
    let response = intake.post(BATCH).body(body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let batch = header(&response, "penstock-batch").unwrap().to_owned();
    let published = intake.queue.published();
    let [records] = published.as_slice() else { panic!("one call: {published:?}") };
    assert_eq!(records[0].value, odd.as_bytes());
    assert_eq!(records[1].value, plain.as_bytes());
    assert_eq!(waves(&intake.queue), [["north/a1", "sandbox/a2"]]);
    for (index, record) in (0..).zip(records) {
        let envelope = Envelope::from_headers(&record.headers);
        let (id, item) = envelope.item.unwrap();
        assert_eq!((id.to_string(), item), (batch.clone(), index));
        assert_eq!(envelope.reply_to, Some(INBOX));
        assert_eq!(envelope.default_business_unit, None);
    }
}

#[tokio::test]
async fn an_item_without_a_unit_gets_the_only_one_of_its_token() {
    let intake = Harness::new().await;
    let accounts = [account_with("businessUnit", None)];
    let alone = intake.post_batch(&accounts).header("authorization", format!("Bearer {SANDBOX}"));
    // A request has one token: the header that was there is replaced.
    let mut alone = alone.build().unwrap();
    alone.headers_mut().insert("authorization", format!("Bearer {SANDBOX}").parse().unwrap());
    let body = body_of(reqwest::Client::new().execute(alone).await.unwrap()).await;
    assert_eq!(body["results"][0]["businessUnit"], "sandbox");
    let body = body_of(intake.post_batch(&accounts).send().await.unwrap()).await;
    assert_eq!(body["results"][0].get("businessUnit"), None);
    let published = intake.queue.published();
    let unit = |call: usize| {
        Envelope::from_headers(&published[call][0].headers)
            .default_business_unit
            .map(|unit| unit.as_str().to_owned())
    };
    assert_eq!((unit(0).as_deref(), unit(1)), (Some("sandbox"), None));
    assert_eq!(waves(&intake.queue), [["sandbox/a1"], ["/a1"]]);
}

#[tokio::test]
async fn an_empty_batch_has_empty_results() {
    let intake = Harness::new().await;
    let response = intake.post_batch(&[]).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(pending(&response), 0);
    assert_eq!(response.text().await.unwrap(), r#"{"results":[],"timeElapsedMs":0}"#);
    assert_eq!(intake.queue.count(), 0);
}

#[tokio::test]
async fn a_dead_letter_is_answered_as_failed() {
    let queue = FakeQueue::new(|_| Some(Answer::DeadLettered));
    let intake = Harness::with(Setup { queue, ..Setup::default() }).await;
    let body = body_of(intake.post_batch(&[account("n1", "a1")]).send().await.unwrap()).await;
    assert_eq!(body["results"][0]["resultType"], "REQUEST_REJECTED");
    assert_eq!(body["results"][0]["errorCode"], "500");
    assert_eq!(body["results"][0]["errorDescription"], "Processing failed");
}

#[tokio::test]
async fn one_clients_repeated_numbers_change_nothing_for_others() {
    let intake = Harness::silent(|setup| setup.intake.outcome_wait = Duration::from_millis(300)).await;
    let repeats: Vec<_> = (0..50).map(|index| account("n", &format!("a{index}"))).collect();
    let repeating = intake.post_batch(&repeats).send();
    let answering = async {
        // The worker is quick; what takes long is the batch's own waiting for one outcome after the other.
        let started = tokio::time::Instant::now();
        for item in 0..50 {
            eventually("the next item is published", || intake.queue.count() > item).await;
            if started.elapsed() < Duration::from_millis(250) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let record = intake.queue.published().concat()[item].clone();
            intake.queue.answer(&record, accepted());
        }
    };
    let (repeated, ()) = tokio::join!(repeating, answering);
    assert_eq!(repeated.unwrap().status(), 200);
    let other = [account("other", "b")];
    let (answered, ()) = tokio::join!(intake.post_batch(&other).send(), async {
        eventually("it is published", || intake.queue.count() == 51).await;
        let record = intake.queue.published().concat()[50].clone();
        intake.queue.answer(&record, accepted());
    });
    assert_eq!(pending(&answered.unwrap()), 0, "it is waited for");
}

#[tokio::test]
async fn what_is_not_decided_in_time_is_accepted_and_pending() {
    let intake = Harness::silent(|setup| setup.intake.outcome_wait = Duration::from_millis(50)).await;
    let response = intake.post_batch(&[account("n1", "a1"), account("n2", "a2")]).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(pending(&response), 2);
    assert_eq!(header(&response, "preference-applied"), None);
    let body = body_of(response).await;
    assert_eq!(body["results"][1]["resultType"], "REQUEST_ACCEPTED");
    assert_eq!(body["results"][1].get("errorCode"), None);
}

#[tokio::test]
async fn a_client_may_prefer_not_to_wait() {
    let intake = Harness::silent(|_| {}).await;
    for (prefer, applied) in [("respond-async", "respond-async"), ("wait=0", "wait=0")] {
        let accounts = [account("n1", "a1")];
        let response = intake.post_batch(&accounts).header("prefer", prefer).send().await.unwrap();
        assert_eq!(pending(&response), 1);
        assert_eq!(header(&response, "preference-applied"), Some(applied));
    }
    let accounts = [account("n1", "a1")];
    let waiting = intake.post_batch(&accounts).header("prefer", "wait=999").send();
    let answering = async {
        eventually("the third batch is published", || intake.queue.count() == 3).await;
        intake.queue.answer(&intake.queue.published()[2][0], accepted());
    };
    let (response, ()) = tokio::join!(waiting, answering);
    let response = response.unwrap();
    assert_eq!(pending(&response), 0);
    assert_eq!(header(&response, "preference-applied"), Some("wait=30"));
}

#[tokio::test]
async fn a_repeated_number_waits_for_the_outcome_of_the_one_before() {
    let intake = Harness::silent(|_| {}).await;
    let accounts = [account("n1", "a1"), account("n1", "a2"), account("n2", "a3"), account("n3", "a2")];
    let waiting = intake.post_batch(&accounts).send();
    let answering = async {
        let queue = &intake.queue;
        eventually("the first wave is published", || queue.count() == 2).await;
        let first = queue.published().remove(0);
        queue.answer(&first[1], accepted());
        queue.answer(&first[0], accepted());
        eventually("the second wave is published", || queue.count() == 4).await;
        for record in &queue.published()[1] {
            queue.answer(record, rejected(RejectionCode::O005));
        }
    };
    let (response, ()) = tokio::join!(waiting, answering);
    let body = body_of(response.unwrap()).await;
    assert_eq!(
        waves(&intake.queue),
        [["sandbox/a1", "sandbox/a3"], ["sandbox/a2", "sandbox/a2"]],
        "an account keeps its order, also for an item whose own number is new"
    );
    let kinds: Vec<_> = (0..4).map(|index| body["results"][index]["errorCode"].as_str()).collect();
    assert_eq!(kinds, [None, Some("O005"), None, Some("O005")]);
}

#[tokio::test]
async fn at_the_deadline_the_rest_is_published_in_order() {
    let intake = Harness::silent(|setup| setup.intake.outcome_wait = Duration::from_millis(50)).await;
    let accounts: Vec<_> = ["a", "b", "c", "d"].map(|ext_id| account("n1", ext_id)).into();
    let response = intake.post_batch(&accounts).send().await.unwrap();
    assert_eq!(pending(&response), 4);
    let rest = ["sandbox/b", "sandbox/c", "sandbox/d"].map(ToOwned::to_owned).to_vec();
    assert_eq!(waves(&intake.queue), [vec!["sandbox/a".to_owned()], rest]);
}

#[tokio::test]
async fn a_client_that_goes_away_changes_nothing() {
    let intake = Harness::silent(|_| {}).await;
    let body = json!({ "accounts": [account("n1", "a1"), account("n1", "a2")] }).to_string();
    let mut stream = TcpStream::connect(intake.address).await.unwrap();
    let head = format!(
        "POST {BATCH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ALL}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    eventually("the first item is published", || intake.queue.count() == 1).await;
    drop(stream);
    intake.queue.answer(&intake.queue.published()[0][0], accepted());
    eventually("the second item is published", || intake.queue.count() == 2).await;
    intake.queue.answer(&intake.queue.published()[1][0], accepted());
    assert!(intake.intake.drain(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn nobody_waits_in_vain_while_replies_are_late() {
    let intake = Harness::silent(|setup| setup.intake.outcome_wait = Duration::from_secs(1)).await;
    let send = async |number: &str| {
        let response = intake.post_batch(&[account(number, "a")]).send().await.unwrap();
        (pending(&response), body_of(response).await["timeElapsedMs"].as_u64().unwrap())
    };
    let (pending_items, waited_ms) = send("n1").await;
    assert!(pending_items == 1 && waited_ms >= 1_000);
    let (pending_items, waited_ms) = send("n2").await;
    assert!(pending_items == 1 && waited_ms < 1_000, "waited {waited_ms} ms");
    // A client that asks to wait is waited for; the fresh reply it gets tells that all is well again.
    let accounts = [account("n3", "a")];
    let waiting = intake.post_batch(&accounts).header("prefer", "wait=20").send();
    let (response, ()) = tokio::join!(waiting, async {
        eventually("the third batch is published", || intake.queue.count() == 3).await;
        intake.queue.answer(&intake.queue.published()[2][0], accepted());
    });
    assert_eq!(pending(&response.unwrap()), 0);
    let (pending_items, waited_ms) = send("n4").await;
    assert!(pending_items == 1 && waited_ms >= 1_000, "waited {waited_ms} ms");
}

#[tokio::test]
async fn bodies_may_be_compressed() {
    let intake = Harness::new().await;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(EXAMPLE.as_bytes()).unwrap();
    let zstd = zstd::encode_all(EXAMPLE.as_bytes(), 3).unwrap();
    for (encoding, body) in
        [("gzip", gzip.finish().unwrap()), ("zstd", zstd), ("identity", EXAMPLE.into())]
    {
        let request = intake.post(BATCH).header("content-encoding", encoding).body(body);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{encoding}");
        assert_eq!(body_of(response).await["results"].as_array().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_large_batch_is_answered_in_the_order_of_the_request() {
    let intake = Harness::with(Setup {
        intake: penstock::intake::IntakeOptions {
            max_items: 5_000,
            max_body_bytes: 4_000_000,
            ..Setup::default().intake
        },
        ..Setup::default()
    })
    .await;
    let accounts: Vec<_> =
        (0..5_000).map(|index| account(&format!("n{index}"), &format!("a{index}"))).collect();
    let body = body_of(intake.post_batch(&accounts).send().await.unwrap()).await;
    let results = body["results"].as_array().unwrap();
    assert_eq!(results.len(), 5_000);
    for (index, result) in results.iter().enumerate() {
        assert_eq!(result["communicationNumber"], format!("n{index}"));
    }
}

#[tokio::test]
async fn a_single_account_is_answered_by_its_status() {
    let queue = FakeQueue::new(|record| {
        let is_closed = String::from_utf8_lossy(&record.value).contains("CLOSED");
        Some(if is_closed { rejected(RejectionCode::A002) } else { accepted() })
    });
    let intake = Harness::with(Setup { queue, ..Setup::default() }).await;
    let send = async |account: Value| intake.post(ACCOUNT).json_text(&account).send().await.unwrap();

    let response = send(account("n1", "a1")).await;
    assert_eq!((response.status().as_u16(), pending(&response)), (200, 0));
    let body = body_of(response).await;
    assert_eq!(body["resultType"], "REQUEST_ACCEPTED");
    assert_eq!(body["communicationNumber"], "n1");

    let response = send(account_with("accountStatus", Some(json!("CLOSED")))).await;
    assert_eq!(response.status(), 400);
    let body = body_of(response).await;
    assert_eq!(body["resultType"], "REQUEST_REJECTED");
    assert_eq!(body["errorCode"], "A002");

    let response = send(account_with("requester", None)).await;
    assert_eq!(response.status(), 400);
    assert_eq!(body_of(response).await["errors"], json!(["requester: is mandatory"]));
}
