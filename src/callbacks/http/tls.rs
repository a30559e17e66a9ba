//! Whom endpoints are believed to be, and as whom this process shows itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::HttpError;

/// Certificates for one endpoint.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// File with authorities (PEM) that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Files with this process's certificate chain and private key (PEM), for receivers that ask.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
}

pub(super) fn client_config(options: &TlsOptions) -> Result<ClientConfig, HttpError> {
    let mut roots = RootCertStore::empty();
    // A certificate of the system that does not parse is no reason to send nothing.
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "certificates of the system cannot be read");
    }
    let (found, _) = roots.add_parsable_certificates(native.certs);
    if found == 0 && options.ca_file.is_none() {
        tracing::warn!(
            "this system has no certificates of authorities, so no https endpoint will be trusted: install \
             them (the package ca-certificates), or name a ca_file"
        );
    }
    if let Some(path) = &options.ca_file {
        for certificate in certificates(path)? {
            roots
                .add(certificate)
                .map_err(|cause| HttpError::Certificate { path: path.clone(), cause })?;
        }
    }
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(HttpError::Tls)?
            .with_root_certificates(roots);
    let Some((chain, key)) = &options.client_certificate else {
        return Ok(builder.with_no_client_auth());
    };
    let private_key = PrivateKeyDer::from_pem_file(key)
        .map_err(|cause| HttpError::Pem { path: key.clone(), cause })?;
    builder
        .with_client_auth_cert(certificates(chain)?, private_key)
        .map_err(|cause| HttpError::Certificate { path: chain.clone(), cause })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, HttpError> {
    let unreadable = |cause| HttpError::Pem { path: path.to_owned(), cause };
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(|certificates| certificates.collect::<Result<_, _>>())
        .map_err(unreadable)?;
    if found.is_empty() { Err(HttpError::NoCertificate { path: path.to_owned() }) } else { Ok(found) }
}
