//! Which endpoint is where, and what a request passes before it gets there: log and error form,
//! token and scope, the door for bodies.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::decompression::RequestDecompressionLayer;

use crate::queue::Queue;
use crate::store::Store;

use super::auth::{Authenticator, Scope};
use super::body::admit;
use super::observe::{Observer, observe, panicked};
use super::{Intake, endpoints, openapi};

/// Path of the batch endpoint.
pub(super) const BATCH_ACCOUNTS: &str = "/amlyze-ws-rest/batch-accounts";
/// Path of the single account's endpoint.
pub(super) const ACCOUNT: &str = "/amlyze-ws-rest/account";

/// Path of the validation.
pub(super) const VALIDATE: &str = "/amlyze-ws-rest/validate-batch-accounts";
/// Path of the look-up.
pub(super) const EVENTS: &str =
    "/api/integration-services/v1/communications-events/{communicationNumber}";
/// Paths of the classifiers.
pub(super) const ACCOUNT_TYPES: &str = "/classifier/accountType";
pub(super) const BUSINESS_UNITS: &str = "/classifier/businessUnit";
pub(super) const CURRENCIES: &str = "/classifier/currency";

/// All routes of an intake.
pub(super) fn router<Q: Queue, S: Store>(intake: &Intake<Q, S>) -> Router {
    let shared = &intake.shared;
    let guarded = |route: MethodRouter<Intake<Q, S>>, scope: Scope| {
        let authenticator = shared.authenticator.clone();
        route.route_layer(from_fn(move |request: Request, next: Next| {
            authorize(authenticator.clone(), scope, request, next)
        }))
    };
    let with_body = |route: MethodRouter<Intake<Q, S>>, scope: Scope| {
        let decoded = route
            .route_layer(RequestDecompressionLayer::new())
            .route_layer(from_fn_with_state(shared.gate.clone(), admit));
        guarded(decoded, scope)
    };
    let observer = Observer {
        authenticator: shared.authenticator.clone(),
        metrics: shared.metrics.clone(),
        max_header_bytes: shared.options.max_header_bytes,
    };
    Router::new()
        .route(BATCH_ACCOUNTS, with_body(post(endpoints::batch_accounts), Scope::Submit))
        .route(ACCOUNT, with_body(post(endpoints::single_account), Scope::Submit))
        .route(VALIDATE, with_body(post(endpoints::validate_batch), Scope::Validate))
        .route(EVENTS, guarded(get(endpoints::communications_events), Scope::Read))
        .route(ACCOUNT_TYPES, guarded(get(endpoints::account_types), Scope::Read))
        .route(BUSINESS_UNITS, guarded(get(endpoints::business_units), Scope::Read))
        .route(CURRENCIES, guarded(get(endpoints::currencies), Scope::Read))
        .with_state(intake.clone())
        .merge(openapi::router())
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(observer, observe))
}

/// Middleware: lets a request with a good token pass, and the handler know whose it is.
async fn authorize(
    authenticator: Authenticator,
    scope: Scope,
    mut request: Request,
    next: Next,
) -> Response {
    match authenticator.authorize(request.headers(), scope) {
        Ok(token) => {
            tracing::Span::current().record("client", token.name.as_str());
            request.extensions_mut().insert(token);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}
