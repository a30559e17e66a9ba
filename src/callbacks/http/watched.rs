//! Connections that remember why TLS ended them. With TLS 1.3 a receiver refuses a client only when that
//! one takes itself for connected; whoever sends a request then learns that the connection is closed, and
//! not why.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::Error as TlsError;
use tokio::net::TcpStream;
use tower::{BoxError, Service};

use super::connector::Connector;
use super::reasons::tls_error;

type Connecting = Pin<Box<dyn Future<Output = Result<Watched, BoxError>> + Send>>;

/// The last error of TLS on any connection to an endpoint; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct LastTlsError(Arc<Mutex<Option<TlsError>>>);

impl LastTlsError {
    fn note(&self, error: &io::Error) {
        if let Some(found) = tls_error(error) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
        }
    }

    /// Takes it; from now on there is none.
    pub(super) fn take(&self) -> Option<TlsError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Makes connections that are watched.
#[derive(Clone, Debug)]
pub(super) struct Watching {
    pub(super) connector: HttpsConnector<Connector>,
    pub(super) last_error: LastTlsError,
}

impl Service<Uri> for Watching {
    type Response = Watched;
    type Error = BoxError;
    type Future = Connecting;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let connecting = self.connector.call(uri);
        let last_error = self.last_error.clone();
        Box::pin(async move { Ok(Watched { stream: connecting.await?, last_error }) })
    }
}

/// A connection that is watched while it is read from; that is where alerts come in.
pub(super) struct Watched {
    stream: MaybeHttpsStream<TokioIo<TcpStream>>,
    last_error: LastTlsError,
}

impl Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(Err(error)) = &read {
            self.last_error.note(error);
        }
        read
    }
}

impl Write for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }
}

impl Connection for Watched {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}
