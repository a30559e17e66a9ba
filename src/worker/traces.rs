//! The traces of a batch: where its records were published, and where what it tells goes on.
//!
//! Records of one request were published at one place, so each place is read once.

use std::collections::{HashMap, HashSet};

use crate::queue::Headers;
use crate::telemetry::semantic::header::{CE_TRACEPARENT, CE_TRACESTATE, TRACEPARENT};
use crate::telemetry::{QueueUse, Span, TraceContext, TraceHeaders};

/// The places in traces that records were published at, each once, in their order.
pub(super) fn origins<'a>(records: impl Iterator<Item = &'a Headers>) -> Vec<TraceContext> {
    let mut known: HashSet<&'a [u8]> = HashSet::new();
    let mut new = |headers: &'a Headers| known.insert(headers.get(TRACEPARENT)?).then_some(headers);
    records.filter_map(|headers| new(headers)?.trace_context()).collect()
}

/// Where result events go on from their submissions.
pub(super) struct Continuations<'a> {
    results: QueueUse,
    known: HashMap<&'a [u8], Option<Continuation>>,
}

struct Continuation {
    origin: TraceHeaders,
    next: TraceHeaders,
    _span: Span,
}

impl<'a> Continuations<'a> {
    /// Of a batch whose events are made for `results`.
    pub(super) fn new(results: QueueUse) -> Self {
        Self { results, known: HashMap::new() }
    }

    /// Tells in an event's headers where it goes on from a submission with the headers `submission`.
    /// The extensions of CloudEvents name the submission's own place, so that a repeated event says
    /// the same; `traceparent` names the place of this hop.
    pub(super) fn push(&mut self, submission: &'a Headers, event: &mut Headers) {
        let Some(traceparent) = submission.get(TRACEPARENT) else { return };
        let results = self.results;
        let continued = self.known.entry(traceparent).or_insert_with(|| {
            let origin = submission.trace_context()?;
            let span = results.create_span(&origin);
            let next = span.context().unwrap_or_else(|| origin.clone());
            Some(Continuation { origin: origin.to_headers(), next: next.to_headers(), _span: span })
        });
        let Some(Continuation { origin, next, .. }) = continued else { return };
        event.push(CE_TRACEPARENT, &origin.traceparent);
        if let Some(state) = &origin.tracestate {
            event.push(CE_TRACESTATE, state);
        }
        event.push_trace(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACES: [&str; 2] = [
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
    ];

    fn headers(traceparent: &str) -> Headers {
        let mut headers = Headers::default();
        headers.push(TRACEPARENT, traceparent);
        headers.push("tracestate", "vendor=1");
        headers
    }

    #[test]
    fn every_place_is_an_origin_once() {
        let all = [TRACES[0], TRACES[1], TRACES[0], "00-wrong", TRACES[1]].map(headers);
        let origins = origins(all.iter().chain([&Headers::default()]));
        let written: Vec<_> = origins.iter().map(|origin| origin.to_headers().traceparent).collect();
        assert_eq!(written, TRACES);
    }

    #[test]
    fn without_an_exporter_an_event_is_where_its_submission_was() {
        let results = QueueUse { system: "memory", topic: "accounts.results" };
        let submissions = TRACES.map(headers);
        let mut continuations = Continuations::new(results);
        for (submission, traceparent) in submissions.iter().zip(TRACES) {
            let mut event = Headers::default();
            continuations.push(submission, &mut event);
            assert_eq!(event.text(TRACEPARENT), Some(traceparent));
            assert_eq!(event.text("ce_traceparent"), Some(traceparent));
            assert_eq!(event.text("tracestate"), Some("vendor=1"));
            assert_eq!(event.text("ce_tracestate"), Some("vendor=1"));
        }
    }

    #[test]
    fn an_invalid_place_counts_as_none() {
        let results = QueueUse { system: "memory", topic: "accounts.results" };
        let submissions = [headers("00-wrong"), Headers::default()];
        let mut event = Headers::default();
        for submission in &submissions {
            Continuations::new(results).push(submission, &mut event);
        }
        assert_eq!(event, Headers::default());
    }
}
