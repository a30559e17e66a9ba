//! Calls to the queue, to the store and by HTTP, each told twice: as a span and as a duration, named
//! as the semantic conventions have it.

use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, UpDownCounter};
use opentelemetry::trace::SpanKind;

use super::semantic::{ERROR_TYPE, db, http, messaging};
use super::span::Description;
use super::{Metrics, Span, TraceContext};

/// What is done with a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QueueOperation {
    Create,
    Send,
    Poll,
    Process,
    Commit,
}

impl QueueOperation {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Send => "send",
            Self::Poll => "poll",
            Self::Process => "process",
            Self::Commit => "commit",
        }
    }

    fn kind_name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Send => "send",
            Self::Poll => "receive",
            Self::Process => "process",
            Self::Commit => "settle",
        }
    }

    fn span_kind(self) -> SpanKind {
        match self {
            Self::Create | Self::Send => SpanKind::Producer,
            Self::Process => SpanKind::Consumer,
            Self::Poll | Self::Commit => SpanKind::Client,
        }
    }
}

/// A topic as somebody uses it.
#[derive(Clone, Copy, Debug)]
pub struct QueueUse {
    /// The system behind it, as the conventions name it.
    pub system: &'static str,
    /// The topic.
    pub topic: &'static str,
}

impl QueueUse {
    fn attributes(&self, operation: QueueOperation) -> Vec<KeyValue> {
        vec![
            KeyValue::new(messaging::SYSTEM, self.system),
            KeyValue::new(messaging::OPERATION_NAME, operation.name()),
            KeyValue::new(messaging::OPERATION_TYPE, operation.kind_name()),
            KeyValue::new(messaging::DESTINATION_NAME, self.topic),
        ]
    }

    fn describe(&self, operation: QueueOperation, messages: usize) -> Description {
        let mut attributes = self.attributes(operation);
        if messages > 0 {
            attributes.push(KeyValue::new(messaging::BATCH_MESSAGE_COUNT, signed(messages)));
        }
        Description {
            name: format!("{} {}", operation.name(), self.topic).into(),
            kind: operation.span_kind(),
            attributes,
            links: Vec::new(),
            started: None,
        }
    }

    /// The span of publishing `messages` records; its place is for them to carry.
    pub fn send_span(&self, messages: usize) -> Span {
        Span::start_here(|| self.describe(QueueOperation::Send, messages))
    }

    /// The span of publishing records that carry places of their own: it is no producer of them.
    pub fn forward_span(&self, messages: usize) -> Span {
        Span::start_here(|| Description {
            kind: SpanKind::Client,
            ..self.describe(QueueOperation::Send, messages)
        })
    }

    /// The span of making records that go on from `parent`; its place is for them to carry.
    pub fn create_span(&self, parent: &TraceContext) -> Span {
        Span::start(Some(parent), || self.describe(QueueOperation::Create, 0))
    }

    /// The span of working on `messages` records that come from the places `links`. It goes on from
    /// the place when there is only one, and begins a trace of its own otherwise.
    pub fn process_span(&self, messages: usize, links: &[TraceContext]) -> Span {
        let parent = if let [only] = links { Some(only) } else { None };
        Span::start(parent, || Description {
            links: links.to_vec(),
            ..self.describe(QueueOperation::Process, messages)
        })
    }

    /// Tells that `messages` records were polled within `duration` until now.
    pub fn polled(
        &self,
        metrics: &Metrics,
        messages: usize,
        links: &[TraceContext],
        duration: Duration,
    ) {
        let _ended_at_once = Span::start(None, || Description {
            links: links.to_vec(),
            started: SystemTime::now().checked_sub(duration),
            ..self.describe(QueueOperation::Poll, messages)
        });
        let attributes = self.attributes(QueueOperation::Poll);
        metrics.calls.queue_duration.record(duration.as_secs_f64(), &attributes);
        metrics.calls.consumed_messages.add(messages as u64, &attributes);
    }

    /// Tells that working on a batch took `duration`.
    pub fn processed(&self, metrics: &Metrics, duration: Duration) {
        let attributes = self.attributes(QueueOperation::Process);
        metrics.calls.process_duration.record(duration.as_secs_f64(), &attributes);
    }

