//! `penstock completions`: scripts that complete penstock's commands in a shell.

use std::io::{self, Write};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Exit};

/// Options of `penstock completions`.
#[derive(Args, Debug)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Runs `penstock completions`.
pub(super) fn run(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    // The generator panics when it cannot write, so it writes into memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "penstock", &mut script);
    io::stdout().write_all(&script)?;
    Ok(Exit::Ok)
}
