//! Google's REST APIs: one client for all of them, with their one form of error, their pages and
//! their long-running operations. What each API is asked for stands where it is needed.

pub mod backoff;
mod error;
pub mod iam_policy;
mod operation;
pub mod preflight;
mod refusal;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::auth::google::quota::USER_PROJECT;
use crate::auth::{AuthError, BasicAuth, Credential};
use crate::diagnostics::secret::Secret;
use crate::http::{Network, NetworkError, WINDOW, read_bounded};

pub use backoff::Backoff;
pub use error::GoogleError;
pub use iam_policy::{Grant, Policy, PolicyChange, Resource};
pub use operation::Operation;
pub use refusal::Violation;

/// One of Google's APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    /// Repositories and their policies.
    ArtifactRegistry,
    /// Projects and their policies.
    ResourceManager,
    /// Service accounts, their keys, workload identity pools.
    Iam,
    /// Tokens of service accounts for others.
    IamCredentials,
    /// Which APIs a project has.
    ServiceUsage,
    /// Buckets.
    Storage,
}

impl Api {
    /// Its name as a service that a project enables, which is its host too.
    pub fn service(self) -> &'static str {
        match self {
            Self::ArtifactRegistry => "artifactregistry.googleapis.com",
            Self::ResourceManager => "cloudresourcemanager.googleapis.com",
            Self::Iam => "iam.googleapis.com",
            Self::IamCredentials => "iamcredentials.googleapis.com",
            Self::ServiceUsage => "serviceusage.googleapis.com",
            Self::Storage => "storage.googleapis.com",
        }
    }

    /// A URL of it; `path` begins with the version, as in `v1/projects/acme`.
    pub fn url(self, path: &str) -> Url {
        #[expect(clippy::expect_used, reason = "the hosts are written above")]
        let mut url = Url::parse(&format!("https://{}/", self.service())).expect("a host");
        url.set_path(path);
        url
    }
}

/// A client of Google's APIs, signed in.
pub struct Google {
    http: reqwest::Client,
    credential: Credential,
    /// How long a request is tried again that failed for now.
    retry_for: Duration,
    /// The APIs that are known to be on, whatever they say themselves.
    expected: Mutex<BTreeSet<String>>,
    /// The accounts that were made just now, by their addresses.
    new_accounts: Mutex<BTreeSet<String>>,
}

/// The most bytes of an answer: policies hold 1500 members, lists come in pages.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// How long a request is tried again that failed for now.
const RETRY_FOR: Duration = Duration::from_secs(60);

/// How long an API that is enabled may say that it is not: "wait a few minutes", as it says itself.
const ENABLED_WITHIN: Duration = Duration::from_secs(10 * 60);

/// How many pages of one list are read; more is an API that turns in circles.
const MAX_PAGES: usize = 1000;

impl Google {
    /// A client that shows `credential`'s token; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// When the HTTP client cannot be built.
    pub fn new(credential: Credential, network: &Network) -> Result<Self, NetworkError> {
        Ok(Self {
            http: network.http_client()?,
            credential,
            retry_for: RETRY_FOR,
            expected: Mutex::default(),
            new_accounts: Mutex::default(),
        })
    }

    /// The same, but each request is sent once: for what is only asked to know more.
    #[must_use]
    pub fn short_retries(mut self) -> Self {
        self.retry_for = Duration::ZERO;
        self
    }

    /// Whom the APIs know us as.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// From now on this service is waited for where it says that it is disabled: one that was enabled
    /// just now is not known everywhere.
    pub fn expect(&self, service: &str) {
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        expected.insert(service.to_owned());
    }

    /// From now on this account is waited for where it is not shown: one that was made just now is
    /// not known everywhere.
    pub fn expect_account(&self, email: &str) {
        let accounts = self.new_accounts.lock();
        let mut accounts = accounts.unwrap_or_else(PoisonError::into_inner);
        accounts.insert(email.to_owned());
    }

