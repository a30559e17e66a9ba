//! One thing after the other: the faults, scaling, the negative controls; and what came of them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use tokio::time::Instant;

use crate::checker::Order;
use crate::controls::{self, Control};
use crate::faults::{self, Fault};
use crate::installation::{Installation, Proxied, Setup, Summary};
use crate::options::Options;
use crate::process::Feed;
use crate::program::{Tally, guarded, say};
use crate::reprocessing::{self, Reprocessed};
use crate::sabotage::Guard;
use crate::scale;
use crate::servers::{Servers, run};

/// Within which clients must be answered again once a fault is over.
const RECOVERY_DEADLINE: Duration = Duration::from_mins(2);
/// Size of the filesystem that a fault fills.
const SMALL_FILESYSTEM: &str = "64m";

/// Everything that is run, on the servers of this run.
pub struct Suite<'o> {
    options: &'o Options,
    servers: Servers,
}

impl<'o> Suite<'o> {
    /// Runs all that is asked for; true when nothing failed.
    pub async fn run(options: &'o Options) -> bool {
        let mut tally = Tally::new(&options.choice);
        match Self::prepare(options).await {
            Ok(suite) => Box::pin(suite.run_all(&mut tally)).await,
            Err(error) => tally.fail("the servers", &error.context("they cannot be prepared")),
        }
        tally.close()
    }

    async fn prepare(options: &'o Options) -> anyhow::Result<Self> {
        let directory = match &options.servers {
            Some(directory) => directory.clone(),
            None => std::env::temp_dir().join(format!("penstock-faults-{}", std::process::id())),
        };
        let keep = options.servers.is_some();
        let servers = Servers::start(directory, options.ports(), keep).await?;
        Ok(Self { options, servers })
    }

    async fn run_all(&self, tally: &mut Tally<'_>) {
        let (mut rows, mut notes) = (Vec::new(), Vec::new());
        for fault in faults::all() {
            rows.extend(tally.run(fault.name, Box::pin(self.fault(&fault))).await);
        }
        notes.extend(tally.run(SCALE_KILLED, Box::pin(self.killed_worker())).await);
        notes.extend(tally.run(SCALE_OUT_AND_IN, Box::pin(self.out_and_in())).await);
        if self.options.is_long() {
            notes.extend(tally.run(REPROCESSED, Box::pin(self.reprocessed())).await);
        }
        for control in controls::ALL {
            Box::pin(tally.run(control.name, self.control(control))).await;
        }
        tally.run(SORTING, self.sorting()).await;
        print_table(&rows);
        for note in notes {
            say(&format!("\n{note}"));
        }
    }

    fn setup(&self) -> Setup {
        Setup {
            proxied: Proxied::Nothing,
            intakes: 2,
            workers: 3,
            feed: Feed {
                seed: self.options.choice.seed,
                items_per_second: self.options.items_per_second(),
                conflict: "3%",
            },
            tablespace: "pg_default",
            settings: "",
        }
    }

    /// Plays one fault; returns its row of the table.
    async fn fault(&self, fault: &Fault) -> anyhow::Result<String> {
        let mut setup = Setup { proxied: fault.proxied, tablespace: fault.tablespace, ..self.setup() };
        if !fault.has_conflicts {
            setup.feed.conflict = "0%";
        }
        let small = if fault.tablespace == "pg_default" { None } else { Some(self.small().await?) };
        let mut installation = Installation::new(&self.servers, setup).await?;
        let played = guarded(self.play(fault, &mut installation)).await;
        let cleaned = match &played {
            Ok(_) => installation.clean_up().await,
            Err(_) => self.abandon(fault.name, installation).await,
        };
        if let Some(small) = small {
            small.remove(&self.servers).await?;
        }
        let (recovered, summary) = played?;
        cleaned?;
        Ok(row(fault.name, recovered, &summary))
    }

