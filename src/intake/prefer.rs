//! How long a client wants to wait for outcomes: the `Prefer` header of RFC 7240. Preferences that
//! are unknown or malformed are ignored, as the RFC asks.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The request header.
pub(super) const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The answer's header that tells which preferences were followed.
pub(super) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What a client prefers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Prefer {
    /// `respond-async` was there.
    respond_async: bool,
    /// The seconds of `wait=N`.
    wait: Option<u32>,
}

/// What becomes of a preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// The client left it to the intake.
    Unspecified,
    /// The client chose; the value tells it what was applied.
    Chosen(Duration, HeaderValue),
}

impl Prefer {
    /// Reads all `Prefer` headers; the first of a repeated preference counts.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut prefer = Self::default();
        let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
        for preference in values.flat_map(|value| value.split(',')) {
            let preference = preference.split(';').next().unwrap_or_default();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let name = name.trim();
            if name.eq_ignore_ascii_case("respond-async") {
                prefer.respond_async = true;
            } else if name.eq_ignore_ascii_case("wait") && prefer.wait.is_none() {
                prefer.wait = value.trim().trim_matches('"').parse().ok();
            }
        }
        prefer
    }

    /// The wait this comes to. `respond-async` with `wait=N` means to answer after N seconds at the
    /// latest; alone it means at once.
    pub(super) fn wait(self, max_wait: Duration) -> Wait {
        match self.wait {
            Some(seconds) => {
                let seconds = u64::from(seconds).min(max_wait.as_secs());
                let applied = if self.respond_async { "respond-async, wait=" } else { "wait=" };
                let applied = HeaderValue::from_str(&format!("{applied}{seconds}"));
                match applied {
                    Ok(applied) => Wait::Chosen(Duration::from_secs(seconds), applied),
                    Err(_) => Wait::Unspecified,
                }
            }
            None if self.respond_async => {
                Wait::Chosen(Duration::ZERO, HeaderValue::from_static("respond-async"))
            }
            None => Wait::Unspecified,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(30);

    fn wait(values: &[&'static str]) -> Option<(u64, String)> {
        let headers: HeaderMap =
            values.iter().map(|value| (PREFER, HeaderValue::from_static(value))).collect();
        match Prefer::of(&headers).wait(MAX) {
            Wait::Unspecified => None,
            Wait::Chosen(wait, applied) => Some((wait.as_secs(), applied.to_str().unwrap().to_owned())),
        }
    }

    #[test]
    fn a_client_may_choose_its_wait_up_to_the_maximum() {
        assert_eq!(wait(&["wait=10"]), Some((10, "wait=10".to_owned())));
        assert_eq!(wait(&["wait=0"]), Some((0, "wait=0".to_owned())));
        assert_eq!(wait(&["wait=600"]), Some((30, "wait=30".to_owned())));
        assert_eq!(wait(&["handling=lenient, Wait = \"5\"; x=y"]), Some((5, "wait=5".to_owned())));
        assert_eq!(wait(&["wait=5, wait=6", "wait=7"]), Some((5, "wait=5".to_owned())));
    }

    #[test]
    fn respond_async_means_at_once_or_after_the_wait() {
        assert_eq!(wait(&["respond-async"]), Some((0, "respond-async".to_owned())));
        let both = Some((10, "respond-async, wait=10".to_owned()));
        assert_eq!(wait(&["Respond-Async, wait=10"]), both);
        assert_eq!(wait(&["wait=10", "respond-async"]), both);
    }

    #[test]
    fn what_is_not_understood_is_ignored() {
        for value in
            ["", "wait", "wait=", "wait=-1", "wait=soon", "wait=99999999999", "return=minimal", ",;="]
        {
            assert_eq!(wait(&[value]), None, "{value:?}");
        }
        assert_eq!(wait(&[]), None);
    }
}
