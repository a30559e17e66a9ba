//! `penstock topics`: the topics of the production queue, as a step of its own with its own rights.

use std::io::{self, Write};

use clap::Subcommand;

use crate::settings::{Loaded, QueueKind};

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

/// Whether a plan is only shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Plan,
    Apply,
}

/// Runs `penstock topics`.
pub(super) fn run(command: TopicsCommand) -> anyhow::Result<Exit> {
    let (file, mode) = match command {
        TopicsCommand::Plan(file) => (file, Mode::Plan),
        TopicsCommand::Apply(file) => (file, Mode::Apply),
    };
    let queue = Loaded::from(file.sources())?.settings.queue;
    match queue.kind {
        QueueKind::Sqlite => {
            let what =
                "nothing to do: the embedded queue (queue.kind = \"sqlite\") makes its own topics";
            writeln!(io::stderr(), "{what}")?;
            Ok(Exit::Ok)
        }
        #[cfg(feature = "kafka")]
        QueueKind::Kafka => kafka::carry_out(&queue.kafka, mode),
        #[cfg(not(feature = "kafka"))]
        QueueKind::Kafka => {
            let (Mode::Plan | Mode::Apply) = mode;
            Err(super::without_kafka())
        }
    }
}

#[cfg(feature = "kafka")]
mod kafka {
    use std::io::{self, Write};

    use super::Mode;
    use crate::cli::{Exit, options, runtime, unavailable};
    use crate::queue::kafka::TopicAdmin;
    use crate::settings::KafkaQueueSettings;

    pub(super) fn carry_out(settings: &KafkaQueueSettings, mode: Mode) -> anyhow::Result<Exit> {
        let (options, layout) = (options::kafka_queue(settings), options::topics(&settings.topics));
        let admin = TopicAdmin::new(options, layout).map_err(unavailable)?;
        runtime()?.block_on(plan_and_do(&admin, mode))
    }

    async fn plan_and_do(admin: &TopicAdmin, mode: Mode) -> anyhow::Result<Exit> {
        let plan = admin.plan().await.map_err(unavailable)?;
        let (mut out, mut told) = (io::stdout(), io::stderr());
        for step in &plan.steps {
            if mode == Mode::Apply {
                admin.apply(step).await.map_err(unavailable)?;
            }
            // Whoever closes the output still wants the rest of the topics.
            let _ = writeln!(out, "{step}");
        }
        for concern in &plan.concerns {
            writeln!(told, "warning: {concern}")?;
        }
        match (plan.steps.len(), mode) {
            (0, _) => writeln!(told, "the topics need no change")?,
            (steps, Mode::Apply) => writeln!(told, "done: {steps} steps")?,
            (steps, Mode::Plan) => writeln!(told, "{steps} steps; `penstock topics apply` does them")?,
        }
        let is_open = !plan.concerns.is_empty() || (mode == Mode::Plan && !plan.steps.is_empty());
        Ok(if is_open { Exit::Differences } else { Exit::Ok })
    }
}
