//! Endpoints behind proxies and behind TLS of their own, over real sockets.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use penstock::callbacks::address::{EndpointUrl, ProxyUrl};
use penstock::callbacks::http::{HttpSender, TargetOptions, TlsOptions};
use penstock::callbacks::{Headers, Request, Sender};
use penstock::store::{DeliveryState, EndpointName};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::secured::{Authority, Proxy, Receiver};
use crate::world::{EVENTS, Setup, World};

/// A name that only a proxy knows.
const HOST: &str = "risk.bank.example";

fn target(url: &str) -> TargetOptions {
    TargetOptions {
        url: EndpointUrl::parse(url, true).unwrap(),
        headers: Vec::new(),
        timeout: Duration::from_secs(10),
        proxy: None,
        tls: TlsOptions::default(),
        max_idle_connections: 4,
    }
}

fn at(address: SocketAddr) -> TargetOptions {
    target(&format!("https://{address}/events"))
}

fn trusting(authority: &Authority, target: TargetOptions) -> TargetOptions {
    let tls = TlsOptions { ca_file: Some(authority.ca_file()), ..target.tls };
    TargetOptions { tls, ..target }
}

fn through(proxy: &Proxy, target: TargetOptions) -> TargetOptions {
    TargetOptions { proxy: Some(ProxyUrl::parse(&proxy.url()).unwrap()), ..target }
}

