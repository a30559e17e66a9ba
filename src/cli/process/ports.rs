//! Queue and store of a process.

use crate::queue::Queue;
use crate::settings::Settings;
use crate::store::Store;
use crate::telemetry::{Check, Metrics, check};

use super::Role;
use super::directory::Directory;
use super::queue::AnyQueue;
use super::store::AnyStore;
use crate::cli::unavailable;

/// What the roles of a process share.
pub(super) struct Ports {
    pub(super) queue: AnyQueue,
    /// None for an intake that has none to ask.
    pub(super) store: Option<AnyStore>,
    // Last, so that the directory is ours until everything in it is closed.
    _directory: Directory,
}

impl Ports {
    /// Opens what the settings name. An intake alone also starts without its store.
    pub(super) async fn open(
        settings: &Settings,
        roles: &[Role],
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let mut directory = Directory::at(&settings.data_dir);
        let queue = AnyQueue::open(settings, &mut directory, metrics).await.map_err(unavailable)?;
        let store = if roles == [Role::Intake] {
            AnyStore::open_for_questions(&settings.store).await.map_err(unavailable)?
        } else {
            let opened = AnyStore::open(&settings.store, &mut directory).await;
            Some(opened.map_err(unavailable)?)
        };
        Ok(Self { queue, store, _directory: directory })
    }

    /// Ready while queue and store answer.
    pub(super) fn checks(&self) -> Vec<(&'static str, Check)> {
        let queue = check(self.queue.clone(), |queue| async move { queue.check().await });
        let store = self.store.clone();
        let store = store.map(|store| check(store, |store| async move { store.check().await }));
        std::iter::once(("queue", queue)).chain(store.map(|store| ("store", store))).collect()
    }

    /// Finishes what was asked for and closes everything.
    pub(super) async fn close(&self) {
        self.queue.close().await;
        if let Some(store) = &self.store {
            store.close().await;
        }
    }
}
