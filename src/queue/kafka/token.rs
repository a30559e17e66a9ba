//! Tokens for OAUTHBEARER, from a file that somebody else keeps fresh.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::client::OAuthToken;
use serde::Deserialize;

/// A token is read again after at most about this time, so that a new one in the file is soon used.
const MAX_LIFETIME: Duration = Duration::from_mins(5);
/// Who a token is for when it does not say so. The brokers go by the token itself.
const UNNAMED: &str = "penstock";

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    /// The file cannot be read.
    #[error("the token file {file} cannot be read: {cause}")]
    Unreadable {
        file: PathBuf,
        #[source]
        cause: io::Error,
    },
    /// There is nothing in it.
    #[error("the token file {file} is empty")]
    Empty { file: PathBuf },
    /// What is in it is over.
    #[error("the token in {file} has expired: whoever writes that file has to write a new one")]
    Expired { file: PathBuf },
}

/// What a token that is a JWT (RFC 7519) says of itself.
#[derive(Debug, Default, Deserialize)]
struct Claims {
    sub: Option<String>,
    /// Seconds since the Unix epoch, possibly with a fraction.
    exp: Option<f64>,
}

/// Reads the token that is in the file now.
pub(super) fn read(file: &Path) -> Result<OAuthToken, TokenError> {
    let text = std::fs::read_to_string(file)
        .map_err(|cause| TokenError::Unreadable { file: file.to_owned(), cause })?;
    let token = text.trim();
    if token.is_empty() {
        return Err(TokenError::Empty { file: file.to_owned() });
    }
    of(token, SystemTime::now()).ok_or_else(|| TokenError::Expired { file: file.to_owned() })
}

/// The client's form of a token; none when it has expired.
fn of(token: &str, now: SystemTime) -> Option<OAuthToken> {
    let claims = claims(token);
    let now_millis = millis(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    let lifetime = match claims.exp {
        None => millis(MAX_LIFETIME),
        Some(expires) => millis(Duration::try_from_secs_f64(expires).ok()?) - now_millis,
    };
    (lifetime > 0).then(|| OAuthToken {
        token: token.to_owned(),
        principal_name: claims.sub.unwrap_or_else(|| UNNAMED.to_owned()),
        lifetime_ms: now_millis + lifetime.min(millis(MAX_LIFETIME)),
    })
}

/// Nothing for a token that is no JWT.
fn claims(token: &str) -> Claims {
    let payload = token.split('.').nth(1).unwrap_or_default().trim_end_matches('=');
    let json = URL_SAFE_NO_PAD.decode(payload).unwrap_or_default();
    serde_json::from_slice(&json).unwrap_or_default()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_token_ends_when_it_says_and_is_read_again_before() {
        let token = of(&jwt(r#"{"sub":"worker","exp":1060}"#), at(1_000)).unwrap();
        assert_eq!((token.principal_name.as_str(), token.lifetime_ms), ("worker", 1_060_000));
        let token = of(&jwt(r#"{"sub":"worker","exp":90000.5}"#), at(1_000)).unwrap();
        assert_eq!(token.lifetime_ms, 1_300_000);
        assert!(of(&jwt(r#"{"exp":1000}"#), at(1_000)).is_none());
    }

    #[test]
    fn a_token_that_tells_nothing_is_taken_as_it_is() {
        let token = of("opaque", at(1_000)).unwrap();
        assert_eq!(token.token, "opaque");
        assert_eq!((token.principal_name.as_str(), token.lifetime_ms), (UNNAMED, 1_300_000));
    }

    #[test]
    fn what_is_wrong_with_the_file_is_told_without_the_token() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        assert!(matches!(read(&file), Err(TokenError::Unreadable { .. })));
        std::fs::write(&file, "\n").unwrap();
        assert!(matches!(read(&file), Err(TokenError::Empty { .. })));
        std::fs::write(&file, jwt(r#"{"sub":"canary","exp":1}"#)).unwrap();
        let error = read(&file).err().unwrap().to_string();
        assert!(error.contains("expired") && !error.contains("e30."), "{error}");
        std::fs::write(&file, format!("{}\n", jwt(r#"{"sub":"worker"}"#))).unwrap();
        assert_eq!(read(&file).unwrap().principal_name, "worker");
    }
}
