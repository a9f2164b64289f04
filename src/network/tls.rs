//! Whom we trust: the system's roots, read once a process, and those of `ca_certificates`.

use std::sync::{Arc, LazyLock};

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use super::{Certificates, Network, NetworkError};

/// The system's roots. A client that reads them itself opens hundreds of files, and there are
/// several clients in this process.
static SYSTEM: LazyLock<Vec<CertificateDer<'static>>> = LazyLock::new(|| {
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!("could not read a certificate authority of the system: {error}");
    }
    let mut store = RootCertStore::empty();
    let mut roots = found.certs;
    // An expired or odd one among a hundred is nobody's fault here.
    roots.retain(|root| store.add(root.clone()).is_ok());
    roots
});

impl Certificates {
    /// The roots that were given.
    pub(crate) fn own(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.0.iter()
    }

    /// Every root that is trusted.
    pub(crate) fn with_systems(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.0.iter().chain(SYSTEM.iter())
    }
}

impl Network {
    /// The TLS of every client that can be handed one.
    pub(crate) fn tls(&self) -> Result<ClientConfig, NetworkError> {
        let roots = self.roots()?;
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(NetworkError::Tls)?;
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }

    /// The same trust for a client that has a TLS of its own.
    pub(crate) fn verifier(&self) -> Result<Arc<WebPkiServerVerifier>, NetworkError> {
        let provider = Arc::new(default_provider());
        WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots()?), provider)
            .build()
            .map_err(|error| NetworkError::Tls(rustls::Error::General(error.to_string())))
    }

    fn roots(&self) -> Result<RootCertStore, NetworkError> {
        let mut roots = RootCertStore::empty();
        for root in self.ca_certificates.with_systems() {
            roots.add(root.clone()).map_err(NetworkError::Tls)?;
        }
        if roots.is_empty() {
            return Err(NetworkError::NoRoots);
        }
        Ok(roots)
    }
}
