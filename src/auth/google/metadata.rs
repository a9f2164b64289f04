//! The metadata server of Google's own machines: Compute Engine, GKE, Cloud Build, Cloud Run.
//! <https://cloud.google.com/compute/docs/metadata/querying-metadata>

use std::time::Duration;

use reqwest::{StatusCode, Url};
use serde::Deserialize;

use crate::auth::error::{AuthError, AuthOperation};
use crate::auth::exchange::{Exchange, ExchangeError, Issued};
use crate::auth::identity::{Identity, is_limited};

/// Where the metadata server is, if there is one.
#[derive(Clone, Debug)]
pub struct MetadataServer {
    root: Url,
}

impl Default for MetadataServer {
    /// Where Google has it.
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "the address is written here")]
        Self::at(ADDRESS).expect("an address makes a URL")
    }
}

/// The account of a machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    server: MetadataServer,
    /// Its e-mail address.
    pub(crate) account: String,
    /// What its tokens are for; none where that is not told.
    scopes: Option<Vec<String>>,
}

/// The address on every machine of Google's; no name, so that no name server has to be waited for.
const ADDRESS: &str = "169.254.169.254";

/// How long an answer is waited for. On a machine that is not Google's most often nothing answers.
const PATIENCE: Duration = Duration::from_secs(2);

/// The header that every request must have, and every answer has.
const FLAVOR: (&str, &str) = ("Metadata-Flavor", "Google");

impl MetadataServer {
    /// At `host` or `host:port`, as `GCE_METADATA_HOST` gives it.
    ///
    /// # Errors
    ///
    /// When that is no host.
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

    /// The machine's account; none where no metadata server of Google's answers, or the machine has
    /// no account.
    pub(crate) async fn machine(&self, exchange: &Exchange) -> Option<Machine> {
        #[derive(Deserialize)]
        struct Account {
            email: String,
            scopes: Option<Vec<String>>,
        }
        let url = self.url("instance/service-accounts/default/?recursive=true");
        let answer = exchange
            .client(&url)
            .get(url)
            .header(FLAVOR.0, FLAVOR.1)
            .timeout(PATIENCE)
            .send()
            .await
            .ok()?;
        // Azure and Amazon have servers at the same address.
        let flavor = answer.headers().get(FLAVOR.0)?;
        if flavor != FLAVOR.1 {
            return None;
        }
        let status = answer.status();
        if status == StatusCode::NOT_FOUND {
            tracing::info!(
                "the metadata server answers, but this machine has no service account ({status})"
            );
            return None;
        }
        if !status.is_success() {
            let told = Exchange::sentence(answer).await;
            let told = told.map_or(String::new(), |told| format!(": {told}"));
            tracing::warn!(
                "the metadata server does not tell this machine's service account, which is not \
                 used: {status}{told}"
            );
            return None;
        }
        let account: Account = Exchange::read(answer).await.ok()?;
        Some(Machine {
            server: self.clone(),
            account: account.email,
            scopes: account.scopes,
        })
    }
}

impl Machine {
    /// Whom its tokens belong to, and what they are for where that is too little to push with.
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

    /// A new token.
    pub(crate) async fn issue(&self, exchange: &Exchange) -> Result<Issued, AuthError> {
        let url = self.server.url("instance/service-accounts/default/token");
        let failed = |cause: ExchangeError| AuthError::Exchange {
            step: AuthOperation::Metadata(self.account.clone()),
            endpoint: url.to_string(),
            cause,
        };
        let request = exchange
            .client(&url)
            .get(url.clone())
            .header(FLAVOR.0, FLAVOR.1);
        let granted = Exchange::ask(request).await;
        granted
            .and_then(|granted| granted.oauth_token())
            .map_err(failed)
    }
}
