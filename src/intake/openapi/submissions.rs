//! What the endpoints that queue accounts have in common: how long to wait, and what was waited for.

use utoipa::Modify;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::openapi::{Header, HeaderBuilder, OpenApi, RefOr, Required};

use super::super::endpoints::{PENSTOCK_BATCH, PENSTOCK_PENDING};
use super::super::prefer::{PREFER, PREFERENCE_APPLIED};
use super::super::routes::{ACCOUNT, BATCH_ACCOUNTS};
use super::responses::text_header;

/// Documents the headers of both directions.
pub(super) struct Submissions;

impl Modify for Submissions {
    fn modify(&self, document: &mut OpenApi) {
        for path in [BATCH_ACCOUNTS, ACCOUNT] {
            let item = document.paths.paths.get_mut(path);
            if let Some(operation) = item.and_then(|item| item.post.as_mut()) {
                operation.parameters.get_or_insert_default().push(prefer().into());
                add_headers(operation);
            }
        }
    }
}

fn prefer() -> Parameter {
    let description = "How long to wait for outcomes (RFC 7240): `wait=N` in seconds up to the \
                       configured maximum, or `respond-async`.";
    ParameterBuilder::new()
        .name(PREFER.as_str())
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .schema(Some(plain(Type::String)))
        .description(Some(description))
        .build()
}

fn add_headers(operation: &mut Operation) {
    let Some(RefOr::T(answer)) = operation.responses.responses.get_mut("200") else { return };
    for (name, header) in [
        (PENSTOCK_BATCH, text_header("Id of the batch.")),
        (PENSTOCK_PENDING, count_header("Items that are queued but not decided yet.")),
        (PREFERENCE_APPLIED, text_header("The preference that was followed, if any.")),
    ] {
        answer.headers.insert(name.to_string(), RefOr::T(header));
    }
}

fn count_header(description: &str) -> Header {
    HeaderBuilder::new().schema(Some(plain(Type::Integer))).description(Some(description)).build()
}

fn plain(kind: Type) -> Object {
    ObjectBuilder::new().schema_type(kind).build()
}
