//! Signals that ask the process to end: the first one kindly, the second one at once.

use std::io;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Exit;

/// A token that is cancelled by SIGTERM, SIGINT or SIGHUP. Another signal ends the process, and so does
/// the end of `limit`, whatever hangs: a thread of its own listens, and it says nothing, for nobody may be
/// there to read it.
pub(super) fn stop_on_signal(limit: Duration) -> io::Result<CancellationToken> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut asked = {
        let _signals = runtime.enter();
        Asked::listen()?
    };
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let listen = move || {
        runtime.block_on(async {
            asked.again().await;
            stopped.cancel();
            // Late or asked again, it comes to the same.
            let _ = tokio::time::timeout(limit, asked.again()).await;
        });
        std::process::exit(Exit::Failure as i32);
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(listen)?;
    Ok(stop)
}

/// The signals that ask for an end.
struct Asked {
    terminate: Signal,
    interrupt: Signal,
    /// None when whoever started the process wants it to outlive the terminal, as `nohup` does.
    hang_up: Option<Signal>,
}

impl Asked {
    fn listen() -> io::Result<Self> {
        let hang_up = if ignores_hang_up() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up,
        })
    }

    /// Waits for the next of them.
    async fn again(&mut self) {
        let hang_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = hang_up => {}
        }
    }
}

/// Whether SIGHUP is ignored, as Linux says; elsewhere it is taken not to be.
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    // The lowest bit is signal 1.
    ignored & 1 == 1
}
