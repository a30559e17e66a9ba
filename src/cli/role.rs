//! `penstock intake`, `penstock worker` and `penstock callbacks`: one role a process, any number of
//! processes, over the production pair.

use std::net::SocketAddr;

use clap::Args;

use crate::settings::{Loaded, Problem, QueueKind, Settings, SettingsError, StoreKind};

use super::config::ConfigFile;
use super::process::{self, Role};
use super::say;
use super::version::Version;
use super::{Exit, callback_options};

/// Options of `penstock intake`.
#[derive(Args, Debug)]
pub(super) struct IntakeArgs {
    /// Address and port for clients; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    common: RoleArgs,
}

/// Options that every role has.
#[derive(Args, Debug)]
pub(super) struct RoleArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// Address and port of probes and metrics [default: 127.0.0.1:9464]
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
}

impl RoleArgs {
    /// Whether none of them was given.
    pub(super) fn is_bare(&self) -> bool {
        self.config.config.is_none() && !self.has_address()
    }

    /// Whether an address was given.
    pub(super) fn has_address(&self) -> bool {
        self.admin_listen.is_some()
    }
}

/// Runs `penstock intake` until it is asked to stop.
pub(super) fn intake(args: IntakeArgs) -> anyhow::Result<Exit> {
    let listen = args.listen.map(|address| ("intake.listen", "--listen", address.to_string()));
    run(Role::Intake, args.common, listen)
}

/// Runs `penstock worker` until it is asked to stop.
pub(super) fn worker(args: RoleArgs) -> anyhow::Result<Exit> {
    run(Role::Worker, args, None)
}

/// Runs `penstock callbacks` until it is asked to stop.
pub(super) fn callbacks(args: RoleArgs) -> anyhow::Result<Exit> {
    run(Role::Callbacks, args, None)
}

fn run(
    role: Role,
    args: RoleArgs,
    option: Option<(&'static str, &'static str, String)>,
) -> anyhow::Result<Exit> {
    let mut sources = args.config.sources();
    let admin = args.admin_listen.map(|address| ("admin.listen", "--admin-listen", address.to_string()));
    sources.options.extend(option.into_iter().chain(admin));
    let loaded = Loaded::from(sources)?;
    if role == Role::Callbacks {
        callback_options::check(&loaded)?;
    }
    let Loaded { settings, policy, .. } = loaded;
    refuse_unfit(role, &settings)?;
    process::run(&[role], &settings, policy, None, |addresses| {
        let version = Version::current().number;
        let name = role.name();
        say::to_stdout(format!(
            "penstock {version} {name}\n\n{addresses}\nCtrl-C or SIGTERM stops it.\n"
        ));
    })
}

/// An embedded queue or store lives within one process, so separate roles cannot share it; callbacks need
/// an endpoint.
fn refuse_unfit(role: Role, settings: &Settings) -> Result<(), SettingsError> {
    let mut problems = Vec::new();
    if settings.queue.kind == QueueKind::Sqlite {
        problems.push(embedded("queue.kind", role, "kafka"));
    }
    if role != Role::Intake && settings.store.kind == StoreKind::Sqlite {
        problems.push(embedded("store.kind", role, "postgres"));
    }
    if role == Role::Callbacks && settings.callbacks.endpoints.is_empty() {
        let what = "is empty, so there is nobody to send events to; name an endpoint";
        problems.push(Problem::new("callbacks.endpoints", "penstock callbacks", what));
    }
    if problems.is_empty() { Ok(()) } else { Err(SettingsError { problems }) }
}

fn embedded(key: &str, role: Role, production: &str) -> Problem {
    let what = format!(
        "is \"sqlite\", which one process has for itself; set it to \"{production}\" to run roles as \
         processes of their own, or run `penstock dev`, which is all of them in one"
    );
    Problem::new(key, format!("penstock {}", role.name()), what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Sources;

    fn refused(role: Role, options: &[(&'static str, &str)]) -> Vec<String> {
        let options = options.iter().map(|(key, value)| (*key, "--test", (*value).to_owned())).collect();
        let settings = Loaded::from(Sources { options, ..Sources::default() }).unwrap().settings;
        match refuse_unfit(role, &settings) {
            Ok(()) => Vec::new(),
            Err(error) => error.problems.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn roles_do_not_share_what_is_embedded() {
        assert_eq!(refused(Role::Worker, &[]).len(), 2);
        assert_eq!(refused(Role::Intake, &[]).len(), 1, "an intake needs no store");
        let kafka = [("queue.kind", "kafka"), ("queue.kafka.brokers", "kafka:9092")];
        assert!(refused(Role::Intake, &kafka).is_empty());
        let worker = refused(Role::Worker, &kafka);
        assert!(worker[0].contains("store.kind") && worker[0].contains("\"postgres\""), "{worker:?}");
    }
}
