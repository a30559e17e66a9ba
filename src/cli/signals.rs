//! Signals that ask the process to end: the first one kindly, the second one at once.

use std::io::{self, Write};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Exit;

/// A token that is cancelled by SIGTERM or SIGINT. Another signal ends the process.
pub(super) fn stop_on_signal() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let asked = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if asked.is_cancelled() {
                let _ = writeln!(io::stderr(), "error: ended at once by a second signal");
                std::process::exit(Exit::Failure as i32);
            }
            asked.cancel();
        }
    });
    Ok(stop)
}
