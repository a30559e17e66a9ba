//! `callbacks.*`: the endpoints, and how they are delivered to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::checks::Findings;
use super::units::{Network, Secret, Span, StartFrom};

/// Longest request; beyond it a receiver holds up more than itself.
const LONGEST_REQUEST: Duration = Duration::from_mins(5);

/// `callbacks.*`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallbackSettings {
    /// Where events go.
    pub endpoints: Vec<EndpointSettings>,
    /// Networks that may be connected to although they are reserved.
    pub allow_networks: Vec<Network>,
    /// Waits after the first failure, the second, and so on.
    pub retry_schedule: Vec<Span>,
    /// Share of a wait by which it varies.
    pub retry_jitter: f64,
    /// The longest wait a receiver may ask for.
    pub max_retry_after: Span,
    /// Failures in a row before a breaker may open.
    pub breaker_failures: u32,
    /// How long nothing but failures must have been seen.
    pub breaker_failing_for: Span,
    /// The wait before the first probe.
    pub breaker_probe_interval: Span,
    /// The longest wait between probes.
    pub breaker_max_probe_interval: Span,
    /// Events of one poll.
    pub max_records: usize,
    /// Events that may wait in memory for one endpoint.
    pub max_waiting: usize,
    /// How long an event may wait in memory while other endpoints stand idle.
    pub patience: Span,
    /// How long a parked delivery belongs to one process.
    pub lease: Span,
    /// How often the store is asked for what is due.
    pub claim_interval: Span,
    /// Parked deliveries taken over at a time.
    pub max_claim: usize,
    /// How often offsets are committed.
    pub commit_interval: Span,
    /// What to do about events that were deleted from the results before they were delivered or parked.
    pub deleted_events: OnDeletedEvents,
    /// How long a delivery may be parked or wait; then it is given up.
    pub max_parked_age: Span,
    /// How long deliveries that have ended are kept.
    pub retention: Span,
    /// Where operators are told of endpoints.
    pub operator: OperatorSettings,
}

/// What becomes of events that were deleted from the results before they were delivered or parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnDeletedEvents {
    /// The role refuses to go on.
    Refuse,
    /// It goes on without them.
    Skip,
}

/// `callbacks.operator.*`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperatorSettings {
    /// Its URL; nobody is told when empty. What follows a ? is not printed.
    #[serde(serialize_with = "without_query")]
    pub url: String,
    /// Keys that sign, `whsec_…` or `whsk_…`.
    pub secrets: Vec<Secret>,
    /// Files with one key each.
    pub secret_files: Vec<PathBuf>,
    /// Whether nothing signs what is sent there.
    pub unsigned: bool,
    /// How long a request may take.
    pub timeout: Span,
    /// Headers of every request.
    pub headers: BTreeMap<String, Secret>,
    /// Headers whose values are in files.
    pub header_files: BTreeMap<String, PathBuf>,
    /// Whether it may be plain HTTP.
    pub allow_http: bool,
    /// HTTP proxy; none when empty.
    pub proxy: String,
    /// File with further trusted authorities; none when empty.
    pub ca_file: PathBuf,
    /// File with this process's certificate chain; none when empty.
    pub client_certificate_file: PathBuf,
    /// File with its private key; none when empty.
    pub client_key_file: PathBuf,
}

impl OperatorSettings {
    /// The endpoint that operators are told at; none when there is no URL.
    pub fn endpoint(&self) -> Option<EndpointSettings> {
        let file = |path: &PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
        (!self.url.is_empty()).then(|| EndpointSettings {
            secrets: self.secrets.clone(),
            secret_files: self.secret_files.clone(),
            unsigned: self.unsigned,
            timeout: self.timeout,
            headers: self.headers.clone(),
            header_files: self.header_files.clone(),
            allow_http: self.allow_http,
            proxy: (!self.proxy.is_empty()).then(|| self.proxy.clone()),
            ca_file: file(&self.ca_file),
            client_certificate_file: file(&self.client_certificate_file),
            client_key_file: file(&self.client_key_file),
            concurrency: 1,
            ..EndpointSettings::new("operator", self.url.clone())
        })
    }
}

/// How an event that has a request of its own is written, by the CloudEvents specification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EventMode {
    /// Its data is the body, its attributes are headers.
    #[default]
    Binary,
    /// All of it is the body.
    Structured,
}

