//! Spans: pieces of work as traces show them. Without an exporter none is recorded, and a span is no
//! more than the place in the trace that it passes on.
//!
//! No span holds a record's key, a number, or anything that was sent.

use std::borrow::Cow;
use std::future::Future;
use std::sync::OnceLock;
use std::time::SystemTime;

use opentelemetry::context::{FutureExt, WithContext};
use opentelemetry::trace::{Link, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer as _};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::SdkTracer;

use super::TraceContext;
use super::semantic::ERROR_TYPE;

/// The process's tracer, as its log is one for all of it.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Records spans with `tracer` from now on. False when another one does so already.
pub(super) fn record_spans_with(tracer: SdkTracer) -> bool {
    TRACER.set(tracer).is_ok()
}

/// A piece of work. It ends when the last of its clones is dropped.
#[derive(Clone, Debug, Default)]
pub struct Span(Context);

/// What a span is told to be.
pub(super) struct Description {
    pub(super) name: Cow<'static, str>,
    pub(super) kind: SpanKind,
    pub(super) attributes: Vec<KeyValue>,
    pub(super) links: Vec<TraceContext>,
    /// When it began; none means now.
    pub(super) started: Option<SystemTime>,
}

impl Span {
    /// A span that goes on from `parent`, or begins a trace when there is none.
    pub(super) fn start(parent: Option<&TraceContext>, describe: impl FnOnce() -> Description) -> Self {
        let parent = parent.map_or_else(Context::new, |parent| {
            Context::new().with_remote_span_context(parent.span_context().clone())
        });
        Self::start_in(TRACER.get(), &parent, describe)
    }

    /// A span of the work that is running now.
    pub(super) fn start_here(describe: impl FnOnce() -> Description) -> Self {
        Self::start_in(TRACER.get(), &Context::current(), describe)
    }

    fn start_in(
        tracer: Option<&SdkTracer>,
        parent: &Context,
        describe: impl FnOnce() -> Description,
    ) -> Self {
        let Some(tracer) = tracer else { return Self(parent.clone()) };
        let Description { name, kind, attributes, links, started } = describe();
        let links = links.into_iter().map(|link| Link::with_context(link.span_context().clone()));
        let mut builder = SpanBuilder::from_name(name)
            .with_kind(kind)
            .with_attributes(attributes)
            .with_links(links.collect());
        builder.start_time = started;
        Self(parent.with_span(tracer.build_with_context(builder, parent)))
    }

    /// The span's place; where there is none, the start of a trace that nobody records.
    pub(super) fn or_start(self) -> Self {
        match self.context() {
            Some(_) => self,
            None => Self(self.0.with_remote_span_context(TraceContext::start().span_context().clone())),
        }
    }

    /// Its place in the trace, for whoever goes on from here; none when it is in no trace.
    pub fn context(&self) -> Option<TraceContext> {
        TraceContext::of(self.0.span().span_context().clone())
    }

    /// Work of this span: spans and log lines of `work` belong to it.
    pub fn scope<F: Future>(&self, work: F) -> WithContext<F> {
        work.with_context(self.0.clone())
    }

    /// The work failed, for a reason of few values.
    pub(super) fn failed(&self, error_type: impl Into<Value>) {
        let span = self.0.span();
        span.set_attribute(KeyValue::new(ERROR_TYPE, error_type.into()));
        span.set_status(Status::error(""));
    }

    pub(super) fn set(&self, attribute: KeyValue) {
        self.0.span().set_attribute(attribute);
    }
}

/// Lets work that is moved to another task stay within the span it was begun in.
pub fn in_current_span<F: Future>(work: F) -> WithContext<F> {
    work.with_current_context()
}
