//! `penstock doctor`: looks at everything the roles need, from here and as this user, and says what to do.

use std::io::{self, Write};

use anyhow::Context;
use clap::{Args, ValueEnum};

use crate::settings::{Loaded, QueueKind, Settings, StoreKind};
use crate::store::postgres;
use crate::telemetry::{Finding, Verdict};

use super::config::ConfigFile;
use super::{Exit, endpoint_findings, options};

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
    let mut findings = queue(settings).await?;
    match settings.store.kind {
        StoreKind::Sqlite => findings.push(embedded("store")),
        StoreKind::Postgres => {
            let options = options::postgres_store(&settings.store.postgres);
            findings.extend(postgres::examine(&options).await);
        }
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
            Ok(crate::queue::kafka::examine(&options::kafka_queue(kafka), &kafka.group).await)
        }
        #[cfg(not(feature = "kafka"))]
        QueueKind::Kafka => Err(super::without_kafka()),
    }
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