/// One of `callbacks.endpoints`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointSettings {
    /// Its name.
    pub name: String,
    /// Its URL. What follows a ? may be a credential, and is not printed.
    #[serde(serialize_with = "without_query")]
    pub url: String,
    /// Event types it takes; `*` stands for any text; all when empty.
    #[serde(default)]
    pub event_types: Vec<String>,
    /// Business units it takes; all when empty.
    #[serde(default)]
    pub business_units: Vec<String>,
    /// Requesters it takes; all when empty.
    #[serde(default)]
    pub requesters: Vec<String>,
    /// From when on it gets events, by when their submissions were taken in.
    #[serde(default)]
    pub deliver_from: StartFrom,
    /// Keys that sign, `whsec_…` or `whsk_…`.
    #[serde(default)]
    pub secrets: Vec<Secret>,
    /// Files with one key each.
    #[serde(default)]
    pub secret_files: Vec<PathBuf>,
    /// Whether nothing signs what it gets.
    #[serde(default)]
    pub unsigned: bool,
    /// Whether it gets the events of an account one after the other.
    #[serde(default)]
    pub ordered: bool,
    /// Events of one request.
    #[serde(default = "one")]
    pub batch: usize,
    /// How an event alone is written.
    #[serde(default)]
    pub mode: EventMode,
    /// Requests at a time, of one process.
    #[serde(default = "sixteen")]
    pub concurrency: usize,
    /// Events a second, of all processes together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Parked events a second, of all processes together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_rate: Option<f64>,
    /// The name under which the receiver is asked for its consent first; it is not asked when there is
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake_origin: Option<String>,
    /// How long a request may take.
    #[serde(default = "fifteen_seconds")]
    pub timeout: Span,
    /// Headers of every request.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Headers whose values are in files.
    #[serde(default)]
    pub header_files: BTreeMap<String, PathBuf>,
    /// Whether it may be plain HTTP.
    #[serde(default)]
    pub allow_http: bool,
    /// HTTP proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// File with further trusted authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// File with this process's certificate chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_file: Option<PathBuf>,
    /// File with its private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key_file: Option<PathBuf>,
}

impl EndpointSettings {
    /// An endpoint of which only name and URL are set.
    pub fn new(name: &str, url: String) -> Self {
        Self {
            name: name.to_owned(),
            url,
            event_types: Vec::new(),
            business_units: Vec::new(),
            requesters: Vec::new(),
            deliver_from: StartFrom::Configured,
            secrets: Vec::new(),
            secret_files: Vec::new(),
            unsigned: false,
            ordered: false,
            batch: one(),
            mode: EventMode::Binary,
            concurrency: sixteen(),
            rate: None,
            drain_rate: None,
            handshake_origin: None,
            timeout: fifteen_seconds(),
            headers: BTreeMap::new(),
            header_files: BTreeMap::new(),
            allow_http: false,
            proxy: None,
            ca_file: None,
            client_certificate_file: None,
            client_key_file: None,
        }
    }
}

fn without_query<S: serde::Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    match url.split_once('?') {
        Some((shown, _)) => serializer.serialize_str(&format!("{shown}?{}", Secret::SHOWN)),
        None => serializer.serialize_str(url),
    }
}

fn one() -> usize {
    1
}

fn sixteen() -> usize {
    16
}

fn fifteen_seconds() -> Span {
    Span::from(Duration::from_secs(15))
}

