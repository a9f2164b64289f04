//! RSA key pairs of service accounts.

use std::sync::{Arc, Mutex};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// A key pair: the private half for its owner, the public half for checks.
pub(crate) struct Key {
    public: Vec<u8>,
    pub(crate) pem: String,
}

impl Key {
    /// The nth key pair of this process. Generating one takes a tenth of a second, so stand-ins of
    /// one process share them: within one stand-in no two accounts have the same.
    pub(crate) fn nth(n: usize) -> Arc<Self> {
        static MADE: Mutex<Vec<Arc<Key>>> = Mutex::new(Vec::new());
        let mut made = MADE.lock().unwrap();
        while made.len() <= n {
            let pair = KeyPair::generate(KeySize::Rsa2048).expect("RSA keys can be generated");
            let private: Pkcs8V1Der<'_> = pair.as_der().expect("RSA keys can be written");
            made.push(Arc::new(Key {
                public: pair.public_key().as_ref().to_vec(),
                pem: pem(private.as_ref()),
            }));
        }
        Arc::clone(&made[n])
    }

    /// The key's RS256 signature of the text.
    pub(crate) fn sign(&self, text: &str) -> Vec<u8> {
        let der: String = self
            .pem
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect();
        let der = BASE64_STANDARD.decode(der).expect("the key is ours");
        let pair = KeyPair::from_pkcs8(&der).expect("the key is ours");
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            text.as_bytes(),
            &mut signature,
        )
        .expect("RSA keys can sign");
        signature
    }

    /// True if this is the key's RS256 signature of the text.
    pub(crate) fn signed(&self, text: &str, signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public)
            .verify(text.as_bytes(), signature)
            .is_ok()
    }
}

/// PKCS#8 in PEM (RFC 7468), lines of 64.
fn pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len())
        .step_by(64)
        .map(|start| &text[start..text.len().min(start + 64)])
        .collect();
    let body = lines.join("\n");
    format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
}