    /// True for an account that was made just now.
    pub fn expects_account(&self, email: &str) -> bool {
        let accounts = self.new_accounts.lock();
        let accounts = accounts.unwrap_or_else(PoisonError::into_inner);
        accounts.contains(email)
    }

    fn is_just_enabled(&self, error: &GoogleError) -> bool {
        let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        error.is_service_disabled()
            && error
                .metadata("service")
                .is_some_and(|service| expected.contains(service))
    }

    /// Reads.
    ///
    /// # Errors
    ///
    /// When the API refuses, or its answer is no `T`. So for all that follow.
    pub async fn get<T: DeserializeOwned>(&self, url: Url) -> Result<T, GoogleError> {
        self.ask(Method::GET, url, None).await
    }

    /// Sends `body` with POST, which may be tried again: a second time it must do no harm.
    pub async fn post<T: DeserializeOwned>(
        &self,
        url: Url,
        body: &(impl Serialize + Sync),
    ) -> Result<T, GoogleError> {
        self.ask(Method::POST, url, Some(json(body))).await
    }

    /// Asks with POST where there is nothing to send.
    pub async fn post_nothing<T: DeserializeOwned>(&self, url: Url) -> Result<T, GoogleError> {
        self.ask(Method::POST, url, None).await
    }

    /// Sends `body` with POST, exactly once whatever becomes of it.
    pub async fn post_once<T: DeserializeOwned>(
        &self,
        url: Url,
        body: &(impl Serialize + Sync),
    ) -> Result<T, GoogleError> {
        let (method, body) = (Method::POST, json(body));
        let answer = self.signed_in(&method, &url, Some(&body)).await?;
        read(method, url, answer).await
    }

    /// Replaces.
    pub async fn put<T: DeserializeOwned>(
        &self,
        url: Url,
        body: &(impl Serialize + Sync),
    ) -> Result<T, GoogleError> {
        self.ask(Method::PUT, url, Some(json(body))).await
    }

    /// Changes the fields that the URL's `updateMask` names.
    pub async fn patch<T: DeserializeOwned>(
        &self,
        url: Url,
        body: &(impl Serialize + Sync),
    ) -> Result<T, GoogleError> {
        self.ask(Method::PATCH, url, Some(json(body))).await
    }

    /// Deletes.
    pub async fn delete<T: DeserializeOwned>(&self, url: Url) -> Result<T, GoogleError> {
        self.ask(Method::DELETE, url, None).await
    }

    /// Every item of a list that comes in pages; `field` is what the items are called.
    pub async fn pages<T: DeserializeOwned>(
        &self,
        url: Url,
        field: &str,
    ) -> Result<Vec<T>, GoogleError> {
        let mut items = Vec::new();
        self.each(url, field, |item| items.push(item)).await?;
        Ok(items)
    }

    /// Gives `take` every item of a list that comes in pages, so that no more than one page is held.
    pub async fn each<T: DeserializeOwned>(
        &self,
        url: Url,
        field: &str,
        mut take: impl FnMut(T),
    ) -> Result<(), GoogleError> {
        let mut next = url.clone();
        for _ in 0..MAX_PAGES {
            let mut page: Value = self.get(next.clone()).await?;
            let found = match page.get_mut(field).map(Value::take) {
                Some(found) => serde_json::from_value::<Vec<T>>(found)
                    .map_err(|error| GoogleError::unexpected(Method::GET, next.clone(), error))?,
                None => Vec::new(),
            };
            found.into_iter().for_each(&mut take);
            match page.get("nextPageToken").and_then(Value::as_str) {
                Some(token) if !token.is_empty() => {
                    next = url.clone();
                    next.query_pairs_mut().append_pair("pageToken", token);
                }
                _ => return Ok(()),
            }
        }
        Err(GoogleError::endless(Method::GET, url))
    }

