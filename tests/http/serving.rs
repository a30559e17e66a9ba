//! The accept loop.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::account::account;
use crate::harness::{BATCH, Harness};
use crate::ports::{accepted, eventually};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_half_sent_header_ends_the_connection() {
    let intake = Harness::silent(|setup| setup.server.header_timeout = Duration::from_millis(50)).await;
    let mut stream = TcpStream::connect(intake.address).await.unwrap();
    stream.write_all(b"POST /amlyze-ws-rest/batch-accounts HTTP/1.1\r\nhost:").await.unwrap();
    let mut answer = Vec::new();
    timeout(SOON, stream.read_to_end(&mut answer)).await.expect("closed").unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 2"));
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_answered_408() {
    let intake = Harness::silent(|setup| setup.intake.body_timeout = Duration::from_millis(50)).await;
    let stalled = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>());
    let request = intake.post(BATCH).body(reqwest::Body::wrap(stalled));
    assert_eq!(timeout(SOON, request.send()).await.unwrap().unwrap().status(), 408);
}

#[tokio::test]
async fn connections_beyond_the_cap_wait_for_their_turn() {
    let intake = Harness::silent(|setup| setup.server.max_connections = 1).await;
    let first = TcpStream::connect(intake.address).await.unwrap();
    let second = intake.post_batch(&[]).send();
    tokio::pin!(second);
    assert!(timeout(Duration::from_millis(100), &mut second).await.is_err());
    drop(first);
    assert_eq!(timeout(SOON, second).await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn requests_that_have_begun_are_finished_at_shutdown() {
    let intake = Harness::silent(|_| {}).await;
    let accounts = [account("n1", "a1")];
    let (response, ()) = tokio::join!(intake.post_batch(&accounts).send(), async {
        eventually("the batch is published", || intake.queue.count() == 1).await;
        intake.stop.cancel();
        eventually("nobody is accepted any more", || {
            std::net::TcpStream::connect(intake.address).is_err()
        })
        .await;
        intake.queue.answer(&intake.queue.published()[0][0], accepted());
    });
    assert_eq!(response.unwrap().status(), 200);
    timeout(SOON, intake.server).await.expect("ended").unwrap();
    assert!(intake.intake.drain(SOON).await);
}

#[tokio::test]
async fn shutdown_is_bounded() {
    let intake =
        Harness::silent(|setup| setup.server.shutdown_timeout = Duration::from_millis(50)).await;
    let accounts = [account("n1", "a1")];
    let (response, ()) = tokio::join!(intake.post_batch(&accounts).send(), async {
        eventually("the batch is published", || intake.queue.count() == 1).await;
        intake.stop.cancel();
    });
    assert!(response.is_err());
    timeout(SOON, intake.server).await.expect("ended").unwrap();
    assert!(!intake.intake.drain(Duration::from_millis(50)).await, "the batch itself still waits");
}
