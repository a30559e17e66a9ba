//! The endpoints: each reads its request, asks the intake, and puts the answer into words.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::account::{CommunicationNumber, Place, SchemaErrors};
use crate::queue::{BatchId, Queue};
use crate::store::Store;

use super::Intake;
use super::answers::{BatchAnswer, ItemResult, Settled, json_bytes};
use super::auth::Token;
use super::batch::{Batch, Settlement};
use super::errors::{ErrorBody, Refusal, json};
use super::lookup::{Entry, Events, currency_entries, entries, units_of};
use super::openapi::{
    AccountBody, BatchBody, BodyRefusals, Failures, SingleRefusal, StoreRefusals, TokenRefusals,
};
use super::prefer::{PREFERENCE_APPLIED, Prefer, Wait};
use super::receive::{Form, Received};
use super::routes::{
    ACCOUNT, ACCOUNT_TYPES, BATCH_ACCOUNTS, BUSINESS_UNITS, CURRENCIES, EVENTS, VALIDATE,
};

/// Tells the batch's id.
pub(super) const PENSTOCK_BATCH: HeaderName = HeaderName::from_static("penstock-batch");
/// Tells how many items are not decided yet.
pub(super) const PENSTOCK_PENDING: HeaderName = HeaderName::from_static("penstock-pending");

/// Batch import of accounts.
///
/// Every item is durably queued before the answer. An item that is not decided when the wait ends
/// is answered `REQUEST_ACCEPTED`; its outcome follows as an event.
#[utoipa::path(
    post, path = BATCH_ACCOUNTS, tag = "account", operation_id = "batchAccounts",
    request_body = BatchBody,
    responses(
        (status = 200, description = "The outcome of every item.", body = BatchAnswer),
        (status = 400, description = "The body violates the schema; nothing is queued.", body = ErrorBody),
        TokenRefusals, BodyRefusals, Failures,
    ),
)]
pub(super) async fn batch_accounts<Q: Queue, S: Store>(
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

/// Import of one account.
#[utoipa::path(
    post, path = ACCOUNT, tag = "account", operation_id = "account",
    request_body = AccountBody,
    responses(
        (status = 200, description = "The account is accepted.", body = ItemResult),
        (
            status = 400, description = "The account is rejected, or the body violates the schema.",
            body = SingleRefusal,
        ),
        TokenRefusals, BodyRefusals, Failures,
    ),
)]
pub(super) async fn single_account<Q: Queue, S: Store>(
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

/// Validation of a batch.
///
/// Tells the outcomes a batch would have now. Nothing is queued, nothing saved.
#[utoipa::path(
    post, path = VALIDATE, tag = "account", operation_id = "validateBatchAccounts",
    request_body = BatchBody,
    responses(
        (status = 200, description = "The outcome every item would have.", body = BatchAnswer),
        (status = 400, description = "The body violates the schema.", body = ErrorBody),
        TokenRefusals, BodyRefusals, Failures,
    ),
)]
pub(super) async fn validate_batch<Q: Queue, S: Store>(
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

/// Outcomes of a communication.
///
/// For a client that missed an event: the accepted outcome first, then the latest rejections.
#[utoipa::path(
    get, path = EVENTS, tag = "communication", operation_id = "communicationsEvents",
    params(
        (
            "communicationNumber" = String, Path, description = "Number of the communication.",
            min_length = 1, max_length = 255,
        ),
    ),
    responses(
        (status = 200, description = "What became of it.", body = Events),
        (status = 400, description = "No number can be so.", body = ErrorBody),
        (status = 404, description = "Nothing is known of it.", body = ErrorBody),
        TokenRefusals, StoreRefusals, Failures,
    ),
)]
pub(super) async fn communications_events<Q: Queue, S: Store>(
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

/// Account types.
#[utoipa::path(
    get, path = ACCOUNT_TYPES, tag = "classifier", operation_id = "accountTypes",
    responses(
        (status = 200, description = "The codes.", body = [Entry]),
        TokenRefusals, Failures,
    ),
)]
pub(super) async fn account_types<Q: Queue, S: Store>(State(intake): State<Intake<Q, S>>) -> Response {
    json(StatusCode::OK, json_bytes(&entries(&intake.shared.policy.reference.account_types)))
}

/// Business units that the token may use.
#[utoipa::path(
    get, path = BUSINESS_UNITS, tag = "classifier", operation_id = "businessUnits",
    responses(
        (status = 200, description = "The codes.", body = [Entry]),
        TokenRefusals, Failures,
    ),
)]
pub(super) async fn business_units<Q: Queue, S: Store>(
    State(intake): State<Intake<Q, S>>,
    Extension(token): Extension<Arc<Token>>,
) -> Response {
    let units = units_of(&intake.shared.policy.reference.business_units, &token);
    json(StatusCode::OK, json_bytes(&units))
}

/// Currencies of ISO 4217.
#[utoipa::path(
    get, path = CURRENCIES, tag = "classifier", operation_id = "currencies",
    responses(
        (status = 200, description = "The codes.", body = [Entry]),
        TokenRefusals, Failures,
    ),
)]
pub(super) async fn currencies() -> Response {
    json(StatusCode::OK, json_bytes(&currency_entries()))
}

/// The answer to a batch; an empty one takes no time.
fn batch_answer(settled: &[Settled], started: Instant) -> Response {
    let elapsed = if settled.is_empty() { Duration::ZERO } else { started.elapsed() };
    json(StatusCode::OK, json_bytes(&BatchAnswer::new(settled, elapsed)))
}

impl<Q: Queue, S: Store> Intake<Q, S> {
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
            Wait::Unspecified if self.shared.waiting.is_worth_waiting() => {
                self.shared.options.outcome_wait
            }
            Wait::Unspecified => Duration::ZERO,
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
