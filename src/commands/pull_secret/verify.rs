//! Verifies that the logins of a pull secret can pull, with the requests of a kubelet: the token
//! exchange, the manifest by tag, and the first byte of every blob.

use std::collections::{BTreeSet, HashSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::logins::SecretLogins;
use crate::auth::{Credential, Identity};
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::google::Google;
use crate::google::preflight;
use crate::http::Network;
use crate::oci::digest::Digest;
use crate::oci::manifest::AnyManifest;
use crate::oci::reference::{ArtifactRegistryRepository, Endpoint, Reference};
use crate::push::Pushed;
use crate::push::targets::Target;
use crate::registry::{OpenError, Registry, RegistryError};

/// An image that a cluster will pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PulledImage {
    /// The registry.
    pub endpoint: Endpoint,
    /// The repository.
    pub repository: String,
    /// The tags, or the digest of an untagged image. Empty if neither is known yet.
    pub tags: Vec<String>,
    /// True if the image must exist, because it was just pushed.
    pub is_sure: bool,
}

impl From<Target> for PulledImage {
    fn from(target: Target) -> Self {
        Self {
            endpoint: target.endpoint,
            repository: target.repository,
            tags: target.tags,
            is_sure: false,
        }
    }
}

impl PulledImage {
    /// An image that was just pushed. `None` if its name is invalid.
    pub fn of(pushed: &Pushed) -> Option<Self> {
        let (host, repository) = pushed.name.split_once('/')?;
        Some(Self {
            endpoint: host.parse().ok()?,
            repository: repository.to_owned(),
            tags: match pushed.tags.as_slice() {
                [] => vec![pushed.digest.to_string()],
                tags => tags.iter().map(|tag| tag.tag.clone()).collect(),
            },
            is_sure: true,
        })
    }

    /// `host/repository:tag`, with the first tag, or `host/repository@digest`.
    pub fn name(&self) -> String {
        let tag = self.tags.first().map_or("latest", String::as_str);
        let separator = if tag.contains(':') { '@' } else { ':' };
        format!("{}/{}{separator}{tag}", self.endpoint, self.repository)
    }
}

/// The first image of each repository that permissions are granted on: images with the same parent
/// path.
pub fn one_a_repository(images: impl Iterator<Item = PulledImage>) -> Vec<PulledImage> {
    let mut seen = HashSet::new();
    let place = |image: &PulledImage| {
        let (parent, _) = image.repository.rsplit_once('/').unwrap_or_default();
        (image.endpoint.clone(), parent.to_owned())
    };
    images.filter(|image| seen.insert(place(image))).collect()
}

/// The result of a verification, besides that the logins pull.
#[derive(Debug, Default)]
pub(super) struct Verification {
    /// `host/repository` that a login can push to as well.
    pub(super) can_push: Vec<String>,
    /// `host/repository` for which that is unknown.
    pub(super) unknown_push: Vec<String>,
    /// Images that do not exist yet, so that no blob could be pulled.
    pub(super) absent: Vec<String>,
    /// Hosts without a named image, which were not verified.
    pub(super) untried: Vec<String>,
}

/// The concurrent requests for blobs.
const AT_ONCE: usize = 8;

/// How to determine whether a login can push as well.
pub(super) enum WriteProbe {
    /// It is not determined.
    Skip,
    /// By opening an upload and cancelling it at once.
    Upload,
    /// By the permissions of the account, which changes nothing at the registry. `None` if the
    /// sign-in as that account failed.
    Permissions(Option<Box<Google>>),
}

impl WriteProbe {
    /// True if the login of `registry` can push `image`. `None` if that is unknown.
    async fn can_push(&self, registry: &Registry, image: &PulledImage) -> Option<bool> {
        match self {
            Self::Skip => Some(false),
            Self::Upload => Some(registry.can_push(&image.repository).await),
            Self::Permissions(google) => {
                let place = ArtifactRegistryRepository::of(&image.endpoint, &image.repository)?;
                preflight::may_write(google.as_ref()?, &place).await
            }
        }
    }
}

