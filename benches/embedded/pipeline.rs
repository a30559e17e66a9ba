//! The pipeline's side: the real binary under its own load.

use std::path::Path;
use std::process::Stdio;

use crate::Args;
use crate::support::load::{Load, Loaded};
use crate::support::process::{Role, command};

/// What one run came to.
pub(crate) struct Run {
    pub(crate) loaded: Loaded,
    pub(crate) peak_resident_mib: f64,
}

/// Starts `dev` on an empty directory, puts the load on it and stops it.
pub(crate) fn run(data: &Path, args: &Args) -> Run {
    // Callbacks would be no part of what the bare loop does.
    let options = ["dev", "--no-receiver", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let mut dev = command(options);
    dev.arg("--data-dir").arg(data).stderr(Stdio::null());
    let dev = Role::start(dev, &["url"]);
    let load = Load {
        items: args.items,
        batch_size: args.batch_size,
        connections: args.connections,
        options: Vec::new(),
    };
    let loaded = load.run(dev.address("url"));
    let peak_resident_mib = dev.usage().peak_resident_mib;
    // So that what was accepted is in the files the bare loop takes its rows from.
    dev.stop();
    Run { loaded, peak_resident_mib }
}
