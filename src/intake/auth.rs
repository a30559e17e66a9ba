//! Who may do what. A token is known by its digest alone; the comparison takes as long for a wrong
//! token as for a right one.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use ipnet::IpNet;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::account::BusinessUnit;

use super::errors::{Challenge, Refusal};

/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Send accounts.
    Submit,
    /// Have accounts checked without sending them.
    Validate,
    /// Look up outcomes and classifiers.
    Read,
}

impl Scope {
    /// Every scope there is.
    pub const ALL: [Self; 3] = [Self::Submit, Self::Validate, Self::Read];

    /// The scope as settings and challenges spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Validate => "validate",
            Self::Read => "read",
        }
    }

    /// Finds a scope by its text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// SHA-256 of a token. It does not reveal the token, yet it is not printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Digests a token.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// A digest that was made before.
    pub fn from_bytes(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(hidden)")
    }
}

/// The business units a token may be used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusinessUnits {
    /// All of them, and accounts without one.
    Any,
    /// These, never empty.
    Only(BTreeSet<BusinessUnit>),
}

impl BusinessUnits {
    /// The listed units; an empty list means all.
    pub fn from_list(units: impl IntoIterator<Item = BusinessUnit>) -> Self {
        let units: BTreeSet<_> = units.into_iter().collect();
        if units.is_empty() { Self::Any } else { Self::Only(units) }
    }

    /// Whether accounts of this unit may be sent and looked up.
    pub fn covers(&self, unit: Option<&BusinessUnit>) -> bool {
        match self {
            Self::Any => true,
            Self::Only(units) => unit.is_some_and(|unit| units.contains(unit)),
        }
    }

    /// The unit an account without one counts for, if only one comes into question.
    pub fn default_unit(&self) -> Option<&BusinessUnit> {
        match self {
            Self::Only(units) if units.len() == 1 => units.first(),
            Self::Any | Self::Only(_) => None,
        }
    }
}

/// A configured token.
#[derive(Clone, Debug)]
pub struct Token {
    /// Who holds it, as logs name the client.
    pub name: String,
    /// What it is known by.
    pub digest: TokenDigest,
    /// The units it may be used for.
    pub business_units: BusinessUnits,
    /// What it may be used for.
    pub scopes: BTreeSet<Scope>,
}

/// Checks tokens and addresses.
#[derive(Clone, Debug)]
pub struct Authenticator {
    tokens: Arc<[Arc<Token>]>,
    networks: Arc<[IpNet]>,
}

impl Authenticator {
    /// Lets in the holders of `tokens` from `networks`; an empty list of networks means from
    /// everywhere, an empty list of tokens nobody.
    pub fn new(
        tokens: impl IntoIterator<Item = Token>,
        networks: impl IntoIterator<Item = IpNet>,
    ) -> Self {
        Self {
            tokens: tokens.into_iter().map(Arc::new).collect(),
            networks: networks.into_iter().collect(),
        }
    }

    /// Whether a peer with this address may talk to the intake at all.
    pub(super) fn admits(&self, address: Option<IpAddr>) -> bool {
        // An IPv4 peer of an IPv6 socket has a mapped address.
        let address = address.map(|address| address.to_canonical());
        self.networks.is_empty()
            || address.is_some_and(|address| self.networks.iter().any(|net| net.contains(&address)))
    }

    /// The token a request carries, if it is known and has the scope.
    pub(super) fn authorize(&self, headers: &HeaderMap, scope: Scope) -> Result<Arc<Token>, Refusal> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(Refusal::Unauthorized(Challenge::NoToken));
        };
        let token =
            value.to_str().ok().and_then(bearer).ok_or(Refusal::Unauthorized(Challenge::NoToken))?;
        let token = self.find(token).ok_or(Refusal::Unauthorized(Challenge::InvalidToken))?;
        if token.scopes.contains(&scope) { Ok(token) } else { Err(Refusal::MissingScope(scope)) }
    }

    fn find(&self, token: &str) -> Option<Arc<Token>> {
        let digest = TokenDigest::of(token);
        let mut found = 0_u64;
        let mut any = Choice::from(0);
        for (index, known) in (0_u64..).zip(self.tokens.iter()) {
            let equal = known.digest.0.ct_eq(&digest.0);
            found.conditional_assign(&index, equal);
            any |= equal;
        }
        if bool::from(any) { self.tokens.get(usize::try_from(found).ok()?).cloned() } else { None }
    }
}

/// The token of an `Authorization: Bearer …` value.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn unit(text: &str) -> BusinessUnit {
        BusinessUnit::parse(text).unwrap()
    }

    fn token(name: &str, secret: &str, scopes: &[Scope]) -> Token {
        Token {
            name: name.to_owned(),
            digest: TokenDigest::of(secret),
            business_units: BusinessUnits::Any,
            scopes: scopes.iter().copied().collect(),
        }
    }

    fn headers(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_digest_is_not_printed() {
        assert_eq!(format!("{:?}", TokenDigest::from_bytes([7; 32])), "TokenDigest(hidden)");
    }

    #[test]
    fn every_configured_token_is_found_and_no_other() {
        let all = Scope::ALL;
        let known = Authenticator::new([token("a", "alpha", &all), token("b", "beta", &all)], []);
        let name = |value| known.authorize(&headers(value), Scope::Read).map(|token| token.name.clone());
        assert_eq!(name("Bearer alpha").unwrap(), "a");
        assert_eq!(name("bearer  beta").unwrap(), "b");
        assert!(matches!(name("Bearer gamma"), Err(Refusal::Unauthorized(Challenge::InvalidToken))));
        for none in ["Bearer", "Bearer ", "Basic alpha", "alpha", ""] {
            assert!(matches!(name(none), Err(Refusal::Unauthorized(Challenge::NoToken))), "{none:?}");
        }
    }

    #[test]
    fn a_token_is_good_for_its_scopes_only() {
        let known = Authenticator::new([token("a", "alpha", &[Scope::Read])], []);
        assert!(known.authorize(&headers("Bearer alpha"), Scope::Read).is_ok());
        let refusal = known.authorize(&headers("Bearer alpha"), Scope::Submit);
        assert!(matches!(refusal, Err(Refusal::MissingScope(Scope::Submit))));
    }

    #[test]
    fn only_listed_networks_are_admitted() {
        let known = Authenticator::new([], ["10.1.0.0/16".parse().unwrap()]);
        let admits = |address: &str| known.admits(Some(address.parse().unwrap()));
        assert!(admits("10.1.2.3"));
        assert!(admits("::ffff:10.1.2.3"));
        assert!(!admits("10.2.0.1"));
        assert!(!admits("::1"));
        assert!(!known.admits(None));
        assert!(Authenticator::new([], []).admits(None));
    }

    #[test]
    fn units_cover_what_they_list() {
        let none = BusinessUnits::from_list([]);
        assert!(none.covers(None) && none.covers(Some(&unit("north"))));
        assert_eq!(none.default_unit(), None);
        let one = BusinessUnits::from_list([unit("north")]);
        assert!(one.covers(Some(&unit("north"))) && !one.covers(Some(&unit("south"))));
        assert!(!one.covers(None));
        assert_eq!(one.default_unit(), Some(&unit("north")));
        assert_eq!(BusinessUnits::from_list([unit("north"), unit("south")]).default_unit(), None);
    }
}
