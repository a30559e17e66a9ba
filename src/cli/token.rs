//! `penstock token`: bearer tokens. Only their digests are ever stored.

use std::io::{self, Write};

use clap::Subcommand;
use uuid::Uuid;

use crate::settings::Sha256Digest;

use super::Exit;

/// Start of every token, so that scanners for leaked secrets know one.
const PREFIX: &str = "pst_";

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token: printed once, with the lines for the configuration
    #[command(before_help = "Example: penstock token new --name core-banking --business-unit LT")]
    New {
        /// Who will use it, as logs show it.
        #[arg(long)]
        name: String,
        /// A business unit it may act for; may be given again. Without one: all.
        #[arg(long = "business-unit", value_name = "UNIT")]
        business_units: Vec<String>,
    },
}

/// Runs `penstock token`.
pub(super) fn run(command: TokenCommand) -> anyhow::Result<Exit> {
    match command {
        TokenCommand::New { name, business_units } => {
            io::stdout().write_all(text(&fresh(), &name, business_units).as_bytes())?;
        }
    }
    Ok(Exit::Ok)
}

/// A token of 244 random bits from the operating system.
fn fresh() -> String {
    let random = format!("{}{}", Uuid::new_v4(), Uuid::new_v4());
    format!("{PREFIX}{}", Sha256Digest::of(&random))
}

fn text(token: &str, name: &str, business_units: Vec<String>) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let mut lines = vec![
        token.to_owned(),
        String::new(),
        "# The line above is the token: hand it over now, it is not kept anywhere.".to_owned(),
        "# These lines belong into the configuration file:".to_owned(),
        "[[auth.tokens]]".to_owned(),
        format!("name = {}", quoted(name)),
        format!("sha256 = \"{}\"", Sha256Digest::of(token)),
    ];
    if !business_units.is_empty() {
        lines.push(format!("business_units = {}", toml::Value::from(business_units)));
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Loaded, Sources};

    #[test]
    fn the_lines_for_the_configuration_are_usable_and_hold_the_digest() {
        let token = fresh();
        let printed = text(&token, "core \"banking\"", vec!["LT".to_owned()]);
        let (first, config) = printed.split_once('\n').unwrap();
        assert_eq!(first, token);
        assert!(!config.contains(&token));

        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("penstock.toml");
        std::fs::write(&file, config).unwrap();
        let loaded = Loaded::from(Sources { file: Some(file), ..Sources::default() }).unwrap();
        let configured = &loaded.settings.auth.tokens[0];
        assert_eq!(configured.name, "core \"banking\"");
        assert_eq!(configured.sha256, Sha256Digest::of(&token));
        assert_eq!(configured.business_units, ["LT"]);
    }

    #[test]
    fn no_two_tokens_are_the_same() {
        assert_ne!(fresh(), fresh());
    }
}
