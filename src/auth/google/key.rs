//! Service-account keys, and the exchange of their assertions for tokens.

use reqwest::Url;
use serde::Deserialize;

use super::quota;
use super::signer::Signer;
use crate::auth::error::{AuthError, AuthOperation};
use crate::auth::exchange::{Exchange, IssuedToken};
use crate::diagnostics::secret::Secret;

/// A service-account key file, validated as far as possible without the network.
#[derive(Clone, Debug)]
pub struct ServiceAccountKey {
    /// The e-mail address of the account.
    pub client_email: String,
    /// The project of the account.
    pub project_id: Option<String>,
    /// The URL that exchanges an assertion for a token.
    pub token_uri: String,
    private_key_id: Option<String>,
    pub(crate) private_key: Secret,
    /// The quota project for requests to Google's APIs.
    pub(crate) quota_project: Option<String>,
    /// The exact text of the file, which is the password of `_json_key`.
    json: Secret,
}

/// The token endpoint in Google's keys, and the default for a key without a `token_uri`.
pub(crate) const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

/// The grant type for an assertion.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Why a text is not a usable service-account key. No message quotes the text.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// It is neither JSON nor base64 of JSON.
    #[error("it is neither JSON nor base64 of JSON")]
    NotJson,
    /// It is another type of credential.
    #[error("it is a credential of type `{0}`, not a `service_account` key")]
    OtherType(String),
    /// It is JSON, but not a credential.
    #[error("it is JSON, but not a service-account key: `{0}` is missing")]
    Missing(&'static str),
    /// The private key cannot sign.
    #[error(
        "its `private_key` is not an RSA key in PEM; it may be cut off, or its line breaks may be \
         missing"
    )]
    PrivateKey,
    /// The token endpoint is not Google's, so it must not receive an assertion.
    #[error("its `token_uri` is not `https` at a Google host, so it is not used")]
    TokenUri,
}

impl ServiceAccountKey {
    /// Parses a key file.
    ///
    /// # Errors
    ///
    /// If no token can be obtained with it.
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

    /// The ID of the key, if the file states it.
    pub fn id(&self) -> Option<&str> {
        self.private_key_id.as_deref()
    }

    /// The text of the file, which is the password of the user `_json_key`.
    pub fn json(&self) -> &Secret {
        &self.json
    }
}

/// Checks that the key can sign, before anything is sent. yup-oauth2 supports only RSA and uses the
/// same library.
fn check_private_key(pem: &str) -> Result<(), KeyError> {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject as _;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::PrivateKey)?;
    rustls::crypto::aws_lc_rs::sign::RsaSigningKey::new(&key)
        .map(drop)
        .map_err(|_| KeyError::PrivateKey)
}

/// True if a `type` is a single word, so that it can be quoted.
pub(crate) fn printable_type(kind: &str) -> bool {
    kind.len() <= 40 && kind.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Only Google may receive an assertion or a token for an exchange.
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

/// Requests tokens with a service-account key, each with a signed assertion (RFC 7523).
pub(crate) struct KeyIssuer {
    key: ServiceAccountKey,
    token_uri: Url,
    signer: Signer,
}

impl KeyIssuer {
    /// Prepares the key. Nothing is sent yet.
    pub(crate) async fn new(key: ServiceAccountKey) -> Result<Self, AuthError> {
        Ok(Self {
            token_uri: key.token_uri.parse().map_err(AuthError::Url)?,
            signer: Signer::new(&key).await.map_err(AuthError::Key)?,
            key,
        })
    }

    /// Obtains a new token.
    pub(crate) async fn issue(&self, exchange: &Exchange) -> Result<IssuedToken, AuthError> {
        let assertion = self.signer.assertion().await.map_err(AuthError::Key)?;
        let fields = [
            ("grant_type", JWT_BEARER),
            ("assertion", assertion.expose()),
        ];
        let response = exchange.post_form(&self.token_uri, &fields).await;
        response
            .and_then(|response| response.oauth_token())
            .map_err(|cause| AuthError::Exchange {
                step: AuthOperation::Key(self.key.client_email.clone()),
                cause: Box::new(cause),
            })
    }

    /// The e-mail address of the account.
    pub(crate) fn account(&self) -> &str {
        &self.key.client_email
    }
}
