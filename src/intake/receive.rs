//! From a request to accounts: read, parsed, and within the token's units.

use axum::extract::Request;
use bytes::Bytes;

use crate::account::{BatchItem, BatchLimits, Place, SchemaErrors, parse_batch, parse_single};
use crate::queue::Queue;
use crate::store::Store;

use super::Intake;
use super::auth::Token;
use super::body::{ReadBody, Reservation};
use super::errors::{Places, Refusal};

/// Bodies larger than this are parsed off the threads that serve requests.
const PARSE_INLINE_BYTES: usize = 1_024 * 1_024;

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
