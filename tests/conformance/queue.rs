//! The log: what was acknowledged survives the process, records of one key stay in order, and every
//! record can be found again by offset and by time.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use penstock::account::{EventId, Offset, Outcome, Timestamp, Verdict};
use penstock::queue::{
    Answer, Assignment, BatchId, Consumer, Headers, PollLimits, Polled, Queue, Received, Record, Reply,
    ReplyAddress, ReplyInbox, Start, Topic,
};

use super::consuming::{
    DEADLINE, done, join, limits, next_assigned, next_event, record, records, resume, seek_to_committed,
    take, values, values_of,
};
use super::rig::{PARTITIONS, QueueRig};

/// Names every test of the suite for one rig.
#[macro_export]
macro_rules! queue_conformance {
    ($rig:ty) => {
        $crate::queue_conformance!(@each queue $rig:
            records_of_one_key_stay_in_order
            what_is_acknowledged_survives_the_process
            a_group_resumes_where_it_committed
            what_is_not_committed_comes_again
            topics_and_groups_are_apart
            any_bytes_come_back
            thousands_of_records_are_one_publish
            publishers_do_not_disturb_each_other
            offsets_go_on_after_a_restart
            the_end_is_told_as_of_now
            a_record_is_found_by_its_offset
            a_record_is_found_by_its_time
            a_poll_keeps_its_limits
            a_large_record_passes_alone
            every_partition_has_its_turn
            a_poll_waits_for_a_record
            a_poll_without_records_is_idle
            a_dropped_poll_loses_nothing
            the_backlog_is_what_was_not_polled
            a_partition_is_read_up_to_its_position
            replies_reach_their_inbox_only
            replies_to_nobody_are_lost
            publishing_nothing_is_done
            the_queue_answers
        );
        $crate::queue_conformance!(@each ranges $rig:
            ranges_are_read_whole_and_nothing_else_is
            a_reader_keeps_its_limits
            reading_disturbs_no_group
            an_end_is_no_wait
            a_window_begins_where_its_time_is
        );
        $crate::queue_conformance!(@each groups $rig:
            nothing_is_read_before_seek
            a_second_member_gets_its_share_after_the_first_released_it
            the_next_owner_goes_on_where_the_last_one_committed
            what_a_member_had_is_the_others_once_it_is_gone
            a_third_member_gets_its_share
            a_commit_for_a_lost_partition_changes_nothing
            what_was_given_back_can_no_longer_be_sought
            a_commit_does_not_hold_its_consumer
            a_group_is_seen_and_set_from_outside
            a_partition_has_one_owner_at_a_time_while_members_come_and_go
            what_is_published_during_an_assignment_is_read
        );
    };
    (@each $suite:ident $rig:ty: $($name:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::$suite::$name::<$rig>().await;
            }
        )+
    };
}

async fn publish(queue: &impl Queue, records: Vec<Record>) {
    queue.publish(Topic::Submitted, records).await.unwrap();
}

pub(crate) async fn records_of_one_key_stay_in_order<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    let mut consumer = resume(&queue).await;
    for round in 0..10 {
        let batch = (0..20).map(|key| record(&format!("key-{key}"), format!("{round:02}"))).collect();
        publish(&queue, batch).await;
    }
    let mut by_key: HashMap<_, Vec<Received>> = HashMap::new();
    for received in take(&mut consumer, 200).await {
        by_key.entry(received.record.key.clone()).or_default().push(received);
    }
    assert_eq!(by_key.len(), 20);
    for received in by_key.values() {
        assert!(received.iter().all(|record| record.partition == received[0].partition));
        assert!(received.is_sorted_by(|a, b| a.offset < b.offset && a.record.value < b.record.value));
        assert!(received.is_sorted_by_key(|record| record.appended_at));
    }
}

pub(crate) async fn what_is_acknowledged_survives_the_process<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    publish(&queue, records(0..100)).await;
    rig.close(queue).await;
    let queue = rig.open().await;
    let received = take(&mut resume(&queue).await, 100).await;
    assert_eq!(values(&received), values_of(0..100));
}

pub(crate) async fn a_group_resumes_where_it_committed<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    publish(&queue, records(0..60)).await;
    let mut consumer = resume(&queue).await;
    let first = take(&mut consumer, 60).await;
    consumer.commit(done(&first)).await.unwrap();
    publish(&queue, records(60..100)).await;
    drop(consumer);
    let (mut consumer, assignments) = join(&queue).await;
    let committed: Vec<_> =
        assignments.iter().filter_map(|a| Some((a.partition, a.committed?))).collect();
    assert_eq!(committed, done(&first));
    seek_to_committed(&mut consumer, &assignments).await;
    assert_eq!(values(&take(&mut consumer, 40).await), values_of(60..100));
    drop(consumer);
    rig.close(queue).await;
    let queue = rig.open().await;
    let rest = take(&mut resume(&queue).await, 40).await;
    assert_eq!(values(&rest), values_of(60..100), "committed offsets survive the process");
}

