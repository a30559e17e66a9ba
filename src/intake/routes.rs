//! The endpoints: each reads its request, asks the intake, and puts the answer into words.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::decompression::RequestDecompressionLayer;

use crate::account::{
    BatchItem, BatchLimits, CommunicationNumber, Place, SchemaErrors, parse_batch, parse_single,
};
use crate::queue::{BatchId, Queue};
use crate::store::Store;

use super::Intake;
use super::answers::{BatchAnswer, ItemResult, Settled, json_bytes};
use super::auth::{Authenticator, Scope, Token};
use super::batch::{Batch, Settlement};
use super::body::{ReadBody, Reservation, admit};
use super::errors::{Places, Refusal, json};
use super::lookup::{Events, currency_entries, entries};
use super::observe::{Observer, observe, panicked};
use super::prefer::{PREFERENCE_APPLIED, Prefer, Wait};

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

/// Tells the batch's id.
const PENSTOCK_BATCH: HeaderName = HeaderName::from_static("penstock-batch");
/// Tells how many items are not decided yet.
const PENSTOCK_PENDING: HeaderName = HeaderName::from_static("penstock-pending");

/// Bodies larger than this are parsed off the threads that serve requests.
const PARSE_INLINE_BYTES: usize = 1_024 * 1_024;

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
        .route(BATCH_ACCOUNTS, with_body(post(batch_accounts), Scope::Submit))
        .route(ACCOUNT, with_body(post(single_account), Scope::Submit))
        .route(VALIDATE, with_body(post(validate_batch), Scope::Validate))
        .route(EVENTS, guarded(get(communications_events), Scope::Read))
        .route(ACCOUNT_TYPES, guarded(get(account_types), Scope::Read))
        .route(BUSINESS_UNITS, guarded(get(business_units), Scope::Read))
        .route(CURRENCIES, guarded(get(currencies), Scope::Read))
        .with_state(intake.clone())
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

async fn batch_accounts<Q: Queue, S: Store>(
    State(intake): State<Intake<Q, S>>,
    Extension(token): Extension<Arc<Token>>,
    request: Request,
) -> Result<Response, Refusal> {
    let started = Instant::now();
    let prefer = Prefer::of(request.headers());
    let received = intake.receive(request, &token, Form::Batch).await?;
    let (settled, headers) = intake.submit(received, &token, prefer).await?;
    Ok((headers, batch_answer(&settled.items, started)).into_response())
}

async fn single_account<Q: Queue, S: Store>(
    State(intake): State<Intake<Q, S>>,
    Extension(token): Extension<Arc<Token>>,
    request: Request,
) -> Result<Response, Refusal> {
    let prefer = Prefer::of(request.headers());
    let received = intake.receive(request, &token, Form::Single).await?;
    let (settled, headers) = intake.submit(received, &token, prefer).await?;
    let result = settled.items.first().map(ItemResult::from).ok_or(Refusal::Internal)?;
    let status = if result.is_rejected() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok((headers, json(status, json_bytes(&result))).into_response())
}

async fn validate_batch<Q: Queue, S: Store>(
    State(intake): State<Intake<Q, S>>,
    Extension(token): Extension<Arc<Token>>,
    request: Request,
) -> Result<Response, Refusal> {
    let started = Instant::now();
    // Without a store there is no need to read the body.
    intake.store()?;
    let received = intake.receive(request, &token, Form::Batch).await?;
    let settled = intake.validate(received, &token).await?;
    Ok(batch_answer(&settled, started))
}

async fn communications_events<Q: Queue, S: Store>(
    State(intake): State<Intake<Q, S>>,
    Extension(token): Extension<Arc<Token>>,
    number: Result<Path<String>, PathRejection>,
) -> Result<Response, Refusal> {
    let Path(number) = number.map_err(|_| Refusal::Path("communicationNumber: is not UTF-8"))?;
    let number = CommunicationNumber::parse(&number).map_err(|problem| {
        Refusal::Schema(SchemaErrors::one(Place::BodyField("communicationNumber"), problem))
    })?;
    let outcomes = intake.outcomes(&number, &token).await?;
    let events = Events::of(&outcomes, &intake.shared.options.event_type_prefix);
    Ok(json(StatusCode::OK, json_bytes(&events)))
}

