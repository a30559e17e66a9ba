//! Why there was no answer, in words that tell an operator what to do.

use std::error::Error;
use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error as TlsError, OtherError};

use crate::telemetry::with_causes;

/// What stopped a request, and which setting of the endpoint helps, if one may. `heard` is what TLS last
/// said on a connection to the endpoint; it explains a connection that was closed and does not say why.
pub(super) fn failure(
    error: &(dyn Error + 'static),
    heard: Option<&TlsError>,
    has_client_certificate: bool,
) -> String {
    let told = with_causes(error).to_string();
    match tls_error(error) {
        Some(found) => advised(told, found, has_client_certificate),
        None => unexplained(told, heard, has_client_certificate),
    }
}

/// Nothing came for too long.
pub(super) fn silence(
    timeout: Duration,
    heard: Option<&TlsError>,
    has_client_certificate: bool,
) -> String {
    let told = format!("no answer within {} s", timeout.as_secs_f64());
    unexplained(told, heard, has_client_certificate)
}

fn unexplained(told: String, heard: Option<&TlsError>, has_client_certificate: bool) -> String {
    match heard {
        Some(heard) => advised(format!("{told}: {heard}"), heard, has_client_certificate),
        None => told,
    }
}

fn advised(told: String, error: &TlsError, has_client_certificate: bool) -> String {
    match advice(error, has_client_certificate) {
        Some(advice) => format!("{told}; {advice}"),
        None => told,
    }
}

/// The first error of TLS among an error and its causes. An error of reading or writing is no cause of
/// what it was made of, and holds it all the same.
pub(super) fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a TlsError> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(held) => tls_error(held),
        None => tls_error(error.source()?),
    }
}

fn advice(error: &TlsError, has_client_certificate: bool) -> Option<&'static str> {
    match error {
        // A bad signature is another authority's of the same name, such as the one before a renewal.
        TlsError::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => Some(
            "no authority that is trusted here has signed the receiver's certificate: name the file with \
             its authority as ca_file, or have the receiver send the whole chain",
        ),
        TlsError::InvalidCertificate(CertificateError::Other(other)) if is_authority(other) => Some(
            "the receiver shows a certificate that is its own authority's, as `openssl req -x509` makes \
             them: have it sign one with basicConstraints = CA:FALSE and a subjectAltName, and name that \
             certificate, or its authority's, as ca_file",
        ),
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Some("the receiver's certificate is for another host than the one in url"),
        TlsError::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::HandshakeFailure
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied,
        ) => Some(if has_client_certificate {
            "the receiver does not take the certificate in client_certificate_file"
        } else {
            "the receiver may want to see a certificate: set client_certificate_file and client_key_file"
        }),
        _ => None,
    }
}

/// Whether a receiver was refused because its certificate is one that signs others.
fn is_authority(error: &OtherError) -> bool {
    let error: &(dyn Error + 'static) = error.0.as_ref();
    error.to_string().contains("CaUsedAsEndEntity")
}