    /// Keeps the logs of what failed, and puts right again what it has left broken.
    async fn abandon(&self, name: &str, installation: Installation<'_>) -> anyhow::Result<()> {
        let logs = Options::logs().join(name.replace([' ', ':', '/'], "-"));
        installation.keep_logs(&logs)?;
        self.heal().await?;
        installation.abandon().await
    }

    async fn play(
        &self,
        fault: &Fault,
        installation: &mut Installation<'_>,
    ) -> anyhow::Result<(Duration, Summary)> {
        let begun = Instant::now();
        installation.start().await.context("starting")?;
        let started = begun.elapsed();
        (fault.run)(installation, self.options.extent()).await.context("breaking")?;
        let (broken, begun) = (begun.elapsed().saturating_sub(started), Instant::now());
        let recovered = installation.progressed(RECOVERY_DEADLINE).await.context("recovering")?;
        if fault.has_conflicts {
            // A store that was set back is behind the committed offsets until it has caught up.
            installation.check_commits().await.context("promise 5 under load")?;
        }
        let summary = installation.finish().await.context("at rest")?;
        say(&format!(
            "{}: {:.0} s to start, {:.0} s of fault, {:.0} s to recover and be checked",
            fault.name,
            started.as_secs_f64(),
            broken.as_secs_f64(),
            begun.elapsed().as_secs_f64()
        ));
        Ok((recovered, summary))
    }

    /// Whatever a fault that failed has left broken.
    async fn heal(&self) -> anyhow::Result<()> {
        self.servers.poison_kafka(crate::proxy::Toxic::None);
        self.servers.poison_postgres(crate::proxy::Toxic::None);
        for node in 1..=crate::servers::NODES {
            // One that does not run hears nothing, and is started next.
            let _ = self.servers.signal_kafka(node, "CONT").await;
        }
        self.servers.start_kafka().await?;
        self.servers.start_postgres().await.map(drop)
    }

    async fn killed_worker(&self) -> anyhow::Result<String> {
        let mut installation = Installation::new(&self.servers, self.setup()).await?;
        installation.start().await?;
        let moved = scale::killed_worker(&mut installation).await?;
        let summary = installation.finish().await?;
        installation.clean_up().await?;
        let (seconds, copies) = (moved.as_secs_f64(), summary.counts.copies);
        Ok(format!(
            "worker killed: its partitions stood still for {seconds:.1} s; {copies} events repeated"
        ))
    }

    async fn out_and_in(&self) -> anyhow::Result<String> {
        let setup = Setup { workers: 1, ..self.setup() };
        let mut installation = Installation::new(&self.servers, setup).await?;
        installation.start().await?;
        let [out, inwards] = scale::out_and_in(&mut installation).await?;
        let summary = installation.finish().await?;
        installation.clean_up().await?;
        Ok(format!(
            "1 to 4 workers: no partition stood still for longer than {:.1} s; 4 to 2: {:.1} s; {} events \
             repeated",
            out.as_secs_f64(),
            inwards.as_secs_f64(),
            summary.counts.copies
        ))
    }

    async fn reprocessed(&self) -> anyhow::Result<String> {
        let setup = Setup { settings: reprocessing::LIST, ..self.setup() };
        let mut installation = Installation::new(&self.servers, setup).await?;
        let played = guarded(async {
            installation.start().await?;
            let reprocessed = reprocessing::reprocessed(&mut installation).await?;
            let summary = installation.finish().await?;
            reprocessing::balances(&installation).await?;
            Ok((reprocessed, summary))
        })
        .await;
        let Ok((Reprocessed { runners, audits }, summary)) = played else {
            self.abandon(REPROCESSED, installation).await?;
            return played.map(|_| String::new());
        };
        installation.clean_up().await?;
        Ok(format!(
            "a replay while everything breaks: {runners} runners; {audits} audits balanced meanwhile; {} events \
             repeated",
            summary.counts.copies
        ))
    }

