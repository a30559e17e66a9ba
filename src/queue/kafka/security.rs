//! How the brokers are reached, how penstock proves who it is, and the client settings that becomes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rdkafka::ClientConfig;
use secrecy::{ExposeSecret, SecretString};

use super::error::KafkaOpenError;

/// Whether this build fetches tokens by OIDC.
const HAS_OIDC: bool = cfg!(feature = "curl");
/// Whether this build speaks Kerberos.
const HAS_GSSAPI: bool = cfg!(feature = "gssapi");

/// How the brokers are reached. Files and passwords are read when a client is made: what is rotated
/// takes effect with the next start of the process. Only a token's file is read again and again.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// What protects the connection.
    pub protocol: SecurityProtocol,
    /// Who penstock is, for the protocols with SASL.
    pub sasl: Option<Sasl>,
    /// Certificates, for the protocols with TLS.
    pub tls: Tls,
}

/// What protects a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecurityProtocol {
    /// Nothing: for a loopback or a network of its own.
    #[default]
    Plaintext,
    /// TLS; with a client certificate it also tells who penstock is.
    Ssl,
    /// SASL without encryption.
    SaslPlaintext,
    /// SASL within TLS.
    SaslSsl,
}

/// Who penstock is towards the brokers.
#[derive(Clone, Debug)]
pub enum Sasl {
    /// A user with a password.
    Password {
        /// How the password is proven.
        mechanism: PasswordMechanism,
        /// The user.
        username: String,
        /// The user's password.
        password: SecretString,
    },
    /// OAUTHBEARER (RFC 7628).
    OauthBearer(OauthBearer),
    /// Kerberos; needs a build with the cargo feature `gssapi`.
    Gssapi(Gssapi),
}

/// How a password is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordMechanism {
    /// The password itself is sent: only within TLS.
    Plain,
    /// SCRAM with SHA-256 (RFC 7677).
    ScramSha256,
    /// SCRAM with SHA-512.
    ScramSha512,
}

/// Where tokens come from.
#[derive(Clone, Debug)]
pub enum OauthBearer {
    /// A file that somebody else keeps fresh, such as a projected service account token. It is read
    /// again before the token in it expires, and every few minutes. The topics' settings are not
    /// checked then, because administrative requests cannot be given such a token.
    TokenFile(PathBuf),
    /// OIDC with client credentials; needs a build with the cargo feature `curl`.
    Oidc(Oidc),
}

/// A client of an identity provider.
#[derive(Clone, Debug)]
pub struct Oidc {
    /// The provider's token endpoint, an HTTPS URL.
    pub token_endpoint_url: String,
    /// Who asks.
    pub client_id: String,
    /// The secret that proves it.
    pub client_secret: SecretString,
    /// What the token is to be good for.
    pub scope: Option<String>,
}

/// A Kerberos principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gssapi {
    /// The brokers' service name; `kafka` in most realms.
    pub service_name: String,
    /// Who penstock is.
    pub principal: String,
    /// The file with the principal's key.
    pub keytab: PathBuf,
}

/// Files of certificates in PEM.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Authorities to trust; none trusts the system's.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate.
    pub certificate_file: Option<PathBuf>,
    /// The client certificate's key.
    pub key_file: Option<PathBuf>,
    /// The password of the key.
    pub key_password: Option<SecretString>,
}

impl Security {
    /// The file tokens are read from, if they are.
    pub(super) fn token_file(&self) -> Option<Arc<PathBuf>> {
        match &self.sasl {
            Some(Sasl::OauthBearer(OauthBearer::TokenFile(file))) => Some(Arc::new(file.clone())),
            _ => None,
        }
    }

    /// Whether administrative requests can prove who they are from. The library gives their client no
    /// chance to ask for a token.
    pub(super) fn can_administer(&self) -> bool {
        self.token_file().is_none()
    }

    /// Puts all of this into a client's settings. A mechanism that this build lacks is refused.
    pub(super) fn apply(&self, config: &mut ClientConfig) -> Result<(), KafkaOpenError> {
        let (name, has_sasl) = match self.protocol {
            SecurityProtocol::Plaintext => ("plaintext", false),
            SecurityProtocol::Ssl => ("ssl", false),
            SecurityProtocol::SaslPlaintext => ("sasl_plaintext", true),
            SecurityProtocol::SaslSsl => ("sasl_ssl", true),
        };
        config.set("security.protocol", name);
        match (&self.sasl, has_sasl) {
            (Some(sasl), true) => sasl.apply(config)?,
            (None, false) => {}
            (Some(_), false) => return Err(KafkaOpenError::SaslUnused { protocol: name }),
            (None, true) => return Err(KafkaOpenError::SaslMissing { protocol: name }),
        }
        let tls = &self.tls;
        set_file(config, "ssl.ca.location", tls.ca_file.as_deref());
        set_file(config, "ssl.certificate.location", tls.certificate_file.as_deref());
        set_file(config, "ssl.key.location", tls.key_file.as_deref());
        if let Some(password) = &tls.key_password {
            config.set("ssl.key.password", password.expose_secret());
        }
        Ok(())
    }
}

