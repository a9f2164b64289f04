//! The writes themselves, after everything was checked.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::KubernetesError;
use super::check::{CheckedWrites, WriteStep};
use super::client::Cluster;
use super::objects::{ObjectRef, ServiceAccount};
use super::secret::PullSecret;

/// Something that was written into a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteKind {
    /// A namespace was made.
    Namespace(String),
    /// A Secret was made, renewed or deleted.
    Secret {
        /// What was done: `created`, `updated` or `deleted`.
        done: &'static str,
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// A Secret was added to the ones that the pods of a service account pull with.
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

/// How often an account that others change at the same time is read again.
const ATTEMPTS: u32 = 20;

/// How often a service account that is to come is looked for, and how long is waited in between:
/// half a minute together.
const LOOKS: u32 = 120;
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

impl CheckedWrites {
    /// What [`Self::carry_out`] would write.
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

    /// Writes, step by step.
    ///
    /// # Errors
    ///
    /// The first that fails, with what was written before it.
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
                    // Another run was faster.
                    Err(error) if error.refusal().is_some_and(|r| r.code == 409) => Ok(None),
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
    /// Adds the Secret to what the account's pods pull with, on the state that is read just before;
    /// false when it was there by then.
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
                Err(error)
                    if attempts < ATTEMPTS && error.refusal().is_some_and(|r| r.code == 409) =>
                {
                    tokio::time::sleep(Duration::from_millis(10) * attempts).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads an account, and waits for one that is to come.
    async fn account(
        &self,
        account: &ObjectRef,
        is_to_come: bool,
    ) -> Result<ServiceAccount, KubernetesError> {
        let mut looks = 0;
        loop {
            looks += 1;
            match self.ask(account.task("get"), account.get()).await {
                Err(error)
                    if is_to_come
                        && looks < LOOKS
                        && error.refusal().is_some_and(|r| r.code == 404) =>
                {
                    tokio::time::sleep(BETWEEN_LOOKS).await;
                }
                answer => return answer,
            }
        }
    }
}
