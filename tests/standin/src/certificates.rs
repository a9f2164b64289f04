//! The test CA and the certificates it gives to the names we answer for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Makes certificates, one for each set of names, and keeps them.
pub(crate) struct Certificates {
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
    /// One key for all leaves: they prove nothing to anybody but the tests.
    leaf_key: KeyPair,
    alpn: Vec<Vec<u8>>,
    made: Mutex<HashMap<Vec<String>, Arc<ServerConfig>>>,
}

impl Certificates {
    pub(crate) fn new(http2: bool) -> Self {
        let key = KeyPair::generate().expect("P-256 keys can be generated");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "gcr-push tests, not to be trusted");
        let ca_pem = params.self_signed(&key).expect("the CA is valid").pem();
        let alpn: &[&[u8]] = if http2 {
            &[b"h2", b"http/1.1"]
        } else {
            &[b"http/1.1"]
        };
        Self {
            issuer: Issuer::new(params, key),
            ca_pem,
            leaf_key: KeyPair::generate().expect("P-256 keys can be generated"),
            alpn: alpn.iter().map(|protocol| protocol.to_vec()).collect(),
            made: Mutex::default(),
        }
    }

    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
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
        // OpenSSL in its strict mode, which newer Pythons use, asks for it.
        params.use_authority_key_identifier_extension = true;
        let certificate = params
            .signed_by(&self.leaf_key, &self.issuer)
            .expect("the CA can sign");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.leaf_key.serialize_der()));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("aws-lc-rs has the default protocol versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("the key belongs to the certificate");
        config.alpn_protocols.clone_from(&self.alpn);
        config
    }
}
