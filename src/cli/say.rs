//! Words for whoever started the process. Nobody may be reading them: then they are left out after a
//! moment, and what was to be done goes on.

use std::io::{self, Write};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// How long a reader may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Prints to stdout what was asked for.
pub(super) fn to_stdout(text: String) {
    within_patience(move || io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()));
}

/// Prints to stderr what is to be known besides.
pub(super) fn to_stderr(text: String) {
    within_patience(move || io::stderr().write_all(text.as_bytes()));
}

fn within_patience(print: impl FnOnce() -> io::Result<()> + Send + 'static) {
    let (done, printed) = sync_channel(1);
    let print = move || {
        // Whoever closed the output does not want to know.
        let _ = print();
        let _ = done.send(());
    };
    if std::thread::Builder::new().name("say".to_owned()).spawn(print).is_ok() {
        let _ = printed.recv_timeout(PATIENCE);
    }
}
