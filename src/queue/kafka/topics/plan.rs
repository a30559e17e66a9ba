//! From the topics there are to the topics there should be: pure.
//!
//! A plan never takes away: no topic or partition is deleted, no retention or limit lowered. What only an
//! operator can change is told as a concern.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::super::options::KafkaQueueOptions;
use super::super::start::REPLIES;
use crate::queue::Topic;

/// How large a closed segment of replies is, and how long it is at least written to.
const REPLIES_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
const MIN_SEGMENT_MS: u64 = 60_000;

/// What may be chosen of the topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicLayout {
    /// Brokers that hold each record.
    pub replication_factor: u32,
    /// Brokers that must have a record before it is acknowledged.
    pub min_insync_replicas: u32,
    /// How long submissions are kept.
    pub submitted_retention: Duration,
    /// How long result events are kept.
    pub results_retention: Duration,
    /// How long dead letters are kept.
    pub dead_letter_retention: Duration,
    /// How long replies are kept.
    pub replies_retention: Duration,
}

/// What a setting of a topic must be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Is(&'static str),
    /// At least this number; below zero means without end.
    AtLeast(u64),
    /// At most this number; below zero means without end.
    AtMost(u64),
}

impl Rule {
    fn value(&self) -> String {
        match self {
            Self::Is(value) => (*value).to_owned(),
            Self::AtLeast(bound) | Self::AtMost(bound) => bound.to_string(),
        }
    }

    fn is_met_by(&self, found: &str) -> bool {
        match self {
            Self::Is(value) => found == *value,
            Self::AtLeast(least) => found
                .parse::<i64>()
                .is_ok_and(|found| u64::try_from(found).map_or(true, |found| found >= *least)),
            Self::AtMost(most) => found.parse::<u64>().is_ok_and(|found| found <= *most),
        }
    }
}

/// A topic as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WantedTopic {
    pub(super) name: String,
    partitions: u32,
    /// Whether another partition count would put records out of order.
    is_pinned: bool,
    replication_factor: u32,
    rules: Vec<(&'static str, Rule)>,
}

/// A topic as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FoundTopic {
    pub(super) partitions: usize,
    pub(super) replicas: usize,
    /// Every setting in force.
    pub(super) settings: BTreeMap<String, String>,
}

/// A setting that is to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange {
    /// The setting.
    pub name: &'static str,
    /// Its value now.
    pub from: String,
    /// Its value then.
    pub to: String,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicStep {
    /// The topic is not there.
    Create {
        /// The topic.
        topic: String,
        /// Its partitions.
        partitions: u32,
        /// Its replicas.
        replication_factor: u32,
        /// Its settings.
        settings: Vec<(&'static str, String)>,
    },
    /// The topic is there with settings that lose or delay records.
    Configure {
        /// The topic.
        topic: String,
        /// What changes.
        changes: Vec<SettingChange>,
    },
}

impl fmt::Display for TopicStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { topic, partitions, replication_factor, settings } => {
                write!(f, "create {topic}: {partitions} partitions, {replication_factor} replicas")?;
                settings.iter().try_for_each(|(name, value)| write!(f, ", {name}={value}"))
            }
            Self::Configure { topic, changes } => {
                write!(f, "configure {topic}:")?;
                changes.iter().enumerate().try_for_each(|(place, SettingChange { name, from, to })| {
                    let comma = if place == 0 { "" } else { "," };
                    write!(f, "{comma} {name} {from} -> {to}")
                })
            }
        }
    }
}

/// What a plan does, and what it cannot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a plan does nothing until it is applied"]
pub struct TopicPlan {
    /// What is to be done, in this order.
    pub steps: Vec<TopicStep>,
    /// What only an operator can change, in words.
    pub concerns: Vec<String>,
}

