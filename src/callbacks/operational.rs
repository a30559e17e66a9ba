//! Operational events: what operators are told of endpoints, by a webhook of their own.
//!
//! A change of an endpoint's shared state is told by the process whose change the store took, so that it
//! is told once however many processes see it. That is done at best effort and holds up nothing: a
//! report that finds the queue full, is refused to the end or is under way when the process ends is
//! lost; one whose answer is lost comes twice, with the same id.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use sha1::{Digest, Sha1};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::{Builder, Uuid};

use crate::account::EventId;
use crate::events::CloudEvent;
use crate::store::EndpointState;
use crate::telemetry::Metrics;

use super::ambient::Ambient;
use super::attempt::{Answer, NoAnswer, Verdict};
use super::endpoint::Endpoint;
use super::sender::{Request, Sender};

/// Namespace of the ids of operational events.
const ID_NAMESPACE: Uuid = Uuid::from_u128(0x2f0b_7c1e_93d4_5a68_8b5e_61f0_d7a2_4c39);
/// Reports that may wait.
const MAX_WAITING: usize = 100;
/// Waits after the first failure of a report, the second, and so on.
const WAITS: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
];

/// What operators are told of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OperationalEvent {
    /// The breaker has opened.
    Failing,
    /// It answered 410, and is paused.
    Gone,
    /// Its receiver does not agree to get events.
    Disagreeing,
    /// Deliveries were given up.
    Exhausted,
    /// The breaker has closed.
    Recovered,
}

impl OperationalEvent {
    /// The name as logs, metrics and the event's type have it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Failing => "endpoint.failing",
            Self::Gone => "endpoint.gone",
            Self::Disagreeing => "endpoint.disagreeing",
            Self::Exhausted => "endpoint.exhausted",
            Self::Recovered => "endpoint.recovered",
        }
    }

    /// The event of a change that the store took. The same change has the same id.
    fn cloud_event(self, type_prefix: &str, state: &EndpointState) -> CloudEvent {
        let (endpoint, name) = (state.name.as_str(), self.name());
        let changed_at = state.changed_at.to_string();
        let mut digest = Sha1::new();
        digest.update(ID_NAMESPACE);
        digest.update(format!("{endpoint}/{}/{name}/{changed_at}", state.version));
        let digest: [u8; 20] = digest.finalize().into();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        let data = json!({
            "endpoint": endpoint,
            "event": name,
            "reason": state.reason,
            "changedAt": changed_at,
        });
        CloudEvent {
            id: EventId(Builder::from_sha1_bytes(id).into_uuid()),
            source: format!("/callbacks/endpoints/{endpoint}"),
            event_type: format!("{type_prefix}.{name}"),
            further: vec![("subject".to_owned(), endpoint.to_owned()), ("time".to_owned(), changed_at)],
            trace: Vec::new(),
            data: Bytes::from(data.to_string()),
        }
    }
}

/// Takes reports in; cheap to clone.
#[derive(Clone, Debug)]
pub struct OperatorReports {
    type_prefix: Arc<str>,
    reports: mpsc::Sender<Arc<CloudEvent>>,
    metrics: Metrics,
}

impl OperatorReports {
    /// Hands a report on without waiting.
    pub(super) fn report(&self, event: OperationalEvent, state: &EndpointState) {
        let report = event.cloud_event(&self.type_prefix, state);
        if self.reports.try_send(Arc::new(report)).is_err() {
            self.metrics.callbacks().operator_report("lost");
            tracing::warn!(
                endpoint = state.name.as_str(),
                event = event.name(),
                "operators are not told: too many reports wait for callbacks.operator.url"
            );
        }
    }
}

/// Sends reports, one after the other.
#[derive(Debug)]
pub struct OperatorReporter<S> {
    endpoint: Endpoint,
    sender: S,
    reports: mpsc::Receiver<Arc<CloudEvent>>,
    ambient: Ambient,
    metrics: Metrics,
}

/// What takes reports in, and what sends them to `endpoint`; events begin with `type_prefix`.
pub fn operator_webhook<S: Sender>(
    endpoint: Endpoint,
    type_prefix: &str,
    sender: S,
    ambient: Ambient,
    metrics: Metrics,
) -> (OperatorReports, OperatorReporter<S>) {
    let (reports, waiting) = mpsc::channel(MAX_WAITING);
    let type_prefix = type_prefix.into();
    let taking = OperatorReports { type_prefix, reports, metrics: metrics.clone() };
    (taking, OperatorReporter { endpoint, sender, reports: waiting, ambient, metrics })
}

impl<S: Sender> OperatorReporter<S> {
    /// Sends what is handed in until nobody can hand in more. Once `stop` is cancelled every report has
    /// one attempt.
    pub async fn run(mut self, stop: CancellationToken) {
        while let Some(report) = self.reports.recv().await {
            let is_told = self.tell(&report, &stop).await;
            self.metrics.callbacks().operator_report(if is_told { "told" } else { "lost" });
        }
    }

    /// Tells whether the report was acknowledged.
    async fn tell(&self, report: &Arc<CloudEvent>, stop: &CancellationToken) -> bool {
        let mut waits = WAITS.into_iter();
        loop {
            let answered = self.attempt(report).await;
            let verdict = Verdict::of(&answered);
            let wait = match (verdict, waits.next()) {
                (Verdict::Delivered, _) => return true,
                (Verdict::Throttled(asked), Some(wait)) => asked.clamp(wait, WAITS[WAITS.len() - 1]),
                (Verdict::Refused | Verdict::Failed, Some(wait)) => wait,
                (Verdict::Gone, _) | (_, None) => {
                    tell_lost(report, &answered);
                    return false;
                }
            };
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                tell_lost(report, &answered);
                return false;
            }
        }
    }

    async fn attempt(&self, report: &Arc<CloudEvent>) -> Result<Answer, NoAnswer> {
        match Request::of(&self.endpoint, std::slice::from_ref(report), self.ambient.now()) {
            Ok(request) => self.sender.send(request).await,
            Err(_) => Err(NoAnswer("the report could not be encoded".to_owned())),
        }
    }
}

