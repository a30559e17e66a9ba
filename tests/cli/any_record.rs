//! A foreign producer writes whatever brokers take to the topics that roles read: one record stops nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Headers as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Message as _, Offset, TopicPartitionList};

use crate::process::until;
use crate::production::Installation;
use crate::receiver::Receiver;
use crate::servers::kafka::brokers;

const PARTITIONS: i32 = 12;
/// Topics of a cluster that takes more than penstock asks for.
const LARGE: [(&str, &str); 2] =
    [("max.message.bytes", "8000000"), ("message.timestamp.type", "LogAppendTime")];
const VALID: usize = 60;
/// Until everything is accounted for, the roles' start included.
const BOUND: Duration = Duration::from_secs(50);
const MEGABYTE: usize = 1_000_000;

/// Places on topics.
type Places = BTreeSet<(String, i32, i64)>;

/// Notes where what must become a dead letter was appended.
#[derive(Clone, Default)]
struct Appended(Arc<Mutex<Places>>);

impl ClientContext for Appended {}

impl ProducerContext for Appended {
    type DeliveryOpaque = Arc<bool>;

    fn delivery(&self, result: &DeliveryResult<'_>, is_rubbish: Arc<bool>) {
        let message = result.as_ref().map_err(|(error, _)| error.clone()).unwrap();
        if *is_rubbish {
            let place = (message.topic().to_owned(), message.partition(), message.offset());
            self.0.lock().unwrap().insert(place);
        }
    }
}

struct Foreign {
    producer: ThreadedProducer<Appended>,
    appended: Appended,
    /// A generator of its own: a run is repeated by its seed.
    state: u64,
}

impl Foreign {
    fn new() -> Self {
        let appended = Appended::default();
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers())
            .set("message.max.bytes", "100000000")
            .set("compression.type", "zstd")
            .set("partitioner", "murmur2_random");
        let producer = config.create_with_context(appended.clone()).unwrap();
        let seed = std::env::var("PENSTOCK_TEST_SEED").ok().map_or(1, |seed| seed.parse().unwrap());
        Self { producer, appended, state: seed }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.state >> 33).unwrap() % bound
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        std::iter::repeat_with(|| u8::try_from(self.below(256)).unwrap()).take(count).collect()
    }

    fn send(&self, topic: &str, key: Option<&[u8]>, value: Option<&[u8]>, headers: OwnedHeaders) {
        let mut record = BaseRecord::with_opaque_to(topic, Arc::new(true)).headers(headers);
        (record.key, record.payload) = (key, value);
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
    }

    /// Rubbish of every kind.
    fn write_rubbish(&mut self, topic: &str) {
        let none = OwnedHeaders::new;
        self.send(topic, None, None, none());
        self.send(topic, Some(b""), Some(b""), none());
        self.send(topic, Some(b"tombstone"), None, none());
        let repeated = [b"{\"bic\":0".as_slice(), &b",\"bic\":0".repeat(3_700_000), b"}"].concat();
        self.send(topic, Some(b"30 MB of one field"), Some(&repeated), none());
        self.send(topic, Some(b"50 MB"), Some(&vec![0; 50 * MEGABYTE]), none());
        let incompressible = self.bytes(3 * MEGABYTE);
        self.send(topic, Some(b"3 MB"), Some(&incompressible), none());
        let key = self.bytes(200_000);
        self.send(topic, Some(&key), Some(b"a large key"), none());
        let many = (0..20_000).fold(none(), |all, n| {
            all.insert(Header { key: &format!("header-{n}"), value: Some("value") })
        });
        self.send(topic, Some(b"many headers"), Some(b"x"), many);
        let header = self.bytes(2 * MEGABYTE);
        let large = none().insert(Header { key: "large", value: Some(&header) });
        self.send(topic, Some(b"a large header"), Some(b"x"), large);
        let null = none().insert(Header::<&[u8]> { key: "null", value: None });
        self.send(topic, Some(b"null header"), Some(b"x"), null);
        for _ in 0..40 {
            let (key_bytes, value_bytes) = (self.below(20), self.below(2_000));
            let (key, value) = (self.bytes(key_bytes), self.bytes(value_bytes));
            let header = self.bytes(10);
            let headers = none().insert(Header { key: "ce_id", value: Some(&header) });
            self.send(topic, Some(&key), Some(&value), headers);
        }
    }

    fn write_accounts(&self, topic: &str) {
        for n in 0..VALID {
            let account = serde_json::json!({
                "communicationNumber": format!("foreign-{n}"), "requester": "CORE",
                "businessEntityExtId": "c0", "accountExtId": format!("a{n}"),
                "accountNumber": "LT121000011101001000", "accountStatus": "ACTIVE",
                "currencyCode": "EUR", "openingDate": "2023-09-05T08:07:34Z", "action": "CREATE",
            });
            let (key, value) = (format!("/a{n}"), account.to_string());
            let record = BaseRecord::with_opaque_to(topic, Arc::new(false)).key(&key).payload(&value);
            self.producer.send(record).map_err(|(error, _)| error).unwrap();
        }
    }

    /// Where the rubbish is, once all is there.
    fn rubbish(self) -> Places {
        self.producer.flush(BOUND).unwrap();
        self.appended.0.lock().unwrap().clone()
    }
}