pub(crate) async fn what_is_not_committed_comes_again<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    publish(&queue, records(0..50)).await;
    for _ in 0..2 {
        let received = take(&mut resume(&queue).await, 50).await;
        assert_eq!(values(&received), values_of(0..50));
    }
}

pub(crate) async fn topics_and_groups_are_apart<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    publish(&queue, records(0..10)).await;
    queue.publish(Topic::Results, records(10..20)).await.unwrap();
    queue.publish(Topic::DeadLetter, records(20..30)).await.unwrap();
    let mut consumer = resume(&queue).await;
    let received = take(&mut consumer, 10).await;
    consumer.commit(done(&received)).await.unwrap();
    for (topic, group, expected) in [
        (Topic::Submitted, "others", 0..10),
        (Topic::Results, "workers", 10..20),
        (Topic::DeadLetter, "workers", 20..30),
    ] {
        let mut other = queue.subscribe(topic, group).await.unwrap();
        let assignments = next_assigned(&mut other).await;
        assert!(assignments.iter().all(|assignment| assignment.committed.is_none()));
        seek_to_committed(&mut other, &assignments).await;
        assert_eq!(values(&take(&mut other, 10).await), values_of(expected));
    }
}

pub(crate) async fn any_bytes_come_back<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    let samples: [&[u8]; 7] = [
        b"",
        b"\0",
        b"\xff\xfe\xc3\x28",
        b"a\0b\r\n",
        "🏦 é'\"\\".as_bytes(),
        b"{\"a\":1}",
        &vec![7; 70_000],
    ];
    let sent: Vec<_> = samples
        .iter()
        .map(|bytes| {
            let bytes = Bytes::copy_from_slice(bytes);
            let mut headers = Headers::default();
            headers.push("bytes", bytes.clone());
            headers.push("again", "first");
            headers.push("again", "second");
            Record { key: bytes.slice(..bytes.len().min(100)), value: bytes, headers }
        })
        .chain([Record { key: Bytes::new(), value: Bytes::new(), headers: Headers::default() }])
        .collect();
    for record in &sent {
        publish(&queue, vec![record.clone()]).await;
    }
    publish(&queue, sent.clone()).await;
    rig.close(queue).await;
    let queue = rig.open().await;
    let received = take(&mut resume(&queue).await, sent.len() * 2).await;
    for record in &sent {
        let same = received.iter().filter(|received| received.record == *record).count();
        assert_eq!(same, 2, "{record:?}");
    }
}

pub(crate) async fn thousands_of_records_are_one_publish<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    let mut consumer = resume(&queue).await;
    publish(&queue, records(0..5_000)).await;
    assert_eq!(values(&take(&mut consumer, 5_000).await), values_of(0..5_000));
}

pub(crate) async fn publishers_do_not_disturb_each_other<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    let publishers = (0..20).map(|publisher| {
        let queue = queue.clone();
        tokio::spawn(async move {
            for round in 0..10 {
                let first = publisher * 100 + round * 10;
                publish(&queue, records(first..first + 10)).await;
            }
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await.unwrap();
    }
    let mut consumer = resume(&queue).await;
    assert_eq!(values(&take(&mut consumer, 2_000).await), values_of(0..2_000));
}

pub(crate) async fn offsets_go_on_after_a_restart<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    publish(&queue, records(0..40)).await;
    let (consumer, before) = join(&queue).await;
    drop(consumer);
    rig.close(queue).await;
    let queue = rig.open().await;
    let (mut consumer, after) = join(&queue).await;
    assert_eq!(before, after);
    assert_eq!(after.iter().map(|a| a.end.0 - a.earliest.0).sum::<u64>(), 40);
    for assignment in &after {
        consumer.seek(assignment.partition, Start::Offset(assignment.end)).await.unwrap();
    }
    publish(&queue, records(40..80)).await;
    let received = take(&mut consumer, 40).await;
    assert_eq!(values(&received), values_of(40..80));
    for assignment in &after {
        let first = received.iter().find(|received| received.partition == assignment.partition);
        assert_eq!(first.unwrap().offset, assignment.end);
    }
}

pub(crate) async fn the_end_is_told_as_of_now<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    let (mut consumer, assignments) = join(&queue).await;
    publish(&queue, records(0..50)).await;
    let mut appended = 0;
    for assignment in assignments {
        appended += consumer.end_offset(assignment.partition).await.unwrap().0 - assignment.end.0;
    }
    assert_eq!(appended, 50);
}

