//! Whom a cluster is taken to be, and the certificate that is shown to it.

use std::sync::Arc;

use kube::Config;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::KubernetesError;
use super::auth::ClientIdentity;
use crate::http::Network;

/// TLS as the kubeconfig wants it: its own certificate authority with those of `ca_certificates`, or
/// else whom everything trusts, or nobody at all where it says `insecure-skip-tls-verify`.
///
/// # Errors
///
/// When a certificate or a key cannot be used.
pub(super) fn client_config(
    config: &Config,
    identity: Option<ClientIdentity>,
    network: &Network,
) -> Result<ClientConfig, KubernetesError> {
    let unusable = |error: Error| KubernetesError::Kubeconfig(Box::new(error));
    let provider = Arc::new(default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    let builder = if config.accept_invalid_certs {
        let anyone = Arc::new(Anyone(provider));
        builder.dangerous().with_custom_certificate_verifier(anyone)
    } else if let Some(own) = &config.root_cert {
        let mut roots = RootCertStore::empty();
        let own = own.iter().cloned().map(CertificateDer::from);
        for root in own.chain(network.ca_certificates.own().cloned()) {
            roots.add(root).map_err(unusable)?;
        }
        builder.with_root_certificates(roots)
    } else {
        let verifier = network
            .verifier()
            .map_err(|error| KubernetesError::Kubeconfig(Box::new(error)))?;
        builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
    };
    match identity {
        Some(ClientIdentity { chain, key }) => builder.with_client_auth_cert(chain, key),
        None => Ok(builder.with_no_client_auth()),
    }
    .map_err(unusable)
}

/// Takes any server for the cluster.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
