//! `penstock dev` from its first line to its last.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::binary::field;
use crate::process::{DEADLINE, Dev, example_batch, penstock, text, until};

#[tokio::test]
async fn dev_serves_what_it_prints_and_ends_when_asked() {
    let directory = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(&directory, &[]).await;
    for part in [
        "Not for production",
        "Bearer dev",
        "'content-type: application/json' -d @examples/batch.json",
        &format!("{}/docs", dev.url),
        directory.path().join("data").to_str().unwrap(),
    ] {
        assert!(dev.banner.contains(part), "no {part:?} in {}", dev.banner);
    }
    assert_eq!(dev.get(&format!("{}/healthz", dev.admin)).await.0, 200);
    assert_eq!(dev.readiness().await, 200);
    assert_eq!(dev.get(&format!("{}/metrics", dev.url)).await.0, 404, "never beside the intake");

    let (status, answer) = dev.send(example_batch()).await;
    assert_eq!(status, 200);
    assert_eq!(answer["results"][0]["resultType"], "REQUEST_ACCEPTED", "{answer}");
    assert_eq!(answer["results"][1]["errorCode"], "O005", "{answer}");
    let (_, metrics) = dev.get(&format!("{}/metrics", dev.admin)).await;
    assert!(metrics.contains("penstock_intake_accepted_items_total 2"), "{metrics}");
    assert!(metrics.contains("penstock_worker_outcomes_total{code=\"accepted\"} 1"), "{metrics}");

    dev.terminate().await;
    assert_eq!(dev.ended().await.code(), Some(0), "{}", dev.log());
}

#[tokio::test]
async fn dev_shows_the_callbacks_of_what_was_sent() {
    let directory = tempfile::tempdir().unwrap();
    let dev = Dev::start(&directory, &[]).await;
    let page = field(&dev.banner, "events").unwrap();
    assert_eq!(page, format!("{}/dev/callbacks", dev.admin));
    dev.send(example_batch()).await;
    let shown = async || {
        let (status, json) = dev.get(&format!("{page}.json")).await;
        assert_eq!(status, 200);
        serde_json::from_str::<serde_json::Value>(&json).unwrap()
    };
    until(async || shown().await["received"] == 2).await;
    let shown = shown().await;
    for callback in shown["callbacks"].as_array().unwrap() {
        assert_eq!(callback["verified"], true, "{callback}");
        assert_eq!(callback["headers"]["ce-source"], "1b1e1c23-f62f-4338-90b9-8d54993dd2cd");
        assert!(callback["body"].as_str().unwrap().contains("resultType"), "{callback}");
    }
    let (_, html) = dev.get(&page).await;
    assert!(html.contains("penstock.account.rejected") && html.contains("signature verified"), "{html}");
    dev.stop().await;
}

#[tokio::test]
async fn without_its_receiver_dev_shows_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let dev = Dev::start(&directory, &["--no-receiver"]).await;
    assert_eq!(field(&dev.banner, "events"), None);
    assert_eq!(dev.get(&format!("{}/dev/callbacks", dev.admin)).await.0, 404);
    dev.stop().await;
}

#[tokio::test]
async fn outcomes_survive_a_stop() {
    let directory = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(&directory, &[]).await;
    let (_, first) = dev.send(example_batch()).await;
    dev.terminate().await;
    assert!(dev.ended().await.success(), "{}", dev.log());
    let dev = Dev::start(&directory, &[]).await;
    let (_, again) = dev.send(example_batch()).await;
    for item in [0, 1] {
        assert_eq!(first["results"][item]["resultType"], again["results"][item]["resultType"]);
    }
}

#[tokio::test]
async fn a_directory_belongs_to_one_process() {
    let directory = tempfile::tempdir().unwrap();
    let _dev = Dev::start(&directory, &[]).await;
    let second = tokio::time::timeout(DEADLINE, Dev::command(&directory, &[]).output()).await;
    let second = second.unwrap().unwrap();
    assert_eq!(second.status.code(), Some(5));
    let message = text(&second.stderr);
    assert!(message.contains(directory.path().join("data").to_str().unwrap()), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[tokio::test]
async fn a_foreign_file_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("data/queue.db");
    std::fs::create_dir(directory.path().join("data")).unwrap();
    std::fs::write(&file, "somebody's diary").unwrap();
    let output = tokio::time::timeout(DEADLINE, Dev::command(&directory, &[]).output()).await;
    let output = output.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let message = text(&output.stderr);
    assert!(message.contains("queue.db"), "{message}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "somebody's diary");
}

#[tokio::test]
async fn a_port_in_use_is_one_clear_line() {
    let directory = tempfile::tempdir().unwrap();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data_dir = directory.path().display().to_string();
    let mut command = penstock(&["dev", "--listen", &address, "--data-dir", &data_dir]);
    let output = tokio::time::timeout(DEADLINE, command.output()).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let message = text(&output.stderr);
    assert!(message.contains(&address) && message.contains("another process"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[tokio::test]
async fn the_known_token_is_refused_beyond_this_machine() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().display().to_string();
    let mut command = penstock(&["dev", "--listen", "0.0.0.0:0", "--data-dir", &data_dir]);
    let output = tokio::time::timeout(DEADLINE, command.output()).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("--token"), "{}", text(&output.stderr));
}

/// A request whose last byte is still to come, and that byte.
async fn begin_request(dev: &Dev) -> (TcpStream, String) {
    let batch = example_batch();
    let (sent, kept) = batch.split_at(batch.trim_end().len() - 1);
    let mut stream = TcpStream::connect(dev.url.trim_start_matches("http://")).await.unwrap();
    let request = format!(
        "POST /amlyze-ws-rest/batch-accounts HTTP/1.1\r\nhost: penstock\r\nauthorization: Bearer dev\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{sent}",
        batch.len(),
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    // The body is being read once its bytes count as in flight.
    until(async || {
        let (_, metrics) = dev.get(&format!("{}/metrics", dev.admin)).await;
        let in_flight =
            metrics.lines().find_map(|line| line.strip_prefix("penstock_intake_in_flight_bytes "));
        in_flight.is_some_and(|bytes| bytes != "0")
    })
    .await;
    (stream, kept.to_owned())
}

async fn until_it_drains(dev: &Dev) {
    until(async || dev.readiness().await == 503).await;
}

#[tokio::test]
async fn a_request_that_has_begun_is_answered_before_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(&directory, &[]).await;
    let (mut stream, rest) = begin_request(&dev).await;
    dev.terminate().await;
    until_it_drains(&dev).await;
    stream.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("REQUEST_REJECTED"), "the outcomes are known: {answer}");
    assert_eq!(dev.ended().await.code(), Some(0), "{}", dev.log());
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(&directory, &[]).await;
    let _unfinished = begin_request(&dev).await;
    dev.terminate().await;
    until_it_drains(&dev).await;
    dev.terminate().await;
    assert_eq!(dev.ended().await.code(), Some(1));
}

#[tokio::test]
async fn a_stop_that_takes_too_long_is_a_failure() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("penstock.toml");
    std::fs::write(&config, "shutdown.drain_timeout = '1s'").unwrap();
    let mut dev = Dev::start(&directory, &["--config", config.to_str().unwrap()]).await;
    let _unfinished = begin_request(&dev).await;
    dev.terminate().await;
    assert_eq!(dev.ended().await.code(), Some(0), "connections are cut off in time: {}", dev.log());
    assert!(dev.log().contains("connections are closed before their requests ended"), "{}", dev.log());
}
