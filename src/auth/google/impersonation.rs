//! Acting as a service account: one token buys another at the IAM Credentials API.
//! <https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken>

use std::time::{Duration, SystemTime};

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::key::check_google_url;
use super::quota::USER_PROJECT;
use crate::auth::error::{AuthError, AuthOperation};
use crate::auth::exchange::{Exchange, ExchangeError, Issued, SCOPE, issued};
use crate::diagnostics::secret::Secret;

/// The service account that is acted as.
#[derive(Clone, Debug)]
pub struct Impersonation {
    /// Its e-mail address.
    pub account: String,
    url: Url,
    /// The accounts between, each of which may act as the next.
    delegates: Vec<String>,
    /// How long a token is asked for.
    lifetime: Duration,
    /// The project whose quota requests to Google's APIs count for.
    pub(crate) quota_project: Option<String>,
}

/// What a token lives that is asked for without a word: also the longest that needs no
/// organisation policy.
const LIFETIME: Duration = Duration::from_secs(3600);

/// Where service accounts lend their tokens.
const API: &str = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/";
const METHOD: &str = ":generateAccessToken";

impl Impersonation {
    /// Of a service account by its e-mail address, which was checked.
    ///
    /// # Errors
    ///
    /// When the address makes no URL.
    pub fn of(account: &str) -> Result<Self, BadUrl> {
        Self::at(&format!("{API}{account}{METHOD}"))
    }

    /// By the URL that a credential file gives.
    ///
    /// # Errors
    ///
    /// When it is not Google's, or names no account.
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

    /// The same for tokens of another lifetime.
    #[must_use]
    pub fn living(mut self, lifetime: Option<Duration>) -> Self {
        self.lifetime = lifetime.unwrap_or(LIFETIME);
        self
    }

    /// The same, with its requests counted for the quota of this project.
    #[must_use]
    pub fn counted_for(mut self, project: Option<String>) -> Self {
        self.quota_project = project;
        self
    }

    /// The same by way of other accounts.
    #[must_use]
    pub fn through(mut self, delegates: Vec<String>) -> Self {
        self.delegates = delegates;
        self
    }

    /// A new token of the account, for the token of somebody who may act as it, and the project
    /// whose quota that counts for: `member`, where that is known.
    pub(crate) async fn issue(
        &self,
        exchange: &Exchange,
        (token, quota_project): (&Secret, Option<&str>),
        member: Option<String>,
    ) -> Result<Issued, AuthError> {
        let failed = |cause| AuthError::Exchange {
            step: AuthOperation::Impersonation {
                account: self.account.clone(),
                member: member.clone(),
            },
            endpoint: self.url.to_string(),
            cause,
        };
        let body = json!({
            "scope": [SCOPE],
            "lifetime": format!("{}s", self.lifetime.as_secs()),
            "delegates": self.delegates,
        });
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .map_err(|_| failed(ExchangeError::Answer))?;
        bearer.set_sensitive(true);
        let mut request = exchange
            .client(&self.url)
            .post(self.url.clone())
            .header(AUTHORIZATION, bearer)
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string());
        if let Some(project) = quota_project {
            request = request.header(USER_PROJECT, project);
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            access_token: String,
            expire_time: Option<String>,
        }
        let granted = Exchange::ask(request).await.map_err(failed)?;
        let answer: Answer = granted.json().map_err(failed)?;
        let expires = answer
            .expire_time
            .and_then(|text| OffsetDateTime::parse(&text, &Rfc3339).ok())
            .map(SystemTime::from);
        // By the clock that set it, for ours may be wrong.
        let now = granted.date.unwrap_or_else(SystemTime::now);
        let lifetime = expires.map(|at| at.duration_since(now).unwrap_or_default());
        issued(answer.access_token, lifetime).map_err(failed)
    }
}

/// A URL that tokens are not shown to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadUrl;

/// True for what may be the address of a service account.
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
