//! TLS settings: the trusted roots, which are the system's and those of `ca_certificates`, and the
//! client certificate for a registry.

use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use super::client_identity::ClientIdentity;
use super::{Certificates, Network, NetworkError};

/// The system's roots, loaded once per process. A client that loads them itself opens hundreds of
/// files, and this process has several clients.
static SYSTEM_ROOTS: LazyLock<Vec<CertificateDer<'static>>> = LazyLock::new(|| {
    let loaded = rustls_native_certs::load_native_certs();
    for error in loaded.errors {
        tracing::warn!("could not read a certificate authority of the system: {error}");
    }
    let mut store = RootCertStore::empty();
    let mut roots = loaded.certs;
    // An expired or invalid certificate among a hundred is ignored.
    roots.retain(|root| store.add(root.clone()).is_ok());
    roots
});

/// There are no trusted roots.
#[derive(Debug, thiserror::Error)]
#[error("this system has no certificate authorities")]
pub(crate) struct NoRoots;

impl Certificates {
    /// The certificates.
    pub(crate) fn own(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.0.iter()
    }
}

impl Network {
    /// The TLS settings of a client without a client certificate.
    pub(crate) fn tls(&self) -> Result<ClientConfig, NetworkError> {
        self.tls_with(&[], None)
    }

    /// The same with additional roots and a client certificate.
    pub(super) fn tls_with(
        &self,
        roots: &[CertificateDer<'static>],
        identity: Option<&ClientIdentity>,
    ) -> Result<ClientConfig, NetworkError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(NetworkError::Tls)?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier_with(roots)?);
        match identity {
            Some(ClientIdentity { chain, key }) => builder
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .map_err(NetworkError::Tls),
            None => Ok(builder.with_no_client_auth()),
        }
    }

    /// The certificate verifier for a client with TLS settings of its own.
    pub(crate) fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, NetworkError> {
        self.verifier_with(&[])
    }

    fn verifier_with(
        &self,
        further: &[CertificateDer<'static>],
    ) -> Result<Arc<dyn ServerCertVerifier>, NetworkError> {
        let own: Vec<_> = self.ca_certificates.own().chain(further).cloned().collect();
        let mut roots = RootCertStore::empty();
        for root in own.iter().chain(SYSTEM_ROOTS.iter()) {
            roots.add(root.clone()).map_err(NetworkError::Tls)?;
        }
        let provider = Arc::new(default_provider());
        let chains = if roots.is_empty() {
            None
        } else {
            Some(
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                    .build()
                    .map_err(|error| NetworkError::Tls(Error::General(error.to_string())))?,
            )
        };
        Ok(Arc::new(RootVerifier {
            chains,
            own,
            provider,
        }))
    }
}

/// Trusts certificates that a root signed, and certificates that are themselves in
/// `ca_certificates`, as curl, crane and skopeo do: `openssl req -x509` creates a server
/// certificate that is its own authority, which webpki refuses for a server.
#[derive(Debug)]
struct RootVerifier {
    /// `None` if there are no roots. Plain HTTP needs none.
    chains: Option<Arc<WebPkiServerVerifier>>,
    own: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for RootVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chains) = &self.chains else {
            let none = OtherError(Arc::new(NoRoots));
            return Err(Error::InvalidCertificate(CertificateError::Other(none)));
        };
        match chains.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // webpki checks the dates before it looks for an issuer.
            Err(Error::InvalidCertificate(fault))
                if (is_authority(&fault) || fault == CertificateError::UnknownIssuer)
                    && self.own.contains(certificate) =>
            {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let known = &self.provider.signature_verification_algorithms;
        known.supported_schemes()
    }
}

/// True if a certificate was refused because it is an authority. The type of the cause is private
/// to webpki, which is not a dependency. A test checks its text.
pub(super) fn is_authority(fault: &CertificateError) -> bool {
    matches!(fault, CertificateError::Other(cause) if cause.to_string() == "CaUsedAsEndEntity")
}
