//! The command line: reads options, wires the parts, prints.
//!
//! Data goes to stdout, everything else to stderr; a command ends with one of the codes of [`Exit`].
//! This is the only place that knows which implementation of a port is used.

mod audit;
mod callback_options;
mod callbacks;
mod completions;
mod config;
mod dev;
mod dlq;
mod doctor;
mod endpoint_findings;
mod exit;
mod export;
mod frontier_findings;
mod frontiers;
mod load;
mod masked;
mod migrate;
mod moment;
mod numbers;
mod operations;
mod operator;
mod options;
mod output;
mod process;
mod recorded;
mod replay;
mod role;
mod say;
mod secret;
mod show;
mod signals;
mod token;
mod topics;
mod version;
mod window;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::telemetry::with_causes;

pub use exit::{Exit, Misused, Unavailable};

/// Takes in bank account batches over HTTP, queues them durably, decides and stores each account
/// once, and tells the results.
#[derive(Debug, Parser)]
#[command(name = "penstock", version, before_help = "Example: penstock dev")]
pub struct Cli {
    /// File of settings, wherever on the command line it is named
    #[arg(long, value_name = "FILE", global = true, hide = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in one process, with nothing else installed
    #[command(before_help = "Example: penstock dev --listen 127.0.0.1:8080 --data-dir ./penstock-data")]
    Dev(dev::DevArgs),
    /// Take batches in over HTTP and queue them; one role of the production set-up
    #[command(before_help = "Example: penstock intake --config penstock.toml")]
    Intake(role::IntakeArgs),
    /// Decide, persist and tell the outcomes of what is queued; one role of the production set-up
    #[command(before_help = "Example: penstock worker --config penstock.toml")]
    Worker(role::RoleArgs),
    /// Bring result events to the endpoints of the configuration; one role of the production set-up. Its
    /// commands look at deliveries, repeat them, and pause endpoints
    #[command(before_help = "Example: penstock callbacks --config penstock.toml")]
    Callbacks(callbacks::CallbacksArgs),
    /// Send account batches whose right outcomes are known, and check every answer
    #[command(before_help = "Example: penstock load --items 200000 --repeat 5% --conflict 1%")]
    Load(Box<load::LoadArgs>),
    /// Bring the schema of the production store up to date
    #[command(before_help = "Example: penstock migrate --config penstock.toml")]
    Migrate(migrate::MigrateArgs),
    /// Compare the topics of the production queue with what they should be, and make them so
    #[command(subcommand, before_help = "Example: penstock topics plan --config penstock.toml")]
    Topics(topics::TopicsCommand),
    /// Look at everything the roles need, from here and as this user, and say what to do
    #[command(before_help = "Example: penstock doctor --config penstock.toml")]
    Doctor(doctor::DoctorArgs),
    /// List how far each partition is applied and committed, and move one past records its log has lost
    #[command(before_help = "Example: penstock frontiers --config penstock.toml")]
    Frontiers(frontiers::FrontiersArgs),
    /// Decide again, by the rules and lists of today, what was decided before
    #[command(subcommand, before_help = "Example: penstock replay plan --only rejected --since 3days")]
    Replay(replay::ReplayCommand),
    /// Copy all that the log holds to an empty one, such as from an embedded installation to Kafka; a rebuild
    /// (replay run --no-events) fills the store there
    #[command(before_help = "Example: penstock export --config old.toml --to new.toml")]
    Export(export::ExportArgs),
    /// Show what was put aside as no account or no event, put it back or leave it for good
    #[command(subcommand, before_help = "Example: penstock dlq list")]
    Dlq(dlq::DlqCommand),
    /// Hold log, store, results, deliveries and dead letters against each other, and name every communication that
    /// breaks a sum. Ends with 0 only if all of them balance, else with 3
    #[command(before_help = "Example: penstock audit --since 1day --deep")]
    Audit(Box<audit::AuditArgs>),
    /// Show what became of one communication: its submissions, outcomes and deliveries. Who it is about is masked
    #[command(before_help = "Example: penstock show 7f8b5cc5-1f0f-4e25-9f38-b4b1e3a1c0d7")]
    Show(show::ShowArgs),
    /// Show what operators did, and approve or refuse what they ask for
    #[command(subcommand, before_help = "Example: penstock operations list")]
    Operations(operations::OperationsCommand),
    /// Check, print or describe the configuration
    #[command(subcommand, before_help = "Example: penstock config print")]
    Config(config::ConfigCommand),
    /// Make bearer tokens, and the lines of the configuration that let them in
    #[command(subcommand, before_help = "Example: penstock token new --name core-banking")]
    Token(token::TokenCommand),
    /// Make keys that sign callbacks
    #[command(subcommand, before_help = "Example: penstock secret new > risk.secret")]
    Secret(secret::SecretCommand),
    /// Print a script that completes commands in a shell
    #[command(before_help = "Example: penstock completions bash > /etc/bash_completion.d/penstock")]
    Completions(completions::CompletionsArgs),
    /// Print what this binary is made of
    #[command(before_help = "Example: penstock version --json")]
    Version(version::VersionArgs),
}

