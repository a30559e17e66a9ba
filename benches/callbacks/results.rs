//! A results topic full of events as workers publish them.

use std::time::Duration;

use bytes::Bytes;
use penstock::queue::kafka::{KafkaOpenError, KafkaQueue};
use penstock::queue::{Headers, Queue, Record, Topic};
use penstock::telemetry::Metrics;
use uuid::Uuid;

use crate::installation::Installation;

/// Records published at a time.
const BATCH: usize = 2_000;

/// Publishes so many events, each of an account of its own.
pub(crate) async fn fill(installation: &Installation, events: u64) {
    let queue = open(installation).await;
    for first in (0..events).step_by(BATCH) {
        let records = (first..events.min(first + BATCH as u64)).map(record).collect();
        queue.publish(Topic::Results, records).await.unwrap();
    }
    queue.close().await;
}

/// A broker may hear of a new topic a little after the controller.
async fn open(installation: &Installation) -> KafkaQueue {
    for _ in 0..200 {
        match KafkaQueue::open(installation.queue_options(), Metrics::disabled()).await {
            Err(KafkaOpenError::TopicMissing { .. }) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            opened => return opened.unwrap(),
        }
    }
    panic!("the topics do not come up");
}

fn record(number: u64) -> Record {
    let id = Uuid::from_u128(0x5d1f_52ac_0000_5000_8000_0000_0000_0000 | u128::from(number));
    let (source, account) = (format!("2026-{number:012}"), format!("accountExtId{number:09}"));
    let mut headers = Headers::default();
    headers.push("content-type", "application/json");
    headers.push("ce_specversion", "1.0");
    headers.push("ce_id", id.to_string());
    headers.push("ce_source", &source);
    headers.push("ce_type", "penstock.account.accepted");
    headers.push("ce_subject", &account);
    headers.push("ce_time", "2026-11-24T09:15:27.123Z");
    headers.push("ce_traceparent", format!("00-{number:032x}-{number:016x}-01"));
    headers.push("traceparent", format!("00-{number:032x}-{:016x}-01", number + 1));
    let value = format!(
        "{{\"resultType\":\"REQUEST_ACCEPTED\",\"communicationNumber\":\"{source}\",\
         \"accountExtId\":\"{account}\",\"businessUnit\":\"sandbox\",\
         \"businessEntityExtId\":\"ORG_C{number}\",\"requester\":\"SYSTEMX\"}}"
    );
    Record { key: Bytes::from(format!("sandbox/{account}")), value: Bytes::from(value), headers }
}
