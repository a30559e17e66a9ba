//! Every way in which a request is refused, and the one form of the answer. An answer names fields,
//! limits and positions; it never repeats what was sent, but for the path.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::{SecondsFormat, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::account::{Place, SchemaErrors};

use super::answers::json_bytes;
use super::auth::Scope;

/// Seconds after which a client may try again what was refused for want of room: one of them, so that
/// those who are refused together do not come back together.
const RETRY_AFTER_SECONDS: [&str; 3] = ["1", "2", "3"];
/// What a body may be encoded as.
const KNOWN_ENCODINGS: &str = "gzip, zstd, identity";
/// Longest path that is repeated in an answer, in bytes.
const MAX_PATH_BYTES: usize = 1_024;

/// Why a token is asked for (RFC 6750).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// There was none.
    NoToken,
    /// It is not known.
    InvalidToken,
}

/// What cannot be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unavailable {
    /// The requests being worked on have reached their limit of bytes.
    BytesInFlight,
    /// The queue takes no more for now, or does not acknowledge.
    Queue,
    /// The queue takes nothing before an operator has settled something.
    BrokenQueue,
    /// The store does not answer.
    Store,
    /// The store is of no use before an operator has settled something.
    BrokenStore,
    /// This intake runs without a store.
    NoStore,
}

impl Unavailable {
    fn text(self) -> &'static str {
        match self {
            Self::BytesInFlight => "too many bytes of requests are being worked on; try again",
            Self::Queue => "the queue does not take records now; try again later",
            Self::BrokenQueue => {
                "the queue takes no records before an operator has put it right; trying again does not help"
            }
            Self::Store => "the store does not answer now; try again later",
            Self::BrokenStore => {
                "the store does not answer before an operator has put it right; trying again does not help"
            }
            Self::NoStore => "this intake has no store to look into",
        }
    }
}

/// What is wrong with how a body is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnsupportedMedia {
    /// The content is not declared as JSON.
    Type,
    /// The content is encoded in an unknown way.
    Encoding,
}

/// Why a request is refused.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// The body violates the schema.
    Schema(SchemaErrors),
    /// The path cannot be read.
    Path(&'static str),
    /// The body ended early or was not sent as HTTP wants it.
    BrokenBody,
    /// The token is missing or wrong.
    Unauthorized(Challenge),
    /// The token is good, but not for this.
    MissingScope(Scope),
    /// The peer's address is not on the list.
    ForeignAddress,
    /// Items are outside the token's business units.
    ForeignUnits(Places),
    /// There is no such thing.
    NotFound,
    /// The client was too slow.
    Timeout,
    /// The body is too large.
    BodyTooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// The body is declared as something else than JSON.
    UnsupportedMedia(UnsupportedMedia),
    /// The headers are too large.
    HeadersTooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// Not now.
    Unavailable(Unavailable),
    /// A defect; the log has the cause.
    Internal,
}

/// Places of a batch with the same thing wrong: the first ones and how many there are.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// The first places, at most [`SchemaErrors::KEPT`].
    pub(super) first: Vec<Place>,
    /// All of them.
    pub(super) total: usize,
}

impl From<SchemaErrors> for Refusal {
    fn from(errors: SchemaErrors) -> Self {
        Self::Schema(errors)
    }
}

