//! The admin listener: whether the process lives, whether it can accept, what it measures.
//!
//! Liveness asks nothing but the process itself, so an outage elsewhere restarts nobody. The
//! listener is never routed to the outside, and serves until it is dropped, so that a draining
//! process still says that it is.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;

use super::{Exporter, with_causes};

/// Longest time a check may take before it counts as failed.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Asks whether a part of the process works; says why not, without personal data.
pub type Check = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// A check that asks `subject` by `ask`.
pub fn check<T, E, A>(subject: T, ask: impl Fn(T) -> A + Send + Sync + 'static) -> Check
where
    T: Clone + Send + Sync + 'static,
    E: std::error::Error + 'static,
    A: Future<Output = Result<(), E>> + Send + 'static,
{
    Box::new(move || {
        let asked = ask(subject.clone());
        Box::pin(async move { asked.await.map_err(|error| with_causes(&error).to_string()) })
    })
}

/// Whether the process can accept; cheap to clone.
#[derive(Clone, Default)]
pub struct Readiness(Arc<Checks>);

#[derive(Default)]
struct Checks {
    draining: AtomicBool,
    checks: Vec<(&'static str, Check)>,
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.checks.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

impl Readiness {
    /// Ready as long as every check succeeds.
    pub fn new(checks: Vec<(&'static str, Check)>) -> Self {
        Self(Arc::new(Checks { draining: AtomicBool::new(false), checks }))
    }

    /// From now on the process is not ready: it is about to end.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// What stands against accepting: name and reason. Empty means ready.
    pub async fn obstacles(&self) -> Vec<(&'static str, String)> {
        if self.0.draining.load(Ordering::Relaxed) {
            return vec![("process", "it is stopping".to_owned())];
        }
        let checks = self.0.checks.iter().map(|(name, check)| async move {
            let result = tokio::time::timeout(CHECK_TIMEOUT, check()).await;
            let late = || Err(format!("no answer within {} s", CHECK_TIMEOUT.as_secs()));
            result.unwrap_or_else(|_| late()).err().map(|why| (*name, why))
        });
        futures_util::future::join_all(checks).await.into_iter().flatten().collect()
    }
}

/// Serves probes, metrics and `further` paths until the future is dropped.
pub async fn serve_admin(
    listener: TcpListener,
    readiness: Readiness,
    exporter: Exporter,
    further: Router,
) -> io::Result<()> {
    axum::serve(listener, router(readiness, exporter).merge(further)).await
}

fn router(readiness: Readiness, exporter: Exporter) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready).with_state(readiness))
        .route("/metrics", get(metrics).with_state(exporter))
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    let obstacles = readiness.obstacles().await;
    let status = if obstacles.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let reasons: Vec<_> = obstacles
        .into_iter()
        .map(|(check, reason)| json!({ "check": check, "reason": reason }))
        .collect();
    (status, Json(json!({ "ready": reasons.is_empty(), "reasons": reasons }))).into_response()
}

async fn metrics(State(exporter): State<Exporter>) -> Response {
    match exporter.render() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be shown");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn answer(readiness: &Readiness, path: &str) -> (StatusCode, String) {
        let exporter = Exporter::start("0", "").unwrap();
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router(readiness.clone(), exporter).oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn failing() -> Readiness {
        Readiness::new(vec![
            ("store", Box::new(|| Box::pin(async { Ok(()) }))),
            ("queue", Box::new(|| Box::pin(async { Err("the disk is full".to_owned()) }))),
        ])
    }

    #[tokio::test]
    async fn readiness_names_what_stands_against_it() {
        let (status, body) = answer(&failing(), "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["reasons"], json!([{ "check": "queue", "reason": "the disk is full" }]));
    }

    #[tokio::test]
    async fn liveness_does_not_depend_on_readiness() {
        assert_eq!(answer(&failing(), "/healthz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_process_that_stops_is_not_ready() {
        let readiness = Readiness::default();
        assert_eq!(answer(&readiness, "/readyz").await.0, StatusCode::OK);
        readiness.drain();
        let (status, body) = answer(&readiness, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("it is stopping"), "{body}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_counts_as_failed() {
        let hanging =
            Readiness::new(vec![("store", Box::new(|| Box::pin(futures_util::future::pending())))]);
        assert_eq!(hanging.obstacles().await, [("store", "no answer within 2 s".to_owned())]);
    }

    #[tokio::test]
    async fn metrics_are_text_for_prometheus() {
        let (status, body) = answer(&Readiness::default(), "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains("# TYPE penstock_build_info gauge"), "{body}");
    }
}