/// What becomes of a request to the target: its status, or why there is none.
async fn sent(target: TargetOptions) -> Result<u16, String> {
    let endpoint = EndpointName::parse("risk").unwrap();
    let sender =
        HttpSender::new(vec![(endpoint.clone(), target)], vec!["127.0.0.0/8".parse().unwrap()]).unwrap();
    let headers: Headers = [("ce-id", "1")].into_iter().collect();
    let request = Request { endpoint, headers, body: Bytes::from_static(b"{}") };
    sender.send(request).await.map(|answer| answer.status).map_err(|none| none.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_leads_to_an_endpoint_that_only_it_can_look_up() {
    let authority = Authority::new("bank");
    let secured = Receiver::start(Some(authority.server(HOST, None, &TLS13))).await;
    let proxy = Proxy::start(secured.address).await;
    let target_of = |url: &str| trusting(&authority, target(&format!("{url}/events")));
    assert_eq!(sent(through(&proxy, target_of("https://risk.bank.example"))).await, Ok(204));
    assert_eq!(sent(through(&proxy, target_of("https://risk.bank.example:8443"))).await, Ok(204));
    assert_eq!(proxy.asked(), ["risk.bank.example:443", "risk.bank.example:8443"]);
    assert_eq!(secured.count(), 2);
    let unproxied = sent(target_of("https://risk.bank.example")).await.unwrap_err();
    assert!(unproxied.contains("dns error"), "{unproxied}");
    // Whom the proxy leads to must still be the endpoint.
    let other = sent(through(&proxy, target_of("https://other.bank.example"))).await.unwrap_err();
    assert!(other.contains("for another host than the one in url"), "{other}");

    let plain = Receiver::start(None).await;
    let proxy = Proxy::start(plain.address).await;
    assert_eq!(sent(through(&proxy, target("http://risk.bank.example/events"))).await, Ok(204));
    assert_eq!(sent(through(&proxy, target("http://risk.bank.example:8080/events"))).await, Ok(204));
    assert_eq!(proxy.asked(), ["risk.bank.example:80", "risk.bank.example:8080"]);
    assert_eq!(plain.count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_refuses_is_a_failed_attempt_that_says_so() {
    let proxy = Proxy::start("127.0.0.1:9".parse().unwrap()).await;
    for (refusal, told) in [
        ("407 Proxy Authentication Required", "the proxy asks for a user and a password (407)"),
        ("502 Bad Gateway", "the proxy answers 502 Bad Gateway instead of connecting"),
    ] {
        *proxy.refusal.lock().unwrap() = Some(refusal);
        let setup = Setup { proxy: Some(ProxyUrl::parse(&proxy.url()).unwrap()), ..Setup::default() };
        let world = World::start(&["fast"], setup).await;
        world.publish(0..EVENTS).await;
        world.until("fast", Some(DeliveryState::Parked), EVENTS.into()).await;
        let attempt = world.attempt().await;
        assert!(attempt.answer.contains(told), "{}", attempt.answer);
        // An answer of the proxy's is none of the endpoint's: it asks for nothing and ends nothing.
        assert_eq!(attempt.status, None);
        assert_eq!(world.receivers["fast"].count(), 0);
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_of_a_private_authority_is_reached_by_whoever_trusts_it() {
    let authority = Authority::new("bank");
    let (stranger, renewed) = (Authority::new("stranger"), Authority::new("bank"));
    for version in [&TLS12, &TLS13] {
        let receiver = Receiver::start(Some(authority.server("127.0.0.1", None, version))).await;
        assert_eq!(sent(trusting(&authority, at(receiver.address))).await, Ok(204));
        assert_eq!(receiver.count(), 1);
        let untrusting = [&stranger, &renewed].map(|other| trusting(other, at(receiver.address)));
        for untrusting in untrusting.into_iter().chain([at(receiver.address)]) {
            let reason = sent(untrusting).await.unwrap_err();
            assert!(reason.contains("name the file with its authority as ca_file"), "{reason}");
        }
        let misnamed = Receiver::start(Some(authority.server(HOST, None, version))).await;
        let reason = sent(trusting(&authority, at(misnamed.address))).await.unwrap_err();
        assert!(reason.contains("for another host than the one in url"), "{reason}");
        assert_eq!((receiver.count(), misnamed.count()), (1, 0), "nothing is sent to whom nobody knows");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_demands_a_certificate_is_shown_ours_and_none_is_told_apart_from_a_wrong_one() {
    let (authority, clients) = (Authority::new("bank"), Authority::new("clients"));
    let (stranger, renewed) = (Authority::new("stranger"), Authority::new("clients"));
    let showing = |target: TargetOptions, certificate| {
        let tls = TlsOptions { client_certificate: Some(certificate), ..target.tls };
        TargetOptions { tls, ..target }
    };
    for version in [&TLS12, &TLS13] {
        let config = authority.server("127.0.0.1", Some(&clients), version);
        let receiver = Receiver::start(Some(config)).await;
        // Once in a thousand times the client itself does not hear that its connection has ended.
        let timeout = Duration::from_secs(3);
        let target = TargetOptions { timeout, ..trusting(&authority, at(receiver.address)) };
        let with_certificate = showing(target.clone(), clients.sign("penstock"));
        assert_eq!(sent(with_certificate).await, Ok(204), "{version:?}");
        // With TLS 1.3 a client hears of the refusal while it sends: often enough to meet every order.
        for _ in 0..20 {
            let reason = sent(target.clone()).await.unwrap_err();
            assert!(reason.contains("set client_certificate_file"), "{version:?}: {reason}");
            for other in [&stranger, &renewed] {
                let reason = sent(showing(target.clone(), other.sign("penstock"))).await.unwrap_err();
                assert!(reason.contains("does not take the certificate"), "{version:?}: {reason}");
            }
        }
        assert_eq!(receiver.count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_signs_itself_is_refused_with_advice() {
    let authority = Authority::new("127.0.0.1");
    let receiver = Receiver::start(Some(authority.server_without_another())).await;
    let reason = sent(trusting(&authority, at(receiver.address))).await.unwrap_err();
    assert!(reason.contains("as `openssl req -x509` makes them"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_may_have_many_headers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"{}") {
            request.push(socket.read_u8().await.unwrap());
        }
        let headers = (0..500)
            .fold(String::new(), |headers, number| headers + &format!("x-{number}: of a proxy\r\n"));
        let answer = format!("HTTP/1.1 204 No Content\r\n{headers}\r\n");
        socket.write_all(answer.as_bytes()).await.unwrap();
    });
    assert_eq!(sent(target(&format!("http://{address}/"))).await, Ok(204));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_takes_up_how_an_endpoint_is_reached_from_now_on() {
    let receivers = [Receiver::start(None).await, Receiver::start(None).await];
    let risk = EndpointName::parse("risk").unwrap();
    let sender_to = |receiver: &Receiver| {
        let targets = vec![(risk.clone(), target(&format!("http://{}/", receiver.address)))];
        HttpSender::new(targets, vec!["127.0.0.0/8".parse().unwrap()]).unwrap()
    };
    let [before, after] = [sender_to(&receivers[0]), sender_to(&receivers[1])];
    let used = before.clone();
    before.take_over(&after);
    let headers: Headers = [("ce-id", "1")].into_iter().collect();
    let request = Request { endpoint: risk.clone(), headers, body: Bytes::from_static(b"{}") };
    assert_eq!(used.send(request).await.unwrap().status, 204);
    assert_eq!((receivers[0].count(), receivers[1].count()), (0, 1));
}

#[test]
fn files_that_cannot_be_used_are_refused_before_anything_is_sent() {
    let authority = Authority::new("bank");
    let (certificate, key) = authority.sign("penstock");
    let (_, other_key) = authority.sign("other");
    let missing = Path::new("/none/ca.pem").to_owned();
    let refusal = |tls: TlsOptions| {
        let target = TargetOptions { tls, ..target("https://risk.bank.example/") };
        let targets = vec![(EndpointName::parse("risk").unwrap(), target)];
        let error = HttpSender::new(targets, Vec::new()).err();
        error.map(|error| error.to_string()).unwrap_or_default()
    };
    let showing = |certificate: &Path, key: &Path| TlsOptions {
        client_certificate: Some((certificate.to_owned(), key.to_owned())),
        ..TlsOptions::default()
    };
    let trusting = |file: &Path| TlsOptions { ca_file: Some(file.to_owned()), ..TlsOptions::default() };
    assert_eq!(refusal(showing(&certificate, &key)), "");
    for (tls, told) in [
        (trusting(&missing), "/none/ca.pem is no readable PEM file"),
        (trusting(&key), "has no certificate in it"),
        (showing(&certificate, &missing), "/none/ca.pem is no readable PEM file"),
        (showing(&certificate, &certificate), "penstock.pem is no readable PEM file"),
        (showing(&key, &key), "has no certificate in it"),
        (showing(&certificate, &other_key), "penstock.pem has a certificate that cannot be used"),
    ] {
        let refused = refusal(tls);
        assert!(refused.contains(told), "{told}: {refused}");
    }
}