    /// Publishes `messages` records within `span`, and tells how it went.
    pub async fn send<T>(
        &self,
        metrics: &Metrics,
        span: Span,
        messages: usize,
        work: impl Future<Output = T>,
        error_type: impl FnOnce(&T) -> Option<&'static str>,
    ) -> T {
        let begun = Instant::now();
        let result = span.scope(work).await;
        let error = error_type(&result);
        let attributes = ended(self.attributes(QueueOperation::Send), &span, error);
        metrics.calls.queue_duration.record(begun.elapsed().as_secs_f64(), &attributes);
        metrics.calls.sent_messages.add(messages as u64, &attributes);
        result
    }

    /// Commits offsets, the last of them of the batch that was worked on at `batch`, and tells how it
    /// went.
    pub async fn commit<T, E>(
        &self,
        metrics: &Metrics,
        batch: Option<&TraceContext>,
        work: impl Future<Output = Result<T, E>>,
        error_type: impl FnOnce(&E) -> &'static str,
    ) -> Result<T, E> {
        let begun = Instant::now();
        let span = Span::start(batch, || self.describe(QueueOperation::Commit, 0));
        let result = span.scope(work).await;
        let error = result.as_ref().err().map(error_type);
        let attributes = ended(self.attributes(QueueOperation::Commit), &span, error);
        metrics.calls.queue_duration.record(begun.elapsed().as_secs_f64(), &attributes);
        result
    }
}

/// A call to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreCall {
    /// The system behind it, as the conventions name it.
    pub system: &'static str,
    /// What is asked of it.
    pub operation: &'static str,
    /// The table it is about; none when it is about several.
    pub collection: Option<&'static str>,
}

impl StoreCall {
    fn attributes(&self) -> Vec<KeyValue> {
        let mut attributes = vec![
            KeyValue::new(db::SYSTEM_NAME, self.system),
            KeyValue::new(db::OPERATION_NAME, self.operation),
        ];
        attributes.extend(self.collection.map(|table| KeyValue::new(db::COLLECTION_NAME, table)));
        attributes
    }

    /// Calls the store within a span of the call.
    pub async fn trace<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>>,
        error_type: impl FnOnce(&E) -> &'static str,
    ) -> Result<T, E> {
        let span = Span::start_here(|| Description {
            name: match self.collection {
                Some(table) => format!("{} {table}", self.operation).into(),
                None => self.operation.into(),
            },
            kind: SpanKind::Client,
            attributes: self.attributes(),
            links: Vec::new(),
            started: None,
        });
        let result = span.scope(work).await;
        if let Err(error) = &result {
            span.failed(error_type(error));
        }
        result
    }

    /// Calls the store within a span of the call, and measures how long it takes.
    pub async fn measure<T, E>(
        &self,
        metrics: &Metrics,
        work: impl Future<Output = Result<T, E>>,
        error_type: impl Fn(&E) -> &'static str,
    ) -> Result<T, E> {
        let begun = Instant::now();
        let result = self.trace(work, &error_type).await;
        let mut attributes = self.attributes();
        attributes
            .extend(result.as_ref().err().map(|error| KeyValue::new(ERROR_TYPE, error_type(error))));
        metrics.calls.store_duration.record(begun.elapsed().as_secs_f64(), &attributes);
        result
    }
}

/// A request that is being served.
#[derive(Debug)]
pub struct ServedRequest {
    span: Span,
    method: &'static str,
    route: Option<String>,
    begun: Instant,
    _active: Active,
}

impl ServedRequest {
    /// A request by `method` (none when it is not one of HTTP's) for a route, if it has one. It goes on
    /// from where its client was, and begins a trace when that is not known.
    pub fn start(
        metrics: &Metrics,
        method: Option<&'static str>,
        route: Option<&str>,
        client: Option<&TraceContext>,
    ) -> Self {
        let shown = method.unwrap_or("HTTP");
        let method = method.unwrap_or(http::OTHER_METHOD);
        let span = Span::start(client, || Description {
            name: route.map_or_else(|| shown.into(), |route| format!("{shown} {route}").into()),
            kind: SpanKind::Server,
            attributes: request_attributes(method, route.map(ToOwned::to_owned)),
            links: Vec::new(),
            started: None,
        });
        Self {
            span: span.or_start(),
            method,
            route: route.map(ToOwned::to_owned),
            begun: Instant::now(),
            _active: Active::one(&metrics.calls.active_requests, request_attributes(method, None)),
        }
    }

