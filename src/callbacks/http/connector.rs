//! Connections to endpoints, and to nothing else: the addresses a name resolves to are checked, all of
//! them, and it is those that are connected to. A name that resolves to something else a moment later
//! changes nothing. Through a proxy it is the proxy that looks names up, so only an endpoint that is named
//! by its address, or as `localhost`, is checked here.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use tokio::net::TcpStream;
use tower::{BoxError, Service};

use crate::callbacks::address::check_address;

use super::proxy::{ProxyError, tunnel};

type Connecting = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, BoxError>> + Send>>;

type LookingUp = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Asks for the addresses of a name. Tests answer as a hostile name server may.
type Lookup = dyn Fn(Name) -> LookingUp + Send + Sync;

/// The addresses that the system knows of a name.
fn system_lookup(name: Name) -> LookingUp {
    Box::pin(async move { Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.collect()) })
}

/// Looks names up; refuses one as soon as a single address of it is refused.
#[derive(Clone)]
pub(super) struct GuardedResolver {
    lookup: Arc<Lookup>,
    allowed: Arc<[IpNet]>,
}

impl fmt::Debug for GuardedResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedResolver").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let allowed = Arc::clone(&self.allowed);
        let looking_up = (self.lookup)(name);
        Box::pin(async move { checked(looking_up.await?, &allowed).map(Vec::into_iter) })
    }
}

/// The addresses, if each of them is allowed.
fn checked(found: Vec<SocketAddr>, allowed: &[IpNet]) -> io::Result<Vec<SocketAddr>> {
    for address in &found {
        check_address(address.ip(), allowed).map_err(io::Error::other)?;
    }
    Ok(found)
}

/// How endpoints are connected to.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    allowed: Arc<[IpNet]>,
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    Direct(HttpConnector<GuardedResolver>),
    /// The proxy looks names up, often where this machine cannot, so an answer to the same question asked
    /// here would tell nothing about where it connects to: what it lets through is its operator's to decide.
    Proxy {
        proxy: Uri,
        connector: HttpConnector,
        timeout: Duration,
    },
}

impl Connector {
    /// Straight to the endpoint.
    pub(super) fn direct(allowed: Arc<[IpNet]>, timeout: Duration) -> Self {
        Self::looking_up(Arc::new(system_lookup), allowed, timeout)
    }

    fn looking_up(lookup: Arc<Lookup>, allowed: Arc<[IpNet]>, timeout: Duration) -> Self {
        let resolver = GuardedResolver { lookup, allowed: Arc::clone(&allowed) };
        let mut connector = HttpConnector::new_with_resolver(resolver);
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(timeout));
        Self { allowed, way: Way::Direct(connector) }
    }

    /// Through an HTTP proxy, by CONNECT. The proxy itself may be anywhere.
    pub(super) fn through(proxy: Uri, allowed: Arc<[IpNet]>, timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(timeout));
        Self { allowed, way: Way::Proxy { proxy, connector, timeout } }
    }

    /// What can be said of a target without a look-up. No resolver is asked about an address, and what a
    /// proxy makes of `localhost` is itself.
    fn check(&self, target: &Uri) -> Result<(), BoxError> {
        let host = target.host().unwrap_or_default();
        let address = match (host.trim_matches(['[', ']']).parse(), &self.way) {
            (Ok(address), _) => address,
            (Err(_), Way::Proxy { .. }) if is_localhost(host) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            (Err(_), _) => return Ok(()),
        };
        check_address(address, &self.allowed).map_err(Into::into)
    }
}