    /// Sends a request, again while it fails for now, and reads its answer.
    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: Option<Vec<u8>>,
    ) -> Result<T, GoogleError> {
        let mut patience = Backoff::new(self.retry_for);
        let mut settling = Backoff::new(ENABLED_WITHIN);
        loop {
            let sent = self.signed_in(&method, &url, body.as_deref()).await;
            let (error, asked) = match sent {
                Ok(answer) => {
                    let asked = retry_after(&answer);
                    match read(method.clone(), url.clone(), answer).await {
                        Ok(read) => return Ok(read),
                        Err(error) => (error, asked),
                    }
                }
                Err(error) => (error, Duration::ZERO),
            };
            if self.is_just_enabled(&error) && settling.wait().await {
                tracing::info!("{} was enabled just now; waiting for it", url.authority());
                continue;
            }
            // Where a connection broke, a POST may have done its work: who sent it must look.
            let again = error.is_temporary() && (method != Method::POST || !error.is_broken());
            if !again || !patience.wait_at_least(asked).await {
                return Err(error);
            }
            tracing::info!("{error}; trying again");
        }
    }

    /// Sends a request once; a token that is refused is bought anew where it can be.
    async fn signed_in(
        &self,
        method: &Method,
        url: &Url,
        body: Option<&[u8]>,
    ) -> Result<Response, GoogleError> {
        let refused = |error| GoogleError::not_signed_in(method.clone(), url.clone(), error);
        let shown = self.credential.basic().await.map_err(refused)?;
        let token = bearer(shown).map_err(refused)?;
        let answer = self.send(method, url, body, &token).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        match self.credential.renewed(&token).await.map_err(refused)? {
            Some(shown) => self.send(method, url, body, &shown.password).await,
            None => Ok(answer),
        }
    }

    async fn send(
        &self,
        method: &Method,
        url: &Url,
        body: Option<&[u8]>,
        token: &Secret,
    ) -> Result<Response, GoogleError> {
        let mut request = self.http.request(method.clone(), url.clone());
        if let Ok(mut header) = HeaderValue::from_str(&format!("Bearer {}", token.expose())) {
            header.set_sensitive(true);
            request = request.header(AUTHORIZATION, header);
        }
        if let Some(project) = self.credential.quota_project() {
            request = request.header(USER_PROJECT, project);
        }
        if let Some(body) = body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.to_vec());
        } else if *method == Method::POST {
            // Google's front ends refuse one that says nothing of its length (411).
            request = request.header(CONTENT_LENGTH, 0);
        }
        tracing::debug!("{method} {}{}", url.authority(), url.path());
        request
            .send()
            .await
            .map_err(|error| GoogleError::broken(method.clone(), url.clone(), error.without_url()))
    }
}

/// Only a token opens the APIs: neither a user with a password nor nobody.
fn bearer(shown: Option<BasicAuth>) -> Result<Secret, AuthError> {
    match shown {
        Some(shown) => Ok(shown.password),
        None => Err(AuthError::NoToken),
    }
}

fn json(body: &impl Serialize) -> Vec<u8> {
    #[expect(
        clippy::expect_used,
        reason = "the bodies are ours: strings, numbers, lists and maps with string keys"
    )]
    serde_json::to_vec(body).expect("a body is JSON")
}

/// Reads an answer: a `T`, or the refusal that it is, without the token should it quote that.
async fn read<T: DeserializeOwned>(
    method: Method,
    url: Url,
    answer: Response,
) -> Result<T, GoogleError> {
    let status = answer.status();
    let body = match read_bounded(answer, MAX_BODY, WINDOW).await {
        Ok(body) => body,
        Err(error) => return Err(GoogleError::broken(method, url, error)),
    };
    if !status.is_success() {
        return Err(GoogleError::refused(method, url, status, &body));
    }
    // Deletions of the storage API are answered with nothing at all.
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    serde_json::from_slice(body).map_err(|error| GoogleError::unexpected(method, url, error))
}

/// What a refusal asks to be waited for, in seconds; nobody sends dates here.
fn retry_after(answer: &Response) -> Duration {
    let header = answer.headers().get(RETRY_AFTER);
    let seconds = header.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}
