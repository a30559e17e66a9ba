//! Signatures by the Standard Webhooks specification: `webhook-id`, `webhook-timestamp` and
//! `webhook-signature`. Several keys at once let receivers change theirs without a gap.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer, Verifier};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::account::Timestamp;

const SYMMETRIC: &str = "whsec_";
const ASYMMETRIC: &str = "whsk_";
const PUBLIC: &str = "whpk_";
const SYMMETRIC_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// How far a receiver's clock and a sender's may differ, in seconds.
const TOLERANCE_SECONDS: u64 = 300;

/// Why a text is no key. Never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It begins with no known prefix.
    #[error("must begin with whsec_ (HMAC-SHA256) or whsk_ (ed25519); `penstock secret new` makes one")]
    Prefix,
    /// What follows the prefix is no base64.
    #[error("must be base64 after its prefix")]
    Base64,
    /// A symmetric key is too short or too long.
    #[error("must be 24 to 64 bytes after whsec_")]
    Length,
    /// An ed25519 key is none.
    #[error("must be 32 bytes of an ed25519 seed, or 64 with its public key, after whsk_")]
    Ed25519,
}

/// Why a request is not taken for what it says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotVerified {
    /// A header is missing.
    #[error("{0} is missing or not as it must be")]
    Header(&'static str),
    /// It is old, or from the future.
    #[error("webhook-timestamp is more than five minutes from now")]
    Time,
    /// It was signed with other keys, or changed on its way.
    #[error("no signature in webhook-signature is by this key")]
    Signature,
}

/// A key that signs. Its text is shown nowhere.
#[derive(Clone)]
pub enum SigningKey {
    /// `v1`: HMAC-SHA256 with a secret both sides have.
    Symmetric(Vec<u8>),
    /// `v1a`: ed25519; receivers have the public key only.
    Asymmetric(Box<ed25519_dalek::SigningKey>),
}

impl SigningKey {
    /// Takes `whsec_…` or `whsk_…`.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let bytes = |base64| BASE64.decode(base64).map_err(|_| KeyError::Base64);
        if let Some(base64) = text.strip_prefix(SYMMETRIC) {
            let key = bytes(base64)?;
            return if SYMMETRIC_BYTES.contains(&key.len()) {
                Ok(Self::Symmetric(key))
            } else {
                Err(KeyError::Length)
            };
        }
        let base64 = text.strip_prefix(ASYMMETRIC).ok_or(KeyError::Prefix)?;
        let key = match bytes(base64)?.as_slice() {
            seed if seed.len() == 32 => seed.try_into().ok().map(ed25519_dalek::SigningKey::from_bytes),
            pair => {
                let pair = pair.try_into().ok();
                pair.and_then(|pair| ed25519_dalek::SigningKey::from_keypair_bytes(pair).ok())
            }
        };
        key.map(|key| Self::Asymmetric(Box::new(key))).ok_or(KeyError::Ed25519)
    }

    /// A symmetric key of random bytes.
    pub fn symmetric(random: [u8; 32]) -> Self {
        Self::Symmetric(random.to_vec())
    }

    /// An asymmetric key of a random seed.
    pub fn asymmetric(seed: [u8; 32]) -> Self {
        Self::Asymmetric(Box::new(ed25519_dalek::SigningKey::from_bytes(&seed)))
    }

    /// The text that [`SigningKey::parse`] takes: a secret.
    pub fn secret_text(&self) -> String {
        match self {
            Self::Symmetric(key) => format!("{SYMMETRIC}{}", BASE64.encode(key)),
            Self::Asymmetric(key) => format!("{ASYMMETRIC}{}", BASE64.encode(key.to_keypair_bytes())),
        }
    }

    /// What a receiver verifies with, `whpk_…`, where that is no secret.
    pub fn public_text(&self) -> Option<String> {
        match self {
            Self::Symmetric(_) => None,
            Self::Asymmetric(key) => {
                Some(format!("{PUBLIC}{}", BASE64.encode(key.verifying_key().as_bytes())))
            }
        }
    }

    fn sign(&self, content: &[&[u8]]) -> String {
        match self {
            Self::Symmetric(key) => {
                // A key of any length makes an HMAC; the error is there for other algorithms.
                let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
                for part in content {
                    mac.update(part);
                }
                format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
            }
            Self::Asymmetric(key) => {
                format!("v1a,{}", BASE64.encode(key.sign(&content.concat()).to_bytes()))
            }
        }
    }

    fn verifies(&self, content: &[&[u8]], signature: &str) -> bool {
        let bytes =
            |prefix| signature.strip_prefix(prefix).and_then(|base64| BASE64.decode(base64).ok());
        match self {
            Self::Symmetric(key) => {
                let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return false };
                for part in content {
                    mac.update(part);
                }
                bytes("v1,").is_some_and(|bytes| mac.verify_slice(&bytes).is_ok())
            }
            Self::Asymmetric(key) => {
                bytes("v1a,").and_then(|bytes| Signature::from_slice(&bytes).ok()).is_some_and(
                    |signature| key.verifying_key().verify(&content.concat(), &signature).is_ok(),
                )
            }
        }
    }
}

