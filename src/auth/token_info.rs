//! Whose a token is that was given as text, and how long it still works, which only Google can say.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use url::Url;

use super::exchange::{Exchange, seconds};
use crate::diagnostics::secret::Secret;

/// Where Google tells about its tokens.
/// <https://cloud.google.com/docs/authentication/token-types#access-contents>
const TOKEN_INFO: &str = "https://oauth2.googleapis.com/tokeninfo";

/// What Google tells of a token.
#[derive(Clone, Debug)]
pub struct TokenInfo {
    /// For how long it still works.
    pub lifetime: Duration,
    /// The account that it is for, where the token is allowed to tell (the scope
    /// `userinfo.email`, which gcloud's tokens have).
    pub email: Option<String>,
}

/// Asks for `token`; none where Google does not say, as of a federated token or a dead one.
pub(super) async fn ask(token: &Secret, exchange: &Exchange) -> Option<TokenInfo> {
    #[derive(Deserialize)]
    struct Answer {
        expires_in: serde_json::Value,
        email: Option<String>,
    }
    let url = Url::parse(TOKEN_INFO).ok()?;
    // In the body, because URLs are logged on the way.
    let body = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("access_token", token.expose())
        .finish();
    let request = exchange
        .client(&url)
        .post(url)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(body);
    let answer: Answer = Exchange::ask(request).await.ok()?.json().ok()?;
    Some(TokenInfo {
        lifetime: seconds(&answer.expires_in)?,
        email: answer.email,
    })
}
