//! The accept loop. A connection that does not do its part in time is closed; no more connections than
//! the cap are served, the others wait in the kernel's backlog; an error of one connection, or of
//! accepting one, never ends the loop.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::linger::Lingering;
use super::patience::{Bounded, Patience, Turns};

/// Pause after an error of accepting, such as no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Room for a request's headers beyond the limit, so that most refusals can be put into words.
const HEADER_BUFFER_FACTOR: usize = 4;
/// Smallest buffer the HTTP implementation takes.
const MIN_BUFFER_BYTES: usize = 8_192;

/// Bounds of the accept loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// How long a request's headers may take to arrive: the first one's from when the client connected.
    pub header_timeout: Duration,
    /// How long a connection may be idle between two requests.
    pub keep_alive_timeout: Duration,
    /// How long a client may take nothing of an answer.
    pub write_timeout: Duration,
    /// Most connections at a time.
    pub max_connections: usize,
    /// The limit the router sets on a request's headers, in bytes.
    pub max_header_bytes: usize,
    /// How long requests that have begun may take to finish at shutdown.
    pub shutdown_timeout: Duration,
}

/// Serves `router` until `stop`, then stops accepting and lets requests finish within
/// [`ServerOptions::shutdown_timeout`]. Handlers find the peer's address as
/// [`ConnectInfo<SocketAddr>`](ConnectInfo).
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: ServerOptions,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(options.max_connections));
    let abort = CancellationToken::new();
    while let Some(Ok(slot)) = stop.run_until_cancelled(Arc::clone(&slots).acquire_owned()).await {
        let Some((stream, peer)) = stop.run_until_cancelled(accept(&listener)).await else { break };
        let served = serve_connection(stream, peer, router.clone(), options, stop.clone());
        let abort = abort.clone();
        connections.spawn(async move {
            abort.run_until_cancelled(served).await;
            drop(slot);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(options.shutdown_timeout, connections.wait()).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "connections are closed before their requests ended"
        );
        abort.cancel();
        connections.wait().await;
    }
}

/// The next connection, however many attempts fail.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_one_connection(error.kind()) => {}
            Err(error) => {
                tracing::error!(%error, "no connection can be accepted; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_one_connection(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset
    )
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    options: ServerOptions,
    stop: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let patience = Patience {
        head: options.header_timeout,
        keep_alive: options.keep_alive_timeout,
        write: options.write_timeout,
    };
    let turns = Turns::default();
    let stream = Bounded::new(Lingering::new(stream), patience, turns.clone());
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let turn = turns.begin();
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = router.clone().oneshot(request.map(Body::new));
        async move { answer.await.map(|response| turn.answered_with(response)) }
    });
    let buffer_bytes =
        options.max_header_bytes.saturating_mul(HEADER_BUFFER_FACTOR).max(MIN_BUFFER_BYTES);
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(buffer_bytes)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended with an error");
    }
}
