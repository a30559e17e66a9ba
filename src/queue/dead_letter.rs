//! Records for the dead-letter topic, and the way back: what a letter tells of itself, and the record that it was.

use crate::account::{Coordinates, LogPartition, Offset, Partition, Timestamp};

use super::envelope::APPENDED_AT;
use super::{Headers, Received, Record, Topic};

const CLASS: &str = "penstock-dead-letter-class";
const REASON: &str = "penstock-dead-letter-reason";
pub(super) const TOPIC: &str = "penstock-origin-topic";
const PARTITION: &str = "penstock-origin-partition";
const OFFSET: &str = "penstock-origin-offset";
const TIMESTAMP: &str = "penstock-origin-timestamp";
/// The headers above, which come after all those of the origin.
#[cfg(feature = "kafka")]
pub(super) const OWN_HEADERS: [&str; 6] = [CLASS, REASON, TOPIC, PARTITION, OFFSET, TIMESTAMP];

/// What the origin had none of, which is another thing than an empty one.
pub(super) const NULL: &str = "penstock-origin-null";
/// How large the key and the value of the origin were, and what the value was, where they are cut.
pub(super) const KEY_BYTES: &str = "penstock-origin-key-bytes";
pub(super) const VALUE_BYTES: &str = "penstock-origin-value-bytes";
#[cfg(feature = "kafka")]
pub(super) const VALUE_SHA256: &str = "penstock-origin-value-sha256";
/// How many headers of the origin are left out.
pub(super) const HEADERS_LEFT_OUT: &str = "penstock-origin-headers-left-out";

/// How often a record was put back, from which letter the last time, as `partition/offset`, and where it stood first,
/// as `generation/partition/offset`.
const REDRIVES: &str = "penstock-redrives";
const REDRIVEN_FROM: &str = "penstock-redriven-from";
const REDRIVEN_ORIGIN: &str = "penstock-redriven-origin";
/// Where letters come from.
const ORIGINS: [Topic; 2] = [Topic::Submitted, Topic::Results];

/// Most of a reason that is told.
const MAX_REASON_BYTES: usize = 1_024;

/// The record for the dead-letter topic: the original bytes, key and headers, where they stood, and why
/// they are put aside. `class` is one of a few words; `reason` has no personal data in it, and only its
/// beginning is told when it is long.
pub fn dead_letter(received: &Received, origin: Topic, class: &'static str, reason: &str) -> Record {
    let mut headers = received.record.headers.clone();
    let Received { partition, offset, appended_at, record } = received;
    headers.push(CLASS, class);
    headers.push(REASON, &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)]);
    headers.push(TOPIC, origin.name());
    headers.push_text(PARTITION, partition.0);
    headers.push_text(OFFSET, offset.0);
    headers.push_text(TIMESTAMP, appended_at);
    Record { key: record.key.clone(), value: record.value.clone(), headers }
}

/// A dead letter, with what it tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Why it was put aside, in a word.
    pub class: String,
    /// Why, without personal data.
    pub reason: String,
    /// The topic that it came from; none when letters come from no such topic.
    pub topic: Option<Topic>,
    /// Where it stood there.
    pub partition: Partition,
    /// Where it stood there.
    pub offset: Offset,
    /// When it was appended there, if that is told.
    pub appended_at: Option<Timestamp>,
    /// How often it had been put back before.
    pub redrives: u32,
    /// The letter from which it was put back the last time.
    pub redriven_from: Option<(Partition, Offset)>,
    /// Where it stood first, if it had been put back before.
    pub first: Option<Coordinates>,
    /// Whether all of it is there: what is too large for the dead-letter topic is cut.
    pub is_whole: bool,
    /// The record that it was, or as much of it as there is.
    pub record: Record,
}