/// Every topic as it should be.
pub(super) fn wanted(options: &KafkaQueueOptions, layout: &TopicLayout) -> Vec<WantedTopic> {
    let millis = |span: Duration| {
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        ("retention.ms", Rule::AtLeast(millis))
    };
    let delete = ("cleanup.policy", Rule::Is("delete"));
    let broker_time = ("message.timestamp.type", Rule::Is("LogAppendTime"));
    let in_sync = ("min.insync.replicas", Rule::AtLeast(layout.min_insync_replicas.into()));
    let size = |bytes: usize| ("max.message.bytes", Rule::AtLeast(bytes as u64));
    let durable = |topic: Topic, rules: Vec<(&'static str, Rule)>| WantedTopic {
        name: options.topic(topic.name()),
        partitions: options.partitions,
        is_pinned: topic.is_ordered(),
        replication_factor: layout.replication_factor,
        rules: [vec![delete.clone(), in_sync.clone()], rules].concat(),
    };
    let segment_ms = u64::try_from(layout.replies_retention.as_millis()).unwrap_or(u64::MAX);
    let submitted = vec![
        millis(layout.submitted_retention),
        size(options.max_message_bytes(Topic::Submitted)),
        broker_time.clone(),
    ];
    let dead_letter =
        vec![millis(layout.dead_letter_retention), size(options.max_message_bytes(Topic::DeadLetter))];
    vec![
        durable(Topic::Submitted, submitted),
        durable(Topic::Results, vec![millis(layout.results_retention)]),
        durable(Topic::DeadLetter, dead_letter),
        WantedTopic {
            name: options.topic(REPLIES),
            partitions: options.partitions,
            is_pinned: false,
            replication_factor: layout.replication_factor,
            rules: vec![
                delete,
                millis(layout.replies_retention),
                broker_time,
                // Only segments that are closed are deleted.
                ("segment.bytes", Rule::AtMost(REPLIES_SEGMENT_BYTES)),
                ("segment.ms", Rule::AtMost(segment_ms.max(MIN_SEGMENT_MS))),
            ],
        },
    ]
}

/// The way from what is found of each topic to what is wanted of it.
pub(super) fn plan(topics: Vec<(WantedTopic, Option<FoundTopic>)>) -> TopicPlan {
    let mut plan = TopicPlan::default();
    for (wanted, found) in topics {
        match found {
            None => plan.steps.push(create(wanted)),
            Some(found) => {
                plan.concerns.extend(concerns(&wanted, &found));
                plan.steps.extend(configure(wanted, &found));
            }
        }
    }
    plan
}

fn create(wanted: WantedTopic) -> TopicStep {
    TopicStep::Create {
        topic: wanted.name,
        partitions: wanted.partitions,
        replication_factor: wanted.replication_factor,
        settings: wanted.rules.iter().map(|(name, rule)| (*name, rule.value())).collect(),
    }
}

fn configure(wanted: WantedTopic, found: &FoundTopic) -> Option<TopicStep> {
    let change = |(name, rule): &(&'static str, Rule)| {
        let from = found.settings.get(*name)?;
        (!rule.is_met_by(from)).then(|| SettingChange { name, from: from.clone(), to: rule.value() })
    };
    let changes: Vec<_> = wanted.rules.iter().filter_map(change).collect();
    (!changes.is_empty()).then_some(TopicStep::Configure { topic: wanted.name, changes })
}