/// Whether a name is one of the machine that looks it up (RFC 6761).
fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Connecting;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &mut self.way {
            Way::Direct(connector) => connector.poll_ready(context).map_err(Into::into),
            Way::Proxy { connector, .. } => connector.poll_ready(context).map_err(Into::into),
        }
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        if let Err(refused) = self.check(&uri) {
            return Box::pin(std::future::ready(Err(refused)));
        }
        match &mut self.way {
            Way::Direct(connector) => {
                let connecting = connector.call(uri);
                Box::pin(async move { connecting.await.map_err(Into::into) })
            }
            Way::Proxy { proxy, connector, timeout } => {
                let (connecting, timeout) = (connector.call(proxy.clone()), *timeout);
                Box::pin(async move {
                    let unreachable = |error| ProxyError::Unreachable(BoxError::from(error));
                    let connection = connecting.await.map_err(unreachable)?;
                    Ok(tunnel(connection, &uri, timeout).await?)
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn one_refused_address_refuses_the_name() {
        let found = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect()
        };
        let refusal = |texts: &[&str]| checked(found(texts), &[]).map_err(|error| error.to_string());
        assert_eq!(refusal(&["8.8.8.8", "2606:4700::1111"]).unwrap().len(), 2);
        for answer in [
            &["127.0.0.1"][..],
            &["8.8.8.8", "127.0.0.1"],
            &["8.8.8.8", "169.254.169.254"],
            &["::ffff:10.0.0.1"],
            &["2606:4700::1111", "fd00::1"],
        ] {
            let refused = refusal(answer).unwrap_err();
            assert!(refused.contains("callbacks.allow_networks"), "{answer:?}: {refused}");
        }
        let allowed = ["127.0.0.0/8".parse().unwrap()];
        assert!(checked(found(&["127.0.0.1"]), &allowed).is_ok());
    }

    /// What a name server has not said yet.
    type Answers = Arc<Mutex<Vec<Vec<SocketAddr>>>>;

    /// A name server that says something else each time; afterwards it has nothing more to say.
    fn rebinding(answers: &[&[&str]]) -> (Arc<Lookup>, Answers) {
        let address = |text: &&str| SocketAddr::new(text.parse().unwrap(), 0);
        let answers: Vec<Vec<SocketAddr>> =
            answers.iter().rev().map(|answer| answer.iter().map(address).collect()).collect();
        let left = Arc::new(Mutex::new(answers));
        let asked = Arc::clone(&left);
        let lookup: Arc<Lookup> = Arc::new(move |_| {
            let answer = asked.lock().unwrap().pop();
            Box::pin(async move { answer.ok_or_else(|| io::Error::other("asked too often")) })
        });
        (lookup, left)
    }

    /// What is refused here stands for a machine inside, what is allowed for one outside: both are on the
    /// loopback, and both listen on the same port.
    #[tokio::test]
    async fn a_name_that_is_rebound_is_connected_to_where_it_was_checked_or_not_at_all() {
        let outside = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let port = outside.local_addr().unwrap().port();
        let inside = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        inside.set_nonblocking(true).unwrap();
        let (lookup, left) =
            rebinding(&[&["127.0.0.2"], &["127.0.0.1"], &["127.0.0.2", "127.0.0.1"], &["127.0.0.2"]]);
        let allowed: Arc<[IpNet]> = Arc::new(["127.0.0.2/32".parse().unwrap()]);
        let mut connector = Connector::looking_up(lookup, allowed, Duration::from_secs(5));
        let uri: Uri = format!("http://risk.bank.example:{port}/").parse().unwrap();
        for (answers_left, is_outside) in [(3, true), (2, false), (1, false), (0, true)] {
            let connected = connector.call(uri.clone()).await;
            // Once for each connection: nobody is asked again between the check and the connection.
            assert_eq!(left.lock().unwrap().len(), answers_left);
            match connected {
                Ok(connection) => {
                    assert!(is_outside);
                    assert_eq!(connection.inner().peer_addr().unwrap(), outside.local_addr().unwrap());
                }
                Err(error) => {
                    let text = crate::telemetry::with_causes(error.as_ref()).to_string();
                    assert!(!is_outside && text.contains("127.0.0.1 is a loopback address"), "{text}");
                }
            }
        }
        let nobody = inside.accept().unwrap_err();
        assert_eq!(nobody.kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_refused_when_it_is_connected_to() {
        for target in [
            "http://localhost:9/",
            "http://127.0.0.1:9/",
            "http://[::1]:9/",
            "http://[::ffff:127.0.0.1]:9/",
        ] {
            let mut connector = Connector::direct(Arc::new([]), Duration::from_secs(1));
            let error = connector.call(target.parse().unwrap()).await.unwrap_err();
            let text = crate::telemetry::with_causes(error.as_ref()).to_string();
            assert!(text.contains("is a loopback address"), "{target}: {text}");
        }
    }

    #[tokio::test]
    async fn a_proxy_is_not_asked_for_a_refused_address_or_for_itself() {
        // Nobody listens there: who is asked says so.
        let proxy = Uri::from_static("http://127.0.0.1:9");
        let told = async |target: &str, allowed: Arc<[IpNet]>| {
            let mut connector = Connector::through(proxy.clone(), allowed, Duration::from_secs(1));
            connector.call(target.parse().unwrap()).await.unwrap_err().to_string()
        };
        for (target, reason) in [
            ("https://169.254.169.254/", "is a link-local address"),
            ("https://[fd00::1]/", "is a unique local address"),
            ("https://localhost/", "is a loopback address"),
            ("https://LocalHost./", "is a loopback address"),
            ("https://risk.localhost:8443/", "is a loopback address"),
            ("https://localhost.bank.example/", "the proxy cannot be connected to"),
            ("https://8.8.8.8/", "the proxy cannot be connected to"),
        ] {
            let error = told(target, Arc::new([])).await;
            assert!(error.contains(reason), "{target}: {error}");
        }
        let error = told("https://localhost/", Arc::new(["127.0.0.0/8".parse().unwrap()])).await;
        assert!(error.contains("the proxy cannot be connected to"), "{error}");
    }
}
