//! A client that can no longer do its work is replaced: the owner loses its partitions and gets new
//! ones, as in any rebalance.

use std::sync::Arc;
use std::time::Instant;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::super::lookup;
use super::liveness::End;
use super::{Change, Command, Poller, Progress};
use crate::queue::QueueError;
use crate::queue::kafka::client::serve;
use crate::queue::kafka::error::{broken, topic_error};

/// What reading is called in errors.
pub(super) const ACTION: &str = "reading records";

/// Why a client is replaced, as metrics tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Fatal,
    Stalled,
}

/// What an error of the client asks for.
#[derive(Debug, PartialEq, Eq)]
enum Remedy {
    /// A new client.
    Replace,
    /// An operator: another member has this one's name.
    Fenced,
}

impl Poller {
    /// Takes an error out of a poll.
    pub(super) fn failed(&mut self, error: KafkaError) {
        if let Some((code, reason)) = self.consumer.client().fatal_error() {
            match remedy(code) {
                Remedy::Replace => self.replace(Reason::Fatal, &reason),
                Remedy::Fenced => self.fail(fenced(&reason)),
            }
            return;
        }
        let code = error.rdkafka_error_code();
        match topic_error(ACTION, &self.topic, error.clone()) {
            broken @ QueueError::Broken { .. } => self.tell(Change::Failed(broken)),
            _ if code == Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                self.tell(Change::Failed(topic_error(ACTION, &self.topic, error)));
            }
            _ => self.consumer.context().log_error(&error, ACTION),
        }
    }

    /// Has the brokers asked about partitions that bring nothing.
    pub(super) fn watch(&mut self) {
        let partitions = &self.progress.partitions;
        self.progress.liveness.keep(|partition| partitions.epoch_of(partition).is_some());
        if partitions.is_paused() || self.flow.is_full() {
            self.progress.liveness.blocked();
            return;
        }
        self.look_past();
        let due = self.progress.liveness.due(Instant::now());
        if !due.is_empty() {
            self.ask_for_ends(due);
        }
    }

    /// On a thread of its own: the brokers may not answer for a while. The member's own client is not
    /// asked, it is the one in doubt.
    fn ask_for_ends(&self, partitions: Vec<i32>) {
        let (witness, topic) = (Arc::clone(&self.witness), self.topic.clone());
        let (commands, signal) = (self.own_commands.clone(), Arc::clone(&self.signal));
        std::thread::spawn(move || {
            serve(&witness);
            let mut are_away = false;
            let mut ends: Vec<End> = Vec::new();
            for partition in partitions {
                let end = if are_away { None } else { lookup::end(&witness, &topic, partition).ok() };
                are_away = end.is_none();
                ends.push((partition, end));
            }
            drop(witness);
            // The member may have left meanwhile.
            let _ = commands.send(Command::Ends(ends));
            signal.raise();
        });
    }

    pub(super) fn compare(&mut self, ends: &[End]) {
        let client = Arc::clone(&self.consumer);
        let fetched = |partition| client.context().role.fetched(partition);
        let stalled = self.progress.liveness.compare(ends, fetched, Instant::now());
        if let Some(partition) = stalled {
            let reason = format!("partition {partition} has records and brings none{}", self.standing());
            self.replace(Reason::Stalled, &reason);
        }
    }

    /// Where the thread stands, for whoever wants to know why nothing comes.
    fn standing(&self) -> String {
        let Progress { partitions, .. } = &self.progress;
        format!(
            " (paused: {}, waiting for the owner: {:?}, {partitions:?})",
            partitions.is_paused(),
            self.flow.fill()
        )
    }

    fn replace(&mut self, reason: Reason, told: &str) {
        if self.progress.has_failed {
            return;
        }
        if !self.progress.liveness.may_replace(Instant::now()) {
            return self.fail(broken(
                ACTION,
                "the Kafka client was replaced and the new one brings no records either, although the \
                 brokers have some and can be reached. Start the process again; if that does not help, \
                 look at the log for what the client says of the brokers",
            ));
        }
        tracing::warn!(reason = told, member = self.blueprint.name, "the Kafka consumer is replaced");
        self.consumer.context().metrics.rebuilt(reason.name());
        self.joined.set(false);
        let effects = self.progress.partitions.lost_all();
        self.progress.arrival.keep(|_| false);
        self.act(effects);
        match self.blueprint.build() {
            Ok(fresh) => {
                self.consumer.context().role.leave();
                self.current.set(Arc::clone(&fresh));
                let spent = std::mem::replace(&mut self.consumer, fresh);
                // Closing it takes as long as the brokers take.
                std::thread::spawn(move || drop(spent));
            }
            Err(error) => self.fail(QueueError::Broken { action: ACTION, cause: Box::new(error) }),
        }
    }

    /// The owner is told once; it cannot go on with this member.
    pub(super) fn fail(&mut self, error: QueueError) {
        if !std::mem::replace(&mut self.progress.has_failed, true) {
            self.tell(Change::Failed(error));
        }
    }
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Fatal => "fatal",
            Self::Stalled => "stalled",
        }
    }
}

/// What a fatal error asks for.
fn remedy(code: RDKafkaErrorCode) -> Remedy {
    match code {
        RDKafkaErrorCode::FencedInstanceId | RDKafkaErrorCode::UnreleasedInstanceId => Remedy::Fenced,
        _ => Remedy::Replace,
    }
}

fn fenced(reason: &str) -> QueueError {
    let cause = format!(
        "another member of the group has the same name (group.instance.id), and this one ends: {reason}. \
         Give every process an instance id of its own"
    );
    QueueError::Broken { action: ACTION, cause: cause.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_member_whose_name_is_taken_is_at_its_end() {
        assert_eq!(remedy(RDKafkaErrorCode::FencedInstanceId), Remedy::Fenced);
        assert_eq!(remedy(RDKafkaErrorCode::UnreleasedInstanceId), Remedy::Fenced);
        assert_eq!(remedy(RDKafkaErrorCode::InvalidRequest), Remedy::Replace);
    }
}
