//! The test CA and the certificates it issues for the names of the stand-in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::behaviour::Behaviour;

/// Issues certificates, one for each set of names, and caches them.
pub(crate) struct Certificates {
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
    /// One key for all leaves, because only the tests rely on them.
    leaf_key: KeyPair,
    alpn: Vec<Vec<u8>>,
    wants_client: bool,
    self_signed: Option<CertificateDer<'static>>,
    made: Mutex<HashMap<Vec<String>, Arc<ServerConfig>>>,
}

impl Certificates {
    pub(crate) fn new(behaviour: &Behaviour) -> Self {
        let key = KeyPair::generate().expect("P-256 keys can be generated");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "gcr-push tests, not to be trusted");
        let ca_pem = params.self_signed(&key).expect("the CA is valid").pem();
        let leaf_key = KeyPair::generate().expect("P-256 keys can be generated");
        let self_signed = behaviour.self_signed.then(|| own_authority(&leaf_key));
        let alpn: &[&[u8]] = if behaviour.http2 {
            &[b"h2", b"http/1.1"]
        } else {
            &[b"http/1.1"]
        };
        Self {
            issuer: Issuer::new(params, key),
            ca_pem: self_signed.as_ref().map_or(ca_pem, Certificate::pem),
            self_signed: self_signed.map(|self_signed| self_signed.der().clone()),
            wants_client: behaviour.wants_client_certificate,
            leaf_key,
            alpn: alpn.iter().map(|protocol| protocol.to_vec()).collect(),
            made: Mutex::default(),
        }
    }

    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// A client certificate that the server accepts, and its key, in one text.
    pub(crate) fn client_pem(&self) -> String {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("P-256 keys can be generated");
        let certificate = params.signed_by(&key, &self.issuer);
        let certificate = certificate.expect("the CA can sign").pem();
        certificate + &key.serialize_pem()
    }

    /// The server side of TLS for these names.
    pub(crate) fn server_config(&self, names: &[&str]) -> Arc<ServerConfig> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut made = self.made.lock().unwrap();
        let config = made
            .entry(names)
            .or_insert_with_key(|names| Arc::new(self.make(names)));
        Arc::clone(config)
    }

    fn make(&self, names: &[String]) -> ServerConfig {
        let mut params = CertificateParams::new(names).expect("names are DNS names or addresses");
        params
            .distinguished_name
            .push(DnType::CommonName, names[0].as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // OpenSSL in its strict mode, which newer Pythons use, requires it.
        params.use_authority_key_identifier_extension = true;
        let certificate = params
            .signed_by(&self.leaf_key, &self.issuer)
            .expect("the CA can sign");
        let certificate_der = self.self_signed.clone();
        let certificate_der = certificate_der.unwrap_or_else(|| certificate.der().clone());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.leaf_key.serialize_der()));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("aws-lc-rs has the default protocol versions")
            .with_client_cert_verifier(self.client_verifier())
            .with_single_cert(vec![certificate_der], key)
            .expect("the key belongs to the certificate");
        config.alpn_protocols.clone_from(&self.alpn);
        config
    }

    fn client_verifier(&self) -> Arc<dyn ClientCertVerifier> {
        if !self.wants_client {
            return WebPkiClientVerifier::no_client_auth();
        }
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.ca_pem.as_bytes());
        let ca = ca.expect("the CA is PEM");
        roots.add(ca).expect("the CA is a root");
        let provider = Arc::new(aws_lc_rs::default_provider());
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .expect("there is a root")
    }
}

/// A self-signed certificate for this machine.
fn own_authority(key: &KeyPair) -> Certificate {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names).expect("names are DNS names or addresses");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.self_signed(key).expect("the certificate is valid")
}
