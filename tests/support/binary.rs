//! The real binary: how tests call it and what they read of its output.

use std::process::Stdio;

use tokio::process::Command;

/// The binary, without settings of whoever runs the tests.
pub(crate) fn penstock(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penstock"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PENSTOCK_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A text of a process's output.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The first word after `name` at the start of a line of a banner.
pub(crate) fn field(banner: &str, name: &str) -> Option<String> {
    let mut lines = banner.lines().map(str::split_whitespace);
    let mut words = lines.find_map(|mut words| (words.next() == Some(name)).then_some(words))?;
    words.next().map(str::to_owned)
}
