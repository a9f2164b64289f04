//! The Kubernetes Secret with which a cluster pulls what was pushed: put together, proven as a
//! kubelet would use it, written as the object that kubectl would make, and applied.

mod error;
mod file;
mod forms;
mod logins;
mod pod;

use std::collections::BTreeMap;
use std::time::SystemTime;

pub use create::{PullSecretInput, PullSecretResult, create_pull_secret};
pub use error::PullSecretError;
pub use verify::{PulledImage, VerificationError, one_a_repository};

use crate::auth::StaticCredential;
use crate::auth::google::key::ServiceAccountKey;
use crate::diagnostics::secret::Secret;
pub(crate) use crate::kubernetes::utc;
use crate::kubernetes::{MAX_SECRET_SIZE, PullSecret};
use crate::oci::reference::Endpoint;
use logins::Login;

/// The Secret that holds one login for each server; `expires_at` is when they stop working.
///
/// # Errors
///
/// When it would be larger than Kubernetes takes.
fn build(
    name: &str,
    labels: &BTreeMap<String, String>,
    logins: &BTreeMap<String, Login>,
    expires_at: Option<SystemTime>,
) -> Result<PullSecret, PullSecretError> {
    let docker_config = forms::docker_config(logins);
    if docker_config.len() > MAX_SECRET_SIZE {
        return Err(PullSecretError::TooLarge(docker_config.len()));
    }
    let docker_config = Secret::new(docker_config);
    Ok(PullSecret::new(name, labels, docker_config, expires_at))
}

/// The bytes of a pull secret with a key for each of `hosts`, where they are more than Kubernetes
/// takes.
pub(crate) fn too_large<'a>(
    hosts: impl Iterator<Item = &'a Endpoint>,
    key: &ServiceAccountKey,
) -> Option<usize> {
    let login = StaticCredential::key_file(key).shown().clone();
    let login = |host: &Endpoint| (host.host().to_owned(), Login::from(login.clone()));
    let logins = hosts.map(login).collect();
    Some(forms::docker_config(&logins).len()).filter(|size| *size > MAX_SECRET_SIZE)
}

pub mod create;
pub mod report;
pub mod request;
#[cfg(test)]
mod tests;
pub mod verify;
