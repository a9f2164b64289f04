//! The registries of a run, each opened once however many images go through it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::auth::{AuthError, Credential, Credentials};
use crate::commands::doctor;
use crate::error::Error;
use crate::http::Network;
use crate::oci::reference::{ArtifactRegistryRepository, Endpoint};
use crate::push::destinations::Target;
use crate::registry::Registry;
use crate::registry::once_map::OnceMap;

/// What is done at a registry: a source is only read, and may have a login of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Purpose {
    Read,
    List,
    Write,
    WriteBestEffort,
}

/// How long a registry that a run can do without is given to recover.
const BRIEF: Duration = Duration::from_secs(30);

/// Every registry that has been opened.
pub struct RegistryPool<'a> {
    credentials: &'a Credentials,
    network: &'a Network,
    opened: OnceMap<(Endpoint, Purpose), Result<Arc<Registry>, Arc<Error>>>,
    /// Repositories that were asked already whether they may be written to.
    asked: Mutex<HashSet<ArtifactRegistryRepository>>,
}

impl<'a> RegistryPool<'a> {
    /// None is opened yet.
    pub fn new(credentials: &'a Credentials, network: &'a Network) -> Self {
        Self {
            credentials,
            network,
            opened: OnceMap::default(),
            asked: Mutex::default(),
        }
    }

    /// A registry that images are pushed to; one that nobody waits for gets less patience.
    ///
    /// # Errors
    ///
    /// When there is no credential for it, or nothing answers as a registry does.
    pub async fn destination(
        &self,
        endpoint: &Endpoint,
        best_effort: bool,
    ) -> Result<Arc<Registry>, Error> {
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
    pub async fn listing(&self, endpoint: &Endpoint) -> Result<Arc<Registry>, Error> {
        self.open(endpoint, Purpose::List).await
    }

    /// A registry that images are read from.
    ///
    /// # Errors
    ///
    /// As for [`Self::destination`], but what may be read by anybody needs no credential.
    pub async fn source(&self, endpoint: &Endpoint) -> Result<Arc<Registry>, Error> {
        self.open(endpoint, Purpose::Read).await
    }

    /// Asks once for each of Google's repositories, before anything is read for it, whether it may
    /// be written to.
    ///
    /// # Errors
    ///
    /// When it is known that it may not.
    pub async fn may_write(&self, target: &Target) -> Result<(), Error> {
        let Some(place) = ArtifactRegistryRepository::of(&target.endpoint, &target.repository)
        else {
            return Ok(());
        };
        let is_first = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.insert(place.clone())
        };
        if !is_first {
            return Ok(());
        }
        let endpoint = &target.endpoint;
        doctor::preflight(self.credentials, endpoint, &place, self.network)
            .await
            .map_err(|finding| Error::Doctor(Box::new(finding)))
    }

    /// One that does not answer is waited for once, however many images go through it.
    async fn open(&self, endpoint: &Endpoint, purpose: Purpose) -> Result<Arc<Registry>, Error> {
        let cell = self.opened.of((endpoint.clone(), purpose));
        let opened = cell.get_or_init(|| async {
            let opened = self.open_now(endpoint, purpose).await;
            opened.map_err(Arc::new)
        });
        opened.await.clone().map_err(Error::ForAll)
    }

    async fn open_now(
        &self,
        endpoint: &Endpoint,
        purpose: Purpose,
    ) -> Result<Arc<Registry>, Error> {
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
        let credential = credential.map_err(Error::Auth)?;
        let writes = matches!(purpose, Purpose::Write | Purpose::WriteBestEffort);
        let mut network = self.network.clone();
        if purpose == Purpose::WriteBestEffort {
            network.retry_timeout = network.retry_timeout.min(BRIEF);
        }
        let registry = Registry::open(endpoint, credential, &network, writes).await;
        let registry = registry.map_err(|cause| Error::Connect(endpoint.clone(), cause))?;
        Ok(Arc::new(registry))
    }
}
