//! What lies behind the last record of a partition and is none: marks of transactions, and records of those
//! that were aborted. The client goes past them without a word.
//!
//! Whether there is a record is not guessed from what the client tells of itself, which may be of before a
//! seek: a reader of its own reads on from there, and meets the end or a record.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{ClientConfig, TopicPartitionList};

use super::super::lookup;
use super::{Command, Poller, Told};
use crate::account::Offset;
use crate::queue::kafka::client::{Asking, Observing, serve};
use crate::queue::kafka::record::raw_offset;

/// How long a partition brings nothing, although its log is longer, before that is looked into; and before
/// it is again.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the reader may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Partitions that bring nothing although their logs are longer.
#[derive(Debug, Default)]
pub(super) struct Passing {
    standing: BTreeMap<i32, Standing>,
    /// A reader is at work.
    is_looking: bool,
}

#[derive(Clone, Copy, Debug)]
struct Standing {
    at: Offset,
    since: Instant,
}

impl Passing {
    /// Notes where the partitions that are read stand, each with the end of its log. Returns the one that is
    /// to be looked into, if one is.
    fn due(&mut self, read: &[(i32, Offset, Offset)], now: Instant) -> Option<(i32, Offset)> {
        let behind = |partition: i32| read.iter().any(|(p, next, end)| *p == partition && next < end);
        self.standing.retain(|partition, _| behind(*partition));
        for (partition, next, end) in read {
            if next < end {
                let standing = self.standing.entry(*partition);
                let standing = standing.or_insert(Standing { at: *next, since: now });
                if standing.at != *next {
                    *standing = Standing { at: *next, since: now };
                }
            }
        }
        let is_due = |it: &Standing| now.saturating_duration_since(it.since) >= PATIENCE;
        let due = self.standing.iter_mut().find(|(_, it)| is_due(it)).filter(|_| !self.is_looking);
        let (partition, standing) = due?;
        // The next look at it has to wait as long again.
        standing.since = now;
        self.is_looking = true;
        Some((*partition, standing.at))
    }

    fn ended(&mut self) {
        self.is_looking = false;
    }
}

impl Poller {
    /// Has a partition looked into that brings nothing although its log is longer.
    pub(super) fn look_past(&mut self) {
        let (partitions, role) = (&self.progress.partitions, &self.consumer.context().role);
        let read = self.progress.liveness.places().filter_map(|(partition, next)| {
            partitions.epoch_of(partition)?;
            let end = role.known_end(partition);
            Some((partition, next, Offset(end)))
        });
        let read: Vec<_> = read.collect();
        let Some((partition, from)) = self.progress.passing.due(&read, Instant::now()) else { return };
        let Some(epoch) = self.progress.partitions.epoch_of(partition) else { return };
        let (observing, topic) = (self.blueprint.observing.clone(), self.topic.clone());
        let mut config = self.blueprint.config.clone();
        config.remove("group.instance.id").set("enable.partition.eof", "true");
        let (commands, signal) = (self.own_commands.clone(), std::sync::Arc::clone(&self.signal));
        std::thread::spawn(move || {
            let passed = passed(&config, &observing, &topic, partition, from);
            // An error tells nothing, and the member may have left meanwhile.
            let until = passed.ok().flatten();
            let _ = commands.send(Command::Passed { partition, epoch, from, until });
            signal.raise();
        });
    }

    /// Nothing lies between the two.
    pub(super) fn passed(&mut self, partition: i32, epoch: u64, from: Offset, until: Option<Offset>) {
        self.progress.passing.ended();
        let Some(next) = until else { return };
        if self.progress.partitions.epoch_of(partition) == Some(epoch)
            && self.progress.liveness.pass(partition, from, next)
        {
            // An error means that the owner is gone, which ends this thread.
            let _ =
                self.records.send(Told::Passed { partition: lookup::number(partition), epoch, next });
        }
    }
}

/// The end of a partition, if there is no record from `from` on; none if there is one, or `from` is the end.
/// Blocks.
fn passed(
    config: &ClientConfig,
    observing: &Observing,
    topic: &str,
    partition: i32,
    from: Offset,
) -> KafkaResult<Option<Offset>> {
    let reader: BaseConsumer<Asking> = config.create_with_context(observing.context("passing", ()))?;
    // Brings a token, where one is needed, before anything is asked.
    serve(&reader);
    // Before it is read: what is appended afterwards does not count.
    let end = lookup::end(&reader, topic, partition)?;
    if end <= from {
        return Ok(None);
    }
    let mut at = TopicPartitionList::new();
    at.add_partition_offset(topic, partition, raw_offset(from))?;
    reader.assign(&at)?;
    let until = Instant::now() + TIMEOUT;
    while Instant::now() < until {
        match reader.poll(TIMEOUT / 10) {
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(Some(end)),
            Some(Ok(_)) => return Ok(None),
            Some(Err(_)) | None => {}
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_looked_into_once_it_stood_for_a_while_and_one_at_a_time() {
        let (mut passing, start) = (Passing::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let stands = [(0, Offset(5), Offset(6)), (1, Offset(9), Offset(9)), (2, Offset(1), Offset(3))];
        assert_eq!(passing.due(&stands, at(0)), None);
        assert_eq!(passing.due(&stands, at(3)), Some((0, Offset(5))));
        assert_eq!(passing.due(&stands, at(9)), None, "one is at work");
        passing.ended();
        assert_eq!(passing.due(&stands[1..], at(10)), Some((2, Offset(1))));
    }

    #[test]
    fn one_that_moves_is_left_alone() {
        let (mut passing, start) = (Passing::default(), Instant::now());
        for second in 0..20 {
            let moves = [(0, Offset(second), Offset(99))];
            assert_eq!(passing.due(&moves, start + Duration::from_secs(second)), None);
        }
    }
}
