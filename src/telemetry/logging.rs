//! The log: lines on stderr that carry the fields of every span they stand in. Nobody who logs waits for
//! whoever reads it.
//!
//! What is logged never holds data of a communication but its number and ids; so the panic hook
//! leaves out the panic's message, which may quote anything.

use std::io;
use std::time::Duration;

use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use tracing::Subscriber;
use tracing_subscriber::filter::{ParseError, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::line_buffer::LineBuffer;
use super::lines::Traced;

/// How long a process that ends, or a thread that panics, waits for its last lines to be written.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// Forms of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFormat {
    /// For people, with colours or without.
    Text {
        /// Whether the terminal shows colours.
        colours: bool,
    },
    /// One JSON object, for machines.
    Json,
}

/// Why there is no log: correct the filter, or start the log only once.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error("the log level is no filter")]
    Filter(#[source] ParseError),
    /// The log was started before.
    #[error("the log was already started")]
    Started(#[source] tracing::subscriber::SetGlobalDefaultError),
    /// The thread that writes could not be started.
    #[error("the thread that writes the log could not be started")]
    Thread(#[source] io::Error),
}

/// The log of a process.
#[derive(Clone, Debug)]
pub struct Log {
    buffer: LineBuffer,
}

impl Log {
    /// Starts the process's log on stderr, panics included. `filter` is a level or levels by module;
    /// `max_bytes` of lines wait for whoever reads them, what is more is dropped.
    pub fn start(format: LineFormat, filter: &str, max_bytes: usize) -> Result<Self, LogError> {
        Self::start_with(format, filter, max_bytes, None)
    }

    /// Starts the log on stderr and, if they are given, by `loggers` as well.
    pub(super) fn start_with(
        format: LineFormat,
        filter: &str,
        max_bytes: usize,
        loggers: Option<&SdkLoggerProvider>,
    ) -> Result<Self, LogError> {
        let filter = EnvFilter::builder().parse(filter).map_err(LogError::Filter)?;
        let buffer = LineBuffer::new(max_bytes);
        let subscriber = subscriber(format, filter, buffer.clone(), loggers);
        tracing::subscriber::set_global_default(subscriber).map_err(LogError::Started)?;
        buffer.write_to(io::stderr(), tell_dropped).map_err(LogError::Thread)?;
        let log = Self { buffer };
        let of_panics = log.clone();
        std::panic::set_hook(Box::new(move |panic| {
            let location = panic.location().map(ToString::to_string).unwrap_or_default();
            let thread = std::thread::current().name().unwrap_or_default().to_owned();
            tracing::error!(location, thread, "a bug: the code panicked; please report the location");
            of_panics.flush();
        }));
        Ok(log)
    }

    /// How many lines were dropped because nobody read them in time.
    pub fn dropped(&self) -> u64 {
        self.buffer.dropped()
    }

    /// Waits for what was logged to be written, for a second at most.
    pub fn flush(&self) {
        // What is left then has no reader.
        let _is_written = self.buffer.flush(FLUSH_TIME);
    }
}

fn tell_dropped(lines: u64) {
    tracing::warn!(
        lines,
        "lines of the log were dropped: whoever reads stderr did not take them in time; \
         penstock.log.dropped counts them"
    );
}

/// What layers stand on.
type Filtered = Layered<EnvFilter, Registry>;

fn subscriber<W>(
    format: LineFormat,
    filter: EnvFilter,
    writer: W,
    loggers: Option<&SdkLoggerProvider>,
) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let mut layers = vec![lines(format, writer)];
    layers.extend(loggers.map(exported));
    tracing_subscriber::registry().with(filter).with(layers)
}

fn lines<W>(format: LineFormat, writer: W) -> Box<dyn Layer<Filtered> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        LineFormat::Text { colours } => {
            let line = Traced(tracing_subscriber::fmt::format().with_ansi(colours));
            lines.with_ansi(colours).event_format(line).boxed()
        }
        LineFormat::Json => {
            let line = tracing_subscriber::fmt::format().json().flatten_event(true);
            let line = Traced(line.with_current_span(false).with_span_list(true));
            lines.fmt_fields(JsonFields::new()).event_format(line).boxed()
        }
    }
}

/// Lines of penstock's own: those of libraries would include the export's, which would go on for ever.
fn exported(loggers: &SdkLoggerProvider) -> Box<dyn Layer<Filtered> + Send + Sync> {
    let own = filter_fn(|metadata| metadata.target().starts_with(env!("CARGO_CRATE_NAME")));
    OpenTelemetryTracingBridge::new(loggers).with_filter(own).boxed()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry::Context;
    use opentelemetry::trace::TraceContextExt;

    use super::*;
    use crate::telemetry::TraceContext;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LineFormat) -> String {
        logged_at(format, None)
    }

    fn logged_at(format: LineFormat, trace: Option<&TraceContext>) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let filter = EnvFilter::new("info");
        tracing::subscriber::with_default(
            subscriber(format, filter, move || writer.clone(), None),
            || {
                let request = tracing::info_span!("request", request_id = "r1");
                let batch = tracing::info_span!(parent: &request, "batch", batch_id = "b1");
                let place = Context::new();
                let place = match trace {
                    Some(trace) => place.with_remote_span_context(trace.span_context().clone()),
                    None => place,
                };
                let _there = place.attach();
                batch.in_scope(|| tracing::info!(items = 3, "queued"));
            },
        );
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_text_line_has_the_fields_of_every_span() {
        let line = logged(LineFormat::Text { colours: false });
        for part in ["request_id=\"r1\"", "batch_id=\"b1\"", "items=3", "queued"] {
            assert!(line.contains(part), "{line}");
        }
        assert!(!line.contains('\u{1b}'));
    }

    #[test]
    fn a_json_line_has_the_fields_of_every_span() {
        let line: serde_json::Value = serde_json::from_str(&logged(LineFormat::Json)).unwrap();
        assert_eq!(line["message"], "queued");
        assert_eq!(line["items"], 3);
        assert_eq!(line["spans"][0]["request_id"], "r1");
        assert_eq!(line["spans"][1]["batch_id"], "b1");
    }

    const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";

    fn trace() -> TraceContext {
        let traceparent = format!("00-{TRACE_ID}-b7ad6b7169203331-00");
        TraceContext::parse(traceparent.as_bytes(), None).unwrap()
    }

    #[test]
    fn a_line_tells_the_trace_it_belongs_to() {
        let text = logged_at(LineFormat::Text { colours: false }, Some(&trace()));
        let ids = format!("trace_id={TRACE_ID} span_id=b7ad6b7169203331\n");
        assert!(text.contains("batch_id=\"b1\"") && text.ends_with(&ids), "{text}");
        let json = logged_at(LineFormat::Json, Some(&trace()));
        let line: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(line["trace_id"], TRACE_ID);
        assert_eq!(line["span_id"], "b7ad6b7169203331");
        assert_eq!(line["spans"][1]["batch_id"], "b1");
    }

    #[test]
    fn a_line_of_no_trace_tells_none() {
        for format in [LineFormat::Json, LineFormat::Text { colours: true }] {
            assert!(!logged(format).contains("trace_id"));
        }
    }
}