pub(crate) async fn a_record_is_found_by_its_offset<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    publish(&queue, (0..10).map(|n| record("key", format!("{n}"))).collect()).await;
    let (mut consumer, assignments) = join(&queue).await;
    let found = assignments.iter().find(|assignment| assignment.end > assignment.earliest).unwrap();
    for n in 0..10 {
        let offset = Offset(found.earliest.0 + n);
        assert_eq!(consumer.seek(found.partition, Start::Offset(offset)).await.unwrap(), offset);
        let received = take(&mut consumer, 10 - usize::try_from(n).unwrap()).await;
        assert_eq!(
            (received[0].offset, &received[0].record.value[..]),
            (offset, n.to_string().as_bytes())
        );
    }
    let beyond = Start::Offset(Offset(found.end.0 + 5));
    assert_eq!(consumer.seek(found.partition, beyond).await.unwrap(), found.end);
    publish(&queue, vec![record("key", "next")]).await;
    assert_eq!(take(&mut consumer, 1).await[0].offset, found.end);
}

pub(crate) async fn a_record_is_found_by_its_time<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    let mut consumer = resume(&queue).await;
    let mut all: Vec<Received> = Vec::new();
    for n in 0..7 {
        publish(&queue, vec![record("key", format!("{n}a")), record("key", format!("{n}b"))]).await;
        let received = take(&mut consumer, 2).await;
        let appended_at = received[1].appended_at;
        all.extend(received);
        wait_until_later_than(appended_at).await;
    }
    let partition = all[0].partition;
    let millis = |received: &Received| received.appended_at.unix_millis();
    let times = all.iter().flat_map(|received| [-1, 0, 1].map(|shift| millis(received) + shift));
    for time in times.chain([0]).map(Timestamp::from_unix_millis) {
        let expected = all.iter().find(|received| received.appended_at >= time);
        let end = all[all.len() - 1].offset.next();
        let found = consumer.seek(partition, Start::Time(time)).await.unwrap();
        assert_eq!(found, expected.map_or(end, |received| received.offset), "{time}");
    }
    consumer.seek(partition, Start::Time(all[4].appended_at)).await.unwrap();
    assert_eq!(take(&mut consumer, 10).await, all[4..]);
}

async fn wait_until_later_than(time: Timestamp) {
    let start = Instant::now();
    while Timestamp::from(SystemTime::now()).unix_millis() <= time.unix_millis() {
        assert!(start.elapsed() < DEADLINE, "the clock goes on");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) async fn a_poll_keeps_its_limits<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    for restart in [false, true] {
        publish(&queue, (0..200).map(|n| record(&format!("{restart}-{n}"), vec![b'x'; 100])).collect())
            .await;
        let mut consumer = resume(&queue).await;
        let (mut taken, mut polls) = (0, 0);
        let expected = if restart { 400 } else { 200 };
        while taken < expected {
            let limits = match polls % 2 {
                0 => PollLimits { max_records: 7, ..limits() },
                _ => PollLimits { max_bytes: 1_050, ..limits() },
            };
            let Polled::Records(received) = consumer.poll(limits).await.unwrap() else { continue };
            assert!(received.len() <= limits.max_records, "{} records", received.len());
            assert!(received.len() * 100 <= limits.max_bytes, "{} records", received.len());
            (taken, polls) = (taken + received.len(), polls + 1);
        }
        assert_eq!(taken, expected);
    }
}

pub(crate) async fn a_large_record_passes_alone<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    let large = Bytes::from(vec![b'x'; queue.max_record_bytes()]);
    publish(&queue, vec![record("key", large.clone()), record("key", "small")]).await;
    let mut consumer = resume(&queue).await;
    for expected in [large, Bytes::from("small")] {
        let polled = consumer.poll(PollLimits { max_bytes: 10, max_wait: DEADLINE, ..limits() }).await;
        let Polled::Records(received) = polled.unwrap() else { panic!("expected a record") };
        assert_eq!(received.len(), 1);
        assert_eq!(received[0].record.value, expected);
    }
}

pub(crate) async fn every_partition_has_its_turn<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    publish(&queue, (0..1_000).map(|n| record("busy", format!("{n}"))).collect()).await;
    publish(&queue, records(0..40)).await;
    let mut consumer = resume(&queue).await;
    let limits = PollLimits { max_records: 1, max_wait: DEADLINE, ..limits() };
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..PARTITIONS * 2 {
        let Polled::Records(received) = consumer.poll(limits).await.unwrap() else {
            panic!("expected records")
        };
        seen.extend(received.iter().map(|received| received.partition));
    }
    assert_eq!(seen.len(), PARTITIONS as usize);
}

pub(crate) async fn a_poll_waits_for_a_record<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    let mut consumer = resume(&queue).await;
    let waiting =
        tokio::spawn(async move { consumer.poll(PollLimits { max_wait: DEADLINE, ..limits() }).await });
    publish(&queue, vec![record("key", "value")]).await;
    let Polled::Records(received) = waiting.await.unwrap().unwrap() else { panic!("expected a record") };
    assert_eq!(received[0].record.value, "value");
}

