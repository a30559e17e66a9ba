//! How a command ends, for scripts.

use std::io;
use std::process::ExitCode;

use crate::settings::SettingsError;
use crate::telemetry::TelemetryError;

/// The exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// It failed; the message says why.
    Failure = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The check ran and found differences.
    Differences = 3,
    /// The configuration is wrong.
    Configuration = 4,
    /// Something it needs cannot be had or is not as it must be: an address, the data directory, a server.
    Unavailable = 5,
    /// Nothing is done: somebody else must approve it first.
    Requested = 6,
}

impl Exit {
    /// Every code with its meaning, as `--help` and the documentation show it.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Ok, "done"),
        (Self::Failure, "failed; the message says why"),
        (Self::Usage, "the command line is wrong"),
        (Self::Differences, "the check ran and found differences"),
        (Self::Configuration, "the configuration is wrong"),
        (
            Self::Unavailable,
            "an address, the data directory or a server it needs cannot be had, or is not as it must be",
        ),
        (Self::Requested, "requested, and nothing is done: somebody else must approve it first"),
    ];

    /// The code that fits an error.
    pub fn of(error: &anyhow::Error) -> Self {
        let closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        let no_export = |error: &TelemetryError| matches!(error, TelemetryError::Otlp(_));
        if error.is::<SettingsError>() || error.downcast_ref().is_some_and(no_export) {
            Self::Configuration
        } else if error.is::<Misused>() {
            Self::Usage
        } else if error.is::<Unavailable>() {
            Self::Unavailable
        } else if error.downcast_ref::<io::Error>().is_some_and(closed) {
            // Whoever read the output has seen enough.
            Self::Ok
        } else {
            Self::Failure
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An argument names something that is not there; says what there is.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misused(pub String);

/// Something a command needs cannot be had; says what, why, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_listed_with_their_numbers() {
        for (place, (exit, _)) in Exit::ALL.iter().enumerate() {
            assert_eq!(*exit as usize, place);
        }
    }

    #[test]
    fn errors_have_their_codes_whatever_is_said_around_them() {
        let wrong = anyhow::Error::from(SettingsError { problems: Vec::new() }).context("starting");
        assert_eq!(Exit::of(&wrong), Exit::Configuration);
        let taken = anyhow::Error::from(Unavailable("port".to_owned()));
        assert_eq!(Exit::of(&taken), Exit::Unavailable);
        let misused = anyhow::Error::from(Misused("no such endpoint".to_owned()));
        assert_eq!(Exit::of(&misused), Exit::Usage);
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(Exit::of(&closed.into()), Exit::Ok);
        assert_eq!(Exit::of(&anyhow::anyhow!("else")), Exit::Failure);
    }
}
