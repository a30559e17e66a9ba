//! What operators and the housekeeping change, endpoint by endpoint and state by state: each is a range of its own
//! in an index. How far to go and in which order is the same in every implementation; it brings the statements.

use std::future::Future;

use crate::account::Timestamp;
use crate::store::EndpointName;

use super::{DeliveryState, GivingUp, Line, Mark, Place, Redelivered, Selection};

/// The selected deliveries to one endpoint in one state, at most so many.
pub(in crate::store) struct Slice<'s> {
    pub(in crate::store) selection: &'s Selection,
    pub(in crate::store) endpoint: &'s EndpointName,
    pub(in crate::store) state: DeliveryState,
    pub(in crate::store) limit: u64,
}

/// A transaction in which deliveries are changed.
pub(in crate::store) trait Changing: Send {
    /// Why it may fail.
    type Error: Send;

    /// The endpoints that a selection may be about.
    fn names(
        &mut self,
        selected: Option<&EndpointName>,
    ) -> impl Future<Output = Result<Vec<EndpointName>, Self::Error>> + Send;

    /// Makes what has ended and comes after a place due anew, if it had ended before `began`.
    fn redeliver(
        &mut self,
        slice: &Slice<'_>,
        after: Place,
        began: Timestamp,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<(Place, Line)>, Self::Error>> + Send;

    /// Makes what is parked until after `due_after` due; tells how many.
    fn hasten(
        &mut self,
        slice: &Slice<'_>,
        due_after: Timestamp,
        now: Timestamp,
    ) -> impl Future<Output = Result<u64, Self::Error>> + Send;

    /// Gives up what may not be under way; the lines of those that were.
    fn give_up(
        &mut self,
        slice: &Slice<'_>,
        giving_up: &GivingUp,
    ) -> impl Future<Output = Result<Vec<Line>, Self::Error>> + Send;

    /// Removes what ended before a time, with its attempts; tells how many.
    fn remove(
        &mut self,
        slice: &Slice<'_>,
        before: Timestamp,
    ) -> impl Future<Output = Result<u64, Self::Error>> + Send;

    /// Makes what is next in lines due, unless something in them is parked; tells in how many it did.
    fn release(
        &mut self,
        lines: &[Line],
        now: Timestamp,
    ) -> impl Future<Output = Result<u64, Self::Error>> + Send;
}

/// The endpoints and states that a selection is about, of these states.
async fn ranges<T: Changing>(
    transaction: &mut T,
    selection: &Selection,
    among: &[DeliveryState],
) -> Result<Vec<(EndpointName, DeliveryState)>, T::Error> {
    let states = selection.states(among);
    if states.is_empty() {
        return Ok(Vec::new());
    }
    let names = transaction.names(selection.endpoint.as_ref()).await?;
    let of_each = |name: EndpointName| states.iter().map(move |state| (name.clone(), *state));
    Ok(names.into_iter().flat_map(of_each).collect())
}

/// How many may still be changed.
fn left(limit: usize, done: u64) -> Option<u64> {
    (limit as u64).checked_sub(done).filter(|left| *left > 0)
}

/// Makes ended deliveries due.
pub(in crate::store) struct Redeliver {
    pub(in crate::store) selection: Selection,
    pub(in crate::store) mark: Mark,
    pub(in crate::store) limit: usize,
    pub(in crate::store) now: Timestamp,
}

impl Redeliver {
    pub(in crate::store) async fn carry_out<T: Changing>(
        &self,
        transaction: &mut T,
    ) -> Result<Redelivered, T::Error> {
        let Self { selection, mark, limit, now } = self;
        let began = mark.began();
        // Whatever is made due ends after that, also if the clock was set back since the redelivery began.
        let now = (*now).max(began);
        let mut done = Redelivered { count: 0, mark: mark.clone() };
        for (endpoint, state) in ranges(transaction, selection, &DeliveryState::ENDED).await? {
            let Some(limit) = left(*limit, done.count) else { break };
            let Some(after) = mark.within(&endpoint, state) else { continue };
            let slice = Slice { selection, endpoint: &endpoint, state, limit };
            let chosen = transaction.redeliver(&slice, after, began, now).await?;
            transaction.release(&done.take(&endpoint, chosen), now).await?;
        }
        Ok(done)
    }
}

/// Makes parked deliveries due earlier.
pub(in crate::store) struct Hasten {
    pub(in crate::store) selection: Selection,
    pub(in crate::store) due_after: Timestamp,
    pub(in crate::store) limit: usize,
    pub(in crate::store) now: Timestamp,
}

impl Hasten {
    pub(in crate::store) async fn carry_out<T: Changing>(
        &self,
        transaction: &mut T,
    ) -> Result<u64, T::Error> {
        let mut done = 0;
        for (endpoint, state) in ranges(transaction, &self.selection, &[DeliveryState::Parked]).await? {
            let Some(limit) = left(self.limit, done) else { break };
            let slice = Slice { selection: &self.selection, endpoint: &endpoint, state, limit };
            done += transaction.hasten(&slice, self.due_after, self.now).await?;
        }
        Ok(done)
    }
}

/// Gives live deliveries up, those that wait before those they wait for.
pub(in crate::store) struct GiveUp {
    pub(in crate::store) selection: Selection,
    pub(in crate::store) giving_up: GivingUp,
    pub(in crate::store) limit: usize,
}

impl GiveUp {
    pub(in crate::store) async fn carry_out<T: Changing>(
        &self,
        transaction: &mut T,
    ) -> Result<u64, T::Error> {
        let mut done = 0;
        for (endpoint, state) in ranges(transaction, &self.selection, &DeliveryState::LIVE).await? {
            let Some(limit) = left(self.limit, done) else { break };
            let slice = Slice { selection: &self.selection, endpoint: &endpoint, state, limit };
            let freed = transaction.give_up(&slice, &self.giving_up).await?;
            transaction.release(&freed, self.giving_up.now).await?;
            done += freed.len() as u64;
        }
        Ok(done)
    }
}

/// Removes what ended long ago.
pub(in crate::store) struct RemoveEnded {
    pub(in crate::store) before: Timestamp,
    pub(in crate::store) limit: usize,
}

impl RemoveEnded {
    pub(in crate::store) async fn carry_out<T: Changing>(
        &self,
        transaction: &mut T,
    ) -> Result<u64, T::Error> {
        let all = Selection::default();
        let mut done = 0;
        for (endpoint, state) in ranges(transaction, &all, &DeliveryState::ENDED).await? {
            let Some(limit) = left(self.limit, done) else { break };
            let slice = Slice { selection: &all, endpoint: &endpoint, state, limit };
            done += transaction.remove(&slice, self.before).await?;
        }
        Ok(done)
    }
}
