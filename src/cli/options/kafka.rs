//! Settings of the production queue in its words.

use crate::queue::kafka::{
    Gssapi, KafkaQueueOptions, OauthBearer, Oidc, PasswordMechanism, Sasl, Security, SecurityProtocol,
    Tls, TopicLayout,
};
use crate::settings::{
    KafkaProtocol, KafkaQueueSettings, KafkaSaslMechanism, KafkaSecuritySettings, KafkaTopicSettings,
};

use super::named_file;

pub(in crate::cli) fn kafka_queue(settings: &KafkaQueueSettings) -> KafkaQueueOptions {
    KafkaQueueOptions {
        brokers: settings.brokers.clone(),
        topic_prefix: settings.topic_prefix.clone(),
        partitions: settings.partitions,
        security: security(&settings.security),
        max_record_bytes: settings.max_record_bytes.bytes(),
        max_pending_bytes: settings.max_pending_bytes.bytes(),
        delivery_timeout: settings.delivery_timeout.duration(),
        session_timeout: settings.session_timeout.duration(),
        heartbeat_interval: settings.heartbeat_interval.duration(),
        instance_id: some_text(&settings.instance_id),
        stall_timeout: settings.stall_timeout.duration(),
        extra: settings.extra.by_name().clone(),
    }
}

pub(in crate::cli) fn topics(settings: &KafkaTopicSettings) -> TopicLayout {
    TopicLayout {
        replication_factor: settings.replication_factor,
        min_insync_replicas: settings.min_insync_replicas,
        submitted_retention: settings.submitted_retention.duration(),
        results_retention: settings.results_retention.duration(),
        dead_letter_retention: settings.dead_letter_retention.duration(),
        replies_retention: settings.replies_retention.duration(),
    }
}

fn security(settings: &KafkaSecuritySettings) -> Security {
    Security {
        protocol: match settings.protocol {
            KafkaProtocol::Plaintext => SecurityProtocol::Plaintext,
            KafkaProtocol::Ssl => SecurityProtocol::Ssl,
            KafkaProtocol::SaslPlaintext => SecurityProtocol::SaslPlaintext,
            KafkaProtocol::SaslSsl => SecurityProtocol::SaslSsl,
        },
        sasl: settings.protocol.has_sasl().then(|| sasl(settings)),
        tls: Tls {
            ca_file: named_file(&settings.ca_file),
            certificate_file: named_file(&settings.certificate_file),
            key_file: named_file(&settings.key_file),
            key_password: (!settings.key_password.is_empty()).then(|| settings.key_password.secret()),
        },
    }
}

fn sasl(settings: &KafkaSecuritySettings) -> Sasl {
    let password = |mechanism| Sasl::Password {
        mechanism,
        username: settings.username.clone(),
        password: settings.password.secret(),
    };
    match settings.mechanism {
        KafkaSaslMechanism::Plain => password(PasswordMechanism::Plain),
        KafkaSaslMechanism::ScramSha256 => password(PasswordMechanism::ScramSha256),
        KafkaSaslMechanism::ScramSha512 => password(PasswordMechanism::ScramSha512),
        KafkaSaslMechanism::OauthBearer => Sasl::OauthBearer(oauth_bearer(settings)),
        KafkaSaslMechanism::Gssapi => Sasl::Gssapi(Gssapi {
            service_name: settings.kerberos.service_name.clone(),
            principal: settings.kerberos.principal.clone(),
            keytab: settings.kerberos.keytab_file.clone(),
        }),
    }
}

fn oauth_bearer(settings: &KafkaSecuritySettings) -> OauthBearer {
    if let Some(file) = named_file(&settings.token_file) {
        return OauthBearer::TokenFile(file);
    }
    let oidc = &settings.oidc;
    OauthBearer::Oidc(Oidc {
        token_endpoint_url: oidc.token_endpoint_url.clone(),
        client_id: oidc.client_id.clone(),
        client_secret: oidc.client_secret.secret(),
        scope: some_text(&oidc.scope),
    })
}

/// The text of a setting that says nothing when it is empty.
fn some_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
