//! What a cluster holds already.

use super::client::Cluster;
use super::objects::{FoundSecret, ObjectRef, ServiceAccount};
use super::{DesiredState, KubernetesError};

/// What a cluster holds already of what is wanted.
pub struct ClusterState<'a> {
    pub(super) cluster: Cluster,
    pub(super) wanted: DesiredState<'a>,
    pub(super) spaces: Vec<NamespaceState>,
}

/// One namespace.
pub(super) struct NamespaceState {
    pub(super) secret: ObjectRef,
    pub(super) found: Option<FoundSecret>,
    /// True when the Secret can stay as it is.
    pub(super) is_current: bool,
    pub(super) accounts: Vec<(ObjectRef, Option<ServiceAccount>)>,
}

impl Cluster {
    /// Reads what is there.
    ///
    /// # Errors
    ///
    /// Everything that may not be read; only the first when the cluster does not answer.
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

/// An object, or none where there is none; a refusal is remembered, and silence ends it all.
fn keep<T>(
    answer: Result<T, KubernetesError>,
    errors: &mut Vec<KubernetesError>,
) -> Result<Option<T>, KubernetesError> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(error) => match error.refusal().map(|refusal| refusal.code) {
            Some(404) => Ok(None),
            // Who is not known is not known anywhere.
            Some(401) | None => Err(error),
            Some(_) => {
                errors.push(error);
                Ok(None)
            }
        },
    }
}

impl ClusterState<'_> {
    /// Every Secret that was found, with whether it can stay as it is.
    pub fn secrets(&mut self) -> impl Iterator<Item = (&FoundSecret, &mut bool)> {
        let spaces = self.spaces.iter_mut();
        spaces.filter_map(|space| Some((space.found.as_ref()?, &mut space.is_current)))
    }

    /// True when there is nothing to be done.
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
