//! Receivers behind TLS, an authority that vouches for them and for us, and a proxy on the way.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// An authority of its own, and a directory with what it has signed.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    /// The file that others trust it by.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// The files of a certificate for a name or address, and of its key.
    pub fn sign(&self, host: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |kind: &str| self.directory.path().join(format!("{host}.{kind}"));
        std::fs::write(file("pem"), certificate.pem()).unwrap();
        std::fs::write(file("key"), key.serialize_pem()).unwrap();
        (file("pem"), file("key"))
    }

    /// What a receiver needs that shows the authority's own certificate.
    pub fn server_without_another(&self) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let key = self.issuer.key().serialize_der().try_into().unwrap();
        let certificate = self.issuer.der().clone();
        builder.unwrap().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap()
    }

    /// What a receiver needs to be `host`; with `clients` it lets in only whom that authority knows.
    pub fn server(
        &self,
        host: &str,
        clients: Option<&Self>,
        version: &'static SupportedProtocolVersion,
    ) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.issuer.der().clone()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.unwrap())
            }
        };
        let key = key.serialize_der().try_into().unwrap();
        builder.with_single_cert(vec![certificate.der().clone()], key).unwrap()
    }
}

/// A receiver that acknowledges everything.
pub struct Receiver {
    pub address: SocketAddr,
    pub requests: Arc<AtomicU32>,
}

impl Receiver {
    /// One behind TLS, or without.
    pub async fn start(tls: Option<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self { address: listener.local_addr().unwrap(), requests: Arc::default() };
        let requests = Arc::clone(&receiver.requests);
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(receive(socket, acceptor.clone(), Arc::clone(&requests)));
            }
        });
        receiver
    }

    pub fn count(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }
}

async fn receive(socket: TcpStream, acceptor: Option<TlsAcceptor>, requests: Arc<AtomicU32>) {
    match acceptor {
        None => acknowledge(socket, requests).await,
        // Who does not get through has been told so.
        Some(acceptor) => {
            if let Ok(socket) = acceptor.accept(socket).await {
                acknowledge(socket, requests).await;
            }
        }
    }
}

async fn acknowledge<S: AsyncRead + AsyncWrite + Unpin>(socket: S, requests: Arc<AtomicU32>) {
    let service = service_fn(|_: Request<Incoming>| {
        requests.fetch_add(1, Ordering::Relaxed);
        let mut response = Response::new(String::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        std::future::ready(Ok::<_, std::convert::Infallible>(response))
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}

/// A proxy that is asked to connect.
pub struct Proxy {
    pub address: SocketAddr,
    /// Where it was asked to connect to.
    pub asked: Arc<Mutex<Vec<String>>>,
    /// What it answers instead of connecting.
    pub refusal: Arc<Mutex<Option<&'static str>>>,
}

impl Proxy {
    /// One for which every name is the one of `receiver`.
    pub async fn start(receiver: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Self { address, asked: Arc::default(), refusal: Arc::default() };
        let (asked, refusal) = (Arc::clone(&proxy.asked), Arc::clone(&proxy.refusal));
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (asked, refusal) = (Arc::clone(&asked), Arc::clone(&refusal));
                tokio::spawn(async move {
                    let authority = authority_asked_for(&mut client).await;
                    asked.lock().unwrap().push(authority);
                    let refusal = *refusal.lock().unwrap();
                    match refusal {
                        Some(refusal) => {
                            let answer = format!("HTTP/1.1 {refusal}\r\ncontent-length: 0\r\n\r\n");
                            client.write_all(answer.as_bytes()).await.unwrap();
                        }
                        None => connect(client, receiver).await,
                    }
                });
            }
        });
        proxy
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn authority_asked_for(client: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let (method, rest) = head.split_once(' ').unwrap();
    assert_eq!(method, "CONNECT");
    rest.split_once(' ').unwrap().0.to_owned()
}

async fn connect(mut client: TcpStream, receiver: SocketAddr) {
    let mut receiver = TcpStream::connect(receiver).await.unwrap();
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    let _ = copy_bidirectional(&mut client, &mut receiver).await;
}