async fn account_types<Q: Queue, S: Store>(State(intake): State<Intake<Q, S>>) -> Response {
    json(StatusCode::OK, json_bytes(&entries(&intake.shared.policy.reference.account_types)))
}

async fn business_units<Q: Queue, S: Store>(State(intake): State<Intake<Q, S>>) -> Response {
    json(StatusCode::OK, json_bytes(&entries(&intake.shared.policy.reference.business_units)))
}

async fn currencies() -> Response {
    json(StatusCode::OK, json_bytes(&currency_entries()))
}

/// The answer to a batch; an empty one takes no time.
fn batch_answer(settled: &[Settled], started: Instant) -> Response {
    let elapsed = if settled.is_empty() { Duration::ZERO } else { started.elapsed() };
    json(StatusCode::OK, json_bytes(&BatchAnswer::new(settled, elapsed)))
}

/// What a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `{"accounts": [...]}`.
    Batch,
    /// One account.
    Single,
}

impl Form {
    fn parse(self, body: &Bytes, limits: BatchLimits) -> Result<Vec<BatchItem>, SchemaErrors> {
        match self {
            Self::Batch => parse_batch(body, limits),
            Self::Single => parse_single(body, limits).map(|item| vec![item]),
        }
    }

    /// Where item `index` names its unit.
    fn unit_of(self, index: usize) -> Place {
        match self {
            Self::Batch => Place::ItemField(index, "businessUnit"),
            Self::Single => Place::BodyField("businessUnit"),
        }
    }
}

/// Accounts as received, all within the schema and the token's units.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) items: Vec<BatchItem>,
    pub(super) reservation: Reservation,
}

impl<Q: Queue, S: Store> Intake<Q, S> {
    /// Reads and checks a body.
    pub(super) async fn receive(
        &self,
        request: Request,
        token: &Token,
        form: Form,
    ) -> Result<Received, Refusal> {
        let ReadBody { bytes, reservation } = self.shared.gate.read(request).await?;
        let span = tracing::Span::current();
        span.record("bytes", bytes.len());
        let limits = self.limits();
        let items = if bytes.len() <= PARSE_INLINE_BYTES {
            form.parse(&bytes, limits)?
        } else {
            // The reservation goes along, so that it covers the body also when the client goes away.
            let held = reservation.clone();
            let parse = move || {
                let items = form.parse(&bytes, limits);
                drop(held);
                items
            };
            tokio::task::spawn_blocking(parse).await.map_err(|_| Refusal::Internal)??
        };
        span.record("items", items.len());
        check_units(&items, token, form)?;
        Ok(Received { items, reservation })
    }

    async fn submit(
        &self,
        received: Received,
        token: &Token,
        prefer: Prefer,
    ) -> Result<(Settlement, HeaderMap), Refusal> {
        let id = BatchId::now();
        tracing::Span::current().record("batch_id", tracing::field::display(id));
        let mut headers = HeaderMap::new();
        let wait = match prefer.wait(self.shared.options.max_wait) {
            Wait::Chosen(wait, applied) => {
                headers.insert(PREFERENCE_APPLIED, applied);
                wait
            }
            Wait::Unspecified if self.shared.waiting.is_behind() => Duration::ZERO,
            Wait::Unspecified => self.shared.options.outcome_wait,
        };
        let default_unit = token.business_units.default_unit().cloned();
        let Received { items, reservation } = received;
        let settled = self.process(Batch { id, items, default_unit, wait, reservation }).await?;
        if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
            headers.insert(PENSTOCK_BATCH, value);
        }
        headers.insert(PENSTOCK_PENDING, HeaderValue::from(settled.pending));
        Ok((settled, headers))
    }
}

/// Refuses a request with an item outside the token's units. An item that names none is inside when
/// the token has a unit for it.
fn check_units(items: &[BatchItem], token: &Token, form: Form) -> Result<(), Refusal> {
    let units = &token.business_units;
    let is_foreign =
        |item: &BatchItem| !units.covers(item.account.business_unit.as_ref().or(units.default_unit()));
    let mut foreign = items.iter().enumerate().filter(|(_, item)| is_foreign(item));
    let first: Vec<_> =
        foreign.by_ref().take(SchemaErrors::KEPT).map(|(index, _)| form.unit_of(index)).collect();
    let total = first.len() + foreign.count();
    if total == 0 { Ok(()) } else { Err(Refusal::ForeignUnits(Places { first, total })) }
}
