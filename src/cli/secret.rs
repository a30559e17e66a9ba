//! `penstock secret`: keys that sign callbacks.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use uuid::Uuid;

use crate::callbacks::signature::SigningKey;

use super::Exit;

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(super) enum SecretCommand {
    /// Make a key that signs callbacks, by the Standard Webhooks specification
    #[command(before_help = "Example: penstock secret new --out risk.secret")]
    New(NewArgs),
}

/// Options of `penstock secret new`.
#[derive(Args, Debug)]
pub(super) struct NewArgs {
    /// An ed25519 key: receivers verify with its public part, which is printed to stderr
    #[arg(long)]
    asymmetric: bool,
    /// File to write the key to, which only its owner may read; it must not be there yet [default: stdout]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs `penstock secret`.
pub(super) fn run(command: &SecretCommand) -> anyhow::Result<Exit> {
    let SecretCommand::New(args) = command;
    let key = if args.asymmetric { SigningKey::asymmetric(random()) } else { new_symmetric() };
    match &args.out {
        Some(path) => write_private(path, &key.secret_text())
            .with_context(|| format!("writing the key to {}", path.display()))?,
        None => writeln!(io::stdout(), "{}", key.secret_text())?,
    }
    if let Some(public) = key.public_text() {
        writeln!(io::stderr(), "receivers verify with {public}")?;
    }
    Ok(Exit::Ok)
}

/// Writes a new file that nobody but its owner may read, from its beginning on.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

/// A key that nobody has had before.
pub(super) fn new_symmetric() -> SigningKey {
    SigningKey::symmetric(random())
}

/// 32 bytes with 244 random bits from the operating system, spread over all of them.
fn random() -> [u8; 32] {
    use sha2::Digest;
    let bits = [Uuid::new_v4(), Uuid::new_v4()].map(|uuid| *uuid.as_bytes()).concat();
    sha2::Sha256::digest(bits).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_key_in_a_file_is_its_owners_and_replaces_no_other() {
        use std::os::unix::fs::PermissionsExt;

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("risk.secret");
        let args = |asymmetric| NewArgs { asymmetric, out: Some(path.clone()) };
        run(&SecretCommand::New(args(false))).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(SigningKey::parse(text.trim()).is_ok());
        let refused = run(&SecretCommand::New(args(true))).err().unwrap();
        assert!(format!("{refused:#}").contains("risk.secret: File exists"), "{refused:#}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn no_two_keys_are_the_same() {
        assert_ne!(random(), random());
    }
}
