//! Topics of its own on the brokers of `PENSTOCK_TEST_KAFKA`.

use penstock::queue::Topic;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::{clean_up, named_by};

/// A prefix that nobody else uses; the pipeline's topics under it are deleted with this.
pub struct TopicPrefix {
    prefix: String,
}

impl TopicPrefix {
    /// A new one.
    pub fn new() -> Self {
        Self { prefix: format!("penstock-test-{}.", uuid::Uuid::new_v4().simple()) }
    }

    /// The prefix.
    pub fn as_str(&self) -> &str {
        &self.prefix
    }

    /// Creates a topic as somebody else might have.
    pub async fn create(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let name = format!("{}{topic}", self.prefix);
        let new = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        let new = settings.iter().fold(new, |new, (key, value)| new.set(key, value));
        let created = admin().create_topics([&new], &AdminOptions::new()).await.unwrap();
        created.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    }
}

impl TopicPrefix {
    /// How many places of a topic are taken, on all its partitions.
    pub fn records(&self, topic: &str) -> i64 {
        const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
        let name = format!("{}{topic}", self.prefix);
        let asking: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
        let metadata = asking.fetch_metadata(Some(&name), PATIENCE).unwrap();
        let ends = metadata.topics()[0].partitions().iter().map(|partition| {
            let (earliest, end) = asking.fetch_watermarks(&name, partition.id(), PATIENCE).unwrap();
            end - earliest
        });
        ends.sum()
    }

    /// Deletes a topic, as somebody may by mistake.
    pub async fn delete(&self, topic: &str) {
        let name = format!("{}{topic}", self.prefix);
        let deleted = admin().delete_topics(&[&name], &AdminOptions::new()).await.unwrap();
        deleted.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    }

    /// A setting of a topic that is in force.
    pub async fn setting(&self, topic: &str, setting: &str) -> Option<String> {
        let name = format!("{}{topic}", self.prefix);
        let asked = [ResourceSpecifier::Topic(&name)];
        let described = admin().describe_configs(&asked, &AdminOptions::new()).await.unwrap();
        let described = described.into_iter().next()?.unwrap();
        described.get(setting)?.value.clone()
    }
}

impl Drop for TopicPrefix {
    fn drop(&mut self) {
        let names = Topic::ALL.map(Topic::name).into_iter().chain(["accounts.replies"]);
        let names: Vec<String> = names.map(|name| format!("{}{name}", self.prefix)).collect();
        clean_up(move || async move {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let _ = admin().delete_topics(&names, &AdminOptions::new()).await;
        });
    }
}

/// The brokers' addresses.
pub fn brokers() -> String {
    named_by("PENSTOCK_TEST_KAFKA", "kafka.sh")
}

fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap()
}
