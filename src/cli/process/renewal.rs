//! Keys, certificates and values of headers that are in files are taken up when a file has changed, so that
//! they can be rotated without a restart.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::callbacks::Endpoint;
use crate::callbacks::http::HttpSender;
use crate::cli::callback_options;
use crate::settings::{CallbackSettings, SettingsError};

/// How often files are looked at.
const INTERVAL: Duration = Duration::from_secs(30);

/// What files hold; of one that cannot be read nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contents(Vec<Option<[u8; 32]>>);

impl Contents {
    /// Reads the files that callbacks use.
    pub(super) fn of(settings: &CallbackSettings) -> Self {
        let digest = |path: &Path| Some(Sha256::digest(std::fs::read(path).ok()?).into());
        Self(callback_options::files(settings).iter().map(PathBuf::as_path).map(digest).collect())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Endpoints, each with the sender that reaches it, as a running role has them.
pub(super) struct Renewal {
    settings: CallbackSettings,
    endpoints: Vec<Endpoint>,
    sender: HttpSender,
    operator: Option<(Endpoint, HttpSender)>,
    /// What the files held when they were used last.
    used: Contents,
}

impl Renewal {
    /// `used` is what the files held before endpoints and senders were made of them.
    pub(super) fn new(
        settings: CallbackSettings,
        used: Contents,
        endpoints: Vec<Endpoint>,
        sender: HttpSender,
        operator: Option<(Endpoint, HttpSender)>,
    ) -> Self {
        Self { settings, endpoints, sender, operator, used }
    }

    /// Looks at the files from time to time until `stop` is cancelled.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        if self.used.is_empty() {
            return stop.cancelled().await;
        }
        while stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
            let looking = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            match looking.await {
                Ok(renewal) => self = renewal,
                Err(_) => return tracing::error!("keys and certificates are not read anew any more"),
            }
        }
    }

    /// Takes up what has changed, all of it or nothing.
    fn look(&mut self) {
        let found = Contents::of(&self.settings);
        if found == self.used {
            return;
        }
        match self.take_up() {
            Ok(()) => tracing::info!("keys, certificates and headers of callbacks were read anew"),
            Err(error) => tracing::error!(
                %error,
                "files of callbacks have changed and cannot be used; what they held before is used further"
            ),
        }
        self.used = found;
    }

    fn take_up(&self) -> Result<(), SettingsError> {
        let (endpoints, sender) = callback_options::endpoints(&self.settings)?;
        let operator = callback_options::operator(&self.settings)?;
        for (known, newer) in self.endpoints.iter().zip(&endpoints) {
            known.keys.take_over(&newer.keys);
        }
        self.sender.take_over(&sender);
        if let (Some((known, by)), Some((newer, newly_by))) = (&self.operator, &operator) {
            known.keys.take_over(&newer.keys);
            by.take_over(newly_by);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callbacks::signature::SigningKey;
    use crate::settings::{Loaded, Sources};

    #[test]
    fn a_key_that_was_changed_signs_and_one_that_is_none_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("risk.secret");
        let [old, new] = [1, 2].map(|byte| SigningKey::symmetric([byte; 32]).secret_text());
        std::fs::write(&file, &old).unwrap();
        let text = format!(
            "[{{ name = 'risk', url = 'https://risk.bank.example/', secret_files = ['{}'] }}]",
            file.display()
        );
        let options = vec![("callbacks.endpoints", "--test", text)];
        let loaded = Loaded::from(Sources { options, ..Sources::default() }).unwrap();
        let settings = loaded.settings.callbacks;
        let used = Contents::of(&settings);
        let (endpoints, sender) = callback_options::endpoints(&settings).unwrap();
        let in_use = endpoints[0].clone();
        let signs = || in_use.keys.now()[0].secret_text();
        let mut renewal = Renewal::new(settings, used, endpoints, sender, None);
        renewal.look();
        assert_eq!(signs(), old);
        std::fs::write(&file, "whsec_none").unwrap();
        renewal.look();
        assert_eq!(signs(), old, "it goes on with what it has");
        std::fs::write(&file, format!("{new}\n")).unwrap();
        renewal.look();
        assert_eq!(signs(), new);
    }
}
