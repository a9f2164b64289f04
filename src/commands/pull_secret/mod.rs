//! `pull-secret`: the Kubernetes Secret that a cluster pulls the images with. It is verified as a
//! kubelet uses it, written as the object that kubectl creates, and applied to the cluster.

mod error;
mod file;
mod forms;
mod logins;
mod pod;

use std::collections::BTreeMap;
use std::io::Write;
use std::time::SystemTime;

pub use create::{PullSecretInput, PullSecretResult, create_pull_secret};
pub use error::PullSecretError;
pub use verify::{PulledImage, VerificationError, one_a_repository};

use crate::auth::StaticCredential;
use crate::auth::google::key::ServiceAccountKey;
use crate::commands::interrupt::RunState;
use crate::commands::outputs;
use crate::diagnostics::Failure;
use crate::diagnostics::secret::Secret;
pub(crate) use crate::kubernetes::utc;
use crate::kubernetes::{MAX_SECRET_SIZE, PullSecret};
use crate::oci::reference::Endpoint;
use crate::push::targets::targets;
use logins::SecretLogin;
use request::PullSecretRequest;

/// Creates the pull secret for the named images, writes it and applies it. Pushes nothing.
///
/// # Errors
///
/// All errors that were found.
pub async fn run(
    request: &PullSecretRequest,
    state: &RunState,
    stdout: &mut dyn Write,
) -> Result<(), Failure<PullSecretError>> {
    state.set("while creating the pull secret");
    outputs::check(&request.files, Some(&request.options))?;
    let session = &request.session;
    let credentials = session.credentials().await.map_err(PullSecretError::Auth)?;
    // The hosts are known even if no image is named.
    let targets = targets(&request.destinations, &[]).unwrap_or_default();
    let images: Vec<_> = targets.into_iter().map(PulledImage::from).collect();
    let input = PullSecretInput {
        options: &request.options,
        hosts: &request.destinations.hosts(),
        images: &images,
        dry_run: request.dry_run,
    };
    match create_pull_secret(input, &credentials, &session.network, stdout).await {
        Ok(created) => {
            let mut values = vec![("references", String::new())];
            values.extend(outputs::byte_totals(&[]));
            let written = outputs::write_step_outputs(values, created.as_ref(), &request.files);
            Ok(written.map_err(PullSecretError::Output)?)
        }
        Err(errors) => Failure::check(errors),
    }
}

/// Builds the Secret with one login for each server. `expires_at` is the expiry of the token in it.
///
/// # Errors
///
/// If it is larger than Kubernetes accepts.
fn build(
    name: &str,
    labels: &BTreeMap<String, String>,
    logins: &BTreeMap<String, SecretLogin>,
    expires_at: Option<SystemTime>,
) -> Result<PullSecret, PullSecretError> {
    let docker_config = forms::docker_config(logins);
    if docker_config.len() > MAX_SECRET_SIZE {
        return Err(PullSecretError::TooLarge(docker_config.len()));
    }
    let docker_config = Secret::new(docker_config);
    Ok(PullSecret::new(name, labels, docker_config, expires_at))
}

/// The size of a pull secret with this key for each of `hosts`, if it is larger than Kubernetes
/// accepts. `None` if it is not.
pub(crate) fn too_large<'a>(
    hosts: impl Iterator<Item = &'a Endpoint>,
    key: &ServiceAccountKey,
) -> Option<usize> {
    let login = StaticCredential::key_file(key).shown().clone();
    let login = |host: &Endpoint| (host.host().to_owned(), SecretLogin::from(login.clone()));
    let logins = hosts.map(login).collect();
    Some(forms::docker_config(&logins).len()).filter(|size| *size > MAX_SECRET_SIZE)
}

pub mod create;
pub mod report;
pub mod request;
#[cfg(test)]
mod tests;
pub mod verify;