impl Sasl {
    fn apply(&self, config: &mut ClientConfig) -> Result<(), KafkaOpenError> {
        match self {
            Self::Password { mechanism, username, password } => {
                config
                    .set("sasl.mechanism", mechanism.name())
                    .set("sasl.username", username)
                    .set("sasl.password", password.expose_secret());
            }
            Self::OauthBearer(source) => {
                config.set("sasl.mechanism", "OAUTHBEARER");
                if let OauthBearer::Oidc(oidc) = source {
                    oidc.apply(config)?;
                }
            }
            Self::Gssapi(gssapi) => gssapi.apply(config)?,
        }
        Ok(())
    }
}

impl PasswordMechanism {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl Oidc {
    fn apply(&self, config: &mut ClientConfig) -> Result<(), KafkaOpenError> {
        if !HAS_OIDC {
            return Err(KafkaOpenError::NotBuilt { what: "OAUTHBEARER with OIDC", feature: "curl" });
        }
        config
            .set("sasl.oauthbearer.method", "oidc")
            .set("sasl.oauthbearer.token.endpoint.url", &self.token_endpoint_url)
            .set("sasl.oauthbearer.client.id", &self.client_id)
            .set("sasl.oauthbearer.client.secret", self.client_secret.expose_secret());
        if let Some(scope) = &self.scope {
            config.set("sasl.oauthbearer.scope", scope);
        }
        Ok(())
    }
}

impl Gssapi {
    fn apply(&self, config: &mut ClientConfig) -> Result<(), KafkaOpenError> {
        if !HAS_GSSAPI {
            return Err(KafkaOpenError::NotBuilt { what: "GSSAPI (Kerberos)", feature: "gssapi" });
        }
        config
            .set("sasl.mechanism", "GSSAPI")
            .set("sasl.kerberos.service.name", &self.service_name)
            .set("sasl.kerberos.principal", &self.principal);
        set_file(config, "sasl.kerberos.keytab", Some(&self.keytab));
        Ok(())
    }
}

fn set_file(config: &mut ClientConfig, key: &str, file: Option<&Path>) {
    if let Some(file) = file {
        config.set(key, file.to_string_lossy());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_of(
        protocol: SecurityProtocol,
        sasl: Option<Sasl>,
    ) -> Result<ClientConfig, KafkaOpenError> {
        let mut config = ClientConfig::new();
        Security { protocol, sasl, tls: Tls::default() }.apply(&mut config)?;
        Ok(config)
    }

    fn scram() -> Sasl {
        Sasl::Password {
            mechanism: PasswordMechanism::ScramSha512,
            username: "penstock".to_owned(),
            password: SecretString::from("canary"),
        }
    }

    fn oidc() -> Sasl {
        Sasl::OauthBearer(OauthBearer::Oidc(Oidc {
            token_endpoint_url: "https://id.example/token".to_owned(),
            client_id: "penstock".to_owned(),
            client_secret: SecretString::from("canary"),
            scope: Some("kafka".to_owned()),
        }))
    }

    fn kerberos() -> Sasl {
        Sasl::Gssapi(Gssapi {
            service_name: "kafka".to_owned(),
            principal: "penstock@EXAMPLE".to_owned(),
            keytab: PathBuf::from("/etc/penstock.keytab"),
        })
    }

    #[test]
    fn secrets_reach_the_client_and_are_not_printed() {
        assert!(!format!("{:?} {:?}", scram(), oidc()).contains("canary"));
        let config = config_of(SecurityProtocol::SaslSsl, Some(scram())).unwrap();
        assert_eq!(config.get("sasl.password"), Some("canary"));
        assert_eq!(config.get("sasl.mechanism"), Some("SCRAM-SHA-512"));
        assert_eq!(config.get("security.protocol"), Some("sasl_ssl"));
    }

    #[test]
    fn sasl_goes_with_a_protocol_that_has_it() {
        let error = config_of(SecurityProtocol::Ssl, Some(scram())).unwrap_err();
        assert!(matches!(error, KafkaOpenError::SaslUnused { protocol: "ssl" }), "{error}");
        let error = config_of(SecurityProtocol::SaslSsl, None).unwrap_err();
        assert!(matches!(error, KafkaOpenError::SaslMissing { protocol: "sasl_ssl" }), "{error}");
    }

    #[test]
    fn what_this_build_lacks_is_refused_with_the_feature_that_brings_it() {
        for (sasl, feature, is_built, key) in [
            (oidc(), "curl", HAS_OIDC, "sasl.oauthbearer.client.id"),
            (kerberos(), "gssapi", HAS_GSSAPI, "sasl.kerberos.keytab"),
        ] {
            match config_of(SecurityProtocol::SaslSsl, Some(sasl)) {
                Ok(config) => assert!(is_built && config.get(key).is_some()),
                Err(error) => {
                    assert!(!is_built);
                    assert!(error.to_string().contains(&format!("--features {feature}")), "{error}");
                }
            }
        }
    }
}
