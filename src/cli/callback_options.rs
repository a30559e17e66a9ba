//! The settings of callbacks in the words of their role. What only this can find wrong with an endpoint,
//! such as its URL or a file of a key, is reported like any other problem of the settings; [`check`] is what
//! whoever has just read them asks first.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::account::Generation;
use crate::audit::Receiver;
use crate::callbacks::address::{EndpointUrl, ProxyUrl};
use crate::callbacks::breaker::BreakerOptions;
use crate::callbacks::handshake::{Question, SenderOrigin};
use crate::callbacks::http::{HttpSender, TargetOptions, TlsOptions};
use crate::callbacks::routing::{DeliverFrom, Filter, Glob};
use crate::callbacks::schedule::Schedule;
use crate::callbacks::signature::SigningKey;
use crate::callbacks::{DeletedEvents, DelivererOptions, Endpoint, HousekeepingOptions};
use crate::queue::PollLimits;
use crate::settings::{
    CallbackSettings, EndpointSettings, EventMode, Loaded, OnDeletedEvents, Problem, SettingsError,
    Span, StartFrom,
};
use crate::store::EndpointName;

/// How long a poll waits for a first event; a deliverer that is asked to stop notices after it.
const POLL_WAIT: Duration = Duration::from_millis(250);
/// Bytes of one poll.
const MAX_POLL_BYTES: usize = 4_000_000;
/// How often the endpoints' shared states are read: what another process or an operator changes holds
/// everywhere after so long.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// How often what is old is removed and what is parked is counted.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(30);
/// Deliveries removed at a time, and the wait before more are.
const MAX_SWEEP: usize = 2_000;
const SLICE_PAUSE: Duration = Duration::from_millis(200);
/// The wait before the store or the queue is tried again.
const RETRY_WAIT: Duration = Duration::from_millis(500);

/// How deliveries go.
pub(super) fn deliverer(callbacks: &CallbackSettings, generation: Generation) -> DelivererOptions {
    DelivererOptions {
        generation,
        deleted_events: match callbacks.deleted_events {
            OnDeletedEvents::Refuse => DeletedEvents::Refuse,
            OnDeletedEvents::Skip => DeletedEvents::Skip,
        },
        schedule: Schedule {
            waits: callbacks.retry_schedule.iter().copied().map(Span::duration).collect(),
            jitter: callbacks.retry_jitter,
            max_retry_after: callbacks.max_retry_after.duration(),
        },
        breaker: BreakerOptions {
            min_failures: callbacks.breaker_failures,
            failing_for: callbacks.breaker_failing_for.duration(),
            probe_interval: callbacks.breaker_probe_interval.duration(),
            max_probe_interval: callbacks.breaker_max_probe_interval.duration(),
        },
        poll: PollLimits {
            max_records: callbacks.max_records,
            max_bytes: MAX_POLL_BYTES,
            max_wait: POLL_WAIT,
        },
        max_waiting: callbacks.max_waiting,
        patience: callbacks.patience.duration(),
        lease: callbacks.lease.duration(),
        claim_interval: callbacks.claim_interval.duration(),
        max_claim: callbacks.max_claim,
        refresh_interval: REFRESH_INTERVAL,
        commit_interval: callbacks.commit_interval.duration(),
        retry_wait: RETRY_WAIT,
    }
}

/// Sees whether everything can be sent to that the settings name, and tells where each problem stands.
pub(super) fn check(loaded: &Loaded) -> Result<(), SettingsError> {
    let callbacks = &loaded.settings.callbacks;
    let refused = [endpoints(callbacks).err(), operator(callbacks).err()];
    let found = refused.into_iter().flatten().flat_map(|refused| refused.problems);
    let problems: Vec<Problem> =
        found.map(|problem| loaded.problem(problem.key, problem.what)).collect();
    if problems.is_empty() { Ok(()) } else { Err(SettingsError { problems }) }
}

/// Every file that [`endpoints`] and [`operator`] read.
pub(super) fn files(callbacks: &CallbackSettings) -> Vec<PathBuf> {
    let operator = callbacks.operator.endpoint();
    let of = |endpoint: &EndpointSettings| {
        let named = [&endpoint.ca_file, &endpoint.client_certificate_file, &endpoint.client_key_file];
        let named = named.into_iter().flatten().cloned().collect::<Vec<_>>();
        let headers = endpoint.header_files.values().cloned();
        endpoint.secret_files.iter().cloned().chain(headers).chain(named).collect::<Vec<_>>()
    };
    callbacks.endpoints.iter().chain(&operator).flat_map(of).collect()
}

