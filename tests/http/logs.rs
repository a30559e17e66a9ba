//! What the intake logs: ids on every line, and nothing of what was sent.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::harness::{BATCH, Harness, account_with, header};
use crate::ports::Mood;

/// Lines in memory.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Lines {
    /// The lines since the last call.
    fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(bytes).unwrap().lines().map(ToOwned::to_owned).collect()
    }
}

/// What this thread logs from now on, until the rest is dropped.
fn listen() -> (Lines, tracing::Dispatch, tracing::subscriber::DefaultGuard) {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(lines.clone())
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .finish();
    // While there is only one subscriber, a callsite that another test comes by first asks that test's thread,
    // where nobody listens, and never again.
    let another = tracing::Dispatch::new(tracing_subscriber::registry());
    let guard = tracing::subscriber::set_default(subscriber);
    (lines, another, guard)
}

#[tokio::test]
async fn a_trouble_of_the_queue_is_one_line_however_many_requests_are_refused() {
    let (lines, _another, _guard) = listen();
    let intake = Harness::new().await;
    let refuse = async |mood| {
        intake.queue.set_mood(mood);
        for number in 0..5 {
            let batch = [account_with("communicationNumber", Some(json!(format!("n-{number}"))))];
            assert_eq!(intake.post_batch(&batch).send().await.unwrap().status(), 503);
        }
        let told = lines.take().into_iter().filter(|line| line.contains("the queue takes no records"));
        told.collect::<Vec<_>>()
    };
    for (mood, level) in [(Mood::Overloaded, "WARN"), (Mood::Broken, "ERROR")] {
        let told = refuse(mood).await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains(level) && told[0].contains("requests are refused"), "{told:?}");
        assert_eq!(refuse(mood).await.len(), 0, "it is the same");
    }
}

#[tokio::test]
async fn lines_have_ids_and_no_data() {
    let (lines, _another, _guard) = listen();
    let intake = Harness::new().await;
    let canary = account_with("accountNumber", Some(json!("CANARY-1")));
    let mut bad = canary.clone();
    for field in ["communicationNumber", "openingDate", "accountStatus"] {
        bad[field] = json!("CANARY-2\u{0}");
    }

    let response = intake.post_batch(std::slice::from_ref(&canary)).send().await.unwrap();
    let id = header(&response, "x-request-id").unwrap();
    let batch = header(&response, "penstock-batch").unwrap();
    let answered = lines.take();
    let access = answered.iter().find(|line| line.contains("request answered")).unwrap();
    for expected in [
        format!("request_id=\"{id}\""),
        format!("batch_id={batch}"),
        format!("route=\"{BATCH}\""),
        "client=\"client-all\"".to_owned(),
        "method=\"POST\"".to_owned(),
        "status=200".to_owned(),
        "items=1".to_owned(),
    ] {
        assert!(access.contains(&expected), "{expected} is not in {access}");
    }

    intake.queue.set_mood(Mood::Unavailable);
    let response = intake.post_batch(&[canary]).send().await.unwrap();
    let id = format!("request_id=\"{}\"", header(&response, "x-request-id").unwrap());
    let refused = lines.take();
    let warning = refused.iter().find(|line| line.contains("the queue takes no records")).unwrap();
    assert!(warning.contains(&id) && warning.contains("batch_id="), "{warning}");

    intake.post_batch(&[bad]).send().await.unwrap();
    intake.get("/CANARY-3?x=CANARY-4").send().await.unwrap();
    intake.get("/classifier/currency").bearer_auth("CANARY-5").send().await.unwrap();
    let events = "/api/integration-services/v1/communications-events/CANARY-6";
    intake.get(events).bearer_auth(crate::harness::ALL).send().await.unwrap();
    let rest = lines.take();
    assert_eq!(rest.iter().filter(|line| line.contains("request answered")).count(), 4);
    for line in answered.iter().chain(&refused).chain(&rest) {
        let ours = line.contains("penstock::");
        assert!(!ours || !line.contains("CANARY"), "{line}");
    }
}