/// The keys of an endpoint, which may be changed while it is sent to; cheap to clone. All clones have the
/// same.
#[derive(Clone, Debug, Default)]
pub struct Keys(Arc<RwLock<Arc<[SigningKey]>>>);

impl Keys {
    /// The keys that sign now.
    pub fn now(&self) -> Arc<[SigningKey]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on `other`'s keys of now sign.
    pub fn take_over(&self, other: &Self) {
        let keys = other.now();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }
}

impl From<Vec<SigningKey>> for Keys {
    fn from(keys: Vec<SigningKey>) -> Self {
        Self(Arc::new(RwLock::new(keys.into())))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Symmetric(_) => "Symmetric(hidden)",
            Self::Asymmetric(_) => "Asymmetric(hidden)",
        })
    }
}

/// The three headers of one attempt, names and values. `id` is the same for every attempt and has no
/// full stop; `at` is when this attempt begins. Without keys there is no signature.
pub fn webhook_headers(
    keys: &[SigningKey],
    id: &str,
    at: Timestamp,
    body: &[u8],
) -> impl Iterator<Item = (&'static str, String)> {
    let seconds = at.unix_millis().div_euclid(1_000).to_string();
    let content = [id.as_bytes(), b".", seconds.as_bytes(), b".", body];
    let signatures: Vec<String> = keys.iter().map(|key| key.sign(&content)).collect();
    let signature = (!signatures.is_empty()).then(|| ("webhook-signature", signatures.join(" ")));
    [("webhook-id", id.to_owned()), ("webhook-timestamp", seconds)].into_iter().chain(signature)
}

