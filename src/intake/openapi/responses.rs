//! The refusals every endpoint of a kind has in common.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Content, Header, HeaderBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use super::super::answers::ItemResult;
use super::super::errors::ErrorBody;

/// A single account that is refused.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it describes bodies that are made elsewhere")]
pub(in super::super) enum SingleRefusal<'a> {
    /// The body violates the schema.
    Schema(ErrorBody<'a>),
    /// The account violates a rule.
    Rule(ItemResult<'a>),
}

type Responses = BTreeMap<String, RefOr<Response>>;

/// A token that is missing, wrong, or not for this.
pub(in super::super) struct TokenRefusals;

/// A body that is not as it should be, or for which there is no room.
pub(in super::super) struct BodyRefusals;

/// A store that is needed and does not answer.
pub(in super::super) struct StoreRefusals;

/// A defect.
pub(in super::super) struct Failures;

impl IntoResponses for TokenRefusals {
    fn responses() -> Responses {
        let unauthorized = response(
            "The token is missing or unknown.",
            "Unauthorized",
            json!({"error": {"code": "unauthorized"}}),
        )
        .header("www-authenticate", text_header("The challenge of RFC 6750."));
        let forbidden =
            refused(403, "Forbidden", "The token is not for this, or the address is not allowed.");
        collect([
            ("401", unauthorized),
            (
                "403",
                forbidden
                    .header("www-authenticate", text_header("The missing scope, if one is missing.")),
            ),
        ])
    }
}

impl IntoResponses for BodyRefusals {
    fn responses() -> Responses {
        collect([
            ("408", refused(408, "Request Timeout", "The body did not arrive in time.")),
            (
                "413",
                refused(413, "Payload Too Large", "The body is too large, before or after decoding."),
            ),
            (
                "415",
                refused(
                    415,
                    "Unsupported Media Type",
                    "The body is not declared as JSON, or encoded otherwise than by gzip or zstd.",
                ),
            ),
            ("503", unavailable()),
        ])
    }
}

impl IntoResponses for StoreRefusals {
    fn responses() -> Responses {
        collect([("503", unavailable())])
    }
}

impl IntoResponses for Failures {
    fn responses() -> Responses {
        let example = serde_json::from_str(include_str!("examples/failure.json")).unwrap_or_default();
        collect([
            ("431", refused(431, "Request Header Fields Too Large", "The headers are too large.")),
            ("500", response("Processing failed.", "ProcessingFailure", example)),
        ])
    }
}

fn collect<const N: usize>(responses: [(&str, ResponseBuilder); N]) -> Responses {
    responses
        .into_iter()
        .map(|(status, response)| (status.to_owned(), response.build().into()))
        .collect()
}

fn unavailable() -> ResponseBuilder {
    refused(
        503,
        "Service Unavailable",
        "Not now: try again later, or, without Retry-After, when an operator has put it right.",
    )
    .header("retry-after", text_header("Seconds after which to try again."))
}

fn refused(status: u16, error: &str, description: &str) -> ResponseBuilder {
    let example = json!({
        "timestamp": "2024-05-26T16:49:50.237+00:00",
        "status": status,
        "error": error,
        "path": "/amlyze-ws-rest/batch-accounts",
    });
    response(description, "ApiAdapterErrorResponse", example)
}

fn response(description: &str, schema: &str, example: Value) -> ResponseBuilder {
    let mut content = Content::new(Some(Ref::from_schema_name(schema)));
    content.example = Some(example);
    ResponseBuilder::new().description(description).content(super::JSON, content)
}

/// A header that is a text.
pub(super) fn text_header(description: &str) -> Header {
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    HeaderBuilder::new().schema(Some(text)).description(Some(description)).build()
}
