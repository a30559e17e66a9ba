//! The contract's examples, shown with the endpoints they belong to.

use utoipa::openapi::example::{Example, ExampleBuilder};
use utoipa::openapi::{Content, RefOr};

/// Name, summary and JSON text of an example.
type Named = (&'static str, &'static str, &'static str);

pub(super) const REQUESTS: [Named; 1] =
    [("mandatory_fields", "Mandatory fields example", include_str!("examples/mandatory-fields.json"))];

pub(super) const ANSWERS: [Named; 2] = [
    ("all_accepted", "All requests accepted", include_str!("examples/all-accepted.json")),
    ("partial_rejection", "Partial rejection", include_str!("examples/partial-rejection.json")),
];

pub(super) const REFUSALS: [Named; 1] =
    [("bad_request", "Bad request", include_str!("examples/bad-request.json"))];

/// Adds examples to a JSON body.
pub(super) fn add(content: &mut RefOr<Content>, examples: &[Named]) {
    let RefOr::T(content) = content else { return };
    for (name, summary, json) in examples {
        content.examples.insert((*name).to_owned(), RefOr::T(example(summary, json)));
    }
}

fn example(summary: &str, json: &str) -> Example {
    ExampleBuilder::new().summary(summary).value(serde_json::from_str(json).ok()).build()
}
