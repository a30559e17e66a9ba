//! How long a connection may keep its slot without doing its part: sending the head of a request, asking
//! for the next one, taking an answer. Whoever does none of it in time is disconnected, so that a client
//! that stands still takes nothing away from others.
//!
//! What lies between, the request itself, has bounds of its own.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use futures_util::task::AtomicWaker;
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::linger::Lingering;

/// How long a client may take for its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    /// To send the head of a request: the first one from when it connected, the others from their first
    /// byte.
    pub(super) head: Duration,
    /// To ask for the next request.
    pub(super) keep_alive: Duration,
    /// To take more of an answer.
    pub(super) write: Duration,
}

/// What the two ends of a connection know of each other: how often a request has begun or ended. An odd
/// number of times means that one is being served.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    count: AtomicUsize,
    /// The connection, while it waits for nothing but the end of a request.
    connection: AtomicWaker,
}

impl Turns {
    /// A request has begun; it ends when its answer is written, or given up.
    pub(super) fn begin(&self) -> Turn {
        self.0.count.fetch_add(1, Ordering::AcqRel);
        Turn(Arc::clone(&self.0))
    }

    fn count(&self) -> usize {
        self.0.count.load(Ordering::Acquire)
    }
}

/// A request that is being served.
#[derive(Debug)]
pub(super) struct Turn(Arc<Shared>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.count.fetch_add(1, Ordering::AcqRel);
        self.0.connection.wake();
    }
}

impl Turn {
    /// The answer, whose end is the request's.
    pub(super) fn answered_with(self, response: Response) -> Response {
        response.map(|body| Body::new(Answer { body, _turn: self }))
    }
}

struct Answer {
    body: Body,
    _turn: Turn,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection that ends when the client's time is over.
#[derive(Debug)]
pub(super) struct Bounded {
    stream: Lingering,
    patience: Patience,
    turns: Turns,
    /// The turn that what is waited for belongs to.
    seen: usize,
    reading: Reading,
    /// Set while the client takes nothing.
    writing: Option<Pin<Box<Sleep>>>,
}

/// What is waited for from the client.
#[derive(Debug)]
enum Reading {
    /// Nothing: a request is being served.
    Serving,
    /// The first byte of the next request.
    Idle(Pin<Box<Sleep>>),
    /// The rest of a head.
    Head(Pin<Box<Sleep>>),
}

fn after(time: Duration) -> Pin<Box<Sleep>> {
    Box::pin(tokio::time::sleep(time))
}

impl Bounded {
    /// A connection that was just made. Whoever serves its requests notes them in `turns`.
    pub(super) fn new(stream: Lingering, patience: Patience, turns: Turns) -> Self {
        let seen = turns.count();
        let reading = Reading::Head(after(patience.head));
        Self { stream, patience, turns, seen, reading, writing: None }
    }

    fn follow_turns(&mut self) {
        let count = self.turns.count();
        if count != self.seen {
            self.seen = count;
            let is_serving = count % 2 == 1;
            self.reading = if is_serving {
                Reading::Serving
            } else {
                Reading::Idle(after(self.patience.keep_alive))
            };
        }
    }

    /// What came of a write: progress, or a wait that has an end.
    fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.writing = None;
            return result;
        }
        let time = self.patience.write;
        let writing = self.writing.get_or_insert_with(|| after(time));
        ready!(writing.as_mut().poll(context));
        // What is still to be sent is of no use to anybody; the kernel is not to keep it.
        self.stream.reset_on_close();
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Before the look at the turns, so that none ends unseen.
        self.turns.0.connection.register(context.waker());
        self.follow_turns();
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            if buffer.filled().len() > before && matches!(self.reading, Reading::Idle(_)) {
                self.reading = Reading::Head(after(self.patience.head));
            }
            return read;
        }
        match &mut self.reading {
            Reading::Serving => Poll::Pending,
            // As if the client had closed its side: that ends an idle connection without an error.
            Reading::Idle(sleep) | Reading::Head(sleep) => sleep.as_mut().poll(context).map(Ok),
        }
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.written(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
