//! Writes the checked changes to a cluster.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::KubernetesError;
use super::check::{CheckedWrites, WriteStep};
use super::client::Cluster;
use super::objects::{ObjectRef, ServiceAccount};
use super::secret::PullSecret;

/// A change in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteKind {
    /// A namespace was created.
    Namespace(String),
    /// A Secret was created, updated or deleted.
    Secret {
        /// The kind of change: `created`, `updated` or `deleted`.
        done: &'static str,
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// A Secret was added to the pull secrets of a service account.
    ServiceAccount {
        /// The Secret.
        secret: String,
        /// The service account.
        name: String,
        /// Its namespace.
        namespace: String,
    },
}

impl fmt::Display for WriteKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(name) => write!(formatter, "created the namespace `{name}`"),
            Self::Secret {
                done,
                name,
                namespace,
            } => write!(formatter, "{done} the Secret `{name}` in `{namespace}`"),
            Self::ServiceAccount {
                secret,
                name,
                namespace,
            } => write!(
                formatter,
                "added the Secret `{secret}` to the service account `{name}` in `{namespace}`"
            ),
        }
    }
}

/// The number of attempts for an account that others change at the same time.
const ATTEMPTS: u32 = 20;

/// The number of polls for a service account that Kubernetes creates, and the pause between them:
/// half a minute in total.
const LOOKS: u32 = 120;
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

impl CheckedWrites {
    /// The changes that [`Self::carry_out`] would make.
    pub fn planned(&self) -> impl Iterator<Item = WriteKind> {
        self.steps.iter().map(|step| match step {
            WriteStep::CreateNamespace(at) => WriteKind::Namespace(at.name.clone()),
            WriteStep::Apply(at, true) => at.change("created"),
            WriteStep::Apply(at, false) => at.change("updated"),
            WriteStep::Delete(at, _) => at.change("deleted"),
            WriteStep::Add(account, _) => self.added(account),
        })
    }

    fn added(&self, account: &ObjectRef) -> WriteKind {
        WriteKind::ServiceAccount {
            secret: self.secret_name.clone(),
            name: account.name.clone(),
            namespace: account.namespace_name(),
        }
    }

    /// Makes the changes in their order.
    ///
    /// # Errors
    ///
    /// With the first write that fails, and the changes before it.
    pub async fn carry_out(self, secret: &PullSecret) -> Result<Vec<WriteKind>, KubernetesError> {
        let mut changes: Vec<WriteKind> = Vec::new();
        for step in &self.steps {
            match self.step(step, secret).await {
                Ok(change) => changes.extend(change),
                Err(cause) if changes.is_empty() => return Err(cause),
                Err(cause) => {
                    return Err(KubernetesError::Partly {
                        written: changes.iter().map(WriteKind::to_string).collect(),
                        cause: Box::new(cause),
                    });
                }
            }
        }
        Ok(changes)
    }

    async fn step(
        &self,
        step: &WriteStep,
        secret: &PullSecret,
    ) -> Result<Option<WriteKind>, KubernetesError> {
        match step {
            WriteStep::CreateNamespace(at) => {
                let made = self
                    .cluster
                    .ask::<Value>(at.task("create"), at.create(false));
                match made.await {
                    Ok(_) => Ok(Some(WriteKind::Namespace(at.name.clone()))),
                    // Another run created it first.
                    Err(error) if error.status() == Some(409) => Ok(None),
                    Err(error) => Err(error),
                }
            }
            WriteStep::Apply(at, is_new) => {
                let ask = at.apply(secret, self.replaces, false);
                self.cluster.ask::<Value>(at.task("patch"), ask).await?;
                Ok(Some(at.change(if *is_new { "created" } else { "updated" })))
            }
            WriteStep::Delete(at, found) => {
                let ask = at.delete(found, false);
                self.cluster.ask::<Value>(at.task("delete"), ask).await?;
                Ok(Some(at.change("deleted")))
            }
            WriteStep::Add(account, is_to_come) => {
                let added = self
                    .cluster
                    .add(account, &self.secret_name, *is_to_come)
                    .await?;
                Ok(added.then(|| self.added(account)))
            }
        }
    }
}

impl ObjectRef {
    fn change(&self, done: &'static str) -> WriteKind {
        WriteKind::Secret {
            done,
            name: self.name.clone(),
            namespace: self.namespace_name(),
        }
    }
}

impl Cluster {
    /// Reads the account and adds the Secret to its pull secrets. Returns false if it is there
    /// already.
    async fn add(
        &self,
        account: &ObjectRef,
        secret: &str,
        is_to_come: bool,
    ) -> Result<bool, KubernetesError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let found: ServiceAccount = self.account(account, is_to_come).await?;
            if found.has(secret) {
                return Ok(false);
            }
            let ask = account.add(&found, secret, false);
            match self.ask::<Value>(account.task("patch"), ask).await {
                Ok(_) => return Ok(true),
                Err(error) if attempts < ATTEMPTS && error.status() == Some(409) => {
                    tokio::time::sleep(Duration::from_millis(10) * attempts).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads an account, and waits for it if Kubernetes has yet to create it.
    async fn account(
        &self,
        account: &ObjectRef,
        is_to_come: bool,
    ) -> Result<ServiceAccount, KubernetesError> {
        let mut looks = 0;
        loop {
            looks += 1;
            match self.ask(account.task("get"), account.get()).await {
                Err(error) if is_to_come && looks < LOOKS && error.status() == Some(404) => {
                    tokio::time::sleep(BETWEEN_LOOKS).await;
                }
                answer => return answer,
            }
        }
    }
}
