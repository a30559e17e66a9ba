//! `penstock token`: bearer tokens. Only their digests are ever stored.

use std::io::{self, BufRead, Write};

use clap::{Args, Subcommand, ValueEnum};
use uuid::Uuid;

use crate::account::BusinessUnit;
use crate::settings::{Sha256Digest, TokenScope};

use super::{Exit, Misused};

/// Start of every token, so that scanners for leaked secrets know one.
const PREFIX: &str = "pst_";

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token: printed once, with the lines for the configuration
    #[command(before_help = "Example: penstock token new --name core-banking --business-unit LT")]
    New(NewArgs),
    /// Print the lines for the configuration of a token that a client already has; it is read from stdin
    #[command(before_help = "Example: penstock token hash --name core-banking")]
    Hash(NewArgs),
}

/// Options of `penstock token new` and `penstock token hash`.
#[derive(Args, Debug)]
pub(super) struct NewArgs {
    /// Who will use it, as logs show it.
    #[arg(long, value_parser = name)]
    name: String,
    /// A business unit it may act for; may be given again. Without one: all.
    #[arg(long = "business-unit", value_name = "UNIT", value_parser = unit)]
    business_units: Vec<String>,
    /// What it may be used for; may be given again. Without one: everything.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<ScopeArg>,
}

/// A scope, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ScopeArg {
    /// Send accounts
    Submit,
    /// Have accounts checked without sending them
    Validate,
    /// Look up outcomes and classifiers
    Read,
}

impl ScopeArg {
    fn setting(self) -> TokenScope {
        match self {
            Self::Submit => TokenScope::Submit,
            Self::Validate => TokenScope::Validate,
            Self::Read => TokenScope::Read,
        }
    }
}

/// A name that the configuration takes.
fn name(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err("it must say who it is, in printable characters");
    }
    Ok(text.to_owned())
}

/// A unit that an account can name.
fn unit(text: &str) -> Result<String, String> {
    let unit = BusinessUnit::parse(text).map_err(|problem| format!("it {problem}"))?;
    Ok(unit.as_str().to_owned())
}

/// Runs `penstock token`.
pub(super) fn run(command: TokenCommand) -> anyhow::Result<Exit> {
    match command {
        TokenCommand::New(args) => {
            let token = fresh();
            let handed_over = format!(
                "{token}\n\n# The line above is the token: hand it over now, it is not kept anywhere.\n"
            );
            io::stdout().write_all((handed_over + &lines(&token, args)).as_bytes())?;
        }
        TokenCommand::Hash(args) => {
            let mut token = String::new();
            io::stdin().lock().read_line(&mut token)?;
            let token = token.trim_end_matches(['\r', '\n']);
            if token.is_empty() {
                return Err(Misused("stdin has no token in its first line".to_owned()).into());
            }
            io::stdout().write_all(lines(token, args).as_bytes())?;
        }
    }
    Ok(Exit::Ok)
}

/// A token of 244 random bits from the operating system.
fn fresh() -> String {
    let random = format!("{}{}", Uuid::new_v4(), Uuid::new_v4());
    format!("{PREFIX}{}", Sha256Digest::of(&random))
}

/// The lines for the configuration; they hold the token's digest alone.
fn lines(token: &str, args: NewArgs) -> String {
    let mut lines = vec![
        "# These lines belong into the configuration file:".to_owned(),
        "[[auth.tokens]]".to_owned(),
        format!("name = {}", toml::Value::from(args.name)),
        format!("sha256 = \"{}\"", Sha256Digest::of(token)),
    ];
    if !args.business_units.is_empty() {
        lines.push(format!("business_units = {}", toml::Value::from(args.business_units)));
    }
    if !args.scopes.is_empty() {
        let scopes: Vec<_> = args.scopes.into_iter().map(ScopeArg::setting).collect();
        if let Ok(scopes) = toml::Value::try_from(scopes) {
            lines.push(format!("scopes = {scopes}"));
        }
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
        let args = NewArgs {
            name: "core \"banking\"".to_owned(),
            business_units: vec!["LT".to_owned()],
            scopes: vec![ScopeArg::Read, ScopeArg::Validate],
        };
        let config = lines(&token, args);
        assert!(!config.contains(&token));

        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("penstock.toml");
        std::fs::write(&file, config).unwrap();
        let loaded = Loaded::from(Sources { file: Some(file), ..Sources::default() }).unwrap();
        let configured = &loaded.settings.auth.tokens[0];
        assert_eq!(configured.name, "core \"banking\"");
        assert_eq!(configured.sha256, Sha256Digest::of(&token));
        assert_eq!(configured.business_units, ["LT"]);
        assert_eq!(configured.scopes, [TokenScope::Read, TokenScope::Validate]);
    }

    #[test]
    fn only_names_and_units_that_the_configuration_takes_are_taken() {
        assert!(name("core-banking").is_ok() && unit("LT").is_ok());
        for wrong in ["", " ", "a\nb"] {
            assert!(name(wrong).is_err(), "{wrong:?}");
        }
        assert!(unit("").is_err());
    }

    #[test]
    fn no_two_tokens_are_the_same() {
        assert_ne!(fresh(), fresh());
    }
}
