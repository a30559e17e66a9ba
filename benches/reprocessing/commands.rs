//! A full topic, and every command that goes through it again.

use std::path::Path;

use serde_json::Value;
use sqlx::ConnectOptions;

use crate::installation::Installation;
use crate::meter::us_per_item;
use crate::phases::{NEW_ACCOUNTS, load};
use crate::reprocessed::Gone;
use crate::servers::Servers;
use crate::support::process::{Measured, measured};

/// The list of account types as it is at first.
pub(crate) const LIST: &str = "reference.account_types = ['CURRENT']";
/// The same list, completed.
pub(crate) const COMPLETED: &str = "reference.account_types = ['CURRENT', 'SAVINGS']";
/// The topic is filled in so many parts, so that what is rejected lies all over it.
const PARTS: u64 = 10;
/// One of so many is rejected at first.
const ONE_OF: u64 = 20;
/// What fits the parts.
pub(crate) const OF: u64 = PARTS * ONE_OF;
/// What a plan ends with when something would change.
const DIFFERENCES: i32 = 3;

/// Sends `items` new accounts, of which one of twenty has a type that the list lacks. Returns how many these are.
pub(crate) fn fill(installation: &Installation, items: u64) -> u64 {
    let intake = installation.intake();
    let rejected = items / OF;
    for _ in 0..PARTS {
        for (account_type, items) in [("CURRENT", items / PARTS - rejected), ("SAVINGS", rejected)] {
            let mut options = vec!["--respond-async", "--account-type", account_type];
            options.extend(NEW_ACCOUNTS);
            load(items, 1_000, 8, &options).run(intake.address("url"));
        }
    }
    intake.stop();
    rejected * PARTS
}

/// What would change.
pub(crate) fn plan(installation: &Installation, items: u64, rejected: u64) -> Gone {
    let plan = measured(&mut installation.command(&["replay", "plan", "--output", "json"]));
    assert_eq!(plan.code, Some(DIFFERENCES));
    let report: Value = serde_json::from_slice(&plan.stdout).unwrap();
    assert_eq!((&report["selected"], &report["changed"]), (&items.into(), &rejected.into()));
    gone(&plan, items)
}

/// Does it. Its events are those of what changed.
pub(crate) fn run(installation: &Installation, items: u64, rejected: u64) -> Gone {
    let words = ["replay", "run", "completed", "--reason", "the list is completed", "--output", "json"];
    let run = measured(&mut installation.command(&words));
    assert_eq!(run.code, Some(0));
    assert_eq!(installation.topic("accounts.results").records(), items + rejected);
    gone(&run, items)
}

/// Holds everything against everything.
pub(crate) fn audit(installation: &Installation, scratch: &Path, items: u64, options: &[&str]) -> Gone {
    let (audit, sums) = balances(installation, scratch, options);
    assert_eq!((&sums["submitted"], &sums["accepted"]), (&items.into(), &items.into()), "{sums}");
    gone(&audit, items)
}

/// An audit that finds nothing, and its sums.
pub(crate) fn balances(
    installation: &Installation,
    scratch: &Path,
    options: &[&str],
) -> (Measured, Value) {
    let mut audit = installation.command(&["audit", "--output", "json"]);
    let audit = measured(audit.args(options).arg("--scratch").arg(scratch));
    let sums: Value = serde_json::from_slice(&audit.stdout).unwrap();
    assert_eq!(audit.code, Some(0), "{sums}");
    (audit, sums)
}

/// Restores an empty store from the topic; the audit of the restored one balances.
pub(crate) async fn rebuild(
    servers: &Servers,
    installation: &Installation,
    folder: &Path,
    items: u64,
) -> Gone {
    let name = "rebuilt";
    let database = servers.create_database(name).await.to_url_lossy();
    let command = |words: &[&str]| {
        let mut command = installation.command(words);
        command.env("PENSTOCK__STORE__POSTGRES__URL", database.as_str());
        command
    };
    assert_eq!(measured(&mut command(&["migrate"])).code, Some(0));
    let words =
        ["replay", "run", "rebuilt", "--from", "beginning", "--no-events", "--reason", "measured"];
    let rebuild = measured(&mut command(&words));
    assert_eq!(rebuild.code, Some(0));
    let audit = measured(command(&["audit", "--deep"]).arg("--scratch").arg(folder));
    assert_eq!(audit.code, Some(0), "{}", String::from_utf8_lossy(&audit.stdout));
    servers.drop_database(name).await;
    gone(&rebuild, items)
}

#[allow(clippy::cast_precision_loss, reason = "a rate")]
fn gone(measured: &Measured, items: u64) -> Gone {
    Gone {
        items_per_second: items as f64 / measured.took.as_secs_f64(),
        cpu_us: us_per_item(measured.usage.cpu, items),
        peak_resident_mib: measured.usage.peak_resident_mib,
    }
}