fn tell_lost(report: &CloudEvent, answered: &Result<Answer, NoAnswer>) {
    let reason = match answered {
        Ok(answer) => format!("it was answered with {}", answer.status),
        Err(none) => none.to_string(),
    };
    tracing::warn!(
        event_id = %report.id,
        event = report.event_type,
        reason,
        "operators are not told at callbacks.operator.url"
    );
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::account::Timestamp;
    use crate::callbacks::handshake::{Permission, Question};
    use crate::callbacks::routing::{DeliverFrom, Filter};
    use crate::callbacks::signature::Keys;
    use crate::store::EndpointName;

    /// Answers from a list, and notes what came.
    #[derive(Clone, Default)]
    struct Scripted {
        answers: Arc<Mutex<Vec<u16>>>,
        requests: Arc<Mutex<Vec<Request>>>,
    }

    impl Sender for Scripted {
        async fn send(&self, request: Request) -> Result<Answer, NoAnswer> {
            self.requests.lock().unwrap().push(request);
            let status = self.answers.lock().unwrap().pop();
            let status = status.ok_or_else(|| NoAnswer("refused".to_owned()))?;
            Ok(Answer { status, retry_after: None, body: String::new() })
        }

        async fn ask(&self, _: EndpointName, _: Question) -> Result<Permission, NoAnswer> {
            Err(NoAnswer("nobody asks".to_owned()))
        }
    }

    fn endpoint() -> Endpoint {
        Endpoint {
            name: EndpointName::parse("operator").unwrap(),
            filter: Filter::default(),
            deliver_from: DeliverFrom::Configured,
            keys: Keys::default(),
            is_ordered: false,
            batch: 1,
            is_structured: false,
            concurrency: 1,
            rate: None,
            drain_rate: None,
            handshake: None,
        }
    }

    fn state(version: u64) -> EndpointState {
        let at = Timestamp::from_unix_millis(1_700_000_000_000);
        let reason = "it answered 410 Gone".to_owned();
        let name = EndpointName::parse("risk").unwrap();
        EndpointState { reason, version, changed_at: at, ..EndpointState::unknown(name) }
    }

    /// Reports one change to a receiver that answers so, last first; what came, and whether in vain.
    async fn report(answers: &[u16]) -> Vec<Request> {
        let sender = Scripted::default();
        sender.answers.lock().unwrap().extend(answers);
        let metrics = Metrics::disabled();
        let (reports, reporter) =
            operator_webhook(endpoint(), "penstock", sender.clone(), Ambient::system(), metrics);
        reports.report(OperationalEvent::Gone, &state(3));
        drop(reports);
        reporter.run(CancellationToken::new()).await;
        sender.requests.lock().unwrap().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_is_tried_until_it_is_acknowledged() {
        let requests = report(&[204, 500, 301]).await;
        assert_eq!(requests.len(), 3);
        let header = |request: &Request, name: &str| request.headers.get(name).unwrap();
        assert_eq!(header(&requests[0], "ce-type"), "penstock.endpoint.gone");
        assert_eq!(header(&requests[0], "ce-source"), "/callbacks/endpoints/risk");
        assert_eq!(header(&requests[0], "ce-id"), header(&requests[2], "ce-id"));
        let data: serde_json::Value = serde_json::from_slice(&requests[0].body).unwrap();
        assert_eq!(
            (&data["endpoint"], &data["reason"]),
            (&"risk".into(), &"it answered 410 Gone".into())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_is_given_up_after_six_attempts_or_at_410() {
        assert_eq!(report(&[]).await.len(), 6);
        assert_eq!(report(&[204, 410]).await.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_process_waits_for_no_retry() {
        let sender = Scripted::default();
        let metrics = Metrics::disabled();
        let (reports, reporter) =
            operator_webhook(endpoint(), "penstock", sender.clone(), Ambient::system(), metrics);
        let stop = CancellationToken::new();
        stop.cancel();
        for version in 0..3 {
            reports.report(OperationalEvent::Recovered, &state(version));
        }
        drop(reports);
        reporter.run(stop).await;
        assert_eq!(sender.requests.lock().unwrap().len(), 3);
    }

    #[test]
    fn more_reports_than_may_wait_are_lost_and_hold_up_nobody() {
        let (reports, _reporter) = operator_webhook(
            endpoint(),
            "penstock",
            Scripted::default(),
            Ambient::system(),
            Metrics::disabled(),
        );
        for version in 0..200 {
            reports.report(OperationalEvent::Failing, &state(version));
        }
        assert_eq!(reports.reports.capacity(), 0);
    }

    #[test]
    fn another_change_has_another_id() {
        let id = |event: OperationalEvent, version| event.cloud_event("penstock", &state(version)).id;
        assert_eq!(id(OperationalEvent::Failing, 1), id(OperationalEvent::Failing, 1));
        assert_ne!(id(OperationalEvent::Failing, 1), id(OperationalEvent::Failing, 2));
        assert_ne!(id(OperationalEvent::Failing, 1), id(OperationalEvent::Gone, 1));
    }
}