/// Pulls every image with the login of its host, and probes whether Google's logins can push.
///
/// # Errors
///
/// If an image cannot be pulled.
pub(super) async fn verify(
    logins: &SecretLogins,
    images: &[PulledImage],
    write_probe: &WriteProbe,
    network: &Network,
) -> Result<Verification, VerificationError> {
    let mut verification = Verification::default();
    for (host, credential) in &logins.credentials {
        let images: Vec<_> = images.iter().filter(|i| i.endpoint == *host).collect();
        let Some(first) = images.first() else {
            verification.untried.push(host.to_string());
            continue;
        };
        let failed = |image: String, cause| VerificationError {
            image,
            identity: credential.identity(),
            cause,
        };
        let registry = Registry::open(host, credential.clone(), network, false)
            .await
            .map_err(|cause| failed(first.name(), Cause::Open(cause)))?;
        for image in images {
            if image.tags.is_empty() {
                verification.absent.push(image.name());
                continue;
            }
            let pulled = pull(&registry, image).await;
            match pulled {
                Ok(()) => {}
                // "Not found" is only returned to a login that may read the repository.
                Err(Cause::NoManifest(_)) if !image.is_sure => {
                    verification.absent.push(image.name());
                    continue;
                }
                Err(cause) => return Err(failed(image.name(), cause)),
            }
            if !matches!(credential, Credential::Static(_)) {
                continue;
            }
            let place = format!("{}/{}", image.endpoint, image.repository);
            match write_probe.can_push(&registry, image).await {
                Some(true) => verification.can_push.push(place),
                Some(false) => {}
                None => verification.unknown_push.push(place),
            }
        }
    }
    Ok(verification)
}

/// Reads every manifest under the image's tags, and the first byte of every blob that they name.
async fn pull(registry: &Registry, image: &PulledImage) -> Result<(), Cause> {
    let mut seen: HashSet<String> = image.tags.iter().cloned().collect();
    let mut manifests = image.tags.clone();
    let mut blobs = BTreeSet::new();
    while let Some(reference) = manifests.pop() {
        let found = registry
            .get_manifest(&image.repository, &reference)
            .await
            .map_err(Cause::Registry)?;
        match found {
            Some(AnyManifest::Manifest(manifest)) => {
                blobs.extend(manifest.blobs().into_iter().map(|b| b.digest.clone()));
            }
            Some(AnyManifest::Index(index)) => {
                // A kubelet does not pull attestations.
                for child in index.manifests.iter().filter(|c| !c.is_attestation()) {
                    let digest = child.digest.to_string();
                    if seen.insert(digest.clone()) {
                        manifests.push(digest);
                    }
                }
            }
            None => return Err(Cause::NoManifest(reference)),
        }
    }
    stream::iter(blobs)
        .map(|digest| async move {
            match registry.can_read_blob(&image.repository, &digest).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(Cause::NoBlob(digest)),
                Err(cause) => Err(Cause::Registry(cause)),
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// A login that cannot pull an image.
#[derive(Debug, thiserror::Error)]
#[error("the pull secret was not written: its login cannot pull `{image}`")]
pub struct VerificationError {
    image: String,
    identity: Identity,
    #[source]
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Open(OpenError),
    #[error(transparent)]
    Registry(RegistryError),
    #[error("the registry has no manifest `{0}`")]
    NoManifest(String),
    #[error("the registry has no blob {0}, which the manifest names")]
    NoBlob(Digest),
}

impl VerificationError {
    /// The project of the image. `None` if it is the account's own, or is unknown.
    fn other_project(&self, account: &str) -> Option<String> {
        let image: Reference = self.image.parse().ok()?;
        if !image.endpoint.is_google() {
            return None;
        }
        let own = account.split_once('@')?.1.split('.').next()?;
        let theirs = image.repository.split('/').next()?;
        (own != theirs && !theirs.contains('.')).then(|| theirs.to_owned())
    }
}

impl Diagnostic for VerificationError {
    fn exit_code(&self) -> ExitCode {
        match &self.cause {
            Cause::Open(cause) => cause.exit_code(),
            Cause::Registry(cause) => cause.exit_code(),
            Cause::NoManifest(_) => ExitCode::Temporary,
            Cause::NoBlob(_) => ExitCode::Failed,
        }
    }

    fn hints(&self) -> Vec<String> {
        match (&self.cause, &self.identity) {
            (Cause::Registry(cause), Identity::Account(account))
                if cause.status().is_some_and(|status| status == 401) =>
            {
                vec![format!(
                    "the key was deleted, or `{account}` is disabled: create a new key with \
                     `gcloud iam service-accounts keys create key.json --iam-account={account}`"
                )]
            }
            (Cause::Registry(cause), Identity::Account(account))
                if cause.status().is_some_and(|status| status == 403) =>
            {
                let mut hints = cause.hints();
                // The repository exists: the image was just found or pushed.
                hints.truncate(1);
                if let Some(project) = self.other_project(account) {
                    hints.push(format!(
                        "`{account}` is from another project than the image, which is in \
                         `{project}`: check that it is the right key"
                    ));
                }
                hints
            }
            (Cause::Open(cause), _) => cause.hints(),
            (Cause::Registry(cause), _) => cause.hints(),
            (Cause::NoManifest(_) | Cause::NoBlob(_), _) => {
                vec!["another job may have changed or deleted it: push it again".to_owned()]
            }
        }
    }
}
