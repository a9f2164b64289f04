//! The credentials of a user, as `gcloud auth application-default login` stores them.

use reqwest::Url;

use super::key::TOKEN_URI;
use crate::auth::error::{AuthError, AuthOperation};
use crate::auth::exchange::{Exchange, IssuedToken};
use crate::diagnostics::secret::Secret;

/// A refresh token, and the OAuth client that it was issued to.
#[derive(Clone, Debug)]
pub struct AuthorizedUser {
    pub(crate) client_id: String,
    pub(crate) client_secret: Secret,
    pub(crate) refresh_token: Secret,
    /// The quota project for requests to Google's APIs.
    pub(crate) quota_project: Option<String>,
}

impl AuthorizedUser {
    /// Obtains a new token (RFC 6749, section 6).
    pub(crate) async fn issue(&self, exchange: &Exchange) -> Result<IssuedToken, AuthError> {
        let fields = [
            ("grant_type", "refresh_token"),
            ("client_id", &self.client_id),
            ("client_secret", self.client_secret.expose()),
            ("refresh_token", self.refresh_token.expose()),
        ];
        let url: Url = TOKEN_URI.parse().map_err(AuthError::Url)?;
        let response = exchange.post_form(&url, &fields).await;
        response
            .and_then(|response| response.oauth_token())
            .map_err(|cause| AuthError::Exchange {
                step: AuthOperation::User,
                cause: Box::new(cause),
            })
    }
}