    /// The span of serving it.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// It was answered.
    pub fn answered(self, metrics: &Metrics, status: u16) {
        let status_code = KeyValue::new(http::RESPONSE_STATUS_CODE, i64::from(status));
        self.span.set(status_code.clone());
        let mut attributes = request_attributes(self.method, self.route);
        attributes.push(status_code);
        if status >= 500 {
            self.span.failed(status.to_string());
            attributes.push(KeyValue::new(ERROR_TYPE, status.to_string()));
        }
        let duration = self.begun.elapsed().as_secs_f64();
        metrics.calls.request_duration.record(duration, &attributes);
    }
}

fn request_attributes(method: &'static str, route: Option<String>) -> Vec<KeyValue> {
    let mut attributes =
        vec![KeyValue::new(http::REQUEST_METHOD, method), KeyValue::new(http::URL_SCHEME, http::SCHEME)];
    attributes.extend(route.map(|route| KeyValue::new(http::ROUTE, route)));
    attributes
}

/// Counts one as long as it lives, also when what it stands for is cut off.
#[derive(Debug)]
struct Active(UpDownCounter<i64>, Vec<KeyValue>);

impl Active {
    fn one(counter: &UpDownCounter<i64>, attributes: Vec<KeyValue>) -> Self {
        counter.add(1, &attributes);
        Self(counter.clone(), attributes)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.add(-1, &self.1);
    }
}

/// The conventions' own instruments.
#[derive(Clone, Debug)]
pub(super) struct CallMetrics {
    queue_duration: Histogram<f64>,
    sent_messages: Counter<u64>,
    consumed_messages: Counter<u64>,
    process_duration: Histogram<f64>,
    store_duration: Histogram<f64>,
    request_duration: Histogram<f64>,
    active_requests: UpDownCounter<i64>,
}

impl CallMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let seconds = |name: &'static str, bounds: &[f64], description: &'static str| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(description)
                .with_boundaries(bounds.to_vec())
                .build()
        };
        let messages = |name: &'static str, description: &'static str| {
            meter.u64_counter(name).with_unit("{message}").with_description(description).build()
        };
        Self {
            queue_duration: seconds(
                messaging::CLIENT_OPERATION_DURATION,
                &messaging::DURATION_BUCKETS,
                "Time of a call to the queue.",
            ),
            sent_messages: messages(
                messaging::CLIENT_SENT_MESSAGES,
                "Records published, or tried to be.",
            ),
            consumed_messages: messages(messaging::CLIENT_CONSUMED_MESSAGES, "Records polled."),
            process_duration: seconds(
                messaging::PROCESS_DURATION,
                &messaging::DURATION_BUCKETS,
                "Time from polling a batch until all of it is told.",
            ),
            store_duration: seconds(
                db::CLIENT_OPERATION_DURATION,
                &db::DURATION_BUCKETS,
                "Time of a call to the store.",
            ),
            request_duration: seconds(
                http::SERVER_REQUEST_DURATION,
                &http::DURATION_BUCKETS,
                "Time from a request to its answer.",
            ),
            active_requests: meter
                .i64_up_down_counter(http::SERVER_ACTIVE_REQUESTS)
                .with_unit("{request}")
                .with_description("Requests that are being served.")
                .build(),
        }
    }
}

/// The attributes of a call that has ended; an error is told to its span as well.
fn ended(mut attributes: Vec<KeyValue>, span: &Span, error: Option<&'static str>) -> Vec<KeyValue> {
    if let Some(error_type) = error {
        span.failed(error_type);
        attributes.push(KeyValue::new(ERROR_TYPE, error_type));
    }
    attributes
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
