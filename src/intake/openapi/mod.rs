//! What the intake says of itself: an OpenAPI document made from the code, and a page to browse it
//! whose every asset is in the binary.

mod account;
mod examples;
mod page;
mod responses;
mod submissions;

use std::sync::LazyLock;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi, RefOr, Schema};
use utoipa::{Modify, OpenApi as _};

use crate::account::{AccountStatus, Action};
use crate::events::{REQUEST_ACCEPTED, REQUEST_REJECTED};

use super::answers::{BatchAnswer, ItemResult};
use super::endpoints;
use super::errors::{ErrorBody, Failure, UnauthorizedBody, json};
use super::lookup::{Entry, Events};
use super::routes::{BATCH_ACCOUNTS, VALIDATE};

pub(super) use account::{AccountBody, BatchBody};
pub(super) use responses::{BodyRefusals, Failures, SingleRefusal, StoreRefusals, TokenRefusals};

use submissions::Submissions;

/// The content type of every body.
const JSON: &str = "application/json";
/// Where the document is served.
const DOCUMENT_PATH: &str = "/openapi.json";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "penstock",
        description = "Takes batches of bank accounts, queues them durably and answers with the \
                       persisted outcome of every item.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "This server")),
    paths(
        endpoints::batch_accounts,
        endpoints::validate_batch,
        endpoints::single_account,
        endpoints::communications_events,
        endpoints::account_types,
        endpoints::business_units,
        endpoints::currencies,
    ),
    components(schemas(
        BatchBody, AccountBody, BatchAnswer, ItemResult, Events, Entry, ErrorBody, Failure,
        UnauthorizedBody, SingleRefusal,
    )),
    security(("bearerAuth" = [])),
    modifiers(&BearerToken, &Texts, &RequestId, &Submissions, &Examples),
)]
struct Document;

/// Declares the token.
struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearerAuth", SecurityScheme::Http(scheme));
    }
}

/// Says of texts what the parser takes from constants: their allowed values, and that a free text of
/// an account must not contain the character U+0000.
struct Texts;

impl Modify for Texts {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        for (schema, property, values) in [
            ("AmlyzeAccountApi", "accountStatus", AccountStatus::VALUES),
            ("AmlyzeAccountApi", "action", Action::VALUES),
            ("BatchAccountResultApi", "resultType", &[REQUEST_ACCEPTED, REQUEST_REJECTED]),
        ] {
            if let Some(RefOr::T(Schema::Object(schema))) = components.schemas.get_mut(schema)
                && let Some(RefOr::T(Schema::Object(text))) = schema.properties.get_mut(property)
            {
                account::allow(text, values);
            }
        }
        if let Some(RefOr::T(Schema::Object(account))) = components.schemas.get_mut("AmlyzeAccountApi") {
            for property in account.properties.values_mut() {
                if let RefOr::T(Schema::Object(text)) = property
                    && account::is_free_text(text)
                {
                    text.pattern = Some(account::NO_NUL_PATTERN.to_owned());
                }
            }
        }
    }
}

/// Says of every answer that it carries a request id.
struct RequestId;

impl Modify for RequestId {
    fn modify(&self, document: &mut OpenApi) {
        let operations = document.paths.paths.values_mut().flat_map(operations_of);
        for operation in operations {
            for response in operation.responses.responses.values_mut() {
                if let RefOr::T(response) = response {
                    let header = responses::text_header("Id of the request, as logs name it.");
                    response.headers.insert("x-request-id".to_owned(), RefOr::T(header));
                }
            }
        }
    }
}

/// Shows the contract's own examples.
struct Examples;

impl Modify for Examples {
    fn modify(&self, document: &mut OpenApi) {
        for path in [BATCH_ACCOUNTS, VALIDATE] {
            let item = document.paths.paths.get_mut(path);
            if let Some(operation) = item.and_then(|item| item.post.as_mut()) {
                add_examples(operation);
            }
        }
    }
}

fn add_examples(operation: &mut Operation) {
    if let Some(RefOr::T(body)) = operation.request_body.as_mut()
        && let Some(content) = body.content.get_mut(JSON)
    {
        examples::add(content, &examples::REQUESTS);
    }
    for (status, examples) in [("200", &examples::ANSWERS[..]), ("400", &examples::REFUSALS)] {
        if let Some(RefOr::T(response)) = operation.responses.responses.get_mut(status)
            && let Some(content) = response.content.get_mut(JSON)
        {
            examples::add(content, examples);
        }
    }
}

fn operations_of(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [item.get.as_mut(), item.post.as_mut()].into_iter().flatten()
}

static DOCUMENT: LazyLock<Bytes> =
    LazyLock::new(|| Document::openapi().to_json().unwrap_or_default().into());

/// The document and the page, for everybody.
pub(super) fn router() -> Router {
    Router::new().route(DOCUMENT_PATH, get(document)).merge(page::router())
}

async fn document() -> Response {
    let mut response = json(StatusCode::OK, Vec::new());
    *response.body_mut() = DOCUMENT.clone().into();
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache"));
    response
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::account::parse_batch;

    use super::*;

    fn served() -> Value {
        serde_json::from_slice(&DOCUMENT).unwrap()
    }

    #[test]
    fn the_document_is_openapi_3_1_and_names_every_endpoint() {
        let document = served();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
        let paths: Vec<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(
            paths,
            [
                "/amlyze-ws-rest/account",
                "/amlyze-ws-rest/batch-accounts",
                "/amlyze-ws-rest/validate-batch-accounts",
                "/api/integration-services/v1/communications-events/{communicationNumber}",
                "/classifier/accountType",
                "/classifier/businessUnit",
                "/classifier/currency",
            ]
        );
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn visit(value: &Value, document: &Value) {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(reference)) = map.get("$ref") {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                    }
                    map.values().for_each(|value| visit(value, document));
                }
                Value::Array(list) => list.iter().for_each(|value| visit(value, document)),
                _ => {}
            }
        }
        let document = served();
        visit(&document, &document);
    }

    #[test]
    fn the_documented_request_example_meets_the_schema() {
        let document = served();
        let example = document
            .pointer(
                "/paths/~1amlyze-ws-rest~1batch-accounts/post/requestBody/content/application~1json",
            )
            .and_then(|content| content.pointer("/examples/mandatory_fields/value"))
            .unwrap();
        let body = Bytes::from(example.to_string());
        let limits = crate::account::BatchLimits { max_items: 10, max_item_bytes: 10_000 };
        assert_eq!(parse_batch(&body, limits).unwrap().len(), 2);
    }
}
