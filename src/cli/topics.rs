//! `penstock topics`: the topics of the production queue, as a step of its own with its own rights.

use clap::Subcommand;

use super::Exit;
use super::config::ConfigFile;

/// What to do with the topics.
#[derive(Debug, Subcommand)]
pub(super) enum TopicsCommand {
    /// Show what `apply` would do; exits with 3 when there is something to do
    #[command(before_help = "Example: penstock topics plan --config penstock.toml")]
    Plan(ConfigFile),
    /// Create the topics that are missing and correct settings that lose records; takes nothing away
    #[command(before_help = "Example: penstock topics apply --config penstock.toml")]
    Apply(ConfigFile),
}

/// Runs `penstock topics`.
#[cfg(feature = "kafka")]
pub(super) fn run(command: TopicsCommand) -> anyhow::Result<Exit> {
    production::run(command)
}

/// Runs `penstock topics`.
#[cfg(not(feature = "kafka"))]
pub(super) fn run(command: TopicsCommand) -> anyhow::Result<Exit> {
    let (TopicsCommand::Plan(_) | TopicsCommand::Apply(_)) = command;
    Err(super::without_kafka())
}

#[cfg(feature = "kafka")]
mod production {
    use std::io::{self, Write};

    use anyhow::Context;

    use super::TopicsCommand;
    use crate::cli::{Exit, options, unavailable};
    use crate::queue::kafka::TopicAdmin;
    use crate::settings::{KafkaQueueSettings, Loaded, QueueKind};

    pub(super) fn run(command: TopicsCommand) -> anyhow::Result<Exit> {
        let (file, is_applied) = match command {
            TopicsCommand::Plan(file) => (file, false),
            TopicsCommand::Apply(file) => (file, true),
        };
        let queue = Loaded::from(file.sources())?.settings.queue;
        if queue.kind == QueueKind::Sqlite {
            let what =
                "nothing to do: the embedded queue (queue.kind = \"sqlite\") makes its own topics";
            writeln!(io::stderr(), "{what}")?;
            return Ok(Exit::Ok);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting the runtime")?;
        runtime.block_on(carry_out(&queue.kafka, is_applied))
    }

    async fn carry_out(settings: &KafkaQueueSettings, is_applied: bool) -> anyhow::Result<Exit> {
        let (options, layout) = (options::kafka_queue(settings), options::topics(&settings.topics));
        let admin = TopicAdmin::new(options, layout).map_err(unavailable)?;
        let plan = admin.plan().await.map_err(unavailable)?;
        let (mut out, mut told) = (io::stdout(), io::stderr());
        for step in &plan.steps {
            if is_applied {
                admin.apply(step).await.map_err(unavailable)?;
            }
            writeln!(out, "{step}")?;
        }
        for concern in &plan.concerns {
            writeln!(told, "warning: {concern}")?;
        }
        match (plan.steps.len(), is_applied) {
            (0, _) => writeln!(told, "the topics need no change")?,
            (steps, true) => writeln!(told, "done: {steps} steps")?,
            (steps, false) => writeln!(told, "{steps} steps; `penstock topics apply` does them")?,
        }
        let is_open = !plan.concerns.is_empty() || (!is_applied && !plan.steps.is_empty());
        Ok(if is_open { Exit::Differences } else { Exit::Ok })
    }
}