/// Sees as a receiver whether a request was signed with `key`, given its headers by name. In constant
/// time for all that could tell of the key.
pub fn verify<'h>(
    key: &SigningKey,
    header: impl Fn(&'static str) -> Option<&'h str>,
    body: &[u8],
    now: Timestamp,
) -> Result<(), NotVerified> {
    let found = |name| header(name).ok_or(NotVerified::Header(name));
    let (id, seconds) = (found("webhook-id")?, found("webhook-timestamp")?);
    let at: i64 = seconds.parse().map_err(|_| NotVerified::Header("webhook-timestamp"))?;
    if now.unix_millis().div_euclid(1_000).abs_diff(at) > TOLERANCE_SECONDS {
        return Err(NotVerified::Time);
    }
    let content = [id.as_bytes(), b".", seconds.as_bytes(), b".", body];
    let mut signatures = found("webhook-signature")?.split(' ');
    let is_ours = signatures.any(|signature| key.verifies(&content, signature));
    if is_ours { Ok(()) } else { Err(NotVerified::Signature) }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::VerifyingKey;
    use proptest::prelude::*;
    use standardwebhooks::Webhook;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from(std::time::SystemTime::now())
    }

    fn value(headers: &[(&'static str, String)], name: &str) -> String {
        headers.iter().find(|(known, _)| *known == name).unwrap().1.clone()
    }

    fn is_accepted(secret: &SigningKey, headers: &[(&'static str, String)], body: &str) -> bool {
        let mut map = axum::http::HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        Webhook::new(&secret.secret_text()).unwrap().verify(body.as_bytes(), &map).is_ok()
    }

    #[test]
    fn the_specifications_example_has_its_signature() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let at = Timestamp::from_unix_millis(1_614_265_330_999);
        let body = br#"{"test": 2432232314}"#;
        let headers: Vec<_> =
            webhook_headers(&[key], "msg_p5jXN8AQM9LWM0D4loKWxJek", at, body).collect();
        assert_eq!(value(&headers, "webhook-timestamp"), "1614265330");
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(value(&headers, "webhook-signature"), signature);
    }

    #[test]
    fn old_and_new_secret_are_accepted_while_both_are_set() {
        let (old, new) = (SigningKey::symmetric([1; 32]), SigningKey::symmetric([2; 32]));
        let body = "{\"number\":\"ž-100%\"}";
        let headers: Vec<_> =
            webhook_headers(&[new.clone(), old.clone()], "id", now(), body.as_bytes()).collect();
        assert!(is_accepted(&old, &headers, body) && is_accepted(&new, &headers, body));
        assert!(!is_accepted(&SigningKey::symmetric([3; 32]), &headers, body));
        assert!(!is_accepted(&new, &headers, "{}"));
    }

    #[test]
    fn an_asymmetric_signature_is_verified_with_the_public_key_alone() {
        let key = SigningKey::asymmetric([7; 32]);
        let headers: Vec<_> = webhook_headers(std::slice::from_ref(&key), "id", now(), b"{}").collect();
        let bytes = |text: &str| BASE64.decode(text).unwrap();
        let public = key.public_text().unwrap();
        let public = bytes(public.strip_prefix("whpk_").unwrap());
        let public = VerifyingKey::from_bytes(public.as_slice().try_into().unwrap()).unwrap();
        let signature = bytes(value(&headers, "webhook-signature").strip_prefix("v1a,").unwrap());
        let content = format!("id.{}.{{}}", value(&headers, "webhook-timestamp"));
        public.verify(content.as_bytes(), &Signature::from_slice(&signature).unwrap()).unwrap();
    }

    #[test]
    fn a_receiver_takes_what_was_signed_with_its_key_and_nothing_else() {
        let keys = [SigningKey::symmetric([1; 32]), SigningKey::asymmetric([2; 32])];
        let at = now();
        let headers: Vec<_> = webhook_headers(&keys, "id", at, b"{}").collect();
        let seen = |key: &SigningKey, without: &str, body: &[u8], now| {
            let known = headers.iter().filter(|(name, _)| *name != without);
            let header = |name| known.clone().find(|(known, _)| *known == name);
            verify(key, |name| header(name).map(|(_, value)| value.as_str()), body, now)
        };
        for key in &keys {
            assert_eq!(seen(key, "", b"{}", at), Ok(()));
            assert_eq!(seen(key, "", b"{ }", at), Err(NotVerified::Signature));
        }
        assert_eq!(seen(&SigningKey::symmetric([3; 32]), "", b"{}", at), Err(NotVerified::Signature));
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            assert_eq!(seen(&keys[0], name, b"{}", at), Err(NotVerified::Header(name)));
        }
        for minutes in [-6, 6] {
            let other = Timestamp::from_unix_millis(at.unix_millis() + minutes * 60_000);
            assert_eq!(seen(&keys[0], "", b"{}", other), Err(NotVerified::Time));
        }
    }

    #[test]
    fn keys_come_back_from_their_text_and_are_not_shown() {
        for key in [SigningKey::symmetric([9; 32]), SigningKey::asymmetric([9; 32])] {
            let text = key.secret_text();
            assert_eq!(SigningKey::parse(&text).unwrap().secret_text(), text);
            assert!(!format!("{key:?}").contains(&text[7..15]));
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        let refused = |text: &str| SigningKey::parse(text).unwrap_err();
        assert_eq!(refused("hunter2"), KeyError::Prefix);
        assert_eq!(refused("whsec_!"), KeyError::Base64);
        assert_eq!(refused("whsec_c2hvcnQ="), KeyError::Length);
        assert_eq!(refused("whsk_c2hvcnQ="), KeyError::Ed25519);
        let foreign_pair = [[1; 32], [2; 32]].concat();
        assert_eq!(refused(&format!("whsk_{}", BASE64.encode(foreign_pair))), KeyError::Ed25519);
    }

    proptest! {
        #[test]
        fn any_body_is_verified_by_an_independent_implementation(
            secret in any::<[u8; 32]>(),
            id in "[a-z0-9-]{1,40}",
            body in any::<String>(),
        ) {
            let key = SigningKey::symmetric(secret);
            let headers: Vec<_> =
                webhook_headers(std::slice::from_ref(&key), &id, now(), body.as_bytes()).collect();
            prop_assert!(is_accepted(&key, &headers, &body));
        }
    }
}