impl Refusal {
    /// The HTTP status.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Schema(_) | Self::Path(_) | Self::BrokenBody => StatusCode::BAD_REQUEST,
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::MissingScope(_) | Self::ForeignAddress | Self::ForeignUnits(_) => {
                StatusCode::FORBIDDEN
            }
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMedia(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::HeadersTooLarge { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn errors(&self) -> Vec<String> {
        match self {
            Self::Schema(errors) => {
                listed(errors.kept().iter().map(ToString::to_string).collect(), errors.total())
            }
            Self::ForeignUnits(places) => {
                let text = |place| format!("{place}: is outside the token's business units");
                listed(places.first.iter().map(text).collect(), places.total)
            }
            Self::Path(text) => vec![(*text).to_owned()],
            Self::BrokenBody => vec!["body: was not sent to its end".to_owned()],
            Self::MissingScope(scope) => vec![format!("the token has no scope {scope}")],
            Self::ForeignAddress => vec!["the peer's address is not on the allow-list".to_owned()],
            Self::Timeout => vec!["the request was not sent in time".to_owned()],
            Self::BodyTooLarge { max_bytes } => {
                vec![format!("body: must have at most {max_bytes} bytes")]
            }
            Self::UnsupportedMedia(UnsupportedMedia::Type) => {
                vec!["content-type: must be application/json in UTF-8".to_owned()]
            }
            Self::UnsupportedMedia(UnsupportedMedia::Encoding) => {
                vec![format!("content-encoding: must be one of {KNOWN_ENCODINGS}")]
            }
            Self::HeadersTooLarge { max_bytes } => {
                vec![format!("headers: must have at most {max_bytes} bytes in all")]
            }
            Self::Unavailable(what) => vec![what.text().to_owned()],
            Self::Unauthorized(_) | Self::NotFound | Self::Internal => Vec::new(),
        }
    }

    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        let challenge = |text: &'static str| Some((WWW_AUTHENTICATE, HeaderValue::from_static(text)));
        match self {
            Self::Unauthorized(Challenge::NoToken) => challenge("Bearer realm=\"penstock\""),
            Self::Unauthorized(Challenge::InvalidToken) => {
                challenge("Bearer realm=\"penstock\", error=\"invalid_token\"")
            }
            Self::MissingScope(scope) => {
                let text = format!(
                    "Bearer realm=\"penstock\", error=\"insufficient_scope\", scope=\"{scope}\""
                );
                HeaderValue::from_str(&text).ok().map(|value| (WWW_AUTHENTICATE, value))
            }
            // Time alone mends none of these.
            Self::Unavailable(
                Unavailable::NoStore | Unavailable::BrokenQueue | Unavailable::BrokenStore,
            ) => None,
            Self::Unavailable(_) => Some((RETRY_AFTER, HeaderValue::from_static(retry_after()))),
            Self::UnsupportedMedia(UnsupportedMedia::Encoding) => {
                Some((ACCEPT_ENCODING, HeaderValue::from_static(KNOWN_ENCODINGS)))
            }
            _ => None,
        }
    }

    /// The complete answer to the request for `path` that took `elapsed`.
    pub(super) fn render(&self, path: &str, elapsed: Duration) -> Response {
        let status = self.status();
        let body = match self {
            Self::Unauthorized(_) => json_bytes(&UNAUTHORIZED),
            Self::Internal => json_bytes(&Failure::after(elapsed)),
            _ => json_bytes(&ErrorBody::new(status, path, self.errors())),
        };
        let mut response = json(status, body);
        response.headers_mut().extend(self.header());
        response
    }
}

/// One of [`RETRY_AFTER_SECONDS`], by chance.
fn retry_after() -> &'static str {
    let chance = RandomState::new().hash_one(()) % RETRY_AFTER_SECONDS.len() as u64;
    usize::try_from(chance).ok().and_then(|place| RETRY_AFTER_SECONDS.get(place)).unwrap_or(&"1")
}

/// A refusal travels as an extension until the path and the time are at hand to render it.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives an answer its body, if it is a refusal: ours, or one the router made by itself.
pub(super) fn finish(response: Response, path: &str, elapsed: Duration) -> Response {
    if let Some(refusal) = response.extensions().get::<Refusal>() {
        return refusal.render(path, elapsed);
    }
    let status = response.status();
    let made_by_router = (status.is_client_error() || status.is_server_error()) && !is_json(&response);
    if !made_by_router {
        return response;
    }
    let mut rendered = json(status, json_bytes(&ErrorBody::new(status, path, Vec::new())));
    if let Some(allow) = response.headers().get(ALLOW) {
        rendered.headers_mut().insert(ALLOW, allow.clone());
    }
    rendered
}

fn is_json(response: &Response) -> bool {
    response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/json"))
}

/// An answer with a JSON body.
pub(super) fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn listed(mut texts: Vec<String>, total: usize) -> Vec<String> {
    if total > texts.len() {
        texts.push(format!("… and {} more", total - texts.len()));
    }
    texts
}