impl DeadLetter {
    /// Reads a record of the dead-letter topic; none when it does not tell what a letter does.
    pub fn parse(letter: &Record) -> Option<Self> {
        let headers: Vec<(&str, &[u8])> = letter.headers.iter().collect();
        // The last ones: its origin may have some of the same names.
        let begin = headers.iter().rposition(|(name, _)| *name == CLASS)?;
        let (of_origin, own) = headers.split_at(begin);
        let is_cut =
            |(name, _): &(&str, &[u8])| [KEY_BYTES, VALUE_BYTES, HEADERS_LEFT_OUT].contains(name);
        let topic = text(own, TOPIC)?;
        let is_own =
            |name: &str| [NULL, REDRIVES, REDRIVEN_FROM, REDRIVEN_ORIGIN, APPENDED_AT].contains(&name);
        let mut kept = Headers::default();
        for (name, value) in of_origin.iter().filter(|(name, _)| !is_own(name)) {
            kept.push_read(name, value);
        }
        Some(Self {
            class: text(own, CLASS)?.to_owned(),
            reason: text(own, REASON)?.to_owned(),
            topic: ORIGINS.into_iter().find(|known| topic.ends_with(known.name())),
            partition: Partition(text(own, PARTITION)?.parse().ok()?),
            offset: Offset(text(own, OFFSET)?.parse().ok()?),
            appended_at: text(own, TIMESTAMP).and_then(|time| Timestamp::parse(time).ok()),
            redrives: text(of_origin, REDRIVES).and_then(|count| count.parse().ok()).unwrap_or(0),
            redriven_from: text(of_origin, REDRIVEN_FROM).and_then(place),
            first: text(of_origin, REDRIVEN_ORIGIN).and_then(Coordinates::parse),
            is_whole: !own.iter().any(is_cut),
            record: Record { key: letter.key.clone(), value: letter.value.clone(), headers: kept },
        })
    }

    /// The record that puts the letter `at` that place back. It tells how often that was done, from which letter,
    /// and where it stood first.
    pub fn redriven(&self, at: Coordinates) -> Record {
        let log = LogPartition { generation: at.log.generation, partition: self.partition };
        let first = self.first.unwrap_or(log.at(self.offset));
        let mut record = self.record.clone();
        record.headers.push_text(REDRIVES, self.redrives.saturating_add(1));
        let from = format_args!("{}/{}", at.log.partition.0, at.offset.0);
        record.headers.push_text(REDRIVEN_FROM, from);
        record.headers.push_text(REDRIVEN_ORIGIN, first);
        record
    }
}

/// Where a record stood first that was put back from the dead letters.
pub fn redriven_origin(headers: &Headers) -> Option<Coordinates> {
    headers.text(REDRIVEN_ORIGIN).and_then(Coordinates::parse)
}

/// A record whose first place is another by now; one that nobody knows is left out.
pub fn with_redriven_origin(
    mut record: Record,
    moved: impl FnOnce(Coordinates) -> Option<Coordinates>,
) -> Record {
    let Some(origin) = redriven_origin(&record.headers) else { return record };
    let moved = moved(origin);
    let mut headers = Headers::default();
    for (name, value) in record.headers.iter() {
        match (name == REDRIVEN_ORIGIN, moved) {
            (false, _) => headers.push_read(name, value),
            (true, Some(moved)) => headers.push_text(REDRIVEN_ORIGIN, moved),
            (true, None) => {}
        }
    }
    record.headers = headers;
    record
}

/// A letter whose origin stands elsewhere by now.
pub fn moved_letter(mut letter: Record, partition: Partition, offset: Offset) -> Record {
    letter.headers.replace_last(PARTITION, partition.0.to_string().as_bytes());
    letter.headers.replace_last(OFFSET, offset.0.to_string().as_bytes());
    letter
}

/// The dead letter from which a record was put back, if it was: where that stands on its topic.
pub fn redriven_from(headers: &Headers) -> Option<(Partition, Offset)> {
    headers.text(REDRIVEN_FROM).and_then(place)
}

/// The last value of a name, if it is UTF-8.
fn text<'h>(headers: &[(&str, &'h [u8])], name: &str) -> Option<&'h str> {
    let (_, value) = headers.iter().rfind(|(known, _)| *known == name)?;
    std::str::from_utf8(value).ok()
}

