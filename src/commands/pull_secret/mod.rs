//! The Kubernetes Secret with which a cluster pulls what was pushed: put together, proven as a
//! kubelet would use it, written byte for byte as kubectl would write it, and applied.

mod document;
mod error;
mod file;
mod json;
mod logins;
mod pod;
mod yaml;

use std::collections::BTreeMap;
use std::time::SystemTime;

pub use create::{PullSecretInput, PullSecretResult, create_pull_secret};
pub use error::PullSecretError;
pub use verify::{PulledImage, VerificationError, one_a_repository};

use crate::auth::StaticCredential;
use crate::auth::google::key::ServiceAccountKey;
use crate::ci::table::timestamp;
use crate::commands::pull_secret::request::PullSecretForm;
use crate::diagnostics::secret::Secret;
use crate::oci::reference::Endpoint;
use document::Document;
use logins::SecretLogin;

/// The type of a Secret that holds registry logins.
/// <https://kubernetes.io/docs/concepts/configuration/secret/#docker-config-secrets>
pub const TYPE: &str = "kubernetes.io/dockerconfigjson";

/// The one key of its data.
pub const KEY: &str = ".dockerconfigjson";

/// The annotation that says when the token in a Secret stops working: RFC 3339, in UTC.
pub const EXPIRY: &str = "gcr-push.github.io/expires-at";

/// The most that a Secret may hold.
/// <https://kubernetes.io/docs/concepts/configuration/secret/#restriction-data-size>
const LARGEST: usize = 1 << 20;

/// A Secret of type `kubernetes.io/dockerconfigjson`.
#[derive(Clone, Debug)]
pub struct PullSecret {
    name: String,
    labels: BTreeMap<String, String>,
    expires_at: Option<SystemTime>,
    docker_config: Secret,
}

impl PullSecret {
    /// The Secret that holds one login for each server; `expires_at` is when they stop working.
    ///
    /// # Errors
    ///
    /// When it would be larger than Kubernetes takes.
    fn new(
        name: &str,
        labels: &BTreeMap<String, String>,
        logins: &BTreeMap<String, SecretLogin>,
        expires_at: Option<SystemTime>,
    ) -> Result<Self, PullSecretError> {
        let docker_config = json::docker_config(logins);
        if docker_config.len() > LARGEST {
            return Err(PullSecretError::TooLarge(docker_config.len()));
        }
        Ok(Self {
            name: name.to_owned(),
            labels: labels.clone(),
            expires_at,
            docker_config: Secret::new(docker_config),
        })
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `metadata.labels`.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// `metadata.annotations`.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let expiry = self.expires_at.map(utc);
        expiry
            .into_iter()
            .map(|time| (EXPIRY.to_owned(), time))
            .collect()
    }

    /// When the logins in it stop working, where that is known.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    /// What stands under `.dockerconfigjson`, decoded.
    pub fn docker_config(&self) -> &Secret {
        &self.docker_config
    }

    /// The Secret in one of its forms, for each of `namespaces`; without one it goes to whichever
    /// is current where it is applied.
    ///
    /// YAML and JSON are what `kubectl create secret docker-registry --dry-run=client` prints, with
    /// a document or an item of a list for each namespace.
    pub fn written(&self, form: PullSecretForm, namespaces: &[String]) -> Secret {
        let documents: Vec<_> = if namespaces.is_empty() {
            vec![Document::of(self, None)]
        } else {
            let namespaces = namespaces.iter().map(String::as_str);
            namespaces
                .map(|namespace| Document::of(self, Some(namespace)))
                .collect()
        };
        Secret::new(match form {
            PullSecretForm::Yaml => {
                let documents: Vec<_> = documents.iter().map(yaml::document).collect();
                documents.join("---\n")
            }
            PullSecretForm::Json => json::documents(&documents),
            PullSecretForm::DockerConfigJson => self.docker_config.expose().to_owned(),
        })
    }
}

/// The bytes of a pull secret with a key for each of `hosts`, where they are more than Kubernetes
/// takes.
pub(crate) fn too_large<'a>(
    hosts: impl Iterator<Item = &'a Endpoint>,
    key: &ServiceAccountKey,
) -> Option<usize> {
    let login = StaticCredential::key_file(key).shown().clone();
    let login = |host: &Endpoint| (host.host().to_owned(), SecretLogin::from(login.clone()));
    let logins = hosts.map(login).collect();
    Some(json::docker_config(&logins).len()).filter(|size| *size > LARGEST)
}

/// A time as Kubernetes writes one: RFC 3339 to the second, in UTC.
pub(crate) fn utc(time: SystemTime) -> String {
    format!("{}Z", timestamp(time))
}

pub mod create;
pub mod report;
pub mod request;
#[cfg(test)]
mod tests;
pub mod verify;