pub(super) fn check(callbacks: &CallbackSettings, drain: Duration, findings: &mut Findings) {
    let key = |name: &str| format!("callbacks.{name}");
    let (tick, second) = (Duration::from_millis(1), Duration::from_secs(1));
    let (hour, day) = (Duration::from_hours(1), Duration::from_hours(24));
    if callbacks.retry_schedule.is_empty() {
        findings.add(&key("retry_schedule"), "is empty, so what fails once is given up; name a wait");
    }
    if callbacks.retry_schedule.len() > 100 {
        findings.add(&key("retry_schedule"), "has more than 100 waits");
    }
    for wait in &callbacks.retry_schedule {
        findings.span(&key("retry_schedule"), wait.duration(), Duration::ZERO..=30 * day);
    }
    if !(0.0..=1.0).contains(&callbacks.retry_jitter) {
        findings.add(&key("retry_jitter"), "must be a share from 0 to 1");
    }
    let failures = callbacks.breaker_failures as usize;
    findings.range(&key("breaker_failures"), failures, 1..=1_000_000);
    findings.range(&key("max_records"), callbacks.max_records, 1..=10_000);
    findings.range(&key("max_waiting"), callbacks.max_waiting, 1..=100_000);
    findings.range(&key("max_claim"), callbacks.max_claim, 1..=10_000);
    for (name, value, allowed) in [
        ("max_retry_after", callbacks.max_retry_after, second..=30 * day),
        ("breaker_failing_for", callbacks.breaker_failing_for, Duration::ZERO..=day),
        ("breaker_probe_interval", callbacks.breaker_probe_interval, second..=day),
        ("breaker_max_probe_interval", callbacks.breaker_max_probe_interval, second..=day),
        ("patience", callbacks.patience, tick..=hour),
        ("lease", callbacks.lease, second..=day),
        ("claim_interval", callbacks.claim_interval, 10 * tick..=hour),
        ("commit_interval", callbacks.commit_interval, 10 * tick..=hour),
        ("max_parked_age", callbacks.max_parked_age, hour..=10_000 * day),
        ("retention", callbacks.retention, hour..=10_000 * day),
    ] {
        findings.span(&key(name), value.duration(), allowed);
    }
    let (first, longest) = (callbacks.breaker_probe_interval, callbacks.breaker_max_probe_interval);
    if first > longest {
        let what = format!("is longer than callbacks.breaker_max_probe_interval ({longest})");
        findings.add(&key("breaker_probe_interval"), what);
    }
    check_parked_age(callbacks, findings);
    check_endpoints(callbacks, drain, findings);
    if let Some(operator) = callbacks.operator.endpoint() {
        check_signed(&operator, "callbacks.operator", findings);
    }
    check_operator(&callbacks.operator, findings);
}

/// Nobody is sent to unsigned by oversight.
fn check_signed(endpoint: &EndpointSettings, key: &str, findings: &mut Findings) {
    let has_keys = !endpoint.secrets.is_empty() || !endpoint.secret_files.is_empty();
    if !has_keys && !endpoint.unsigned {
        let what = "has no key, so its receiver could not tell who sends: name one in secrets or \
                    secret_files (`penstock secret new` makes one), or set unsigned = true";
        findings.add(&format!("{key}.secret_files"), what);
    } else if has_keys && endpoint.unsigned {
        findings
            .add(&format!("{key}.unsigned"), "is true although there are keys; take one of them out");
    }
}

/// What is tried again may be parked for as long as all waits together.
fn check_parked_age(callbacks: &CallbackSettings, findings: &mut Findings) {
    let waits: Duration = callbacks.retry_schedule.iter().map(|wait| wait.duration()).sum();
    let longest = waits.mul_f64(1.0 + callbacks.retry_jitter.clamp(0.0, 1.0));
    if callbacks.max_parked_age.duration() < longest {
        let longest = humantime::format_duration(Duration::from_secs(longest.as_secs() + 1));
        let what = format!("is shorter than callbacks.retry_schedule takes, up to {longest}");
        findings.add("callbacks.max_parked_age", what);
    }
}

fn check_operator(operator: &OperatorSettings, findings: &mut Findings) {
    let timeout = operator.timeout.duration();
    findings.span("callbacks.operator.timeout", timeout, Duration::from_millis(10)..=LONGEST_REQUEST);
    let is_empty = |path: &PathBuf| path.as_os_str().is_empty();
    if is_empty(&operator.client_certificate_file) != is_empty(&operator.client_key_file) {
        let what = "goes with client_key_file; name both or neither";
        findings.add("callbacks.operator.client_certificate_file", what);
    }
}

