//! Whom we trust: the system's roots, read once a process, and those of `ca_certificates`; and the
//! certificate that we show to a registry that asks for one.

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

/// Nobody can be trusted.
#[derive(Debug, thiserror::Error)]
#[error("this system has no certificate authorities")]
pub(crate) struct NoRoots;

impl Certificates {
    /// The roots that were given.
    pub(crate) fn own(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.0.iter()
    }
}

impl Network {
    /// The TLS of every client that can be handed one.
    pub(crate) fn tls(&self) -> Result<ClientConfig, NetworkError> {
        self.tls_with(&[], None)
    }

    /// The same with further roots, and a certificate to be shown to who asks for one.
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

    /// The same trust for a client that has a TLS of its own.
    pub(crate) fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, NetworkError> {
        self.verifier_with(&[])
    }

    fn verifier_with(
        &self,
        further: &[CertificateDer<'static>],
    ) -> Result<Arc<dyn ServerCertVerifier>, NetworkError> {
        let given: Vec<_> = self.ca_certificates.own().chain(further).cloned().collect();
        let mut roots = RootCertStore::empty();
        for root in given.iter().chain(SYSTEM.iter()) {
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
        Ok(Arc::new(Verifier {
            chains,
            given,
            provider,
        }))
    }
}

/// Trusts what one of the roots signed, and a certificate that is itself one of those given, as
/// curl, crane and skopeo do: `openssl req -x509` makes a server's certificate that is its own
/// authority, which webpki refuses for a server.
#[derive(Debug)]
struct Verifier {
    /// `None` if there are no roots. Plain HTTP needs none.
    chains: Option<Arc<WebPkiServerVerifier>>,
    given: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
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
            // webpki looks at the dates before it looks for an issuer.
            Err(Error::InvalidCertificate(fault))
                if (is_authority(&fault) || fault == CertificateError::UnknownIssuer)
                    && self.given.contains(certificate) =>
            {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
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

/// True when a certificate was refused for being an authority's. The type of the cause is webpki's
/// own, which is no dependency of ours; a test has its text.
pub(super) fn is_authority(fault: &CertificateError) -> bool {
    matches!(fault, CertificateError::Other(cause) if cause.to_string() == "CaUsedAsEndEntity")
}