pub(crate) async fn a_poll_without_records_is_idle<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    let mut consumer = resume(&queue).await;
    for max_wait in [Duration::ZERO, Duration::from_millis(5)] {
        let polled = consumer.poll(PollLimits { max_wait, ..limits() }).await.unwrap();
        assert!(matches!(polled, Polled::Idle), "{polled:?}");
    }
}

pub(crate) async fn a_dropped_poll_loses_nothing<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    publish(&queue, records(0..500)).await;
    let mut consumer = queue.subscribe(Topic::Submitted, "workers").await.unwrap();
    let (mut received, mut dropped) = (Vec::new(), 0);
    let limits = PollLimits { max_records: 3, ..limits() };
    while received.len() < 500 {
        // Dropped at its first await; then once more, to its end.
        let polled = if let Some(polled) = consumer.poll(limits).now_or_never() {
            polled.unwrap()
        } else {
            dropped += 1;
            next_event(&mut consumer).await
        };
        match polled {
            Polled::Assigned(assignments) => seek_to_committed(&mut consumer, &assignments).await,
            Polled::Records(records) => received.extend(records),
            Polled::Revoked(_) | Polled::Idle => {}
        }
    }
    assert!(dropped > 0, "no poll was dropped");
    assert_eq!(values(&received), values_of(0..500));
}

pub(crate) async fn the_backlog_is_what_was_not_polled<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    publish(&queue, records(0..100)).await;
    let mut consumer = resume(&queue).await;
    assert_eq!(consumer.backlog_records(), 100);
    let polled = consumer.poll(PollLimits { max_records: 30, max_wait: DEADLINE, ..limits() }).await;
    let Polled::Records(received) = polled.unwrap() else { panic!("expected records") };
    assert_eq!(consumer.backlog_records(), 100 - received.len() as u64);
    take(&mut consumer, 100 - received.len()).await;
    assert_eq!(consumer.backlog_records(), 0);
}

pub(crate) async fn a_partition_is_read_up_to_its_position<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    publish(&queue, records(0..100)).await;
    let (mut consumer, assignments) = join(&queue).await;
    for Assignment { partition, .. } in &assignments {
        assert_eq!(consumer.position(*partition), None, "nobody has said from where to read");
    }
    seek_to_committed(&mut consumer, &assignments).await;
    for Assignment { partition, earliest, .. } in &assignments {
        assert_eq!(consumer.position(*partition), Some(*earliest));
    }
    let received = take(&mut consumer, 100).await;
    for (partition, next) in done(&received) {
        assert_eq!(consumer.position(partition), Some(next));
    }
    let Received { partition, offset, .. } = received[50];
    consumer.seek(partition, Start::Offset(offset)).await.unwrap();
    assert_eq!(consumer.position(partition), Some(offset));
}

fn reply(item: u32) -> Reply {
    let event_id = EventId(uuid::Uuid::from_u128(item.into()));
    let outcome = Outcome { verdict: Verdict::Accepted, event_id };
    Reply { batch: BatchId::now(), item, answer: Answer::Decided(outcome) }
}

pub(crate) async fn replies_reach_their_inbox_only<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    let mut first = queue.open_inbox().await.unwrap();
    let mut second = queue.open_inbox().await.unwrap();
    assert_ne!(first.address(), second.address());
    let (to_first, to_second) = (vec![reply(1), reply(2)], vec![reply(3)]);
    queue.reply(second.address(), to_second.clone()).await;
    queue.reply(first.address(), to_first.clone()).await;
    let receive = tokio::time::timeout(DEADLINE, first.receive()).await;
    assert_eq!(receive.unwrap(), to_first);
    assert_eq!(tokio::time::timeout(DEADLINE, second.receive()).await.unwrap(), to_second);
    let silence = tokio::time::timeout(Duration::from_millis(20), second.receive()).await;
    assert!(silence.is_err(), "nothing more was sent to it");
}

pub(crate) async fn replies_to_nobody_are_lost<R: QueueRig>() {
    let rig = R::default();
    let queue = rig.open().await;
    let address = queue.open_inbox().await.unwrap().address();
    for _ in 0..10_000 {
        queue.reply(address, vec![reply(1)]).await;
    }
    queue.reply(ReplyAddress(u32::MAX), vec![reply(1)]).await;
}

pub(crate) async fn publishing_nothing_is_done<R: QueueRig>() {
    let rig = R::default();
    publish(&rig.open().await, Vec::new()).await;
}

pub(crate) async fn the_queue_answers<R: QueueRig>() {
    let rig = R::default();
    rig.open().await.check().await.unwrap();
}