/// The command line's definition, for help, completions and documentation.
pub fn command() -> clap::Command {
    Cli::command().after_help(after_help())
}

fn after_help() -> String {
    use std::fmt::Write as _;
    let mut text = "Exit codes:\n".to_owned();
    for (exit, meaning) in Exit::ALL {
        let _infallible = writeln!(text, "  {}  {meaning}", exit as u8);
    }
    text.push_str(
        "\nSettings: defaults < --config FILE < environment < options. PENSTOCK__WORKER__LANES=4 sets\n\
         worker.lanes; with _FILE at its end a variable names a file that has the value; lists are\n\
         TOML or JSON text. `penstock config print` shows every key there is.",
    );
    text
}

/// Runs the process's command line to its end.
pub fn main() -> ExitCode {
    run(std::env::args_os()).into()
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let parsed =
        command().try_get_matches_from(arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to tell when this fails.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Ok };
        }
    };
    match dispatch(cli.command) {
        Ok(exit) => exit,
        Err(error) => {
            let exit = Exit::of(&error);
            if exit != Exit::Ok {
                say::to_stderr(format!("error: {}\n", with_causes(error.as_ref())));
            }
            exit
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Dev(args) => dev::run(args),
        Command::Intake(args) => role::intake(args),
        Command::Worker(args) => role::worker(args),
        Command::Callbacks(args) => callbacks::run(args),
        Command::Load(args) => load::run(&args),
        Command::Migrate(args) => migrate::run(args),
        Command::Topics(command) => topics::run(command),
        Command::Doctor(args) => doctor::run(args),
        Command::Frontiers(args) => frontiers::run(args),
        Command::Replay(command) => replay::run(command),
        Command::Dlq(command) => dlq::run(command),
        Command::Export(args) => export::run(args),
        Command::Audit(args) => audit::run(*args),
        Command::Show(args) => show::run(args),
        Command::Operations(command) => operations::run(command),
        Command::Config(command) => config::run(command),
        Command::Token(command) => token::run(command),
        Command::Secret(command) => secret::run(&command),
        Command::Completions(args) => completions::run(&args),
        Command::Version(args) => version::run(&args),
    }
}

/// A runtime for a command that does one thing after the other.
fn runtime() -> anyhow::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().context("starting the runtime")
}

/// What cannot be had, with its causes.
fn unavailable(error: impl Into<anyhow::Error>) -> anyhow::Error {
    let error = error.into();
    match Exit::of(&error) {
        Exit::Failure => Unavailable(with_causes(error.as_ref()).to_string()).into(),
        _ => error,
    }
}

/// Why there is no Kafka in this binary.
#[cfg(not(feature = "kafka"))]
const WITHOUT_KAFKA: &str = "is \"kafka\", but this binary was built without it; build it with \
                             `cargo build --profile dist`";

/// The problem that there is no Kafka in this binary.
#[cfg(not(feature = "kafka"))]
fn without_kafka() -> anyhow::Error {
    let problem = crate::settings::Problem::new("queue.kind", "this binary", WITHOUT_KAFKA);
    crate::settings::SettingsError { problems: vec![problem] }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(command: &clap::Command, path: &str, visit: &mut impl FnMut(&str, &clap::Command)) {
        visit(path, command);
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            walk(inner, &format!("{path} {}", inner.get_name()), visit);
        }
    }

    #[test]
    fn every_help_starts_with_an_example_of_its_command() {
        walk(&command(), "penstock", &mut |path, command| {
            for help in [command.clone().render_help(), command.clone().render_long_help()] {
                let first = help.to_string().lines().next().unwrap_or_default().to_owned();
                assert!(first.starts_with(&format!("Example: {path}")), "{path} starts with {first:?}");
            }
        });
    }

    #[test]
    fn every_example_is_a_command_line_that_parses() {
        walk(&command(), "penstock", &mut |path, inner| {
            let help = inner.get_before_help().map(ToString::to_string).unwrap_or_default();
            let example = help.trim_start_matches("Example: ").split(" > ").next().unwrap_or_default();
            let parsed = command().try_get_matches_from(example.split_whitespace());
            assert!(parsed.is_ok(), "the example of {path}: {:?}", parsed.err());
        });
    }

    #[test]
    fn the_help_lists_every_exit_code() {
        let help = command().render_long_help().to_string();
        for (exit, meaning) in Exit::ALL {
            assert!(help.contains(&format!("  {}  {meaning}", exit as u8)));
        }
    }

    #[test]
    fn the_file_of_settings_may_be_named_anywhere() {
        for line in [
            "penstock --config a.toml worker",
            "penstock worker --config a.toml",
            "penstock --config a.toml callbacks list",
            "penstock callbacks --config a.toml list",
            "penstock callbacks list --config a.toml",
            "penstock config --config a.toml check",
        ] {
            let matches = command().try_get_matches_from(line.split_whitespace()).unwrap();
            let mut last = &matches;
            while let Some((_, inner)) = last.subcommand() {
                last = inner;
            }
            let named = last.get_one::<PathBuf>("config").unwrap();
            assert_eq!(named.to_str(), Some("a.toml"), "{line}");
        }
    }

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }
}
