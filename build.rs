//! Tells the binary which compiler and, in a release build of a checkout, which commit it is made of.
//! A debug build names no commit, so that committing does not rebuild it.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PENSTOCK_GIT_SHA");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    println!("cargo::rustc-env=PENSTOCK_RUSTC={}", output(&rustc, &["--version"]).unwrap_or_default());
    println!("cargo::rustc-env=PENSTOCK_GIT_SHA={}", commit().unwrap_or_default());
}

/// The commit given by whoever builds without a checkout, or the checkout's.
fn commit() -> Option<String> {
    let given = std::env::var("PENSTOCK_GIT_SHA").ok().filter(|sha| !sha.is_empty());
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    // A packaged crate may lie inside somebody else's checkout.
    if given.is_some() || !release || !Path::new(".git").exists() {
        return given;
    }
    let log = output("git", &["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    output("git", &["rev-parse", "--short=12", "HEAD"])
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
