//! The names of OpenTelemetry's semantic conventions, and of W3C trace context. They stand only here,
//! because they are renamed from release to release; the schema's URL tells readers which one it is.

use opentelemetry::InstrumentationScope;

/// The conventions these names are from; published with every signal.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.42.0";

/// Instrumentation scope of everything penstock tells.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("penstock").with_schema_url(SCHEMA_URL).build()
}

/// Headers of W3C trace context, in HTTP and on records. They tell of one hop.
pub mod header {
    /// Trace, parent and flags.
    pub const TRACEPARENT: &str = "traceparent";
    /// What tracing systems keep beside it.
    pub const TRACESTATE: &str = "tracestate";
    /// The trace an event started in, whatever hops it takes (CloudEvents' distributed tracing).
    pub const CE_TRACEPARENT: &str = "ce_traceparent";
    /// What tracing systems kept beside it there.
    pub const CE_TRACESTATE: &str = "ce_tracestate";
}

/// The process.
pub(super) mod service {
    pub(crate) const VERSION: &str = "service.version";
    pub(crate) const INSTANCE_ID: &str = "service.instance.id";
}

pub(super) const ERROR_TYPE: &str = "error.type";

/// Queues.
pub(super) mod messaging {
    pub(crate) const SYSTEM: &str = "messaging.system";
    pub(crate) const OPERATION_NAME: &str = "messaging.operation.name";
    pub(crate) const OPERATION_TYPE: &str = "messaging.operation.type";
    pub(crate) const DESTINATION_NAME: &str = "messaging.destination.name";
    pub(crate) const BATCH_MESSAGE_COUNT: &str = "messaging.batch.message_count";
    pub(crate) const CLIENT_OPERATION_DURATION: &str = "messaging.client.operation.duration";
    pub(crate) const CLIENT_SENT_MESSAGES: &str = "messaging.client.sent.messages";
    pub(crate) const CLIENT_CONSUMED_MESSAGES: &str = "messaging.client.consumed.messages";
    pub(crate) const PROCESS_DURATION: &str = "messaging.process.duration";
    /// Bounds the conventions advise for both durations, in seconds.
    pub(crate) const DURATION_BUCKETS: [f64; 14] =
        [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
}

/// Databases.
pub(super) mod db {
    pub(crate) const SYSTEM_NAME: &str = "db.system.name";
    pub(crate) const OPERATION_NAME: &str = "db.operation.name";
    pub(crate) const COLLECTION_NAME: &str = "db.collection.name";
    pub(crate) const CLIENT_OPERATION_DURATION: &str = "db.client.operation.duration";
    /// Bounds the conventions advise, in seconds.
    pub(crate) const DURATION_BUCKETS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
}

/// HTTP.
pub(super) mod http {
    pub(crate) const REQUEST_METHOD: &str = "http.request.method";
    pub(crate) const RESPONSE_STATUS_CODE: &str = "http.response.status_code";
    pub(crate) const ROUTE: &str = "http.route";
    pub(crate) const URL_SCHEME: &str = "url.scheme";
    /// The only scheme penstock serves.
    pub(crate) const SCHEME: &str = "http";
    /// A method that is none of HTTP's own.
    pub(crate) const OTHER_METHOD: &str = "_OTHER";
    pub(crate) const SERVER_REQUEST_DURATION: &str = "http.server.request.duration";
    pub(crate) const SERVER_ACTIVE_REQUESTS: &str = "http.server.active_requests";
    /// Bounds the conventions advise, in seconds.
    pub(crate) const DURATION_BUCKETS: [f64; 14] =
        [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
}
