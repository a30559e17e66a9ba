//! Brokers of a test's own, for what must not happen to shared ones: secured listeners, and brokers
//! that stand still.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use penstock::queue::kafka::{
    KafkaOpenError, KafkaQueue, KafkaQueueOptions, OauthBearer, PasswordMechanism, Sasl, Security,
    SecurityProtocol, Tls,
};
use penstock::queue::{Assignment, Consumer, Polled, Queue as _, QueueError, Start, Topic};
use penstock::telemetry::{Exporter, Metrics};
use secrecy::SecretString;
use tempfile::TempDir;

use super::consuming::{DEADLINE, limits, next_assigned, records, resume, take, values, values_of};
use super::kafka::{create_topics, try_open};
use super::rig::PARTITIONS;

/// Offsets of the listeners from the first port, as deploy/local/kafka.sh has them.
const SASL_SSL: u16 = 2;
const SSL: u16 = 3;
const PORTS: u16 = 4;

/// A broker that ends with its test.
struct OwnBroker {
    directory: TempDir,
    port: u16,
}

impl OwnBroker {
    fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = free_ports();
        let broker = Self { directory, port };
        broker.script("start", &[&["--port", &port.to_string()], arguments].concat());
        broker
    }

    fn script(&self, command: &str, arguments: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/local/kafka.sh");
        let output = Command::new(script)
            .args([command, "--dir"])
            .arg(self.home())
            .args(arguments)
            .env("PENSTOCK_KAFKA_HEAP", "256m")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn home(&self) -> PathBuf {
        self.directory.path().join("kafka")
    }

    fn address(&self, listener: u16) -> String {
        format!("127.0.0.1:{}", self.port + listener)
    }

    fn tls_file(&self, name: &str) -> PathBuf {
        self.home().join("tls").join(name)
    }

    fn signal(&self, signal: &str) {
        let pid = std::fs::read_to_string(self.home().join("node-1/pid")).unwrap();
        let pid = pid.split_whitespace().next().unwrap().to_owned();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

impl Drop for OwnBroker {
    fn drop(&mut self) {
        self.script("stop", &[]);
    }
}

/// The first of some ports in a row that nobody has, below those that systems give away by themselves,
/// and that no other test of this process was given.
fn free_ports() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 2_000).unwrap() * 5;
    let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let next = || first + GIVEN.fetch_add(PORTS, Ordering::Relaxed);
    let mut bases = std::iter::repeat_with(next).take_while(|base| *base < 32_000);
    bases.find(|base| (*base..base + PORTS).all(is_free)).expect("some ports are free")
}

fn options(brokers: String, security: Security) -> KafkaQueueOptions {
    KafkaQueueOptions { brokers, partitions: PARTITIONS, security, ..KafkaQueueOptions::default() }
}

fn scram(mechanism: PasswordMechanism, password: &str) -> Sasl {
    let password = SecretString::from(password);
    Sasl::Password { mechanism, username: "penstock".to_owned(), password }
}

/// Writes, reads and is answered.
async fn works(options: KafkaQueueOptions) {
    let queue = try_open(options, Metrics::disabled()).await.unwrap();
    let mut consumer =
        queue.subscribe(Topic::Submitted, &uuid::Uuid::new_v4().to_string()).await.unwrap();
    let assignments = next_assigned(&mut consumer).await;
    for assignment in &assignments {
        let end = penstock::queue::Start::Offset(assignment.end);
        consumer.seek(assignment.partition, end).await.unwrap();
    }
    queue.publish(Topic::Submitted, records(0..100)).await.unwrap();
    assert_eq!(values(&take(&mut consumer, 100).await), values_of(0..100));
    queue.open_inbox().await.unwrap();
    queue.check().await.unwrap();
}

