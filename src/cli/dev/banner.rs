//! What `dev` says once it serves. It goes to stdout: addresses and the line to paste are what was
//! asked for, and a script finds them by the word in front; the log goes to stderr.

use std::fmt;
use std::path::Path;

use crate::cli::process::Addresses;

/// What is said.
pub(super) struct Banner<'a> {
    pub(super) version: &'a str,
    pub(super) addresses: Addresses,
    pub(super) data_dir: &'a Path,
    /// Where callbacks are shown, if they are.
    pub(super) page: Option<String>,
    /// None when only configured tokens are let in, whose texts nobody here knows.
    pub(super) token: Option<&'a str>,
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, addresses, data_dir, page, token } = self;
        let data_dir = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_path_buf());
        writeln!(f, "penstock {version} dev: all roles in one process. Not for production.\n")?;
        write!(f, "{addresses}")?;
        if let Some(page) = page {
            writeln!(f, "  events {page} (callbacks as a receiver gets them)")?;
        }
        writeln!(f, "  token  {}", token.unwrap_or("one of those configured"))?;
        writeln!(f, "  data   {}\n", data_dir.display())?;
        if let Some(intake) = addresses.intake {
            writeln!(f, "Try it:\n")?;
            writeln!(f, "  curl -sS http://{intake}/amlyze-ws-rest/batch-accounts \\")?;
            writeln!(f, "    -H 'authorization: Bearer {}' \\", token.unwrap_or("TOKEN"))?;
            writeln!(f, "    -H 'content-type: application/json' -d @examples/batch.json\n")?;
        }
        writeln!(f, "Ctrl-C stops it.")
    }
}
