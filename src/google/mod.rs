//! A client for Google's REST APIs, with their error format, pagination and long-running
//! operations. The requests to each API are where they are needed.

pub mod backoff;
mod error;
pub mod iam_policy;
mod operation;
pub mod preflight;
mod refusal;

use std::collections::BTreeSet;

use std::time::Duration;

use parking_lot::Mutex;

use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::auth::google::quota::USER_PROJECT;
use crate::auth::{AuthError, BasicAuth, Credential};
use crate::diagnostics::secret::Secret;
use crate::http::{
    ErrorResponse, HttpError, Network, NetworkError, PageWalk, RetryPolicy, WINDOW,
    page_with_token, read_bounded,
};

pub use backoff::Backoff;
pub use error::GoogleError;
pub use iam_policy::{Grant, Policy, PolicyChange, Resource};
pub use operation::Operation;

/// A Google API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    /// Repositories and their policies.
    ArtifactRegistry,
    /// Projects and their policies.
    ResourceManager,
    /// Service accounts, their keys, workload identity pools.
    Iam,
    /// Impersonation of service accounts.
    IamCredentials,
    /// The APIs that are enabled in a project.
    ServiceUsage,
    /// Buckets.
    Storage,
}

impl Api {
    /// Its service name, which is also its host.
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

    /// Builds a URL. `path` starts with the version, as in `v1/projects/acme`.
    pub fn url(self, path: &str) -> Url {
        #[expect(clippy::expect_used, reason = "the hosts are written above")]
        let mut url = Url::parse(&format!("https://{}/", self.service())).expect("a host");
        url.set_path(path);
        url
    }
}

/// An authenticated client for Google's APIs.
pub struct Google {
    http: reqwest::Client,
    credential: Credential,
    retries: RetryPolicy,
    /// The services that are known to be enabled, even if they still report otherwise.
    enabled_services: Mutex<BTreeSet<String>>,
    /// The e-mail addresses of new accounts.
    new_accounts: Mutex<BTreeSet<String>>,
}

/// The maximum size of a response. Policies have up to 1500 members, and lists are paginated.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// How long an API that was enabled may report that it is disabled. Its message says "wait a few
/// minutes".
const ENABLED_WITHIN: Duration = Duration::from_secs(10 * 60);

impl Google {
    /// Creates a client with the token of `credential`. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// If the HTTP client cannot be built.
    pub fn new(credential: Credential, network: &Network) -> Result<Self, NetworkError> {
        Ok(Self {
            http: network.http_client()?,
            credential,
            retries: RetryPolicy::within(network.retry_timeout),
            enabled_services: Mutex::default(),
            new_accounts: Mutex::default(),
        })
    }

    /// Disables retries, for optional requests.
    #[must_use]
    pub fn short_retries(mut self) -> Self {
        self.retries = self.retries.at_once();
        self
    }

    /// The credential of the client.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Marks a service as enabled. If it still reports that it is disabled, the request is retried,
    /// because not all servers know a change at once.
    pub fn mark_enabled(&self, service: &str) {
        let mut enabled_services = self.enabled_services.lock();
        enabled_services.insert(service.to_owned());
    }

    /// Marks an account as new. If it is not found, the request is retried, because not all servers
    /// know it at once.
    pub fn mark_account_new(&self, email: &str) {
        self.new_accounts.lock().insert(email.to_owned());
    }

    /// True for a new account.
    pub fn is_new_account(&self, email: &str) -> bool {
        self.new_accounts.lock().contains(email)
    }

    fn is_just_enabled(&self, error: &GoogleError) -> bool {
        let enabled_services = self.enabled_services.lock();
        error.is_service_disabled()
            && error
                .metadata("service")
                .is_some_and(|service| enabled_services.contains(service))
    }

    /// Sends a GET request.
    ///
    /// # Errors
    ///
    /// If the API refuses the request, or the response is not a `T`. This applies to all following
    /// methods.
    pub async fn get<T: DeserializeOwned>(&self, url: Url) -> Result<T, GoogleError> {
        self.request(Method::GET, url, None).await
    }

    /// Sends a POST request, which must be safe to repeat.
    pub async fn post<T: DeserializeOwned>(
        &self,
        url: Url,
        body: &(impl Serialize + Sync),
    ) -> Result<T, GoogleError> {
        self.request(Method::POST, url, Some(json(body))).await
    }

    /// Sends a POST request without a body.
    pub async fn post_nothing<T: DeserializeOwned>(&self, url: Url) -> Result<T, GoogleError> {
        self.request(Method::POST, url, None).await
    }

    /// Sends a POST request exactly once.
    pub async fn post_once<T: DeserializeOwned>(
        &self,
        url: Url,
        body: &(impl Serialize + Sync),
    ) -> Result<T, GoogleError> {
        self.request_once(&Method::POST, &url, Some(&json(body)))
            .await
    }

