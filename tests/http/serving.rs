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

/// Reads an answer without a body that ends by its length, as far as its head.
async fn answer_of(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut part = [0; 4_096];
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        let size = timeout(SOON, stream.read(&mut part)).await.expect("answered").unwrap();
        assert_ne!(size, 0, "closed");
        answer.extend_from_slice(&part[..size]);
    }
    String::from_utf8(answer).unwrap()
}

const GET: &[u8] = b"HEAD /nowhere HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn an_idle_connection_is_kept_longer_than_a_head_may_take() {
    let intake = Harness::silent(|setup| setup.server.header_timeout = Duration::from_millis(100)).await;
    let mut stream = TcpStream::connect(intake.address).await.unwrap();
    for _ in 0..2 {
        stream.write_all(GET).await.unwrap();
        assert!(answer_of(&mut stream).await.starts_with("HTTP/1.1 404 "));
        // Several times what a head may take.
        let closed = timeout(Duration::from_millis(500), stream.read(&mut [0])).await;
        assert!(closed.is_err(), "the connection is closed");
    }
    stream.write_all(&GET[..10]).await.unwrap();
    let ended = timeout(SOON, stream.read(&mut [0])).await.expect("a slow head is cut off");
    assert_eq!(ended.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_more_is_closed_in_the_end() {
    let intake =
        Harness::silent(|setup| setup.server.keep_alive_timeout = Duration::from_millis(100)).await;
    let mut stream = TcpStream::connect(intake.address).await.unwrap();
    stream.write_all(GET).await.unwrap();
    assert!(answer_of(&mut stream).await.starts_with("HTTP/1.1 404 "));
    assert_eq!(timeout(SOON, stream.read(&mut [0])).await.expect("closed").unwrap(), 0);
}

#[tokio::test]
async fn a_connection_that_never_asks_is_closed_in_the_time_of_a_head() {
    let intake = Harness::silent(|setup| setup.server.header_timeout = Duration::from_millis(50)).await;
    let mut stream = TcpStream::connect(intake.address).await.unwrap();
    assert_eq!(timeout(SOON, stream.read(&mut [0])).await.expect("closed").unwrap(), 0);
}

#[tokio::test]
async fn whoever_takes_no_answer_does_not_keep_its_slot() {
    let intake = Harness::silent(|setup| {
        setup.server.max_connections = 1;
        setup.server.write_timeout = Duration::from_millis(200);
    })
    .await;
    let mut deaf = TcpStream::connect(intake.address).await.unwrap();
    let get = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: x\r\n\r\n";
    // Far more than the buffers between the two take; none of it is ever read.
    let asking = async {
        while deaf.write_all(&get.repeat(10)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    let other = async {
        let mut stream = TcpStream::connect(intake.address).await.unwrap();
        stream.write_all(GET).await.unwrap();
        answer_of(&mut stream).await
    };
    let (answer, _) = tokio::join!(other, timeout(SOON, asking));
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[tokio::test]
async fn a_slow_outcome_is_no_idle_connection() {
    let intake = Harness::silent(|setup| {
        setup.server.header_timeout = Duration::from_millis(50);
        setup.server.keep_alive_timeout = Duration::from_millis(50);
        setup.server.write_timeout = Duration::from_millis(50);
    })
    .await;
    let accounts = [account("n1", "a1")];
    let (response, ()) = tokio::join!(intake.post_batch(&accounts).send(), async {
        eventually("the batch is published", || intake.queue.count() == 1).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        intake.queue.answer(&intake.queue.published()[0][0], accepted());
    });
    assert_eq!(response.unwrap().status(), 200);
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