    /// With the guard the checker finds nothing, without it the checker objects.
    async fn control(&self, control: Control) -> anyhow::Result<()> {
        for guard in [Guard::None, control.guard] {
            let setup = Setup { intakes: 0, workers: 1, ..self.setup() };
            let mut installation = Installation::new(&self.servers, setup).await?;
            control.play(&mut installation, guard).await?;
            let checked = installation.verify(Order::Spread).await;
            installation.clean_up().await?;
            match (guard, checked) {
                (Guard::None, checked) => drop(checked.context("with every guard on")?),
                (_, Ok(_)) => return Err(anyhow!("the checker has nothing to object")),
                (_, Err(objection)) => ensure!(
                    objection.to_string().contains(control.objection),
                    "the checker objects to something else: {objection:#}"
                ),
            }
        }
        Ok(())
    }

    async fn sorting(&self) -> anyhow::Result<()> {
        let setup = Setup { intakes: 0, workers: 0, ..self.setup() };
        let installation = Installation::new(&self.servers, setup).await?;
        ensure!(!controls::sorting(&installation, true).await?, "sorted claims met in a circle");
        ensure!(controls::sorting(&installation, false).await?, "unsorted claims never met in a circle");
        installation.clean_up().await
    }

    async fn small(&self) -> anyhow::Result<SmallFilesystem> {
        SmallFilesystem::mount(&self.servers).await
    }
}

fn print_table(rows: &[String]) {
    if rows.is_empty() {
        return;
    }
    say(
        "\n| fault | submitted | accepted | rejected | repeated | dead | answers | events | of them repeated | 503 or lost, sent again | pending, sent again | recovery, s | lag 0 after, s | peak RSS, MB |",
    );
    say("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    say(&rows.join("\n"));
}

const SCALE_KILLED: &str = "a killed worker's partitions move on";
const SCALE_OUT_AND_IN: &str = "1 to 4 to 2 workers";
const REPROCESSED: &str = "replay and audits while everything breaks";
const SORTING: &str = "sorting off";

/// What there is, in the order in which it is run.
pub fn names() -> Vec<&'static str> {
    let faults = faults::all().into_iter().map(|fault| fault.name);
    let controls = controls::ALL.into_iter().map(|control| control.name);
    faults
        .chain([SCALE_KILLED, SCALE_OUT_AND_IN, REPROCESSED])
        .chain(controls)
        .chain([SORTING])
        .collect()
}

fn row(name: &str, recovered: Duration, summary: &Summary) -> String {
    let counts = &summary.counts;
    format!(
        "| {name} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.1} | {:.1} | {} |",
        counts.submitted,
        counts.accepted,
        counts.rejected,
        counts.repeated,
        counts.dead,
        summary.answers,
        counts.events,
        counts.copies,
        summary.retries,
        summary.resends,
        recovered.as_secs_f64(),
        summary.drained_within.as_secs_f64(),
        summary.peak_rss_bytes / 1_000_000,
    )
}

/// A filesystem that is soon full, with a tablespace on it. Takes the right to mount one.
struct SmallFilesystem;

impl SmallFilesystem {
    async fn mount(servers: &Servers) -> anyhow::Result<Self> {
        let place = servers.small_filesystem();
        std::fs::create_dir_all(&place)?;
        let size = format!("size={SMALL_FILESYSTEM}");
        command("mount", &["-t", "tmpfs", "-o", &size, "tmpfs"], &place)
            .await
            .context("the fault needs a small filesystem, which only root can mount")?;
        let space = place.join("space");
        std::fs::create_dir(&space)?;
        command("chown", &["-R", "postgres"], &place).await?;
        let create = format!("CREATE TABLESPACE small LOCATION '{}'", space.display());
        servers.database("postgres").run(&create).await?;
        Ok(Self)
    }

    async fn remove(self, servers: &Servers) -> anyhow::Result<()> {
        servers.database("postgres").run("DROP TABLESPACE small").await?;
        command("umount", &[], &servers.small_filesystem()).await
    }
}

async fn command(name: &str, arguments: &[&str], place: &Path) -> anyhow::Result<()> {
    let mut command = tokio::process::Command::new(name);
    command.args(arguments).arg(place);
    run(command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()))
        .await
        .map(drop)
}
