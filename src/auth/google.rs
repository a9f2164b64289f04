//! Google credentials: the service-account key, and the short-lived tokens that it buys.

use serde::Deserialize;

use crate::secret::Secret;

/// A service-account key file, checked as far as that can be done without the network.
#[derive(Clone, Debug)]
pub struct ServiceAccountKey {
    /// The account.
    pub client_email: String,
    /// The account's own project.
    pub project_id: Option<String>,
    /// Where a signed assertion is traded for a token.
    pub token_uri: String,
    private_key_id: Option<String>,
    private_key: Secret,
    /// The file's text, byte for byte, as `_json_key` takes it.
    json: Secret,
}

/// Where Google's keys say that tokens are bought, and where a key without a `token_uri` goes.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

/// A text that is no usable service-account key. No message quotes the text.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// Not JSON, and not base64 of it.
    #[error("it is neither JSON nor base64 of JSON")]
    NotJson,
    /// JSON, of another kind of credential.
    #[error("it is a credential of type `{0}`, not a `service_account` key")]
    OtherType(String),
    /// JSON that is no credential at all.
    #[error("it is JSON, but no service-account key: `{0}` is missing")]
    Missing(&'static str),
    /// A private key that nothing can be signed with.
    #[error("its `private_key` is no RSA key in PEM; it may have been cut or its line breaks lost")]
    PrivateKey,
    /// A token endpoint that is not Google's: the key would sign in to a stranger.
    #[error("its `token_uri` is not `https` at a Google host, so it is not used")]
    TokenUri,
}

impl ServiceAccountKey {
    /// Reads the JSON text of a key file.
    ///
    /// # Errors
    ///
    /// When the text is no key that tokens can be bought with.
    pub fn parse(json: &str) -> Result<Self, KeyError> {
        #[derive(Deserialize)]
        struct File {
            r#type: Option<String>,
            client_email: Option<String>,
            project_id: Option<String>,
            private_key_id: Option<String>,
            private_key: Option<String>,
            token_uri: Option<String>,
        }
        let file: File = serde_json::from_str(json).map_err(|_| KeyError::NotJson)?;
        match file.r#type {
            None => return Err(KeyError::Missing("type")),
            Some(kind) if kind != "service_account" => {
                let printable = kind.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                return Err(if printable && kind.len() <= 40 {
                    KeyError::OtherType(kind)
                } else {
                    KeyError::Missing("type")
                });
            }
            Some(_) => {}
        }
        let client_email = file.client_email.ok_or(KeyError::Missing("client_email"))?;
        let private_key = file.private_key.ok_or(KeyError::Missing("private_key"))?;
        check_private_key(&private_key)?;
        let token_uri = file.token_uri.unwrap_or_else(|| TOKEN_URI.to_owned());
        check_google_url(&token_uri).map_err(|()| KeyError::TokenUri)?;
        Ok(Self {
            client_email,
            project_id: file.project_id,
            token_uri,
            private_key_id: file.private_key_id,
            private_key: Secret::new(private_key),
            json: Secret::new(json),
        })
    }

    /// The file's text, as the password of the user `_json_key`.
    pub fn json(&self) -> &Secret {
        &self.json
    }
}

/// yup-oauth2 signs with RSA alone; the same library reads the key here, before anything is sent.
fn check_private_key(pem: &str) -> Result<(), KeyError> {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject as _;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::PrivateKey)?;
    rustls::crypto::aws_lc_rs::sign::RsaSigningKey::new(&key)
        .map(drop)
        .map_err(|_| KeyError::PrivateKey)
}

/// Only Google buys a signed assertion: anywhere else it would be handed to a stranger.
fn check_google_url(url: &str) -> Result<(), ()> {
    let url = url::Url::parse(url).map_err(|_| ())?;
    let google = url
        .host_str()
        .is_some_and(|host| host.ends_with(".googleapis.com") || host == "accounts.google.com");
    if url.scheme() == "https" && google && url.username().is_empty() {
        Ok(())
    } else {
        Err(())
    }
}
