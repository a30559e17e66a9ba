//! The page to browse the document. Its policy lets a browser load and ask nothing but this server.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::header::{CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use utoipa_swagger_ui::Config;

use super::super::errors::Refusal;
use super::DOCUMENT_PATH;

const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    Arc::new(Config::new([DOCUMENT_PATH]).validator_url("none").persist_authorization(false))
});

pub(super) fn router() -> Router {
    Router::new()
        .route("/docs", get(async || Redirect::permanent("/docs/")))
        .route("/docs/", get(async || asset("")))
        .route("/docs/{*file}", get(async |Path(file): Path<String>| asset(&file)))
}

fn asset(file: &str) -> Response {
    let found = match utoipa_swagger_ui::serve(file, Arc::clone(&CONFIG)) {
        Ok(Some(found)) => found,
        Ok(None) => return Refusal::NotFound.into_response(),
        Err(error) => {
            tracing::error!(%error, "an asset of the documentation could not be made");
            return Refusal::Internal.into_response();
        }
    };
    let mut headers = HeaderMap::from_iter([(CONTENT_SECURITY_POLICY, POLICY)]);
    if let Ok(content_type) = HeaderValue::from_str(&found.content_type) {
        headers.insert(CONTENT_TYPE, content_type);
    }
    if found.gzpipped {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    (headers, Body::from(found.bytes.into_owned())).into_response()
}
