//! What waits to be exported, bounded and counted.
//!
//! Nobody ever waits for a collector: what finds the outbox full, or cannot be delivered within the time
//! of an export, is dropped and counted. The log tells when that begins and when it ends.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use tokio::runtime::Handle;

use crate::telemetry::with_causes;

/// How many spans, and how many log lines, may wait.
pub(super) const CAPACITY: usize = 4_096;

/// A kind of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Points of metrics.
    Metrics,
    /// Lines of the log.
    Logs,
}

impl Signal {
    /// Its name, as settings and labels have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }
}

/// The outbox of one signal.
#[derive(Debug)]
pub(super) struct Outbox {
    signal: Signal,
    waiting: AtomicUsize,
    dropped: AtomicU64,
    is_failing: AtomicBool,
    timers: Handle,
    limit: Duration,
}

impl Outbox {
    /// Exports take at most `limit`; `timers` keeps the time.
    pub(super) fn new(signal: Signal, timers: Handle, limit: Duration) -> Self {
        Self {
            signal,
            waiting: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            is_failing: AtomicBool::new(false),
            timers,
            limit,
        }
    }

    pub(super) fn signal(&self) -> Signal {
        self.signal
    }

    /// How much was dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Makes room for one more; false when there is none, and it is dropped.
    pub(super) fn admit(&self) -> bool {
        let more = |waiting| (waiting < CAPACITY).then_some(waiting + 1);
        let admitted = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if !admitted {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    /// Exports `count` that were admitted.
    pub(super) async fn export_admitted(
        &self,
        count: usize,
        export: impl Future<Output = OTelSdkResult>,
    ) -> OTelSdkResult {
        let result = self.export(count, export).await;
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        result
    }

    /// Exports `count` within the time of an export.
    pub(super) async fn export(
        &self,
        count: usize,
        export: impl Future<Output = OTelSdkResult>,
    ) -> OTelSdkResult {
        let bounded = {
            // Exports are driven by threads of the SDK's own, which have no timers.
            let _timers = self.timers.enter();
            tokio::time::timeout(self.limit, export)
        };
        let result = bounded.await.unwrap_or(Err(OTelSdkError::Timeout(self.limit)));
        if result.is_err() {
            self.dropped.fetch_add(count as u64, Ordering::Relaxed);
        }
        self.tell(&result);
        result
    }

    fn tell(&self, result: &OTelSdkResult) {
        let signal = self.signal.name();
        let was_failing = self.is_failing.swap(result.is_err(), Ordering::Relaxed);
        match result {
            Err(error) if !was_failing => tracing::warn!(
                signal,
                error = %with_causes(error),
                "telemetry cannot be exported and is dropped; penstock.telemetry.dropped counts it. Look \
                 at the collector that telemetry.otlp.endpoint names"
            ),
            Ok(()) if was_failing => tracing::info!(signal, "telemetry is exported again"),
            Ok(()) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(limit: Duration) -> Outbox {
        Outbox::new(Signal::Traces, Handle::current(), limit)
    }

    #[tokio::test]
    async fn what_finds_no_room_is_dropped_and_counted() {
        let outbox = outbox(Duration::from_secs(1));
        assert!((0..CAPACITY).all(|_| outbox.admit()));
        assert!(!outbox.admit());
        assert_eq!(outbox.dropped(), 1);
        outbox.export_admitted(10, async { Ok(()) }).await.unwrap();
        assert!((0..10).all(|_| outbox.admit()));
        assert!(!outbox.admit());
        assert_eq!(outbox.dropped(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_export_that_hangs_ends_in_time_and_its_content_is_counted() {
        let outbox = outbox(Duration::from_secs(3));
        let begun = tokio::time::Instant::now();
        let hanging = outbox.export(7, std::future::pending()).await;
        assert!(hanging.is_err());
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
        assert_eq!(outbox.dropped(), 7);
    }
}