fn check_endpoints(callbacks: &CallbackSettings, drain: Duration, findings: &mut Findings) {
    let mut names = BTreeSet::new();
    for (place, endpoint) in callbacks.endpoints.iter().enumerate() {
        let key = |field: &str| format!("callbacks.endpoints[{place}].{field}");
        if !names.insert(&endpoint.name) {
            findings.add(&key("name"), "is another endpoint's too; deliveries are told apart by it");
        }
        findings.range(&key("batch"), endpoint.batch, 1..=10_000);
        findings.range(&key("concurrency"), endpoint.concurrency, 1..=10_000);
        let timeout = endpoint.timeout.duration();
        findings.span(&key("timeout"), timeout, Duration::from_millis(10)..=LONGEST_REQUEST);
        if timeout * 2 > callbacks.lease.duration() {
            findings.add(&key("timeout"), "is more than half of callbacks.lease; lengthen the lease");
        }
        // A second is left to record what was answered and to commit.
        if timeout + Duration::from_secs(1) > drain {
            let what = "leaves a stop no time to wait for an answer: shorten it, or lengthen \
                        shutdown.drain_timeout, and Kubernetes' terminationGracePeriodSeconds with it";
            findings.add(&key("timeout"), what);
        }
        check_signed(endpoint, &format!("callbacks.endpoints[{place}]"), findings);
        if endpoint.ordered && endpoint.batch > 1 {
            let what = "goes with batch = 1 only: a batch holds events of one account that would have to \
                        wait for each other";
            findings.add(&key("ordered"), what);
        }
        for (field, rate) in [("rate", endpoint.rate), ("drain_rate", endpoint.drain_rate)] {
            if rate.is_some_and(|rate| !(0.001..=1_000_000.0).contains(&rate)) {
                findings.add(&key(field), "must be from 0.001 to 1000000 events a second");
            }
        }
        if endpoint.client_certificate_file.is_some() != endpoint.client_key_file.is_some() {
            let what = "goes with client_key_file; name both or neither";
            findings.add(&key("client_certificate_file"), what);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::settings::{Loaded, SettingsError, Sources};

    fn load(options: &[(&'static str, &str)]) -> Result<Loaded, SettingsError> {
        let option = |(key, value): &(&'static str, &str)| (*key, "--test", (*value).to_owned());
        Loaded::from(Sources { options: options.iter().map(option).collect(), ..Sources::default() })
    }

    /// Keys of what is wrong with an endpoint that is usable but for `further`.
    fn wrong_with(further: &str) -> Vec<String> {
        let endpoint = format!("[{{ name = 'risk', url = 'https://risk.bank.example/', {further} }}]");
        let refused = load(&[("callbacks.endpoints", &endpoint)]).err();
        let problems = refused.into_iter().flat_map(|refused| refused.problems);
        problems.map(|problem| problem.key.replace("callbacks.endpoints[0].", "")).collect()
    }

    #[test]
    fn an_endpoint_says_who_signs_or_that_nobody_does() {
        assert_eq!(wrong_with("batch = 1"), ["secret_files"]);
        assert_eq!(wrong_with("secrets = ['whsec_x'], unsigned = true"), ["unsigned"]);
        for usable in ["unsigned = true", "secrets = ['whsec_x']", "secret_files = ['/run/risk']"] {
            assert!(wrong_with(usable).is_empty(), "{usable}");
        }
        let operator = |further: &[(&'static str, &str)]| {
            let url = ("callbacks.operator.url", "https://ops.bank.example/");
            load(&[&[url], further].concat()).err().map(|refused| refused.problems[0].key.clone())
        };
        assert_eq!(operator(&[]).unwrap(), "callbacks.operator.secret_files");
        assert_eq!(operator(&[("callbacks.operator.unsigned", "true")]), None);
    }

    #[test]
    fn a_stop_has_time_for_the_longest_request() {
        assert_eq!(wrong_with("unsigned = true, timeout = '19001ms'"), ["timeout"]);
        assert!(wrong_with("unsigned = true, timeout = '19s'").is_empty());
    }

    #[test]
    fn waits_and_probes_make_a_schedule() {
        let refused = |key: &'static str, value: &str| {
            load(&[(key, value)]).err().map(|refused| refused.problems[0].key.clone())
        };
        assert_eq!(refused("callbacks.retry_schedule", "[]").unwrap(), "callbacks.retry_schedule");
        let probe = "callbacks.breaker_probe_interval";
        assert_eq!(refused(probe, "6m").as_deref(), Some(probe));
        assert_eq!(refused(probe, "5m"), None);
    }

    #[test]
    fn what_may_be_a_credential_is_in_no_error_and_no_print() {
        for number in ["secrets = [123456789]", "headers = { a = 123456789 }", "secrets = [1234.56789]"]
        {
            let endpoint = format!("[{{ name = 'risk', url = 'https://a.example/', {number} }}]");
            let refused = load(&[("callbacks.endpoints", &endpoint)]).unwrap_err().to_string();
            assert!(refused.contains("must be a text in quotes"), "{refused}");
            assert!(!refused.contains("1234"), "{refused}");
        }
        let endpoint = "[{ name = 'risk', url = 'https://a.example/e?token=hunter2', unsigned = true }]";
        let operator = ("callbacks.operator.url", "https://b.example/?hunter2");
        let unsigned = ("callbacks.operator.unsigned", "true");
        let loaded = load(&[("callbacks.endpoints", endpoint), operator, unsigned]).unwrap();
        let printed = loaded.to_toml().unwrap();
        assert!(printed.contains("https://a.example/e?<hidden>"), "{printed}");
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}
