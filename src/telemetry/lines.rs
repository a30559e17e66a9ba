//! Lines of the log that tell which trace they belong to, so that the one leads to the other.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// A form of lines, with `trace_id` and `span_id` where there is a trace.
pub(super) struct Traced<F>(pub(super) F);

/// How a finished line takes two more fields in.
trait Extend {
    fn extend(line: &str, trace: &SpanContext, writer: &mut Writer<'_>) -> fmt::Result;
}

impl<T> Extend for Format<Full, T> {
    fn extend(line: &str, trace: &SpanContext, writer: &mut Writer<'_>) -> fmt::Result {
        let line = line.trim_end_matches('\n');
        writeln!(writer, "{line} trace_id={} span_id={}", trace.trace_id(), trace.span_id())
    }
}

impl<T> Extend for Format<Json, T> {
    fn extend(line: &str, trace: &SpanContext, writer: &mut Writer<'_>) -> fmt::Result {
        let line = line.trim_end_matches('\n');
        let open = line.strip_suffix('}').unwrap_or(line);
        let (trace_id, span_id) = (trace.trace_id(), trace.span_id());
        writeln!(writer, r#"{open},"trace_id":"{trace_id}","span_id":"{span_id}"}}"#)
    }
}

impl<S, N, F> FormatEvent<S, N> for Traced<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N> + Extend,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let trace = Context::map_current(|context| context.span().span_context().clone());
        if !trace.is_valid() {
            return self.0.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        F::extend(&line, &trace, &mut writer)
    }
}
