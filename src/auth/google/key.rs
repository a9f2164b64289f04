//! Service-account keys, and the tokens that they buy.

use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;

use super::quota;
use super::signer::Signer;
use super::user::{FORM, form};
use crate::auth::error::{AuthError, Operation};
use crate::auth::exchange::{Exchange, Issued};
use crate::diagnostics::secret::Secret;

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
    pub(crate) private_key: Secret,
    /// The project whose quota requests to Google's APIs count for.
    pub(crate) quota_project: Option<String>,
    /// The file's text, byte for byte, as `_json_key` takes it.
    json: Secret,
}

/// Where Google's keys say that tokens are bought, and where a key without a `token_uri` goes.
pub(crate) const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

/// The grant that an assertion is shown for.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

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
            quota_project_id: Option<String>,
        }
        let file: File = serde_json::from_str(json).map_err(|_| KeyError::NotJson)?;
        match file.r#type {
            None => return Err(KeyError::Missing("type")),
            Some(kind) if kind != "service_account" => {
                return Err(if printable_type(&kind) {
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
            quota_project: file.quota_project_id.as_deref().and_then(quota::project),
            json: Secret::new(json),
        })
    }

    /// The key's own id, where the file has it.
    pub fn id(&self) -> Option<&str> {
        self.private_key_id.as_deref()
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

/// True for a `type` that is a word, and so may be quoted.
pub(crate) fn printable_type(kind: &str) -> bool {
    kind.len() <= 40 && kind.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Only Google is shown an assertion or a token to trade: anywhere else it would be handed to a
/// stranger.
pub(crate) fn check_google_url(url: &str) -> Result<(), ()> {
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

/// Buys tokens with a service-account key: a signed assertion for each (RFC 7523).
pub(crate) struct KeyIssuer {
    key: ServiceAccountKey,
    token_uri: Url,
    signer: Signer,
}

impl KeyIssuer {
    /// Makes ready to buy; nothing is sent yet.
    pub(crate) async fn new(key: ServiceAccountKey) -> Result<Self, AuthError> {
        Ok(Self {
            token_uri: key.token_uri.parse().map_err(AuthError::Url)?,
            signer: Signer::new(&key).await.map_err(AuthError::Key)?,
            key,
        })
    }

    /// A new token.
    pub(crate) async fn issue(&self, exchange: &Exchange) -> Result<Issued, AuthError> {
        let assertion = self.signer.assertion().await.map_err(AuthError::Key)?;
        let form = form(&[
            ("grant_type", JWT_BEARER),
            ("assertion", assertion.expose()),
        ]);
        let request = exchange
            .client(&self.token_uri)
            .post(self.token_uri.clone())
            .header(CONTENT_TYPE, FORM)
            .body(form);
        let granted = Exchange::ask(request).await;
        granted
            .and_then(|granted| granted.oauth_token())
            .map_err(|cause| AuthError::Exchange {
                step: Operation::Key(self.key.client_email.clone()),
                endpoint: self.key.token_uri.clone(),
                cause,
            })
    }

    /// The account that the key belongs to.
    pub(crate) fn account(&self) -> &str {
        &self.key.client_email
    }
}