/// The error tells in one paragraph what to do, and soon.
async fn is_refused(options: KafkaQueueOptions) -> KafkaOpenError {
    let start = Instant::now();
    let error = KafkaQueue::open(options, Metrics::disabled()).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(8), "after {:?}: {error}", start.elapsed());
    assert!(!error.to_string().contains('\n'), "{error}");
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secured_brokers_are_reached_by_who_they_know_and_others_are_told_why_not() {
    let broker = OwnBroker::start(&["--secure"]);
    create_topics(&broker.address(0), "", &[]).await;
    let sasl_ssl = |sasl: Sasl, ca: &str| {
        let tls = Tls { ca_file: Some(broker.tls_file(ca)), ..Tls::default() };
        let security = Security { protocol: SecurityProtocol::SaslSsl, sasl: Some(sasl), tls };
        options(broker.address(SASL_SSL), security)
    };

    for mechanism in [PasswordMechanism::ScramSha256, PasswordMechanism::ScramSha512] {
        works(sasl_ssl(scram(mechanism, "penstock-secret"), "ca.pem")).await;
    }
    let error = is_refused(sasl_ssl(scram(PasswordMechanism::ScramSha512, "wrong"), "ca.pem")).await;
    assert!(matches!(&error, KafkaOpenError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("password") && !error.to_string().contains("wrong"), "{error}");
    let known = scram(PasswordMechanism::ScramSha512, "penstock-secret");
    let error = is_refused(sasl_ssl(known, "stranger.pem")).await;
    assert!(matches!(&error, KafkaOpenError::Untrusted { .. }), "{error}");

    let file = broker.tls_file("token");
    let token = |file: &Path| Sasl::OauthBearer(OauthBearer::TokenFile(file.to_owned()));
    std::fs::write(&file, unsigned_token(600)).unwrap();
    works(sasl_ssl(token(&file), "ca.pem")).await;
    std::fs::write(&file, unsigned_token(-600)).unwrap();
    let error = is_refused(sasl_ssl(token(&file), "ca.pem")).await;
    assert!(error.to_string().contains("expired"), "{error}");

    let mut with_certificate = Security {
        protocol: SecurityProtocol::Ssl,
        sasl: None,
        tls: Tls {
            ca_file: Some(broker.tls_file("ca.pem")),
            certificate_file: Some(broker.tls_file("client.pem")),
            key_file: Some(broker.tls_file("client.key")),
            key_password: None,
        },
    };
    works(options(broker.address(SSL), with_certificate.clone())).await;
    with_certificate.tls.certificate_file = None;
    with_certificate.tls.key_file = None;
    let error = is_refused(options(broker.address(SSL), with_certificate)).await;
    assert!(matches!(&error, KafkaOpenError::Untrusted { .. }), "{error}");
}

/// A token as brokers for tests take it: a JWT without a signature.
fn unsigned_token(expires_in_seconds: i64) -> String {
    let now = i64::try_from(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(),
    )
    .unwrap();
    let claims = serde_json::json!({
        "sub": "penstock", "scope": "", "iat": now - 1_000, "exp": now + expires_in_seconds,
    });
    format!("{}.{}.", base64_url(br#"{"alg":"none"}"#), base64_url(claims.to_string().as_bytes()))
}

fn base64_url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// Seeks as a lane does: a broker that has just come back may not know yet what it leads.
async fn seek_when_available(consumer: &mut impl Consumer, assignments: &[Assignment]) {
    for assignment in assignments {
        let start = Start::Offset(assignment.committed.unwrap_or(assignment.earliest));
        loop {
            match consumer.seek(assignment.partition, start).await {
                Ok(_) => break,
                Err(QueueError::Unavailable { .. }) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Brokers that stand still are no fault of the client: it waits for them, however long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stands_still_has_no_client_replaced() {
    let broker = OwnBroker::start(&[]);
    create_topics(&broker.address(0), "", &[]).await;
    // The least that can be set: longer than the client waits before it connects again.
    let stall_timeout = Duration::from_secs(5);
    let options = KafkaQueueOptions { stall_timeout, ..options(broker.address(0), Security::default()) };
    let exporter = Exporter::start("0", "0").unwrap();
    let queue = try_open(options, exporter.metrics()).await.unwrap();
    let mut consumer = resume(&queue).await;
    queue.publish(Topic::Submitted, records(0..100)).await.unwrap();
    take(&mut consumer, 100).await;

    broker.signal("-STOP");
    let start = Instant::now();
    while start.elapsed() < stall_timeout * 3 {
        assert!(!matches!(consumer.poll(limits()).await, Ok(Polled::Records(_))));
    }
    broker.signal("-CONT");
    let publishing =
        async { while queue.publish(Topic::Submitted, records(100..200)).await.is_err() {} };
    tokio::time::timeout(DEADLINE, publishing).await.expect("the broker is back in time");
    let reading = async {
        let mut count = 0;
        while count < 100 {
            match consumer.poll(limits()).await {
                Ok(Polled::Records(records)) => count += records.len(),
                // It was silent for longer than a session.
                Ok(Polled::Assigned(assignments)) => {
                    seek_when_available(&mut consumer, &assignments).await;
                }
                Ok(Polled::Revoked(_) | Polled::Idle) | Err(QueueError::Unavailable { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(DEADLINE, reading).await.expect("the consumer goes on in time");
    let metrics = exporter.render().unwrap();
    assert!(!metrics.contains("penstock_kafka_client_rebuilds_total"), "{metrics}");
}