/// How what one process does for all goes.
pub(super) fn housekeeping(callbacks: &CallbackSettings) -> HousekeepingOptions {
    HousekeepingOptions {
        interval: HOUSEKEEPING_INTERVAL,
        slice_pause: SLICE_PAUSE,
        retention: callbacks.retention.duration(),
        max_parked_age: callbacks.max_parked_age.duration(),
        lease: callbacks.lease.duration(),
        max_sweep: MAX_SWEEP,
    }
}

/// The endpoints, and the sender that reaches them.
pub(super) fn endpoints(
    callbacks: &CallbackSettings,
) -> Result<(Vec<Endpoint>, HttpSender), SettingsError> {
    let mut problems = Vec::new();
    let mut endpoints = Vec::new();
    let mut targets = Vec::new();
    for (place, settings) in callbacks.endpoints.iter().enumerate() {
        match endpoint(&format!("callbacks.endpoints[{place}]"), settings) {
            Ok((endpoint, target)) => {
                targets.push((endpoint.name.clone(), target));
                endpoints.push(endpoint);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(SettingsError { problems });
    }
    Ok((endpoints, sender(callbacks, targets, "callbacks.endpoints")?))
}

/// Where operators are told of endpoints, and the sender that reaches it; nothing when it is not set.
pub(super) fn operator(
    callbacks: &CallbackSettings,
) -> Result<Option<(Endpoint, HttpSender)>, SettingsError> {
    const KEY: &str = "callbacks.operator";
    let Some(settings) = callbacks.operator.endpoint() else { return Ok(None) };
    let (endpoint, target) =
        endpoint(KEY, &settings).map_err(|problem| SettingsError { problems: vec![problem] })?;
    let sender = sender(callbacks, vec![(endpoint.name.clone(), target)], KEY)?;
    Ok(Some((endpoint, sender)))
}

fn sender(
    callbacks: &CallbackSettings,
    targets: Vec<(EndpointName, TargetOptions)>,
    key: &'static str,
) -> Result<HttpSender, SettingsError> {
    let allowed = callbacks.allow_networks.iter().map(|network| network.net()).collect();
    HttpSender::new(targets, allowed).map_err(|error| {
        let what = crate::telemetry::with_causes(&error).to_string();
        SettingsError { problems: vec![Problem::new(key, "settings", what)] }
    })
}

/// An endpoint, and how it is reached; `key` is where it is set.
fn endpoint(key: &str, settings: &EndpointSettings) -> Result<(Endpoint, TargetOptions), Problem> {
    let wrong = |field: &str, what: &dyn Display| {
        Problem::new(format!("{key}.{field}"), "settings", what.to_string())
    };
    let name = EndpointName::parse(&settings.name).map_err(|error| wrong("name", &error))?;
    let url =
        EndpointUrl::parse(&settings.url, settings.allow_http).map_err(|error| wrong("url", &error))?;
    let mut keys = Vec::new();
    for secret in &settings.secrets {
        let key = SigningKey::parse(secret.secret().expose_secret());
        keys.push(key.map_err(|error| wrong("secrets", &error))?);
    }
    for path in &settings.secret_files {
        keys.push(key_in(path).map_err(|what| wrong("secret_files", &what))?);
    }
    let mut headers: Vec<(String, SecretString)> =
        settings.headers.iter().map(|(name, value)| (name.clone(), value.secret())).collect();
    for (name, path) in &settings.header_files {
        let value = text_in(path).map_err(|what| wrong("header_files", &what))?;
        headers.push((name.clone(), value.trim().to_owned().into()));
    }
    let handshake = match &settings.handshake_origin {
        None => None,
        Some(origin) => {
            let origin = SenderOrigin::parse(origin);
            let origin = origin.map_err(|error| wrong("handshake_origin", &error))?;
            let requests_per_minute = requests_per_minute(settings);
            Some(Question { origin, requests_per_minute })
        }
    };
    let proxy = settings.proxy.as_deref().map(ProxyUrl::parse).transpose();
    let proxy = proxy.map_err(|error| wrong("proxy", &error))?;
    let certificate = settings.client_certificate_file.clone().zip(settings.client_key_file.clone());
    let target = TargetOptions {
        url,
        headers,
        timeout: settings.timeout.duration(),
        proxy,
        tls: TlsOptions { ca_file: settings.ca_file.clone(), client_certificate: certificate },
        max_idle_connections: settings.concurrency,
    };
    let endpoint = Endpoint {
        name,
        filter: filter(settings),
        deliver_from: deliver_from(settings),
        keys: keys.into(),
        is_ordered: settings.ordered,
        batch: settings.batch,
        is_structured: settings.mode == EventMode::Structured,
        concurrency: settings.concurrency,
        rate: settings.rate,
        drain_rate: settings.drain_rate,
        handshake,
    };
    Ok((endpoint, target))
}

/// What an endpoint takes.
fn filter(settings: &EndpointSettings) -> Filter {
    Filter {
        event_types: settings.event_types.iter().map(Glob::new).collect(),
        business_units: settings.business_units.iter().cloned().collect(),
        requesters: settings.requesters.iter().cloned().collect(),
    }
}

/// From when on it does.
fn deliver_from(settings: &EndpointSettings) -> DeliverFrom {
    match settings.deliver_from {
        StartFrom::Configured => DeliverFrom::Configured,
        StartFrom::Beginning => DeliverFrom::Beginning,
        StartFrom::Time(time) => DeliverFrom::Time(time),
    }
}

/// The endpoints as far as an audit looks at them.
pub(super) fn receivers(settings: &CallbackSettings) -> anyhow::Result<Vec<Receiver>> {
    let receiver = |endpoint: &EndpointSettings| {
        let name = EndpointName::parse(&endpoint.name)?;
        Ok(Receiver { name, filter: filter(endpoint), deliver_from: deliver_from(endpoint) })
    };
    settings.endpoints.iter().map(receiver).collect()
}

/// The requests a minute that the rate of events comes to; at least one.
fn requests_per_minute(settings: &EndpointSettings) -> Option<u32> {
    let batch = u32::try_from(settings.batch).unwrap_or(u32::MAX);
    let requests = (settings.rate? * 60.0 / f64::from(batch)).ceil().clamp(1.0, f64::from(u32::MAX));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within its range")]
    Some(requests as u32)
}

fn key_in(path: &Path) -> Result<SigningKey, String> {
    SigningKey::parse(text_in(path)?.trim())
        .map_err(|error| format!("{}: the key {error}", path.display()))
}

fn text_in(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Sources;

    fn callbacks(endpoints: &str) -> CallbackSettings {
        let option = ("callbacks.endpoints", "--test", endpoints.to_owned());
        let sources = Sources { options: vec![option], ..Sources::default() };
        Loaded::from(sources).unwrap().settings.callbacks
    }

    #[test]
    fn an_endpoint_needs_a_name_and_a_url_and_signs_with_every_key() {
        let (old, new) = (SigningKey::symmetric([1; 32]), SigningKey::symmetric([2; 32]));
        let text = format!(
            "[{{ name = 'risk', url = 'https://risk.bank.example/', secrets = ['{}', '{}'] }}]",
            old.secret_text(),
            new.secret_text()
        );
        let (endpoints, _) = endpoints(&callbacks(&text)).unwrap();
        assert_eq!(
            (endpoints[0].keys.now().len(), endpoints[0].batch, endpoints[0].concurrency),
            (2, 1, 16)
        );
    }

    /// Every field is taken apart: one that is added must be looked at here.
    #[test]
    fn an_endpoint_is_all_that_was_set() {
        let directory = tempfile::tempdir().unwrap();
        let (token, key) = (directory.path().join("token"), directory.path().join("key"));
        std::fs::write(&token, "from a file\n").unwrap();
        std::fs::write(&key, SigningKey::symmetric([2; 32]).secret_text()).unwrap();
        let text = format!(
            "[{{ name = 'risk', url = 'http://risk.bank.example/', allow_http = true, event_types = ['*.rejected'], \
             business_units = ['retail'], requesters = ['CORE'], deliver_from = '2026-01-02T03:04:05Z', \
             secrets = ['{}'], secret_files = ['{}'], ordered = true, mode = 'structured', \
             concurrency = 3, rate = 11.0, drain_rate = 5.0, handshake_origin = 'us.example', timeout = '9s', \
             headers = {{ x-tenant = 'bank' }}, header_files = {{ x-token = '{}' }}, \
             proxy = 'http://proxy.bank.example:3128', ca_file = '/ca.pem', \
             client_certificate_file = '/client.pem', client_key_file = '/client.key' }}]",
            SigningKey::symmetric([1; 32]).secret_text(),
            key.display(),
            token.display(),
        );
        let (endpoint, target) = endpoint("risk", &callbacks(&text).endpoints[0]).unwrap();

        let Endpoint {
            name,
            filter,
            deliver_from,
            keys,
            is_ordered,
            batch,
            is_structured,
            concurrency,
            rate,
            drain_rate,
            handshake,
        } = endpoint;
        assert_eq!((name.as_str(), keys.now().len(), batch), ("risk", 2, 1));
        assert!(is_ordered && is_structured);
        let Filter { event_types, business_units, requesters } = filter;
        assert_eq!(event_types, [Glob::new("*.rejected")]);
        assert_eq!(business_units.iter().collect::<Vec<_>>(), ["retail"]);
        assert_eq!(requesters.iter().collect::<Vec<_>>(), ["CORE"]);
        let from = crate::account::Timestamp::parse("2026-01-02T03:04:05Z").unwrap();
        assert_eq!(deliver_from, DeliverFrom::Time(from));
        assert_eq!((concurrency, rate, drain_rate), (3, Some(11.0), Some(5.0)));
        let origin = SenderOrigin::parse("us.example").unwrap();
        assert_eq!(handshake, Some(Question { origin, requests_per_minute: Some(660) }));

        let TargetOptions { url, headers, timeout, proxy, tls, max_idle_connections } = target;
        assert_eq!(url, EndpointUrl::parse("http://risk.bank.example/", true).unwrap());
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect();
        assert_eq!(headers, [("x-tenant", "bank"), ("x-token", "from a file")]);
        assert_eq!((timeout, max_idle_connections), (Duration::from_secs(9), 3));
        assert_eq!(proxy, Some(ProxyUrl::parse("http://proxy.bank.example:3128").unwrap()));
        let TlsOptions { ca_file, client_certificate } = tls;
        assert_eq!(ca_file, Some("/ca.pem".into()));
        assert_eq!(client_certificate, Some(("/client.pem".into(), "/client.key".into())));
    }

    #[test]
    fn every_endpoint_that_is_wrong_is_told_without_its_secrets() {
        let text = "[{ name = 'Risk', url = 'https://a.example/', unsigned = true }, \
                     { name = 'b', url = 'http://b.example/', unsigned = true }, \
                     { name = 'c', url = 'https://c.example/', secrets = ['hunter2'] }, \
                     { name = 'd', url = 'https://d.example/', secret_files = ['/none'] }, \
                     { name = 'e', url = 'https://e.example/', unsigned = true, handshake_origin = 'https://us' }, \
                     { name = 'f', url = 'https://f.example/', unsigned = true, proxy = 'http://us:hunter2@proxy' }, \
                     { name = 'g', url = 'https://g.example/', unsigned = true, header_files = { a = '/none' } }]";
        let option = ("callbacks.endpoints", "--test", text.to_owned());
        let operator = ("callbacks.operator.url", "--other", "http://ops.example/".to_owned());
        let unsigned = ("callbacks.operator.unsigned", "--other", "true".to_owned());
        let options = vec![option, operator, unsigned];
        let loaded = Loaded::from(Sources { options, ..Sources::default() }).unwrap();
        let error = check(&loaded).unwrap_err();
        let origins: Vec<&str> = error.problems.iter().map(|problem| problem.origin.as_str()).collect();
        assert_eq!(origins, [["--test"; 7].as_slice(), ["--other"].as_slice()].concat());
        let keys: Vec<&str> = error.problems.iter().map(|problem| problem.key.as_str()).collect();
        let expected = [
            "callbacks.endpoints[0].name",
            "callbacks.endpoints[1].url",
            "callbacks.endpoints[2].secrets",
            "callbacks.endpoints[3].secret_files",
            "callbacks.endpoints[4].handshake_origin",
            "callbacks.endpoints[5].proxy",
            "callbacks.endpoints[6].header_files",
            "callbacks.operator.url",
        ];
        assert_eq!(keys, expected);
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn a_receiver_is_asked_for_the_rate_that_is_set() {
        let asked = |further: &str| {
            let text = format!(
                "[{{ name = 'a', url = 'https://a.example/', unsigned = true, handshake_origin = 'us.example'{further} }}]"
            );
            let (endpoints, _) = endpoints(&callbacks(&text)).unwrap();
            endpoints[0].handshake.as_ref().unwrap().requests_per_minute
        };
        assert_eq!(asked(""), None);
        assert_eq!(asked(", rate = 10.0"), Some(600));
        assert_eq!(asked(", rate = 10.0, batch = 100"), Some(6));
        assert_eq!(asked(", rate = 0.001"), Some(1));
    }

    #[test]
    fn operators_are_told_only_where_that_is_set() {
        let operator = |url: &str| {
            let options = vec![
                ("callbacks.operator.url", "--test", url.to_owned()),
                ("callbacks.operator.unsigned", "--test", "true".to_owned()),
            ];
            let loaded = Loaded::from(Sources { options, ..Sources::default() }).unwrap();
            operator(&loaded.settings.callbacks)
        };
        assert!(operator("").unwrap().is_none());
        assert!(operator("https://ops.bank.example/").unwrap().is_some());
        let refused = operator("http://ops.bank.example/").err().unwrap().to_string();
        assert!(refused.contains("callbacks.operator.url"), "{refused}");
    }

    #[test]
    fn the_default_schedule_is_that_of_standard_webhooks() {
        let waits = deliverer(&callbacks("[]"), Generation(1)).schedule.waits;
        let seconds: Vec<u64> = waits.iter().map(Duration::as_secs).collect();
        assert_eq!(seconds, [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]);
    }
}