fn concerns(wanted: &WantedTopic, found: &FoundTopic) -> Vec<String> {
    let WantedTopic { name, partitions, is_pinned, replication_factor, .. } = wanted;
    let mut concerns = Vec::new();
    if *is_pinned && found.partitions != *partitions as usize {
        concerns.push(format!(
            "{name} has {} partitions, queue.kafka.partitions says {partitions}: set that to {} if the \
             topic is in use, or begin a new log with another queue.kafka.topic_prefix and a higher \
             queue.generation",
            found.partitions, found.partitions
        ));
    }
    if found.replicas < *replication_factor as usize {
        concerns.push(format!(
            "{name} has {} replicas instead of {replication_factor}: add some with \
             kafka-reassign-partitions, or lower queue.kafka.topics.replication_factor",
            found.replicas
        ));
    }
    concerns
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn layout() -> TopicLayout {
        TopicLayout {
            replication_factor: 3,
            min_insync_replicas: 2,
            submitted_retention: 14 * DAY,
            results_retention: DAY,
            dead_letter_retention: 30 * DAY,
            replies_retention: Duration::from_mins(10),
        }
    }

    fn submitted() -> WantedTopic {
        wanted(&KafkaQueueOptions::default(), &layout()).swap_remove(0)
    }

    /// The submitted topic as a plan would have made it, but for some settings.
    fn found(changed: &[(&str, &str)]) -> FoundTopic {
        let rules = submitted().rules;
        let made = rules.iter().map(|(name, rule)| ((*name).to_owned(), rule.value()));
        let changed = changed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        FoundTopic { partitions: 12, replicas: 3, settings: made.chain(changed).collect() }
    }

    fn changes(changed: &[(&str, &str)]) -> Vec<(&'static str, String)> {
        match plan(vec![(submitted(), Some(found(changed)))]).steps.pop() {
            None => Vec::new(),
            Some(TopicStep::Configure { changes, .. }) => {
                changes.into_iter().map(|change| (change.name, change.to)).collect()
            }
            Some(step) => panic!("{step}"),
        }
    }

    #[test]
    fn a_missing_topic_is_created_as_it_should_be() {
        let step = plan(vec![(submitted(), None)]).steps.remove(0).to_string();
        for part in [
            "create accounts.submitted: 12 partitions, 3 replicas",
            "cleanup.policy=delete",
            "min.insync.replicas=2",
            "retention.ms=1209600000",
            "message.timestamp.type=LogAppendTime",
        ] {
            assert!(step.contains(part), "no {part} in {step}");
        }
    }

    #[test]
    fn what_was_planned_once_needs_no_second_plan() {
        assert_eq!(plan(vec![(submitted(), Some(found(&[])))]), TopicPlan::default());
    }

    #[test]
    fn what_loses_records_is_changed_and_what_keeps_more_is_left_alone() {
        assert_eq!(changes(&[("cleanup.policy", "compact")]), [("cleanup.policy", "delete".to_owned())]);
        assert_eq!(changes(&[("min.insync.replicas", "1")]), [("min.insync.replicas", "2".to_owned())]);
        assert_eq!(changes(&[("retention.ms", "3600000")]), [("retention.ms", "1209600000".to_owned())]);
        assert_eq!(changes(&[("retention.ms", "-1")]), []);
        assert_eq!(changes(&[("retention.ms", "99999999999")]), []);
    }

    #[test]
    fn replies_are_kept_in_segments_that_go_with_their_retention() {
        let replies = || wanted(&KafkaQueueOptions::default(), &layout()).swap_remove(3);
        let step = plan(vec![(replies(), None)]).steps.remove(0).to_string();
        for part in ["segment.bytes=67108864", "segment.ms=600000"] {
            assert!(step.contains(part), "no {part} in {step}");
        }
        let made =
            replies().rules.iter().map(|(name, rule)| ((*name).to_owned(), rule.value())).collect();
        let mut found = FoundTopic { partitions: 12, replicas: 3, settings: made };
        found.settings.insert("segment.bytes".to_owned(), "1073741824".to_owned());
        found.settings.insert("segment.ms".to_owned(), "60000".to_owned());
        let plan = plan(vec![(replies(), Some(found))]);
        assert_eq!(plan.steps.len(), 1);
        let step = plan.steps[0].to_string();
        assert!(step.contains("segment.bytes") && !step.contains("segment.ms"), "{step}");
    }

    #[test]
    fn what_cannot_be_changed_in_place_is_told() {
        let other = FoundTopic { partitions: 6, replicas: 1, ..found(&[]) };
        let plan = plan(vec![(submitted(), Some(other))]);
        assert!(plan.steps.is_empty());
        assert_eq!(plan.concerns.len(), 2, "{:?}", plan.concerns);
        assert!(plan.concerns[0].contains("has 6 partitions"), "{:?}", plan.concerns);
        assert!(plan.concerns[1].contains("1 replicas instead of 3"), "{:?}", plan.concerns);
    }
}