fn place(text: &str) -> Option<(Partition, Offset)> {
    let (partition, offset) = text.split_once('/')?;
    Some((Partition(partition.parse().ok()?), Offset(offset.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::account::Generation;

    fn received(headers: Headers) -> Received {
        Received {
            partition: Partition(7),
            offset: Offset(9),
            appended_at: Timestamp::from_unix_millis(1_700_000_000_000),
            record: Record { key: Bytes::from_static(b"k"), value: Bytes::from_static(b"v"), headers },
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_two_characters() {
        let received = received(Headers::default());
        let letter = dead_letter(&received, Topic::Submitted, "not_an_account", &"ą".repeat(2_000));
        assert_eq!(letter.headers.text(REASON).unwrap().len(), MAX_REASON_BYTES);
    }

    #[test]
    fn a_letter_tells_where_it_came_from_and_what_it_was() {
        let mut headers = Headers::default();
        headers.push("traceparent", "00-1");
        headers.push("bytes", [0, 0xff]);
        let origin = received(headers);
        let letter = dead_letter(&origin, Topic::Results, "not_an_event", "no id");
        let read = DeadLetter::parse(&letter).unwrap();
        assert_eq!((&*read.class, &*read.reason), ("not_an_event", "no id"));
        assert_eq!(
            (read.topic, read.partition, read.offset),
            (Some(Topic::Results), Partition(7), Offset(9))
        );
        assert_eq!(read.appended_at, Some(origin.appended_at));
        assert_eq!((read.redrives, read.redriven_from, read.is_whole), (0, None, true));
        assert_eq!(read.record, origin.record);
    }

    #[test]
    fn what_is_put_back_is_the_same_record_and_counts() {
        let mut headers = Headers::default();
        headers.push("own", "kept");
        let first = received(headers);
        let mut again = first.clone();
        let letters = [(2, 40), (3, 50)].map(|(partition, offset)| {
            let log = LogPartition { generation: Generation(1), partition: Partition(partition) };
            log.at(Offset(offset))
        });
        for (round, at) in (1..).zip(letters) {
            let letter = dead_letter(&again, Topic::Submitted, "not_storable", "no room");
            let read = DeadLetter::parse(&letter).unwrap();
            assert_eq!(read.record, first.record, "nothing but what it was");
            assert_eq!(read.redrives, round - 1);
            again.record = read.redriven(at);
            let headers = &again.record.headers;
            assert_eq!(headers.text(REDRIVES), Some(&*round.to_string()));
            assert_eq!(headers.text("own"), Some("kept"));
            assert_eq!(headers.text(CLASS), None);
            assert_eq!(headers.text(REDRIVEN_ORIGIN), Some("1/7/9"), "where it stood first");
            let letter = dead_letter(&again, Topic::Submitted, "not_storable", "no room");
            let from = Some((at.log.partition, at.offset));
            assert_eq!(DeadLetter::parse(&letter).unwrap().redriven_from, from);
        }
    }

    #[test]
    fn headers_of_the_same_names_are_no_letters_own() {
        let mut headers = Headers::default();
        headers.push(CLASS, "forged");
        headers.push(TOPIC, "elsewhere");
        headers.push(VALUE_BYTES, "7");
        let letter = dead_letter(&received(headers), Topic::Submitted, "not_an_account", "no");
        let read = DeadLetter::parse(&letter).unwrap();
        assert_eq!((&*read.class, read.topic), ("not_an_account", Some(Topic::Submitted)));
        assert!(read.is_whole);
        assert_eq!(read.record.headers.text(TOPIC), Some("elsewhere"));
    }

    #[test]
    fn what_is_cut_is_not_whole() {
        let mut letter =
            dead_letter(&received(Headers::default()), Topic::Submitted, "not_an_account", "no");
        letter.headers.push(VALUE_BYTES, "70000");
        assert!(!DeadLetter::parse(&letter).unwrap().is_whole);
    }

    #[test]
    fn what_tells_nothing_of_itself_is_no_letter() {
        assert_eq!(DeadLetter::parse(&received(Headers::default()).record), None);
    }

    #[test]
    fn what_names_another_place_names_its_new_one() {
        let log = LogPartition { generation: Generation(1), partition: Partition(3) };
        let mut headers = Headers::default();
        headers.push("other", "kept");
        headers.push_text(REDRIVEN_ORIGIN, log.at(Offset(7)));
        let record = Record { key: Bytes::new(), value: Bytes::new(), headers };
        let received = Received {
            partition: Partition(3),
            offset: Offset(9),
            appended_at: Timestamp::from_unix_millis(0),
            record: record.clone(),
        };
        let letter = dead_letter(&received, Topic::Submitted, "class", "reason");
        let elsewhere =
            LogPartition { generation: Generation(2), partition: Partition(0) }.at(Offset(1));
        let moved =
            with_redriven_origin(letter.clone(), |at| (at == log.at(Offset(7))).then_some(elsewhere));
        let moved = DeadLetter::parse(&moved_letter(moved, Partition(5), Offset(6))).unwrap();
        assert_eq!(
            (moved.partition, moved.offset, moved.first),
            (Partition(5), Offset(6), Some(elsewhere))
        );
        assert_eq!(moved.record.headers.text("other"), Some("kept"));
        let record = with_redriven_origin(record, |_| Some(elsewhere));
        assert_eq!(redriven_origin(&record.headers), Some(elsewhere));
        let unknown = with_redriven_origin(record, |_| None);
        assert_eq!(
            (redriven_origin(&unknown.headers), unknown.headers.text("other")),
            (None, Some("kept"))
        );
    }
}
