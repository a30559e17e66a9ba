//! A queue and a store that do what a test says and remember what they were asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use penstock::account::{
    CommunicationNumber, EventId, Offset, Outcome, Partition, Plan, RejectionCode, Verdict, View,
};
use penstock::queue::{
    Answer, Assignment, Consumer, Envelope, PollLimits, Polled, Queue, QueueError, ReadRange, Reader,
    Received, Record, Reply, ReplyAddress, ReplyInbox, Start, Topic,
};
use penstock::store::{Applied, PersistedOutcome, Store, StoreError, Wanted};
use tokio::sync::mpsc;

/// What becomes of a record: answered at once, or left to the test.
pub(crate) type Script = Box<dyn Fn(&Record) -> Option<Answer> + Send + Sync>;

/// How publishing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Good,
    Overloaded,
    Unavailable,
    Broken,
}

#[derive(Clone)]
pub(crate) struct FakeQueue(Arc<State>);

struct State {
    published: Mutex<Vec<Vec<Record>>>,
    mood: Mutex<Mood>,
    script: Script,
    replies: mpsc::UnboundedSender<Vec<Reply>>,
    inbox: Mutex<Option<mpsc::UnboundedReceiver<Vec<Reply>>>>,
}

pub(crate) const INBOX: ReplyAddress = ReplyAddress(7);
pub(crate) const MAX_RECORD_BYTES: usize = 4_000;

pub(crate) fn accepted() -> Answer {
    decided(Verdict::Accepted)
}

pub(crate) fn rejected(code: RejectionCode) -> Answer {
    decided(Verdict::Rejected(code))
}

fn decided(verdict: Verdict) -> Answer {
    Answer::Decided(Outcome { verdict, event_id: EventId(uuid::Uuid::nil()) })
}

impl FakeQueue {
    pub(crate) fn new(script: impl Fn(&Record) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let (replies, inbox) = mpsc::unbounded_channel();
        Self(Arc::new(State {
            published: Mutex::default(),
            mood: Mutex::new(Mood::Good),
            script: Box::new(script),
            replies,
            inbox: Mutex::new(Some(inbox)),
        }))
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        *self.0.mood.lock().unwrap() = mood;
    }

    /// The records of each call, in order.
    pub(crate) fn published(&self) -> Vec<Vec<Record>> {
        self.0.published.lock().unwrap().clone()
    }

    /// How many records were published in all.
    pub(crate) fn count(&self) -> usize {
        self.0.published.lock().unwrap().iter().map(Vec::len).sum()
    }

    /// Answers a published record.
    pub(crate) fn answer(&self, record: &Record, answer: Answer) {
        let (batch, item) = Envelope::from_headers(&record.headers).item.unwrap();
        self.0.replies.send(vec![Reply { batch, item, answer }]).unwrap();
    }

    fn failure(&self) -> Option<QueueError> {
        let cause = || "as the test says".into();
        match *self.0.mood.lock().unwrap() {
            Mood::Good => None,
            Mood::Overloaded => Some(QueueError::Overloaded),
            Mood::Unavailable => Some(QueueError::Unavailable { action: "publish", cause: cause() }),
            Mood::Broken => Some(QueueError::Broken { action: "publish", cause: cause() }),
        }
    }
}

pub(crate) enum NoConsumer {}

impl Consumer for NoConsumer {
    async fn poll(&mut self, _: PollLimits) -> Result<Polled, QueueError> {
        match *self {}
    }
    async fn seek(&mut self, _: Partition, _: Start) -> Result<Offset, QueueError> {
        match *self {}
    }
    async fn end_offset(&mut self, _: Partition) -> Result<Offset, QueueError> {
        match *self {}
    }
    fn position(&self, _: Partition) -> Option<Offset> {
        match *self {}
    }
    #[allow(unreachable_code, reason = "there is none to be asked")]
    fn commit(
        &self,
        _: Vec<(Partition, Offset)>,
    ) -> impl Future<Output = Result<(), QueueError>> + Send + 'static {
        std::future::ready(match *self {})
    }
    async fn release(&mut self, _: &[Partition]) -> Result<(), QueueError> {
        match *self {}
    }
    fn backlog_records(&self) -> u64 {
        match *self {}
    }
}

