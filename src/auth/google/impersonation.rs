//! Impersonates a service account with the IAM Credentials API.
//! <https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken>

use std::time::{Duration, SystemTime};

use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder, Url};
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::key::check_google_url;
use super::quota::USER_PROJECT;
use crate::auth::error::{AuthError, AuthOperation};
use crate::auth::exchange::{Exchange, IssuedToken, SCOPE};
use crate::diagnostics::secret::Secret;

/// The service account to impersonate.
#[derive(Clone, Debug)]
pub struct Impersonation {
    /// Its e-mail address.
    pub account: String,
    url: Url,
    /// The chain of delegates, each of which may impersonate the next.
    delegates: Vec<String>,
    /// The requested lifetime of tokens.
    lifetime: Duration,
    /// The quota project for requests to Google's APIs.
    pub(crate) quota_project: Option<String>,
}

/// The default lifetime of a token, which is also the maximum without an organisation policy.
const LIFETIME: Duration = Duration::from_secs(3600);

/// The IAM Credentials API.
const API: &str = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/";
const METHOD: &str = ":generateAccessToken";

impl Impersonation {
    /// Creates it for the e-mail address of a service account, which must be valid.
    ///
    /// # Errors
    ///
    /// If the address does not form a URL.
    pub fn of(account: &str) -> Result<Self, BadUrl> {
        Self::at(&format!("{API}{account}{METHOD}"))
    }

    /// Creates it for the URL in a credential file.
    ///
    /// # Errors
    ///
    /// If the URL is not Google's, or names no account.
    pub fn at(text: &str) -> Result<Self, BadUrl> {
        check_google_url(text).map_err(|()| BadUrl)?;
        let url: Url = text.parse().map_err(|_| BadUrl)?;
        let account = url
            .path()
            .rsplit('/')
            .next()
            .and_then(|last| last.strip_suffix(METHOD))
            .map(|account| account.replace("%40", "@"))
            .filter(|account| is_account(account))
            .ok_or(BadUrl)?;
        Ok(Self {
            account,
            url,
            delegates: Vec::new(),
            lifetime: LIFETIME,
            quota_project: None,
        })
    }

    /// Sets the lifetime of tokens.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Option<Duration>) -> Self {
        self.lifetime = lifetime.unwrap_or(LIFETIME);
        self
    }

    /// Sets the quota project.
    #[must_use]
    pub fn with_quota_project(mut self, project: Option<String>) -> Self {
        self.quota_project = project;
        self
    }

    /// Sets the chain of delegates.
    #[must_use]
    pub fn with_delegates(mut self, delegates: Vec<String>) -> Self {
        self.delegates = delegates;
        self
    }

    /// Obtains a token of the account with the token of an identity that may impersonate it, and
    /// the quota project of that identity. `member` is the identity for messages, if it is known.
    pub(crate) async fn issue(
        &self,
        exchange: &Exchange,
        (token, quota_project): (&Secret, Option<&str>),
        member: Option<String>,
    ) -> Result<IssuedToken, AuthError> {
        let failed = |cause| AuthError::Exchange {
            step: AuthOperation::Impersonation {
                account: self.account.clone(),
                member: member.clone(),
            },
            cause: Box::new(cause),
        };
        let body = json!({
            "scope": [SCOPE],
            "lifetime": format!("{}s", self.lifetime.as_secs()),
            "delegates": self.delegates,
        });
        let complete = |request: RequestBuilder| {
            let request = request
                .bearer_auth(token.expose())
                .header(CONTENT_TYPE, "application/json")
                .body(body.to_string());
            match quota_project {
                Some(project) => request.header(USER_PROJECT, project),
                None => request,
            }
        };
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            access_token: String,
            expire_time: Option<String>,
        }
        let response = exchange.send(Method::POST, &self.url, complete).await;
        let response = response.map_err(failed)?;
        let response_body: Answer = response.json().map_err(failed)?;
        let expires = response_body
            .expire_time
            .and_then(|text| OffsetDateTime::parse(&text, &Rfc3339).ok())
            .map(SystemTime::from);
        // The server's clock set the time, and this machine's clock may be wrong.
        let now = response.date.unwrap_or_else(SystemTime::now);
        let lifetime = expires.map(|at| at.duration_since(now).unwrap_or_default());
        let issued = response.issued(response_body.access_token, lifetime);
        issued.map_err(failed)
    }
}

/// A URL that must not receive a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadUrl;

/// True if `text` may be the e-mail address of a service account.
pub(crate) fn is_account(text: &str) -> bool {
    text.split_once('@').is_some_and(|(name, domain)| {
        !name.is_empty()
            && domain.contains('.')
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'@' | b'.' | b'-' | b'_'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_holds_the_account_and_is_google() {
        let of = |url: &str| Impersonation::at(url).map(|to| to.account);
        let good = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/ci@p.iam.gserviceaccount.com:generateAccessToken";
        assert_eq!(of(good), Ok("ci@p.iam.gserviceaccount.com".to_owned()));
        for bad in [
            &good.replace("https:", "http:"),
            &good.replace("googleapis.com", "googleapis.com.evil.example"),
            &good.replace("googleapis.com", "evil.example"),
            &good.replace(":generateAccessToken", ":signBlob"),
            &good.replace("ci@p.iam.gserviceaccount.com", ""),
            &good.replace("https://", "https://x@"),
            "nonsense",
        ] {
            assert_eq!(of(bad), Err(BadUrl), "{bad}");
        }
        assert_eq!(
            Impersonation::of("ci@p.iam.gserviceaccount.com").map(|to| to.url.to_string()),
            Ok(good.to_owned())
        );
    }
}
