//! A receiver that costs next to nothing: it reads just enough of HTTP/1.1 to know where a request ends
//! and how many events it brings, answers, and keeps one request to be looked at.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ACKNOWLEDGED: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
const REFUSED: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
/// Stands once in every event of a batch.
const MARK: &[u8] = b"\"specversion\"";
/// How often its count is looked at.
const PAUSE: Duration = Duration::from_millis(2);

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

#[derive(Default)]
struct Seen {
    events: AtomicU64,
    refuses: AtomicBool,
    sample: OnceLock<Sample>,
    /// When an event was acknowledged first, and last.
    span: Mutex<Option<(Instant, Instant)>>,
}

/// A receiver on a thread of its own; it lives as long as the process.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let seen = Arc::new(Seen::default());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Arc::clone(&seen);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((socket, _)) = listener.accept().await {
                    socket.set_nodelay(true).unwrap();
                    tokio::spawn(serve(socket, Arc::clone(&serving)));
                }
            });
        });
        Self { address, seen }
    }

    /// From now on it answers 500, or takes everything again.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.seen.refuses.store(refuses, Ordering::Relaxed);
    }

    /// Events acknowledged so far.
    pub(crate) fn events(&self) -> u64 {
        self.seen.events.load(Ordering::Relaxed)
    }

    /// Waits until so many events are acknowledged.
    pub(crate) fn wait_for(&self, events: u64, patience: Duration) {
        let (mut seen, mut since) = (self.events(), Instant::now());
        while seen < events {
            std::thread::sleep(PAUSE);
            if self.events() > seen {
                (seen, since) = (self.events(), Instant::now());
            }
            assert!(since.elapsed() < patience, "the receiver stays at {seen} events");
        }
    }

    /// The time from the first acknowledgement to the last.
    pub(crate) fn span(&self) -> Duration {
        let span = *self.seen.span.lock().unwrap();
        span.map_or(Duration::ZERO, |(first, last)| last - first)
    }

    /// The first request it took.
    pub(crate) fn sample(&self) -> Sample {
        self.seen.sample.get().unwrap().clone()
    }
}

async fn serve(mut socket: TcpStream, seen: Arc<Seen>) {
    let mut buffer = Vec::with_capacity(256 * 1024);
    loop {
        while let Some(length) = request_length(&buffer) {
            let answer = take(&buffer[..length], &seen);
            if socket.write_all(answer).await.is_err() {
                return;
            }
            buffer.drain(..length);
        }
        match socket.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// The length of the request that `bytes` begins with, once all of it is there.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let head = head_length(bytes)?;
    let length = head + content_length(&bytes[..head]);
    (bytes.len() >= length).then_some(length)
}

fn head_length(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn content_length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"content-length: ";
    let line = head.split(|byte| *byte == b'\n').find(|line| line.starts_with(NAME)).unwrap();
    std::str::from_utf8(&line[NAME.len()..]).unwrap().trim().parse().unwrap()
}

fn take(request: &[u8], seen: &Seen) -> &'static [u8] {
    if seen.refuses.load(Ordering::Relaxed) {
        return REFUSED;
    }
    let head = head_length(request).unwrap();
    let (head, body) = request.split_at(head);
    let is_batch = body.first() == Some(&b'[');
    let events =
        if is_batch { body.windows(MARK.len()).filter(|part| *part == MARK).count() } else { 1 };
    seen.sample.get_or_init(|| sample(head, body));
    let now = Instant::now();
    seen.span.lock().unwrap().get_or_insert((now, now)).1 = now;
    seen.events.fetch_add(events as u64, Ordering::Relaxed);
    ACKNOWLEDGED
}

fn sample(head: &[u8], body: &[u8]) -> Sample {
    let lines = std::str::from_utf8(head).unwrap().lines().skip(1);
    let headers = lines.filter_map(|line| line.split_once(": "));
    Sample {
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        body: body.to_vec(),
    }
}