pub(crate) struct FakeInbox(mpsc::UnboundedReceiver<Vec<Reply>>);

impl ReplyInbox for FakeInbox {
    fn address(&self) -> ReplyAddress {
        INBOX
    }

    async fn receive(&mut self) -> Vec<Reply> {
        match self.0.recv().await {
            Some(replies) => replies,
            None => std::future::pending().await,
        }
    }
}

impl Reader for NoConsumer {
    async fn read(&mut self, _: PollLimits) -> Result<Vec<Received>, QueueError> {
        match *self {}
    }

    fn position(&self, _: Partition) -> Option<Offset> {
        match *self {}
    }

    fn is_done(&self) -> bool {
        match *self {}
    }
}

impl Queue for FakeQueue {
    type Consumer = NoConsumer;
    type Reader = NoConsumer;
    type Inbox = FakeInbox;

    fn system(&self) -> &'static str {
        "fake"
    }

    fn max_record_bytes(&self) -> usize {
        MAX_RECORD_BYTES
    }

    async fn publish(&self, topic: Topic, records: Vec<Record>) -> Result<(), QueueError> {
        assert_eq!(topic, Topic::Submitted);
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        self.0.published.lock().unwrap().push(records.clone());
        for record in &records {
            if let Some(answer) = (self.0.script)(record) {
                self.answer(record, answer);
            }
        }
        Ok(())
    }

    async fn subscribe(&self, _: Topic, _: &str) -> Result<NoConsumer, QueueError> {
        unreachable!("the intake consumes nothing")
    }

    async fn find(&self, _: Topic, _: Partition, _: Start) -> Result<Offset, QueueError> {
        unreachable!("the intake reads nothing")
    }

    async fn open_reader(&self, _: Topic, _: Vec<ReadRange>) -> Result<NoConsumer, QueueError> {
        unreachable!("the intake reads nothing")
    }

    async fn open_inbox(&self) -> Result<FakeInbox, QueueError> {
        Ok(FakeInbox(self.0.inbox.lock().unwrap().take().expect("one inbox is enough")))
    }

    async fn reply(&self, _: ReplyAddress, _: Vec<Reply>) {
        unreachable!("the intake replies to nobody")
    }

    async fn check(&self) -> Result<(), QueueError> {
        self.failure().map_or(Ok(()), Err)
    }

    async fn standing(&self, _: Topic, _: &str) -> Result<Vec<Assignment>, QueueError> {
        Ok(Vec::new())
    }

    async fn set_committed(&self, _: Topic, _: &str, _: Partition, _: Offset) -> Result<(), QueueError> {
        Ok(())
    }
}

/// A store that shows what a test put there.
#[derive(Clone, Default)]
pub(crate) struct FakeStore(Arc<Mutex<Shown>>);

#[derive(Default)]
pub(crate) struct Shown {
    pub(crate) view: View,
    pub(crate) outcomes: Vec<PersistedOutcome>,
    pub(crate) fails: bool,
}

impl FakeStore {
    pub(crate) fn show(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.0.lock().unwrap());
    }

    fn failure(&self) -> Option<StoreError> {
        let cause = "as the test says".into();
        self.0.lock().unwrap().fails.then(|| StoreError::Unavailable { action: "load", cause })
    }
}

impl Store for FakeStore {
    fn system(&self) -> &'static str {
        "fake"
    }

    async fn load(&self, _: &Wanted) -> Result<View, StoreError> {
        self.failure().map_or_else(|| Ok(self.0.lock().unwrap().view.clone()), Err)
    }

    async fn apply(&self, _: &Plan) -> Result<Applied, StoreError> {
        unreachable!("the intake writes nothing")
    }

    async fn outcomes(
        &self,
        number: &CommunicationNumber,
        limit: usize,
    ) -> Result<Vec<PersistedOutcome>, StoreError> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        let outcomes = self.0.lock().unwrap().outcomes.clone();
        Ok(outcomes
            .into_iter()
            .filter(|known| known.communication.number == *number)
            .take(limit)
            .collect())
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.failure().map_or(Ok(()), Err)
    }
}

/// Waits until `condition` holds; fails the test when it takes too long.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