/// Reads dead letters.
struct Letters {
    consumer: BaseConsumer,
    /// By where each came from: the headers it has of its own.
    found: BTreeMap<(String, i32, i64), BTreeMap<String, String>>,
}

impl Letters {
    fn read(topic: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers()).set("group.id", "reader-of-letters");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&all).unwrap();
        Self { consumer, found: BTreeMap::new() }
    }

    fn poll(&mut self) {
        while let Some(message) = self.consumer.poll(Duration::from_millis(50)) {
            let Ok(message) = message else { continue };
            let headers = message.headers().unwrap();
            let own = headers.iter().filter(|header| header.key.starts_with("penstock-"));
            let text =
                |value: Option<&[u8]>| String::from_utf8(value.unwrap_or_default().to_vec()).unwrap();
            let own: BTreeMap<String, String> =
                own.map(|header| (header.key.to_owned(), text(header.value))).collect();
            let number = |name: &str| own[name].parse::<i64>().unwrap();
            let partition = i32::try_from(number("penstock-origin-partition")).unwrap();
            let place =
                (own["penstock-origin-topic"].clone(), partition, number("penstock-origin-offset"));
            self.found.insert(place, own);
        }
    }
}

async fn count(installation: &Installation, statement: &'static str) -> i64 {
    let mut session = installation.database().session().await;
    sqlx::query_scalar(statement).fetch_one(&mut session).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_somebody_writes_to_a_topic_stops_nobody() {
    let receiver = Receiver::start(200, "").await;
    let installation = Installation::new().await;
    let prefix = installation.topics().as_str().to_owned();
    let topics = ["accounts.submitted", "accounts.results"];
    for topic in topics {
        installation.topics().create(topic, PARTITIONS, &LARGE).await;
    }
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let endpoint = format!(
        "[callbacks]\nallow_networks = ['127.0.0.0/8']\nendpoints = [{{ name = 'risk', url = '{}', allow_http = true, \
         secrets = ['{secret}'], deliver_from = 'beginning' }}]\n",
        receiver.url()
    );
    installation.configure(&installation.database().url(), &endpoint);
    installation.prepare().await;
    let rubbish = tokio::task::spawn_blocking({
        let prefix = prefix.clone();
        move || {
            let mut foreign = Foreign::new();
            for topic in topics {
                foreign.write_rubbish(&format!("{prefix}{topic}"));
            }
            foreign.write_accounts(&format!("{prefix}accounts.submitted"));
            foreign.rubbish()
        }
    });
    let rubbish = rubbish.await.unwrap();

    let start = Instant::now();
    let (worker, callbacks) =
        (installation.start("worker").await, installation.start("callbacks").await);
    let accounts = async || count(&installation, "SELECT count(*) FROM communications").await;
    until(async || accounts().await == i64::try_from(VALID).unwrap()).await;
    let delivered = || {
        let arrivals = receiver.arrivals();
        arrivals.iter().map(|it| it.header("webhook-id").to_owned()).collect::<BTreeSet<_>>().len()
    };
    until(async || delivered() == VALID).await;
    let mut letters = Letters::read(&format!("{prefix}accounts.dead-letter"));
    while letters.found.len() < rubbish.len() {
        assert!(start.elapsed() < BOUND, "{} of {} letters", letters.found.len(), rubbish.len());
        letters.poll();
    }
    assert!(start.elapsed() < BOUND, "everything is accounted for after {:?}", start.elapsed());
    assert_eq!(letters.found.keys().cloned().collect::<Places>(), rubbish);
    let with = |name: &str| letters.found.values().filter(|own| own.contains_key(name)).count();
    assert!(with("penstock-origin-value-sha256") >= 6, "large ones are cut, with what they were");
    assert_eq!(with("penstock-origin-null"), 4, "what was null is told apart from what was empty");
    for process in [&worker, &callbacks] {
        assert_eq!(process.readiness().await, 200, "{}", process.log());
    }
    worker.stop().await;
    callbacks.stop().await;
}
