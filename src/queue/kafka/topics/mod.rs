//! Making the topics, as a step of its own with rights of its own. The queue itself never changes them.

mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::client::{Asking, Observing};
use super::error::KafkaOpenError;
use super::options::KafkaQueueOptions;
use super::start::{ADMIN_TIMEOUT, shape_of};
use super::{create, on_own_thread};
use plan::{FoundTopic, WantedTopic};

pub use plan::{SettingChange, TopicLayout, TopicPlan, TopicStep};

/// How long to wait before a new topic is looked for again.
const NEW_TOPIC_PAUSE: Duration = Duration::from_millis(50);

/// A connection to the brokers that may create and configure topics.
pub struct TopicAdmin {
    options: KafkaQueueOptions,
    layout: TopicLayout,
    asking: Arc<BaseConsumer<Asking>>,
    admin: AdminClient<Asking>,
}

impl TopicAdmin {
    /// Makes the clients; the brokers are asked by what follows.
    pub fn new(options: KafkaQueueOptions, layout: TopicLayout) -> Result<Self, KafkaOpenError> {
        let observing = Observing::untold(&options.security);
        let asking: BaseConsumer<Asking> = create(&options, &observing)?;
        let admin = create(&options, &observing)?;
        Ok(Self { options, layout, asking: Arc::new(asking), admin })
    }

    /// Compares the topics there are with those there should be. Changes nothing.
    pub async fn plan(&self) -> Result<TopicPlan, KafkaOpenError> {
        let mut topics = Vec::new();
        for wanted in plan::wanted(&self.options, &self.layout) {
            let found = self.find(&wanted).await?;
            topics.push((wanted, found));
        }
        Ok(plan::plan(topics))
    }

    /// Does one step of a plan.
    pub async fn apply(&self, step: &TopicStep) -> Result<(), KafkaOpenError> {
        match step {
            TopicStep::Create { topic, partitions, replication_factor, settings } => {
                self.create(topic, *partitions, *replication_factor, settings).await
            }
            TopicStep::Configure { topic, changes } => self.configure(topic, changes).await,
        }
    }

    async fn find(&self, wanted: &WantedTopic) -> Result<Option<FoundTopic>, KafkaOpenError> {
        let (partitions, replicas) = match self.shape(&wanted.name).await {
            Ok(shape) => shape,
            Err(KafkaOpenError::TopicMissing { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let settings = self.settings_of(&wanted.name).await?;
        let settings = settings.into_iter().map(|(name, value, _)| (name, value)).collect();
        Ok(Some(FoundTopic { partitions, replicas, settings }))
    }

    /// Every setting of a topic that is in force, and whether it is the topic's own.
    async fn settings_of(&self, topic: &str) -> Result<Vec<(String, String, bool)>, KafkaOpenError> {
        let action = "described";
        let asked = [ResourceSpecifier::Topic(topic)];
        let answers = self.admin.describe_configs(&asked, &admin_options()).await;
        let answers = answers.map_err(|cause| failed(topic, action, cause))?;
        let Some(answer) = answers.into_iter().next() else { return Ok(Vec::new()) };
        let described = answer.map_err(|code| failed(topic, action, KafkaError::AdminOp(code)))?;
        let entries = described.entries.into_iter().filter_map(|entry| {
            Some((entry.name, entry.value?, entry.source == ConfigSource::DynamicTopic))
        });
        Ok(entries.collect())
    }

    async fn create(
        &self,
        topic: &str,
        partitions: u32,
        replication_factor: u32,
        settings: &[(&'static str, String)],
    ) -> Result<(), KafkaOpenError> {
        let action = "created";
        let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
        let replication = TopicReplication::Fixed(number(replication_factor));
        let new = NewTopic::new(topic, number(partitions), replication);
        let new = settings.iter().fold(new, |new, (name, value)| new.set(name, value));
        let created = self.admin.create_topics([&new], &admin_options()).await;
        let created = created.map_err(|cause| failed(topic, action, cause))?;
        match created.into_iter().next() {
            // Somebody else was faster; the next plan compares.
            None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => {
                self.await_topic(topic).await
            }
            Some(Err((_, code))) => Err(failed(topic, action, KafkaError::AdminOp(code))),
        }
    }

    /// Waits until brokers know of a topic that was created; they hear of it after the controller.
    async fn await_topic(&self, topic: &str) -> Result<(), KafkaOpenError> {
        let deadline = Instant::now() + ADMIN_TIMEOUT;
        loop {
            match self.shape(topic).await {
                Err(KafkaOpenError::TopicMissing { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(NEW_TOPIC_PAUSE).await;
                }
                shape => return shape.map(drop),
            }
        }
    }

    /// Partitions and replicas of a topic.
    async fn shape(&self, topic: &str) -> Result<(usize, usize), KafkaOpenError> {
        let (asking, options) = (Arc::clone(&self.asking), self.options.clone());
        let topic = topic.to_owned();
        on_own_thread(move || shape_of(asking.client(), &options, &topic)).await
    }

    /// Changes settings and keeps the topic's other ones: the call resets whatever it is not told.
    async fn configure(&self, topic: &str, changes: &[SettingChange]) -> Result<(), KafkaOpenError> {
        let action = "configured";
        let own = self.settings_of(topic).await?.into_iter().filter(|(_, _, is_own)| *is_own);
        let mut settings: BTreeMap<String, String> = own.map(|(name, value, _)| (name, value)).collect();
        settings.extend(changes.iter().map(|change| (change.name.to_owned(), change.to.clone())));
        let alter = AlterConfig::new(ResourceSpecifier::Topic(topic));
        let alter = settings.iter().fold(alter, |alter, (name, value)| alter.set(name, value));
        let altered = self.admin.alter_configs([&alter], &admin_options()).await;
        let altered = altered.map_err(|cause| failed(topic, action, cause))?;
        match altered.into_iter().next() {
            None | Some(Ok(_)) => Ok(()),
            Some(Err((_, code))) => Err(failed(topic, action, KafkaError::AdminOp(code))),
        }
    }
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ADMIN_TIMEOUT)).operation_timeout(Some(ADMIN_TIMEOUT))
}

fn failed(topic: &str, action: &'static str, cause: KafkaError) -> KafkaOpenError {
    KafkaOpenError::Topic { topic: topic.to_owned(), action, cause }
}
