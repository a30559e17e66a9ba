//! Whether a request's body has arrived to its end. A connection on which more of it may come cannot carry
//! another request, and whoever is refused is told so.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};

/// What is known of a body that somebody reads.
#[derive(Clone, Debug)]
pub(super) struct Arrival(Arc<AtomicBool>);

impl Arrival {
    /// Follows the body of a request.
    pub(super) fn follow(request: Request) -> (Request, Self) {
        let has_ended = Arc::new(AtomicBool::new(request.body().is_end_stream()));
        let arrival = Self(Arc::clone(&has_ended));
        (request.map(|body| Body::new(Followed { body, has_ended })), arrival)
    }

    /// Says that the connection is closed when the request is refused before all of it has arrived.
    pub(super) fn tell(&self, response: &mut Response) {
        let is_refused = response.status().is_client_error() || response.status().is_server_error();
        if is_refused && !self.0.load(Ordering::Relaxed) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

struct Followed {
    body: Body,
    has_ended: Arc<AtomicBool>,
}

impl HttpBody for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.has_ended.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
