//! Layers point inward: which module may know which other, read from the sources.

#![allow(clippy::unwrap_used, reason = "a test that cannot read the sources has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What the code of one layer may use of this crate.
struct Layer {
    /// Path of the module, as `queue::sqlite`.
    module: &'static str,
    /// Modules it may use besides itself.
    may_use: &'static [&'static str],
}

const fn layer(module: &'static str, may_use: &'static [&'static str]) -> Layer {
    Layer { module, may_use }
}

/// What every role may use: the ports, never an implementation.
const ROLE: &[&str] = &["account", "events", "queue", "store", "telemetry"];

/// More special paths stand before the paths they are part of.
const LAYERS: &[Layer] = &[
    layer("account", &[]),
    layer("events", &["account"]),
    layer("telemetry", &["account"]),
    layer("settings", &["account"]),
    layer("migrations", &[]),
    layer("sqlite", &["migrations", "telemetry"]),
    layer("queue::sqlite", &["account", "events", "migrations", "queue", "sqlite", "telemetry"]),
    layer("store::decode_case", &["account", "store", "store::decode"]),
    layer("store::decode_delivery", &["account", "store", "store::decode"]),
    layer("store::decode_operation", &["account", "store", "store::decode"]),
    layer("store::decode_replay", &["account", "store", "store::decode"]),
    layer(
        "store::decode_scan",
        &["account", "store", "store::decode", "store::decode_delivery", "store::decode_replay"],
    ),
    layer("store::decode", &["account", "store"]),
    layer(
        "store::postgres",
        &[
            "account",
            "events",
            "migrations",
            "store",
            "store::decode",
            "store::decode_case",
            "store::decode_delivery",
            "store::decode_operation",
            "store::decode_replay",
            "store::decode_scan",
            "telemetry",
        ],
    ),
    layer("queue::kafka", &["account", "events", "queue", "telemetry"]),
    layer(
        "store::sqlite",
        &[
            "account",
            "events",
            "migrations",
            "store",
            "store::decode",
            "store::decode_case",
            "store::decode_delivery",
            "store::decode_operation",
            "store::decode_replay",
            "store::decode_scan",
            "sqlite",
            "telemetry",
        ],
    ),
    layer("queue", &["account", "events", "telemetry"]),
    layer("store", &["account", "events", "telemetry"]),
    layer("callbacks::http", &["account", "callbacks", "store", "telemetry"]),
    layer("callbacks", ROLE),
    layer("intake", ROLE),
    layer("worker", ROLE),
    layer("dead_letters", &["account", "queue", "store", "telemetry"]),
    layer("replay", &["account", "events", "queue", "spill", "spread", "store", "telemetry", "worker"]),
    layer("spill", &[]),
    layer("spread", &[]),
    layer(
        "audit",
        &["account", "callbacks", "events", "queue", "replay", "spill", "spread", "store", "worker"],
    ),
    layer(
        "cli",
        &[
            "account",
            "audit",
            "callbacks",
            "callbacks::http",
            "dead_letters",
            "events",
            "intake",
            "queue",
            "queue::kafka",
            "queue::sqlite",
            "replay",
            "settings",
            "sqlite",
            "store",
            "store::postgres",
            "store::sqlite",
            "telemetry",
            "worker",
        ],
    ),
];

/// Modules that only those may use who name them: an implementation is no part of its port.
const IMPLEMENTATIONS: &[&str] =
    &["callbacks::http", "queue::kafka", "queue::sqlite", "store::postgres", "store::sqlite"];

/// Crates that do I/O, and the only layers that may use them.
const IO_CRATES: &[(&str, &[&str])] = &[
    ("axum", &["intake", "telemetry", "cli"]),
    ("hyper", &["callbacks::http", "intake", "telemetry", "cli"]),
    ("reqwest", &["cli"]),
    (
        "sqlx",
        &[
            "migrations",
            "sqlite",
            "queue::sqlite",
            "store::decode",
            "store::decode_case",
            "store::decode_delivery",
            "store::decode_operation",
            "store::decode_replay",
            "store::postgres",
            "store::sqlite",
            "cli",
        ],
    ),
    ("rdkafka", &["queue::kafka"]),
    (
        "tokio",
        &[
            "queue",
            "queue::kafka",
            "queue::sqlite",
            "store::postgres",
            "store::sqlite",
            "sqlite",
            "callbacks",
            "callbacks::http",
            "dead_letters",
            "intake",
            "replay",
            "spread",
            "worker",
            "telemetry",
            "cli",
        ],
    ),
];

#[test]
fn modules_use_only_what_their_layer_may() {
    let files = sources(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(files.len() > 20, "the sources were not found");
    let wrong: Vec<String> = files
        .iter()
        .flat_map(|file| violations(&module_of(file), &fs::read_to_string(file).unwrap()))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_points_outward_is_found() {
    let found = |module: &str, source: &str| violations(module, source).len();
    assert_eq!(found("account::decide", "use crate::store::Store;"), 1);
    assert_eq!(found("account::decide", "use tokio::time::sleep;"), 1);
    assert_eq!(found("account::decide", "fn f() { sqlx::query(\"\"); }"), 1);
    assert_eq!(found("queue", "use crate::{account::Offset, store::Store};"), 1);
    assert_eq!(found("queue", "use super::worker::Lane;"), 1);
    assert_eq!(found("worker::lane", "use crate::store::sqlite::SqliteStore;"), 1);
    assert_eq!(found("worker::lane", "use crate::store::{Store, sqlite::SqliteStore};"), 1);
    assert_eq!(found("worker::lane", "use super::super::intake::Intake;"), 1);
    assert_eq!(found("settings", "type T = crate::worker::Lane;"), 1);
    assert_eq!(found("unheard_of", ""), 1);
}

#[test]
fn what_points_inward_is_left_alone() {
    let found = |module: &str, source: &str| violations(module, source);
    let none = Vec::<String>::new();
    assert_eq!(found("account::decide", "use super::plan::Plan; use std::fmt;"), none);
    assert_eq!(found("account::decide", "//! Nothing here is crate::store or tokio::time."), none);
    assert_eq!(found("worker::lane", "use crate::store::{Store, StoreError};"), none);
    assert_eq!(found("store::sqlite::apply", "use crate::sqlite::Database; use super::Row;"), none);
    assert_eq!(found("queue", "#[cfg(test)]\nmod tests { use crate::worker::Lane; }"), none);
}

/// What a module's source uses although its layer may not.
fn violations(module: &str, source: &str) -> Vec<String> {
    if module.is_empty() {
        return Vec::new();
    }
    let Some(layer) = LAYERS.iter().find(|layer| is_within(module, layer.module)) else {
        return vec![format!("{module}: is in no layer; say in LAYERS what it may use")];
    };
    let code = code_of(source);
    let mut wrong = Vec::new();
    for used in used_modules(module, &code) {
        let Some(target) = known_module(&used) else { continue };
        if !is_within(&used, layer.module) && !layer.may_use.contains(&target) {
            wrong.push(format!("{module}: uses crate::{used}; {} may not use {target}", layer.module));
        }
    }
    for (name, users) in IO_CRATES {
        if uses_crate(&code, name) && !users.contains(&layer.module) {
            wrong.push(format!("{module}: uses {name}; only {} may", users.join(", ")));
        }
    }
    wrong
}

/// The layer or implementation that a used path belongs to.
fn known_module(used: &str) -> Option<&'static str> {
    let implementation = IMPLEMENTATIONS.iter().copied().find(|module| is_within(used, module));
    let layer = LAYERS.iter().map(|layer| layer.module).find(|module| is_within(used, module));
    implementation.or(layer)
}

fn is_within(path: &str, module: &str) -> bool {
    path == module || path.strip_prefix(module).is_some_and(|rest| rest.starts_with("::"))
}

/// The source without comments, and without the tests at its end.
fn code_of(source: &str) -> String {
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Paths within the crate, from its root, that the code names.
fn used_modules(module: &str, code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (at, _) in code.match_indices("crate::").filter(|(at, _)| starts_word(code, *at)) {
        expand("", &code[at + "crate::".len()..], &mut used);
    }
    for (at, _) in code.match_indices("super::").filter(|(at, _)| starts_word(code, *at)) {
        let mut rest = &code[at..];
        let mut place = module;
        while let Some(further) = rest.strip_prefix("super::") {
            rest = further;
            place = place.rsplit_once("::").map_or("", |(parent, _)| parent);
        }
        expand(place, rest, &mut used);
    }
    used
}

/// Follows `a::b` and `{a::b, c}` to every path they stand for.
fn expand(prefix: &str, rest: &str, used: &mut BTreeSet<String>) {
    if let Some(list) = rest.strip_prefix('{') {
        for entry in entries(list) {
            expand(prefix, entry.trim(), used);
        }
        return;
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let path = match (prefix, &rest[..end]) {
        (_, "") => return,
        ("", name) => name.to_owned(),
        (prefix, name) => format!("{prefix}::{name}"),
    };
    match rest[end..].strip_prefix("::") {
        Some(further) if further.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '{') => {
            expand(&path, further, used);
        }
        _ => {
            used.insert(path);
        }
    }
}

/// The entries of a list up to its closing brace.
fn entries(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                found.push(&list[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

fn uses_crate(code: &str, name: &str) -> bool {
    let path = format!("{name}::");
    code.match_indices(&path).any(|(at, _)| starts_word(code, at))
}

/// Whether a path starts here, rather than goes on.
fn starts_word(code: &str, at: usize) -> bool {
    !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
}

fn sources(folder: PathBuf) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// `src/queue/sqlite/mod.rs` is `queue::sqlite`; the crate's roots are empty.
fn module_of(file: &Path) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let path = file.strip_prefix(source).unwrap().with_extension("");
    let names: Vec<&str> = path.iter().map(|name| name.to_str().unwrap()).collect();
    names
        .into_iter()
        .filter(|name| !matches!(*name, "mod" | "lib" | "main"))
        .collect::<Vec<_>>()
        .join("::")
}
