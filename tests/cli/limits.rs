//! The limit of open files.

use crate::process::{Dev, until};

/// A `dev` whose shell has set the limits of open files.
async fn limited(directory: &tempfile::TempDir, limits: &str) -> Dev {
    let script = format!("{limits}; exec \"$0\" \"$@\"");
    let dev = Dev::command(directory, &[]);
    let dev = dev.as_std();
    let mut shell = tokio::process::Command::new("sh");
    shell.arg("-c").arg(script).arg(dev.get_program()).args(dev.get_args()).kill_on_drop(true);
    for (name, _) in dev.get_envs().filter(|(_, value)| value.is_none()) {
        shell.env_remove(name);
    }
    Dev::spawn(directory.path().join("log"), shell).await
}

#[tokio::test]
async fn the_soft_limit_is_raised_to_what_the_system_grants() {
    let directory = tempfile::tempdir().unwrap();
    let dev = limited(&directory, "ulimit -n 2000; ulimit -Sn 128").await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", dev.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let soft = files.split_whitespace().nth(3).unwrap();
    assert_eq!(soft, "2000", "{files}");
    assert!(!dev.log().contains("fewer files"), "{}", dev.log());
    dev.stop().await;
}

#[tokio::test]
async fn a_limit_that_is_too_low_for_the_connections_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let dev = limited(&directory, "ulimit -n 512").await;
    until(async || dev.log().contains("fewer files than intake.max_connections")).await;
    dev.stop().await;
}
