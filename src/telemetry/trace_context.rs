//! W3C trace context: which trace a request or record belongs to. It travels whether or not anybody
//! exports spans.

use std::str::FromStr;

use bytes::Bytes;
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

/// Most bytes of a `tracestate` that is carried on; W3C asks for at least 512.
const MAX_TRACESTATE_BYTES: usize = 512;

/// A place in a trace; always a valid one.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceContext(SpanContext);

/// A place in a trace in the form of headers; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceHeaders {
    /// Value of `traceparent`.
    pub traceparent: Bytes,
    /// Value of `tracestate`; none when it would be empty.
    pub tracestate: Option<Bytes>,
}

impl TraceContext {
    /// Reads headers as they were received. A `traceparent` that is not as W3C has it counts as absent,
    /// and so does a `tracestate`, without harm to the former.
    pub fn parse(traceparent: &[u8], tracestate: Option<&[u8]>) -> Option<Self> {
        let (trace_id, span_id, flags) = parse_traceparent(std::str::from_utf8(traceparent).ok()?)?;
        let state = tracestate
            .filter(|state| state.len() <= MAX_TRACESTATE_BYTES)
            .and_then(|state| std::str::from_utf8(state).ok())
            .and_then(|state| TraceState::from_str(state).ok())
            .unwrap_or_default();
        let flags = flags & TraceFlags::SAMPLED;
        Self::of(SpanContext::new(trace_id, span_id, flags, true, state))
    }

    /// The place where the code that is running now is, if it is in a trace.
    pub fn current() -> Option<Self> {
        Context::map_current(|context| Self::of(context.span().span_context().clone()))
    }

    /// The start of a trace that nobody records.
    pub(super) fn start() -> Self {
        let ids = RandomIdGenerator::default();
        let (trace_id, span_id) = (ids.new_trace_id(), ids.new_span_id());
        let state = TraceState::default();
        Self(SpanContext::new(trace_id, span_id, TraceFlags::default(), false, state))
    }

    /// None for a context that names no trace.
    pub(super) fn of(context: SpanContext) -> Option<Self> {
        context.is_valid().then_some(Self(context))
    }

    pub(super) fn span_context(&self) -> &SpanContext {
        &self.0
    }

    /// Whether whoever is before this place records the trace.
    pub fn is_sampled(&self) -> bool {
        self.0.is_sampled()
    }

    /// The trace's id, 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        self.0.trace_id().to_string()
    }

    /// The headers that carry it.
    pub fn to_headers(&self) -> TraceHeaders {
        let flags = self.0.trace_flags() & TraceFlags::SAMPLED;
        let traceparent = format!("00-{}-{}-{flags:02x}", self.0.trace_id(), self.0.span_id());
        let state = self.0.trace_state().header();
        TraceHeaders {
            traceparent: traceparent.into(),
            tracestate: (!state.is_empty()).then(|| state.into()),
        }
    }
}

/// `version-traceid-parentid-flags` in lower-case hexadecimal digits. A version after 00 may add parts.
fn parse_traceparent(text: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let hex = |text: &str, digits: usize| {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == digits && text.bytes().all(is_hex)).then(|| text.to_owned())
    };
    let mut parts = text.split('-');
    let version = hex(parts.next()?, 2)?;
    let trace_id = TraceId::from_hex(&hex(parts.next()?, 32)?).ok()?;
    let span_id = SpanId::from_hex(&hex(parts.next()?, 16)?).ok()?;
    let flags = u8::from_str_radix(&hex(parts.next()?, 2)?, 16).ok()?;
    let is_known = match version.as_str() {
        "00" => parts.next().is_none(),
        "ff" => false,
        _ => true,
    };
    is_known.then(|| (trace_id, span_id, TraceFlags::new(flags)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn parse(traceparent: &str) -> Option<TraceContext> {
        TraceContext::parse(traceparent.as_bytes(), None)
    }

    #[test]
    fn what_is_read_is_written() {
        let state = "vendor=opaque,other=1";
        let context = TraceContext::parse(TRACEPARENT.as_bytes(), Some(state.as_bytes())).unwrap();
        assert!(context.is_sampled());
        assert_eq!(context.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        let headers = context.to_headers();
        assert_eq!(headers.traceparent, TRACEPARENT);
        assert_eq!(headers.tracestate.unwrap(), state);
    }

    #[test]
    fn a_started_trace_is_valid_and_not_recorded() {
        let started = TraceContext::start();
        let headers = started.to_headers();
        assert!(!started.is_sampled());
        assert_eq!(headers.tracestate, None);
        let read = TraceContext::parse(&headers.traceparent, None).unwrap();
        assert_eq!(read.trace_id(), started.trace_id());
        assert_ne!(TraceContext::start().trace_id(), started.trace_id());
    }

    #[test]
    fn what_is_no_traceparent_counts_as_absent() {
        for wrong in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-é",
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
        assert_eq!(TraceContext::parse(&[0xff; 55], None), None);
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-adds";
        assert_eq!(parse(later).unwrap().to_headers().traceparent, TRACEPARENT);
    }

    #[test]
    fn a_bad_tracestate_does_not_harm_the_trace() {
        let long = format!("vendor={}", "x".repeat(MAX_TRACESTATE_BYTES));
        for state in [&b"no pairs"[..], b"\xff\xfe", long.as_bytes()] {
            let context = TraceContext::parse(TRACEPARENT.as_bytes(), Some(state)).unwrap();
            assert_eq!(context.to_headers().tracestate, None);
        }
    }
}
