//! Tasks beside a role's main one. None ends by itself; a role that has lost one ends rather than go on without.

use std::time::Duration;

use futures_util::future::select_all;
use tokio::task::JoinHandle;

use super::failed_task;

/// A task that runs for as long as its role does.
struct Attendant {
    /// What messages call it.
    name: &'static str,
    task: JoinHandle<()>,
    /// How long it may take to end once the role has.
    patience: Duration,
}

/// All of a role's.
#[derive(Default)]
pub(super) struct Attendants(Vec<Attendant>);

impl Attendants {
    /// Starts one, which must end soon after the role is told to stop.
    pub(super) fn start(
        &mut self,
        name: &'static str,
        patience: Duration,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.0.push(Attendant { name, task: tokio::spawn(task), patience });
    }

    /// Waits until one has ended, and tells which; forever where there is none.
    pub(super) async fn failed(&mut self) -> anyhow::Error {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        let (ended, place, _) = select_all(self.0.iter_mut().map(|attendant| &mut attendant.task)).await;
        // Who has ended must not be asked again.
        failed_task(self.0.remove(place).name, ended.is_err())
    }

    /// Waits until all have ended, for each only as long as it may take.
    pub(super) async fn end(self) {
        for Attendant { mut task, patience, .. } in self.0 {
            if tokio::time::timeout(patience, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn the_first_to_end_is_told_with_its_name_and_how() {
        let mut attendants = Attendants::default();
        attendants.start("what goes on", PATIENCE, std::future::pending());
        attendants.start("what ends", PATIENCE, async {});
        assert_eq!(attendants.failed().await.to_string(), "what ends ended on its own");
        attendants.start("what panics", PATIENCE, async { panic!("on purpose") });
        let failed = attendants.failed().await.to_string();
        assert_eq!(failed, "what panics failed by a bug; the log says where");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_end_is_given_up() {
        let begun = tokio::time::Instant::now();
        let mut attendants = Attendants::default();
        attendants.start("what goes on", PATIENCE, std::future::pending());
        attendants.end().await;
        assert_eq!(begun.elapsed(), PATIENCE);
    }
}