/// The contract's error body.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiAdapterErrorResponse)]
pub(super) struct ErrorBody<'a> {
    /// When the request was refused.
    #[schema(format = DateTime)]
    timestamp: String,
    /// The HTTP status.
    status: u16,
    /// The status in words.
    error: &'static str,
    /// The path of the request.
    path: &'a str,
    /// What is wrong, each with its place; the first 100, then how many more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, max_items = 101)]
    errors: Vec<String>,
}

impl<'a> ErrorBody<'a> {
    fn new(status: StatusCode, path: &'a str, errors: Vec<String>) -> Self {
        let end = path.floor_char_boundary(MAX_PATH_BYTES);
        Self {
            timestamp: Utc::now().to_rfc3339_opts(SecondsFormat::Millis, false),
            status: status.as_u16(),
            error: status.canonical_reason().unwrap_or("Error"),
            path: &path[..end],
            errors,
        }
    }
}

/// The contract's body of a 401.
#[derive(Serialize, ToSchema)]
#[schema(as = Unauthorized)]
pub(super) struct UnauthorizedBody {
    #[schema(inline)]
    error: UnauthorizedCode,
}

#[derive(Serialize, ToSchema)]
struct UnauthorizedCode {
    /// Always `unauthorized`.
    code: &'static str,
}

const UNAUTHORIZED: UnauthorizedBody =
    UnauthorizedBody { error: UnauthorizedCode { code: "unauthorized" } };

/// Code of an item or request that failed for no fault of its own.
pub(super) const FAILED_CODE: &str = "500";
/// [`FAILED_CODE`] in words.
pub(super) const FAILED_DESCRIPTION: &str = "Processing failed";

/// The contract's body of an internal failure.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ProcessingFailure)]
pub(super) struct Failure {
    /// Always `500`.
    error_code: &'static str,
    /// The code in words.
    error_description: &'static str,
    /// Time from the request to the failure, in milliseconds.
    #[schema(format = Int64)]
    time_elapsed_ms: u64,
}

impl Failure {
    fn after(elapsed: Duration) -> Self {
        Self {
            error_code: FAILED_CODE,
            error_description: FAILED_DESCRIPTION,
            time_elapsed_ms: super::answers::millis(elapsed),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use crate::account::Problem;

    use super::*;

    async fn text(response: Response) -> String {
        String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_error_form_is_the_contracts() {
        let errors = SchemaErrors::one(Place::ItemField(3, "openingDate"), Problem::Missing);
        let response = Refusal::from(errors).render("/amlyze-ws-rest/batch-accounts", Duration::ZERO);
        assert_eq!(response.status(), 400);
        let body: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(body["status"], 400);
        assert_eq!(body["error"], "Bad Request");
        assert_eq!(body["path"], "/amlyze-ws-rest/batch-accounts");
        assert_eq!(body["errors"][0], "accounts[3].openingDate: is mandatory");
        let timestamp = body["timestamp"].as_str().unwrap();
        assert!(
            chrono::DateTime::parse_from_rfc3339(timestamp).is_ok() && timestamp.ends_with("+00:00")
        );
    }

    #[tokio::test]
    async fn the_bodies_of_401_and_500_are_the_contracts() {
        let response = Refusal::Unauthorized(Challenge::NoToken).render("/", Duration::ZERO);
        assert_eq!(text(response).await, r#"{"error":{"code":"unauthorized"}}"#);
        let response = Refusal::Internal.render("/", Duration::from_millis(172));
        assert_eq!(
            text(response).await,
            r#"{"errorCode":"500","errorDescription":"Processing failed","timeElapsedMs":172}"#
        );
    }

    #[tokio::test]
    async fn an_answer_stays_small_however_much_is_wrong() {
        let mut errors = SchemaErrors::default();
        for index in 0..123 {
            errors.push(Place::Item(index), Problem::WrongType { expected: "an object" });
        }
        let path = "/é".repeat(100_000);
        let text = text(Refusal::from(errors).render(&path, Duration::ZERO)).await;
        assert!(text.len() < 16_384, "{}", text.len());
        let body: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(body["errors"].as_array().unwrap().len(), 101);
        assert_eq!(body["errors"][100], "… and 23 more");
    }
}
