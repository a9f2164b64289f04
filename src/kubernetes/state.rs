//! The current state of a cluster, as far as the pull secret needs it.

use super::client::Cluster;
use super::objects::{FoundSecret, ObjectRef, ServiceAccount};
use super::{DesiredState, KubernetesError};

/// The current state of a cluster next to the desired one.
pub struct ClusterState<'a> {
    pub(super) cluster: Cluster,
    pub(super) wanted: DesiredState<'a>,
    pub(super) spaces: Vec<NamespaceState>,
}

/// The current state of one namespace.
pub(super) struct NamespaceState {
    pub(super) secret: ObjectRef,
    pub(super) found: Option<FoundSecret>,
    /// True if the Secret needs no change.
    pub(super) is_current: bool,
    pub(super) accounts: Vec<(ObjectRef, Option<ServiceAccount>)>,
}

impl Cluster {
    /// Reads the current state.
    ///
    /// # Errors
    ///
    /// With one error for each object that may not be read, or only the first error if the cluster
    /// does not answer.
    pub async fn state(
        self,
        wanted: DesiredState<'_>,
    ) -> Result<ClusterState<'_>, Vec<KubernetesError>> {
        let mut spaces = Vec::new();
        let mut errors = Vec::new();
        let namespaces = match wanted.namespaces {
            [] => std::slice::from_ref(&self.namespace),
            named => named,
        };
        for namespace in namespaces {
            match self.look(namespace, wanted, &mut errors).await {
                Ok(space) => spaces.push(space),
                Err(gone) => return Err(vec![gone]),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(ClusterState {
            cluster: self,
            wanted,
            spaces,
        })
    }

    async fn look(
        &self,
        namespace: &str,
        wanted: DesiredState<'_>,
        errors: &mut Vec<KubernetesError>,
    ) -> Result<NamespaceState, KubernetesError> {
        let secret = ObjectRef::secret(namespace, wanted.name);
        let answer = self.ask(secret.task("get"), secret.get()).await;
        let mut space = NamespaceState {
            found: keep(answer, errors)?,
            secret,
            is_current: false,
            accounts: Vec::new(),
        };
        for name in wanted.service_accounts {
            let account = ObjectRef::service_account(namespace, name);
            let answer = self.ask(account.task("get"), account.get()).await;
            let found = keep(answer, errors)?;
            space.accounts.push((account, found));
        }
        Ok(space)
    }
}

/// Returns the object, or `None` if it does not exist or may not be read; the latter is added to
/// `errors`. Any other error is returned.
fn keep<T>(
    answer: Result<T, KubernetesError>,
    errors: &mut Vec<KubernetesError>,
) -> Result<Option<T>, KubernetesError> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(error) => match error.status() {
            Some(404) => Ok(None),
            // A failed login fails for every other object as well.
            Some(401) | None => Err(error),
            Some(_) => {
                errors.push(error);
                Ok(None)
            }
        },
    }
}

impl ClusterState<'_> {
    /// The existing Secrets, each with the flag that it needs no change.
    pub fn secrets(&mut self) -> impl Iterator<Item = (&FoundSecret, &mut bool)> {
        let spaces = self.spaces.iter_mut();
        spaces.filter_map(|space| Some((space.found.as_ref()?, &mut space.is_current)))
    }

    /// True if nothing has to be written.
    pub fn is_up_to_date(&self) -> bool {
        let has = |account: &Option<ServiceAccount>| {
            let account = account.as_ref();
            account.is_some_and(|account| account.has(self.wanted.name))
        };
        self.spaces
            .iter()
            .all(|space| space.is_current && space.accounts.iter().all(|(_, found)| has(found)))
    }
}
