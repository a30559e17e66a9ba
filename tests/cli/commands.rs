//! Commands that run to their end.

use std::process::Stdio;

use crate::process::{DEADLINE, penstock, run, text};

#[tokio::test]
async fn a_wrong_configuration_is_reported_whole_on_stderr_with_its_own_code() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("penstock.toml");
    std::fs::write(&file, "[worker]\nlanes = 0\nmax_record = 1\n").unwrap();
    let mut command = penstock(&["config", "check", "--config", file.to_str().unwrap()]);
    let output = command.env("PENSTOCK__INTAKE__MAX_BODY", "lots").output().await.unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(output.stdout.is_empty());
    let report = text(&output.stderr);
    for part in [
        "error: the configuration has 3 problems",
        "penstock.toml:2): is 0; it must be from 1 to 64",
        "penstock.toml:3): unknown key; did you mean worker.max_records?",
        "intake.max_body (from PENSTOCK__INTAKE__MAX_BODY): must be a size such as",
    ] {
        assert!(report.contains(part), "no {part:?} in {report}");
    }
}

#[tokio::test]
async fn the_printed_configuration_is_one_that_check_finds_usable() {
    let printed = run(&["config", "print"]).await;
    assert!(printed.status.success());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("penstock.toml");
    std::fs::write(&file, &printed.stdout).unwrap();
    let checked = run(&["config", "check", "--config", file.to_str().unwrap()]).await;
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    assert!(checked.stdout.is_empty());
}

#[tokio::test]
async fn schema_and_version_are_json_on_stdout() {
    for arguments in [&["config", "schema"][..], &["version", "--json"]] {
        let output = run(arguments).await;
        assert_eq!(output.status.code(), Some(0));
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(value.is_object());
    }
}

#[tokio::test]
async fn a_mistyped_command_is_answered_with_the_one_meant() {
    let output = run(&["confg", "check"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("'config'"));
    assert!(output.stdout.is_empty());
}

#[tokio::test]
async fn output_that_nobody_reads_to_its_end_is_no_failure() {
    for arguments in
        [&["completions", "bash"][..], &["config", "print"], &["token", "new", "--name", "a"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = penstock(arguments).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let output = tokio::time::timeout(DEADLINE, child.wait_with_output()).await.unwrap().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        assert!(output.stderr.is_empty(), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[tokio::test]
async fn help_goes_to_stdout_without_colours_when_nobody_looks() {
    let output = run(&["--help"]).await;
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    assert!(help.starts_with("Example: penstock dev"), "{help}");
    assert!(!help.contains('\u{1b}'));
}

#[tokio::test]
async fn a_migration_that_reaches_no_server_says_so_without_the_password() {
    let mut command = penstock(&["migrate"]);
    command
        .env("PENSTOCK__STORE__KIND", "postgres")
        .env("PENSTOCK__STORE__POSTGRES__URL", "postgres://penstock:planted@127.0.0.1:1/penstock");
    let output = command.output().await.unwrap();
    assert_eq!(output.status.code(), Some(5));
    let report = text(&output.stderr);
    assert!(report.contains("store.postgres.url") && report.contains("refused"), "{report}");
    assert!(!report.contains("planted"), "{report}");
}

#[tokio::test]
async fn the_embedded_store_has_nothing_to_migrate() {
    let output = run(&["migrate"]).await;
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).starts_with("nothing to do"));
}
