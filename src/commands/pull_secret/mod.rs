//! The Kubernetes Secret with which a cluster pulls what was pushed: put together, proven as a
//! kubelet would use it, written as the object that kubectl would make, and applied.

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
use crate::push::destinations::targets;
use logins::SecretLogin;
use request::PullSecretRequest;

/// Makes the pull secret for the images that are named, writes it and applies it. Pushes nothing.
///
/// # Errors
///
/// Everything that is in the way of it.
pub async fn run(
    request: &PullSecretRequest,
    state: &RunState,
    stdout: &mut dyn Write,
) -> Result<(), Failure<PullSecretError>> {
    state.set("while the pull secret was made");
    outputs::check(&request.files, Some(&request.options))?;
    let session = &request.session;
    let credentials = session.credentials().await.map_err(PullSecretError::Auth)?;
    // Without the name of an image there are hosts all the same.
    let targets = targets(&request.destinations, &[]).unwrap_or_default();
    let images: Vec<_> = targets.into_iter().map(PulledImage::from).collect();
    let input = PullSecretInput {
        asked: &request.options,
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

/// The Secret that holds one login for each server; `expires_at` is when they stop working.
///
/// # Errors
///
/// When it would be larger than Kubernetes takes.
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

/// The bytes of a pull secret with a key for each of `hosts`, where they are more than Kubernetes
/// takes.
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
