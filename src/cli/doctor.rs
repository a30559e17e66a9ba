//! `penstock doctor`: looks at everything the roles need, from here and as this user, and says what to do.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use clap::{Args, ValueEnum};

use crate::settings::{Loaded, Problem, QueueKind, Settings, StoreKind};
use crate::store::postgres;
use crate::telemetry::{Finding, Verdict};

use super::config::{self, ConfigFile};
use super::{Exit, endpoint_findings, frontier_findings, options};

/// Options of `penstock doctor`.
#[derive(Args, Debug)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// How to print what is found
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// A line each, for people.
    Text,
    /// One JSON object a line, for programs.
    Ndjson,
}

/// Runs `penstock doctor`.
pub(super) fn run(args: DoctorArgs) -> anyhow::Result<Exit> {
    let output = args.output;
    let loaded = Loaded::from(args.config.sources())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let findings = runtime.block_on(examine(&loaded))?;
    let mut out = io::stdout();
    for finding in &findings {
        match output {
            Output::Text => writeln!(out, "{}", line(finding))?,
            Output::Ndjson => writeln!(out, "{}", serde_json::to_string(finding)?)?,
        }
    }
    let wrong = findings.iter().filter(|finding| finding.verdict == Verdict::Wrong).count();
    let warnings = findings.iter().filter(|finding| finding.verdict == Verdict::Warning).count();
    writeln!(io::stderr(), "{} looked at, {warnings} warnings, {wrong} wrong", findings.len())?;
    Ok(if wrong == 0 { Exit::Ok } else { Exit::Differences })
}

async fn examine(loaded: &Loaded) -> anyhow::Result<Vec<Finding>> {
    let settings = &loaded.settings;
    let obstacles = config::obstacles(loaded);
    let has_queue = obstacles.iter().all(|problem| !problem.key.starts_with("queue."));
    let wrong = |problem: Problem| Finding::wrong(problem.key, problem.what);
    let mut findings: Vec<_> = obstacles.into_iter().map(wrong).collect();
    if settings.queue.kind == QueueKind::Sqlite || settings.store.kind == StoreKind::Sqlite {
        let looked = usable(&settings.data_dir).map(|()| "can be written to");
        findings.push(Finding::of("data_dir", looked));
    }
    if has_queue {
        findings.extend(queue(settings).await?);
    }
    match settings.store.kind {
        StoreKind::Sqlite => findings.push(embedded("store")),
        StoreKind::Postgres => {
            let options = options::postgres_store(&settings.store.postgres);
            findings.extend(postgres::examine(&options).await);
        }
    }
    let is_sound = findings.iter().all(|finding| finding.verdict != Verdict::Wrong);
    if is_sound {
        findings.extend(frontier_findings::examine(settings).await);
    }
    findings.extend(endpoint_findings::examine(loaded).await);
    Ok(findings)
}

#[cfg_attr(
    not(feature = "kafka"),
    allow(clippy::unused_async, reason = "brokers are asked, if there are any")
)]
async fn queue(settings: &Settings) -> anyhow::Result<Vec<Finding>> {
    match settings.queue.kind {
        QueueKind::Sqlite => Ok(vec![embedded("queue")]),
        #[cfg(feature = "kafka")]
        QueueKind::Kafka => {
            let kafka = &settings.queue.kafka;
            let window = settings.replay.window.duration();
            Ok(crate::queue::kafka::examine(&options::kafka_queue(kafka), &kafka.group, window).await)
        }
        #[cfg(not(feature = "kafka"))]
        QueueKind::Kafka => Err(super::without_kafka()),
    }
}

/// Whether this user can make the directory, if it is missing, and write into it. What is made for the try
/// is taken away again.
fn usable(directory: &Path) -> io::Result<()> {
    let missing: Vec<_> = directory.ancestors().take_while(|path| !path.exists()).collect();
    let made = std::fs::create_dir_all(directory).and_then(|()| {
        let file = directory.join(".penstock-doctor");
        std::fs::File::create(&file)?;
        std::fs::remove_file(&file)
    });
    for path in missing {
        // Whoever has put something there meanwhile keeps it.
        let _ = std::fs::remove_dir(path);
    }
    made
}

fn embedded(port: &str) -> Finding {
    Finding::fine(port, "embedded: a file in data_dir, nothing to connect to")
}

fn line(finding: &Finding) -> String {
    let mark = match finding.verdict {
        Verdict::Fine => "ok     ",
        Verdict::Warning => "WARNING",
        Verdict::Wrong => "WRONG  ",
    };
    format!("{mark} {}: {}", finding.subject, finding.told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_cannot_be_made_is_found_and_a_try_leaves_nothing_behind() {
        let there = tempfile::tempdir().unwrap();
        usable(there.path()).unwrap();
        usable(&there.path().join("a/b")).unwrap();
        assert_eq!(std::fs::read_dir(there.path()).unwrap().count(), 0);
        std::fs::write(there.path().join("file"), "").unwrap();
        assert!(usable(&there.path().join("file/data")).is_err());
        assert!(usable(&there.path().join("file")).is_err());
    }
}
