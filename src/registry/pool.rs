//! The registries of a run, each opened once however many images go through it.

use std::sync::Arc;
use std::time::Duration;

use super::{OpenError, Registry};
use crate::auth::once_map::OnceMap;
use crate::auth::{AuthError, Credential, Credentials};
use crate::diagnostics::Diagnostic;
use crate::http::Network;
use crate::oci::reference::Endpoint;

/// What is done at a registry: a source is only read, and may have a login of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Purpose {
    Read,
    List,
    Write,
    WriteBestEffort,
}

/// A registry that could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// There is no credential for it, or none that works.
    #[error(transparent)]
    Auth(AuthError),
    /// It does not answer as a registry.
    #[error("{}", .1.headline(.0))]
    Connect(Endpoint, #[source] OpenError),
}

impl Diagnostic for PoolError {
    fn diagnostic_source(&self) -> Option<&dyn Diagnostic> {
        Some(match self {
            Self::Auth(error) => error,
            Self::Connect(_, error) => error,
        })
    }
}

/// How long a registry that a run can do without is given to recover.
const BRIEF: Duration = Duration::from_secs(30);

/// Every registry that has been opened.
pub struct RegistryPool<'a> {
    credentials: &'a Credentials,
    network: &'a Network,
    opened: OnceMap<(Endpoint, Purpose), Result<Arc<Registry>, Arc<PoolError>>>,
}

impl<'a> RegistryPool<'a> {
    /// None is opened yet.
    pub fn new(credentials: &'a Credentials, network: &'a Network) -> Self {
        Self {
            credentials,
            network,
            opened: OnceMap::default(),
        }
    }

    /// A registry that images are pushed to. A best-effort one is retried for a shorter time.
    ///
    /// # Errors
    ///
    /// When there is no credential for it, or nothing answers as a registry does.
    pub async fn destination(
        &self,
        endpoint: &Endpoint,
        best_effort: bool,
    ) -> Result<Arc<Registry>, Arc<PoolError>> {
        let purpose = match best_effort {
            true => Purpose::WriteBestEffort,
            false => Purpose::Write,
        };
        self.open(endpoint, purpose).await
    }

    /// A registry whose images are listed.
    ///
    /// # Errors
    ///
    /// As for [`Self::source`].
    pub async fn listing(&self, endpoint: &Endpoint) -> Result<Arc<Registry>, Arc<PoolError>> {
        self.open(endpoint, Purpose::List).await
    }

    /// A registry that images are read from.
    ///
    /// # Errors
    ///
    /// As for [`Self::destination`], but what may be read by anybody needs no credential.
    pub async fn source(&self, endpoint: &Endpoint) -> Result<Arc<Registry>, Arc<PoolError>> {
        self.open(endpoint, Purpose::Read).await
    }

    /// What the registries are signed in to with.
    pub fn credentials(&self) -> &'a Credentials {
        self.credentials
    }

    /// How they are connected to.
    pub fn network(&self) -> &'a Network {
        self.network
    }

    /// Opens each registry once, however many images go through it.
    async fn open(
        &self,
        endpoint: &Endpoint,
        purpose: Purpose,
    ) -> Result<Arc<Registry>, Arc<PoolError>> {
        let cell = self.opened.of((endpoint.clone(), purpose));
        let opened = cell.get_or_init(|| async {
            let opened = self.open_now(endpoint, purpose).await;
            opened.map_err(Arc::new)
        });
        opened.await.clone()
    }

    async fn open_now(
        &self,
        endpoint: &Endpoint,
        purpose: Purpose,
    ) -> Result<Arc<Registry>, PoolError> {
        let credentials = self.credentials;
        let credential = match purpose {
            Purpose::Read => credentials.for_source(endpoint).await,
            // What is public is listed to anybody.
            Purpose::List if endpoint.is_read_only() => credentials.for_source(endpoint).await,
            Purpose::List => match credentials.for_destination(endpoint).await {
                Err(AuthError::NoCredential(..)) => Ok(Credential::Anonymous),
                found => found,
            },
            Purpose::Write | Purpose::WriteBestEffort => {
                credentials.for_destination(endpoint).await
            }
        };
        let credential = credential.map_err(PoolError::Auth)?;
        let writes = matches!(purpose, Purpose::Write | Purpose::WriteBestEffort);
        let mut network = self.network.clone();
        if purpose == Purpose::WriteBestEffort {
            network.retry_timeout = network.retry_timeout.min(BRIEF);
        }
        let registry = Registry::open(endpoint, credential, &network, writes).await;
        let registry = registry.map_err(|cause| PoolError::Connect(endpoint.clone(), cause))?;
        Ok(Arc::new(registry))
    }
}
