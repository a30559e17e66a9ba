//! `penstock dev`: every role in one process, over the embedded queue and store unless the settings name
//! others.

mod banner;
mod page;
mod receiver;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;

use crate::settings::{Loaded, Network, Problem, Settings, SettingsError, Sha256Digest, TokenSettings};

use super::config::ConfigFile;
use super::process::{self, OwnReceiver, Role};
use super::version::Version;
use super::{Exit, callback_options, say, secret};
use banner::Banner;
use receiver::Receiver;

/// The token everybody knows; good on this machine only.
const KNOWN_TOKEN: &str = "dev";

/// Options of `penstock dev`.
#[derive(Args, Debug)]
pub(super) struct DevArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// Address and port for clients; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Address and port of probes and metrics [default: 127.0.0.1:9464]
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
    /// Directory of the queue and the store [default: ./penstock-data]
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// Bearer token that clients may use besides the configured ones [default: dev, if none is configured]
    #[arg(long)]
    token: Option<String>,
    /// Do without the built-in receiver, which gets every callback when no endpoint is configured
    #[arg(long)]
    no_receiver: bool,
}

/// Runs `penstock dev` until it is asked to stop.
pub(super) fn run(args: DevArgs) -> anyhow::Result<Exit> {
    let (given, no_receiver) = (args.token.clone(), args.no_receiver);
    let loaded = load(args)?;
    callback_options::check(&loaded)?;
    let Loaded { mut settings, policy, .. } = loaded;
    let token = add_token(&mut settings, given);
    refuse_known_token_beyond_this_machine(&settings)?;
    let mut roles = vec![Role::Intake, Role::Worker];
    let receiver = own_receiver(&settings, no_receiver);
    if receiver.is_some() || !settings.callbacks.endpoints.is_empty() {
        // A receiver on this machine is what one tries callbacks with.
        settings.callbacks.allow_networks.extend(loopback());
        roles.push(Role::Callbacks);
    }
    let has_page = receiver.is_some();
    let own = receiver.map(|receiver| OwnReceiver {
        routes: receiver.routes(),
        endpoint: Box::new(move |admin| receiver.endpoint(admin)),
    });
    process::run(&roles, &settings, policy, own, |addresses| {
        let banner = Banner {
            version: Version::current().number,
            addresses,
            data_dir: &settings.data_dir,
            page: has_page
                .then(|| format!("http://{}{}", receiver::reachable(addresses.admin), receiver::PATH)),
            token: token.as_deref(),
        };
        say::to_stdout(banner.to_string());
    })
}

/// The built-in receiver, for who has configured none. What it shows is for this machine only.
fn own_receiver(settings: &Settings, is_unwanted: bool) -> Option<Receiver> {
    let is_for_us = settings.admin.listen.ip().is_loopback();
    let is_needed = settings.callbacks.endpoints.is_empty() && !is_unwanted;
    (is_needed && is_for_us).then(|| Receiver::new(secret::new_symmetric()))
}

/// This machine's own networks.
pub(super) fn loopback() -> impl Iterator<Item = Network> {
    [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)].into_iter().map(Network::from)
}

fn load(args: DevArgs) -> Result<Loaded, SettingsError> {
    let mut sources = args.config.sources();
    let address = |address: SocketAddr| address.to_string();
    let path = |path: PathBuf| path.display().to_string();
    let options = [
        ("intake.listen", "--listen", args.listen.map(address)),
        ("admin.listen", "--admin-listen", args.admin_listen.map(address)),
        ("data_dir", "--data-dir", args.data_dir.map(path)),
    ];
    sources
        .options
        .extend(options.into_iter().filter_map(|(key, option, text)| Some((key, option, text?))));
    Loaded::from(sources)
}

/// Lets clients in by the token given, or by the known one when nobody could enter otherwise.
/// Returns the token, if it is known here.
fn add_token(settings: &mut Settings, given: Option<String>) -> Option<String> {
    let known = || settings.auth.tokens.is_empty().then(|| KNOWN_TOKEN.to_owned());
    let token = given.or_else(known)?;
    settings.auth.tokens.push(TokenSettings {
        name: "dev".to_owned(),
        sha256: Sha256Digest::of(&token),
        business_units: Vec::new(),
        scopes: TokenSettings::all_scopes(),
    });
    Some(token)
}

fn refuse_known_token_beyond_this_machine(settings: &Settings) -> Result<(), SettingsError> {
    let known = Sha256Digest::of(KNOWN_TOKEN);
    if settings.auth.tokens.iter().all(|token| token.sha256 != known) {
        return Ok(());
    }
    let addresses = [("intake.listen", settings.intake.listen), ("admin.listen", settings.admin.listen)];
    let problems: Vec<_> = addresses
        .into_iter()
        .filter(|(_, address)| !address.ip().is_loopback())
        .map(|(key, address)| {
            let what = format!(
                "is {address}, which other machines reach, while anybody knows the token \"dev\"; \
                 pass --token with one of your own (`penstock token new` makes one), or listen on 127.0.0.1"
            );
            Problem::new(key, "--token", what)
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(SettingsError { problems }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Sources;

    fn settings(listen: &str, given: Option<&str>) -> Settings {
        let sources = Sources {
            options: vec![("intake.listen", "--listen", listen.to_owned())],
            ..Sources::default()
        };
        let mut settings = Loaded::from(sources).unwrap().settings;
        add_token(&mut settings, given.map(str::to_owned));
        settings
    }

    #[test]
    fn the_known_token_is_for_this_machine_only() {
        let check = |listen, token| refuse_known_token_beyond_this_machine(&settings(listen, token));
        assert!(check("127.0.0.1:0", None).is_ok());
        assert!(check("[::1]:0", Some("dev")).is_ok());
        assert!(check("0.0.0.0:8080", Some("a secret of our own")).is_ok());
        let refused = check("0.0.0.0:8080", None).unwrap_err().to_string();
        assert!(refused.contains("intake.listen (from --token): is 0.0.0.0:8080"), "{refused}");
    }

    #[test]
    fn callbacks_are_shown_only_when_nobody_else_gets_them_and_only_here() {
        let has_receiver = |options: &[(&'static str, &str)], is_unwanted| {
            let option = |(key, value): &(&'static str, &str)| (*key, "--test", (*value).to_owned());
            let options = options.iter().map(option).collect();
            let settings = Loaded::from(Sources { options, ..Sources::default() }).unwrap().settings;
            own_receiver(&settings, is_unwanted).is_some()
        };
        let endpoint = "[{ name = 'risk', url = 'https://risk.bank.example/', unsigned = true }]";
        assert!(has_receiver(&[], false));
        assert!(!has_receiver(&[], true));
        assert!(!has_receiver(&[("callbacks.endpoints", endpoint)], false));
        assert!(!has_receiver(&[("admin.listen", "0.0.0.0:9464")], false));
    }

    #[test]
    fn the_known_token_is_not_added_to_configured_ones() {
        let mut settings = settings("127.0.0.1:0", Some("a secret of our own"));
        assert_eq!(add_token(&mut settings, None), None);
        assert_eq!(settings.auth.tokens.len(), 1);
    }
}
