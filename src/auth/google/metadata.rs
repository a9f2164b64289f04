//! The metadata server of Google's machines: Compute Engine, GKE, Cloud Build, Cloud Run.
//! <https://cloud.google.com/compute/docs/metadata/querying-metadata>

use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde::Deserialize;

use crate::auth::error::{AuthError, AuthOperation};
use crate::auth::exchange::{Exchange, IssuedToken, read_body};
use crate::auth::identity::{Identity, is_limited};
use crate::diagnostics::sanitize::sanitize;
use crate::http::ErrorResponse;

/// The address of the metadata server, if there is one.
#[derive(Clone, Debug)]
pub struct MetadataServer {
    root: Url,
}

impl Default for MetadataServer {
    /// The standard address.
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "the address is written here")]
        Self::at(ADDRESS).expect("an address makes a URL")
    }
}

/// The service account of a machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    server: MetadataServer,
    /// Its e-mail address.
    pub(crate) account: String,
    /// The scopes of its tokens. `None` if the server does not state them.
    scopes: Option<Vec<String>>,
}

/// The address on every Google machine. It is not a name, so that no DNS lookup delays the request.
const ADDRESS: &str = "169.254.169.254";

/// How long the server may take to answer. On other machines usually nothing answers.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// The header that every request and every response must have.
const FLAVOR: (&str, &str) = ("Metadata-Flavor", "Google");

impl MetadataServer {
    /// Creates it for `host` or `host:port`, as in `GCE_METADATA_HOST`.
    ///
    /// # Errors
    ///
    /// If that is not a host.
    pub fn at(host: &str) -> Result<Self, url::ParseError> {
        Url::parse(&format!("http://{host}/computeMetadata/v1/")).map(|root| Self { root })
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.root.clone();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        url.set_path(&format!("{}{path}", self.root.path()));
        url.set_query((!query.is_empty()).then_some(query));
        url
    }

    /// Returns the service account of the machine. `None` if no Google metadata server answers, or
    /// the machine has no account.
    pub(crate) async fn machine(&self, exchange: &Exchange) -> Option<Machine> {
        #[derive(Deserialize)]
        struct Account {
            email: String,
            scopes: Option<Vec<String>>,
        }
        let url = self.url("instance/service-accounts/default/?recursive=true");
        let response = exchange
            .request(Method::GET, &url)
            .header(FLAVOR.0, FLAVOR.1)
            .timeout(LOOKUP_TIMEOUT)
            .send()
            .await
            .ok()?;
        // Azure and Amazon have metadata servers at the same address.
        let flavor = response.headers().get(FLAVOR.0)?;
        if flavor != FLAVOR.1 {
            return None;
        }
        let status = response.status();
        if status == StatusCode::NOT_FOUND {
            tracing::info!(
                "the metadata server answers, but this machine has no service account ({status})"
            );
            return None;
        }
        if !status.is_success() {
            let headers = response.headers().clone();
            let body = read_body(response).await.unwrap_or_default();
            let refused = ErrorResponse::parse(status, &headers, &body);
            let message = match refused.message.as_str() {
                "" => String::new(),
                message => format!(": {}", sanitize(message)),
            };
            tracing::warn!(
                "the metadata server does not return this machine's service account, so gcr-push \
                 does not use it: {status}{message}"
            );
            return None;
        }
        let body = read_body(response).await.ok()?;
        let account: Account = serde_json::from_slice(&body).ok()?;
        Some(Machine {
            server: self.clone(),
            account: account.email,
            scopes: account.scopes,
        })
    }
}

impl Machine {
    /// The identity of its tokens, with their scopes if these do not permit a push.
    pub(crate) fn identity(&self) -> Identity {
        let account = self.account.clone();
        match &self.scopes {
            Some(scopes) if is_limited(scopes, true) => Identity::LimitedAccount {
                account,
                scopes: scopes.clone(),
            },
            _ => Identity::Account(account),
        }
    }

    /// Obtains a new token.
    pub(crate) async fn issue(&self, exchange: &Exchange) -> Result<IssuedToken, AuthError> {
        let url = self.server.url("instance/service-accounts/default/token");
        let flavored = |request: RequestBuilder| request.header(FLAVOR.0, FLAVOR.1);
        let response = exchange.send(Method::GET, &url, flavored).await;
        response
            .and_then(|response| response.oauth_token())
            .map_err(|cause| AuthError::Exchange {
                step: AuthOperation::Metadata(self.account.clone()),
                cause: Box::new(cause),
            })
    }
}