    /// Sends a PUT request.
    pub async fn put<T: DeserializeOwned>(
        &self,
        url: Url,
        body: &(impl Serialize + Sync),
    ) -> Result<T, GoogleError> {
        self.request(Method::PUT, url, Some(json(body))).await
    }

    /// Sends a PATCH request for the fields in the URL's `updateMask`.
    pub async fn patch<T: DeserializeOwned>(
        &self,
        url: Url,
        body: &(impl Serialize + Sync),
    ) -> Result<T, GoogleError> {
        self.request(Method::PATCH, url, Some(json(body))).await
    }

    /// Sends a DELETE request.
    pub async fn delete<T: DeserializeOwned>(&self, url: Url) -> Result<T, GoogleError> {
        self.request(Method::DELETE, url, None).await
    }

    /// Returns all items of a paginated list. `field` is the name of the items.
    pub async fn pages<T: DeserializeOwned>(
        &self,
        url: Url,
        field: &str,
    ) -> Result<Vec<T>, GoogleError> {
        let mut items = Vec::new();
        self.each(url, field, |item| items.push(item)).await?;
        Ok(items)
    }

    /// Calls `visit` for each item of a paginated list, so that only one page is in memory.
    pub async fn each<T: DeserializeOwned>(
        &self,
        url: Url,
        field: &str,
        mut visit: impl FnMut(T),
    ) -> Result<(), GoogleError> {
        let endless = |url| HttpError::protocol(Method::GET, url, "the list does not end");
        let mut walk = PageWalk::new(url);
        while let Some(url) = walk.take().map_err(endless)? {
            let mut page: Value = self.get(url.clone()).await?;
            let items = match page.get_mut(field).map(Value::take) {
                Some(items) => serde_json::from_value::<Vec<T>>(items)
                    .map_err(|error| GoogleError::malformed(Method::GET, url.clone(), &error))?,
                None => Vec::new(),
            };
            items.into_iter().for_each(&mut visit);
            let token = page.get("nextPageToken").and_then(Value::as_str);
            let token = token.filter(|token| !token.is_empty());
            walk.continue_at(token.map(|token| page_with_token(&url, token)));
        }
        Ok(())
    }

    /// Sends a request, retries temporary failures, and parses the response.
    async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: Option<Vec<u8>>,
    ) -> Result<T, GoogleError> {
        let (method, url, body) = (&method, &url, body.as_deref());
        let step = || async move {
            let mut settling = Backoff::new(ENABLED_WITHIN);
            loop {
                let parsed = self.request_once(method, url, body).await;
                match parsed {
                    Err(error) if self.is_just_enabled(&error) && settling.wait().await => {
                        tracing::info!("{} was just enabled; waiting for it", url.authority());
                    }
                    parsed => return parsed,
                }
            }
        };
        self.retries.run(step).await
    }

    /// Sends a request without retries, and parses the response.
    async fn request_once<T: DeserializeOwned>(
        &self,
        method: &Method,
        url: &Url,
        body: Option<&[u8]>,
    ) -> Result<T, GoogleError> {
        let response = self.send_authenticated(method, url, body).await?;
        parse_response(method.clone(), url.clone(), response).await
    }

    /// Sends a request once, and repeats it with a new token if the token was refused and can be
    /// replaced.
    async fn send_authenticated(
        &self,
        method: &Method,
        url: &Url,
        body: Option<&[u8]>,
    ) -> Result<Response, GoogleError> {
        let auth_failed = |error| GoogleError::auth_failed(method.clone(), url.clone(), error);
        let login = self.credential.basic().await.map_err(auth_failed)?;
        let token = access_token(login).map_err(auth_failed)?;
        let response = self.send(method, url, body, &token).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        match self.credential.renewed(&token).await.map_err(auth_failed)? {
            Some(login) => self.send(method, url, body, &login.password).await,
            None => Ok(response),
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
            // Google's front ends refuse a POST without a length (411).
            request = request.header(CONTENT_LENGTH, 0);
        }
        tracing::debug!("{method} {}{}", url.authority(), url.path());
        request.send().await.map_err(|error| {
            HttpError::broken(method.clone(), url.clone(), error.without_url()).into()
        })
    }
}

/// Returns the access token. The APIs accept neither passwords nor anonymous requests.
fn access_token(login: Option<BasicAuth>) -> Result<Secret, AuthError> {
    match login {
        Some(login) => Ok(login.password),
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

/// Parses a response as a `T` or as an error.
async fn parse_response<T: DeserializeOwned>(
    method: Method,
    url: Url,
    response: Response,
) -> Result<T, GoogleError> {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = match read_bounded(response, MAX_BODY, WINDOW).await {
        Ok(body) => body,
        Err(error) => return Err(HttpError::broken(method, url, error).into()),
    };
    if !status.is_success() {
        let response = ErrorResponse::parse(status, &headers, &body);
        return Err(HttpError::refused(method, url, response).into());
    }
    // The storage API answers a deletion with an empty body.
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    serde_json::from_slice(body).map_err(|error| GoogleError::malformed(method, url, &error))
}
