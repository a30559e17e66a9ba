//! `penstock secret`: keys that sign callbacks.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use uuid::Uuid;

use crate::callbacks::signature::SigningKey;

use super::Exit;

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(super) enum SecretCommand {
    /// Make a key that signs callbacks, by the Standard Webhooks specification
    #[command(before_help = "Example: penstock secret new > risk.secret")]
    New(NewArgs),
}

/// Options of `penstock secret new`.
#[derive(Args, Debug)]
pub(super) struct NewArgs {
    /// An ed25519 key: receivers verify with its public part, which is printed to stderr
    #[arg(long)]
    asymmetric: bool,
}

/// Runs `penstock secret`.
pub(super) fn run(command: &SecretCommand) -> anyhow::Result<Exit> {
    let SecretCommand::New(args) = command;
    let key = if args.asymmetric { SigningKey::asymmetric(random()) } else { new_symmetric() };
    writeln!(io::stdout(), "{}", key.secret_text())?;
    if let Some(public) = key.public_text() {
        writeln!(io::stderr(), "receivers verify with {public}")?;
    }
    Ok(Exit::Ok)
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

    #[test]
    fn no_two_keys_are_the_same() {
        assert_ne!(random(), random());
    }
}
