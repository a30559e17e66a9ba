//! The way through an HTTP proxy, by CONNECT.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1::{self, Parts};
use hyper::header::{HOST, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::BoxError;

use super::SENT_BY;

/// Why a proxy does not lead to an endpoint.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    /// There is no connection to it.
    #[error("the proxy cannot be connected to")]
    Unreachable(#[source] BoxError),
    /// It wants to know who asks.
    #[error(
        "the proxy asks for a user and a password (407) and is told none; have it admit this machine \
         without"
    )]
    Credentials,
    /// It does not connect.
    #[error("the proxy answers {0} instead of connecting to the endpoint; its own log tells why")]
    Refused(StatusCode),
    /// It is none, or went away.
    #[error("the proxy does not answer CONNECT as an HTTP proxy does")]
    NoProxy(#[source] hyper::Error),
    /// What it sends is from nobody.
    #[error("the proxy sends bytes of its own ahead of the endpoint's")]
    Chatters,
    /// It takes too long.
    #[error("the proxy has not connected to the endpoint within {} s", .0.as_secs_f64())]
    Slow(Duration),
}

/// Asks a proxy, over a connection to it, to connect to the host and port of `target`; from then on the
/// connection is one to there.
pub(super) async fn tunnel(
    connection: TokioIo<TcpStream>,
    target: &Uri,
    timeout: Duration,
) -> Result<TokioIo<TcpStream>, ProxyError> {
    let asking = ask(connection, authority(target));
    tokio::time::timeout(timeout, asking).await.map_err(|_| ProxyError::Slow(timeout))?
}

/// Host and port, the port always named: a proxy does not know the scheme.
fn authority(target: &Uri) -> String {
    let default_port = if target.scheme_str() == Some("http") { 80 } else { 443 };
    format!("{}:{}", target.host().unwrap_or_default(), target.port_u16().unwrap_or(default_port))
}

async fn ask(
    connection: TokioIo<TcpStream>,
    authority: String,
) -> Result<TokioIo<TcpStream>, ProxyError> {
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(authority.as_str())
        .header(HOST, authority.as_str())
        .header(USER_AGENT, SENT_BY)
        .body(Empty::<Bytes>::new());
    // A host that is in a URL can be in an authority too.
    let Ok(request) = request else { return Err(ProxyError::Refused(StatusCode::BAD_REQUEST)) };
    let (mut requests, exchange) = http1::handshake(connection).await.map_err(ProxyError::NoProxy)?;
    let answered = async move {
        let response = requests.send_request(request).await.map_err(ProxyError::NoProxy)?;
        match response.status() {
            status if status.is_success() => Ok(()),
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(ProxyError::Credentials),
            status => Err(ProxyError::Refused(status)),
        }
    };
    let ended = async { exchange.without_shutdown().await.map_err(ProxyError::NoProxy) };
    let ((), Parts { io, read_buf, .. }) = tokio::try_join!(answered, ended)?;
    if read_buf.is_empty() { Ok(io) } else { Err(ProxyError::Chatters) }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    /// What becomes of a question to a proxy that says `answer` and nothing else.
    async fn answered(answer: &'static [u8], timeout: Duration) -> Result<String, String> {
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connection = TcpStream::connect(proxy.local_addr().unwrap()).await.unwrap();
        let (mut accepted, _) = proxy.accept().await.unwrap();
        accepted.write_all(answer).await.unwrap();
        let target = "https://risk.bank.example/events".parse().unwrap();
        let asked = tunnel(TokioIo::new(connection), &target, timeout).await;
        let connection = asked.map_err(|error| error.to_string())?;
        let mut question = vec![0; 4_096];
        let count = accepted.read(&mut question).await.unwrap();
        drop(connection);
        Ok(String::from_utf8(question[..count].to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_proxy_is_asked_as_http_has_it_and_any_success_will_do() {
        for answer in [
            &b"HTTP/1.1 200 Connection established\r\n\r\n"[..],
            b"HTTP/1.0 200 OK\r\nVia: x\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
        ] {
            let question = answered(answer, LONG).await.unwrap();
            assert!(question.starts_with("CONNECT risk.bank.example:443 HTTP/1.1\r\n"), "{question}");
            assert!(question.contains("host: risk.bank.example:443\r\n"), "{question}");
        }
    }

    #[tokio::test]
    async fn what_a_proxy_says_instead_is_told() {
        for (answer, told) in [
            (&b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"[..], "a user and a password (407)"),
            (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno", "403 Forbidden"),
            (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 99\r\n\r\n<html>", "502 Bad Gateway"),
            (b"HTTP/1.1 302 Found\r\nlocation: http://login/\r\n\r\n", "302 Found"),
            (b"\x05\xff no proxy at all\r\n\r\n", "as an HTTP proxy does"),
            (b"HTTP/1.1 200 OK\r\n\r\nHELLO", "bytes of its own"),
        ] {
            let error = answered(answer, LONG).await.unwrap_err();
            assert!(error.contains(told), "{told}: {error}");
        }
        let error = answered(b"HTTP/1.1 200 OK\r\n", Duration::from_millis(50)).await.unwrap_err();
        assert!(error.contains("within 0.05 s"), "{error}");
    }

    #[test]
    fn the_port_is_that_of_the_scheme_unless_it_is_named() {
        for (url, expected) in [
            ("https://a.example/x", "a.example:443"),
            ("http://a.example/x", "a.example:80"),
            ("http://a.example:8080/x", "a.example:8080"),
            ("https://[2606:4700::1111]/", "[2606:4700::1111]:443"),
        ] {
            assert_eq!(authority(&url.parse().unwrap()), expected);
        }
    }
}
