//! The owner and the remaining lifetime of an access token from a variable, which only Google
//! knows.

use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::exchange::{Exchange, seconds};
use crate::diagnostics::secret::Secret;

/// Google's endpoint for information about tokens.
/// <https://cloud.google.com/docs/authentication/token-types#access-contents>
const TOKEN_INFO: &str = "https://oauth2.googleapis.com/tokeninfo";

/// Google's information about a token.
#[derive(Clone, Debug)]
pub struct TokenInfo {
    /// The remaining lifetime.
    pub lifetime: Duration,
    /// The account of the token, if the token has the scope `userinfo.email`, as gcloud's tokens
    /// do.
    pub email: Option<String>,
}

/// Requests information about `token`. `None` if Google has none, as for a federated or an expired
/// token.
pub(super) async fn request(token: &Secret, exchange: &Exchange) -> Option<TokenInfo> {
    #[derive(Deserialize)]
    struct Answer {
        expires_in: serde_json::Value,
        email: Option<String>,
    }
    let url = Url::parse(TOKEN_INFO).ok()?;
    // The token is in the body, because proxies log URLs.
    let fields = [("access_token", token.expose())];
    let answer: Answer = exchange.post_form(&url, &fields).await.ok()?.json().ok()?;
    Some(TokenInfo {
        lifetime: seconds(&answer.expires_in)?,
        email: answer.email,
    })
}
