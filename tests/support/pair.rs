//! The configuration of roles on the production pair.

use penstock::settings::Sha256Digest;

/// Names, addresses and a token for clients; everything else is as by default. Further settings are added
/// as lines of this form, sections after them.
pub(crate) fn settings(brokers: &str, topic_prefix: &str, database_url: &str, token: &str) -> String {
    let digest = Sha256Digest::of(token);
    format!(
        "queue.kind = 'kafka'\n\
         queue.kafka.brokers = '{brokers}'\n\
         queue.kafka.topic_prefix = '{topic_prefix}'\n\
         store.kind = 'postgres'\n\
         store.postgres.url = '{database_url}'\n\
         admin.listen = '127.0.0.1:0'\n\
         auth.tokens = [{{ name = 'test', sha256 = '{digest}' }}]\n"
    )
}

/// For topics of a single broker.
#[allow(dead_code, reason = "not every test has a single broker")]
pub(crate) const ONE_BROKER: &str = "queue.kafka.topics.replication_factor = 1\n\
                                     queue.kafka.topics.min_insync_replicas = 1\n";
