//! What is logged on its way to whoever reads it.
//!
//! Invariant: nobody waits for a reader of the log. Lines go into a bounded buffer, a thread of its own
//! writes them out, and what finds no room is dropped and counted; the log tells how much that was as
//! soon as it is read again.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// The buffer; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct LineBuffer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max_bytes: usize,
    state: Mutex<State>,
    /// Something is to be written.
    filled: Condvar,
    /// Everything was written.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    lines: u64,
    is_writing: bool,
    /// The thread that writes; what it tells itself always finds room.
    writer: Option<ThreadId>,
    /// All that were ever dropped.
    dropped: u64,
    /// Those that the log has not told of yet.
    untold: u64,
}

impl LineBuffer {
    /// A buffer of `max_bytes`, which does not write before [`LineBuffer::write_to`].
    pub(super) fn new(max_bytes: usize) -> Self {
        Self(Arc::new(Shared {
            max_bytes,
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
        }))
    }

    /// Starts the thread that writes to `output`. It calls `tell` with the number of lines that were
    /// dropped before, whenever there is room again.
    pub(super) fn write_to(
        &self,
        mut output: impl Write + Send + 'static,
        tell: impl Fn(u64) + Send + 'static,
    ) -> io::Result<()> {
        let buffer = self.clone();
        let write = move || {
            buffer.lock().writer = Some(std::thread::current().id());
            let mut taken = Vec::new();
            loop {
                let lines = buffer.take(&mut taken);
                let is_written = output.write_all(&taken).and_then(|()| output.flush()).is_ok();
                let untold = buffer.written(lines, is_written);
                if untold > 0 {
                    tell(untold);
                }
                buffer.rest();
            }
        };
        std::thread::Builder::new().name("log".to_owned()).spawn(write).map(drop)
    }

    /// How many lines were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Waits until everything is written, at most for `limit`. False when the time was not enough.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        while state.is_writing || !state.bytes.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.0.emptied.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        let has_room = state.bytes.len() + line.len() <= self.0.max_bytes;
        if has_room || state.writer == Some(std::thread::current().id()) {
            state.bytes.extend_from_slice(line);
            state.lines += 1;
            self.0.filled.notify_one();
        } else {
            state.dropped += 1;
            state.untold += 1;
        }
    }

    /// Waits for lines and exchanges them for the room in `taken`; their number.
    fn take(&self, taken: &mut Vec<u8>) -> u64 {
        taken.clear();
        let mut state = self.lock();
        while state.bytes.is_empty() {
            state = self.0.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut state.bytes, taken);
        state.is_writing = true;
        std::mem::take(&mut state.lines)
    }

    /// Notes what became of `lines`; how many are to be told of. Where nothing can be written, nothing is
    /// told either: that would be dropped as well, without end.
    fn written(&self, lines: u64, is_written: bool) -> u64 {
        let mut state = self.lock();
        if is_written {
            std::mem::take(&mut state.untold)
        } else {
            state.dropped += lines;
            0
        }
    }

    /// What was taken is done.
    fn rest(&self) {
        let mut state = self.lock();
        state.is_writing = false;
        if state.bytes.is_empty() {
            self.0.emptied.notify_all();
        }
    }

    /// The data is whole at every moment, also when a holder panicked.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a whole line at a time, as the log writes it.
impl Write for LineBuffer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineBuffer {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    /// An output that takes nothing before somebody reads it.
    struct Pipe(SyncSender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn piped(max_bytes: usize) -> (LineBuffer, Receiver<Vec<u8>>) {
        let (sender, read) = sync_channel(0);
        let buffer = LineBuffer::new(max_bytes);
        let told = buffer.clone();
        let tell = move |lines| told.push(format!("{lines} dropped\n").as_bytes());
        buffer.write_to(Pipe(sender), tell).unwrap();
        (buffer, read)
    }

    fn next(read: &Receiver<Vec<u8>>) -> String {
        String::from_utf8(read.recv_timeout(LONG).unwrap()).unwrap()
    }

    #[test]
    fn nobody_waits_for_a_reader_and_what_was_dropped_is_told_once() {
        let (buffer, read) = piped(20);
        buffer.push(b"first\n");
        // The thread holds the first line from here on.
        while !buffer.lock().is_writing {
            std::thread::yield_now();
        }
        for _ in 0..7 {
            buffer.push(b"12345\n");
        }
        assert_eq!(buffer.dropped(), 4);
        assert!(!buffer.flush(Duration::from_millis(1)), "it waits for as long as it was told");
        let mut text = next(&read);
        while !text.ends_with("dropped\n") {
            text.push_str(&next(&read));
        }
        assert_eq!(text, "first\n12345\n12345\n12345\n4 dropped\n");
        buffer.push(b"last\n");
        assert_eq!(next(&read), "last\n");
        assert_eq!(buffer.dropped(), 4);
    }

    #[test]
    fn lines_are_written_in_their_order_and_a_flush_waits_for_them() {
        let (buffer, read) = piped(1_000);
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            while !text.ends_with("last\n") {
                text.push_str(&next(&read));
            }
            text
        });
        for line in ["a\n", "b\n", "last\n"] {
            buffer.push(line.as_bytes());
        }
        assert!(buffer.flush(LONG));
        assert_eq!(reading.join().unwrap(), "a\nb\nlast\n");
        assert_eq!(buffer.dropped(), 0);
    }

    #[test]
    fn what_a_closed_output_loses_is_counted_and_goes_on_for_nobody() {
        let (buffer, read) = piped(1_000);
        drop(read);
        buffer.push(b"lost\n");
        assert!(buffer.flush(LONG));
        assert_eq!(buffer.dropped(), 1);
    }
}
