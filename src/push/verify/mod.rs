//! Verifies a pushed image with requests to the registry.
//!
//! HEAD requests by tag and by digest have to succeed. The listing (`gcloud container images list`)
//! is checked too, but a listing that is refused, limited or outdated is only a warning.

mod blobs;

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::diagnostics::render::causes;
use crate::diagnostics::sanitize::sanitize;
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::image::{SourceError, Tree};
use crate::oci::digest::Digest;
use crate::oci::reference::Reference;
use crate::push::{Destination, Pushed, PushedTag};
use crate::registry::{Listing, RegistryError};

/// What the registry reports about an image after the push.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// The images of the project (on `pkg.dev`: of the repository), as `gcloud container images
    /// list` prints them. Empty if the registry does not list them.
    pub images: Vec<String>,
    /// Every pushed tag with its digest at the registry.
    pub tags: Vec<(String, Digest)>,
    /// What the listing or the blobs did not confirm, as sentences.
    pub doubts: Vec<String>,
}

/// The delays before the retries of a check, for registries that are eventually consistent.
const RETRY_DELAYS: [Duration; 5] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// Verifies the image at one destination. With `reads_blobs`, it also reads the whole image back.
///
/// # Errors
///
/// If a pushed tag or digest does not exist or is another image, or a blob has other bytes than
/// were sent.
pub async fn verify(
    destination: &Destination,
    pushed: &Pushed,
    tree: &Tree,
    reads_blobs: bool,
) -> Result<Verified, VerifyError> {
    let is_kept = |tag: &PushedTag| tag.kept.is_some();
    if !pushed.tags.is_empty() && pushed.tags.iter().all(is_kept) {
        return Ok(Verified::default());
    }
    let expected = std::iter::once(pushed.digest.to_string())
        .chain(tree.children.keys().map(Digest::to_string))
        .map(|digest| (digest.clone(), digest))
        .chain(
            pushed
                .tags
                .iter()
                .filter(|tag| !is_kept(tag))
                .map(|tag| (tag.tag.clone(), pushed.digest.to_string())),
        )
        .chain(
            pushed
                .referrer_tags
                .iter()
                .map(|(tag, digest)| (tag.clone(), digest.to_string())),
        );
    let checks = stream::iter(expected)
        .map(|(reference, digest)| check(destination, reference, digest))
        .buffer_unordered(8)
        .try_collect::<()>();
    let listing = async {
        if pushed.tags.is_empty() {
            // Most registries list only images with a tag.
            Verified::default()
        } else {
            check_listings_with_retries(destination, pushed).await
        }
    };
    let (checked, mut verified) = tokio::join!(checks, listing);
    checked?;
    if reads_blobs {
        let not_compared = blobs::read_back(destination, pushed, tree).await?;
        verified.doubts.extend(not_compared);
    }
    Ok(verified)
}

/// Checks the listings, and retries while they may be outdated.
async fn check_listings_with_retries(destination: &Destination, pushed: &Pushed) -> Verified {
    let mut delays = RETRY_DELAYS.iter();
    loop {
        let (verified, may_lag) = check_listings(destination, pushed).await;
        match delays.next() {
            Some(delay) if may_lag => tokio::time::sleep(*delay).await,
            _ => return verified,
        }
    }
}

/// Checks a tag or digest with HEAD requests, and retries while the registry may be outdated.
async fn check(
    destination: &Destination,
    reference: String,
    expected: String,
) -> Result<(), VerifyError> {
    let mut delays = RETRY_DELAYS.iter();
    loop {
        let found = destination
            .registry
            .head_manifest(&destination.repository, &reference)
            .await;
        let name = || {
            let separator = if reference.contains(':') { '@' } else { ':' };
            format!("{}{separator}{reference}", destination.name())
        };
        let error = match found {
            Ok(Some(found)) if found.as_str() == expected => return Ok(()),
            Ok(Some(found)) => VerifyError::Other {
                name: name(),
                expected: expected.clone(),
                found,
            },
            Ok(None) => VerifyError::Missing {
                name: name(),
                expected: expected.clone(),
            },
            Err(cause) => VerifyError::Registry {
                name: name(),
                cause,
            },
        };
        // A failed request was retried by the registry client.
        let may_lag = !matches!(error, VerifyError::Registry { .. });
        match delays.next() {
            Some(delay) if may_lag => tokio::time::sleep(*delay).await,
            _ => return Err(error),
        }
    }
}

/// Compares the registry's listings with the push. Also returns whether they may be outdated; a
/// listing that is refused is not.
async fn check_listings(destination: &Destination, pushed: &Pushed) -> (Verified, bool) {
    let mut verified = Verified::default();
    let mut refused = 0;
    let reference = Reference {
        endpoint: destination.registry.endpoint().clone(),
        repository: destination.repository.clone(),
        tag: None,
        digest: None,
    };
    let (own, parent_listing) = tokio::join!(
        destination
            .registry
            .list_if_available(&destination.repository),
        async {
            match reference.parent() {
                Some(parent) => {
                    Some((parent, destination.registry.list_if_available(parent).await))
                }
                None => None,
            }
        }
    );
    match own {
        Ok(Some(listing)) => check_tags(&listing, pushed, &mut verified),
        Ok(None) => verified.doubts.push(format!(
            "`{}` is not in the registry's listing",
            pushed.name
        )),
        Err(error) => {
            refused += 1;
            verified.doubts.push(unlistable(&pushed.name, &error));
        }
    }
    let Some((parent, parent_listing)) = parent_listing else {
        let may_lag = verified.doubts.len() > refused;
        return (verified, may_lag);
    };
    let parent_name = format!("{}/{parent}", reference.endpoint);
    match parent_listing {
        Ok(Some(listing)) => {
            let below = destination.repository[parent.len() + 1..].split('/').next();
            let child = below.unwrap_or_default();
            if !listing.children.iter().any(|listed| listed == child) {
                verified.doubts.push(format!(
                    "the listing of `{parent_name}` does not contain `{child}`"
                ));
            }
            verified.images = listing
                .children
                .iter()
                .map(|child| format!("{parent_name}/{}", sanitize(child)))
                .collect();
        }
        Ok(None) => verified
            .doubts
            .push(format!("the registry lists nothing at `{parent_name}`")),
        Err(error) => {
            refused += 1;
            verified.doubts.push(unlistable(&parent_name, &error));
        }
    }
    let may_lag = verified.doubts.len() > refused;
    (verified, may_lag)
}

/// Compares the tags of a repository's listing with the push.
fn check_tags(listing: &Listing, pushed: &Pushed, verified: &mut Verified) {
    let tags = pushed.tags.iter().filter(|tag| tag.kept.is_none());
    for tag in tags.map(|tag| &tag.tag) {
        if !listing.tags.contains(tag) {
            verified.doubts.push(format!(
                "the listing of `{}` does not contain tag `{tag}`",
                pushed.name
            ));
            continue;
        }
        let under = listing
            .manifests
            .iter()
            .find(|manifest| manifest.tags.contains(tag))
            .map(|manifest| &manifest.digest);
        match under {
            Some(found) if *found != pushed.digest => verified.doubts.push(format!(
                "the listing of `{}` has {found} under tag `{tag}`, not {}",
                pushed.name, pushed.digest
            )),
            // Most registries list only the names; the HEAD request has confirmed the digest.
            _ => verified.tags.push((tag.clone(), pushed.digest.clone())),
        }
    }
}

/// Returns the sentence for a listing that failed.
fn unlistable(name: &str, error: &RegistryError) -> String {
    let causes: String = causes(error)
        .iter()
        .map(|cause| format!(": {cause}"))
        .collect();
    format!("`{name}` could not be listed: {error}{causes}")
}

/// Why the verification of a pushed image failed.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The registry does not have the tag or digest.
    #[error("`{name}` does not exist after the push of {expected}")]
    Missing {
        /// The checked reference, with a tag or digest.
        name: String,
        /// The digest that was pushed.
        expected: String,
    },
    /// The tag points at another digest.
    #[error("`{name}` is {found} after the push, not {expected}")]
    Other {
        /// The checked reference, with a tag or digest.
        name: String,
        /// The digest that was pushed.
        expected: String,
        /// The digest that the tag points at.
        found: Digest,
    },
    /// The request failed.
    #[error("could not check `{name}` after the push")]
    Registry {
        /// The checked reference, with a tag or digest.
        name: String,
        /// The error of the registry.
        #[source]
        cause: RegistryError,
    },
    /// The manifests cannot be read back.
    #[error("could not read `{name}` back after the push")]
    Unreadable {
        /// The checked reference, with a tag or digest.
        name: String,
        /// Why the read failed.
        #[source]
        cause: Box<SourceError>,
    },
    /// A blob cannot be read back.
    #[error("could not read the blob {digest} of `{name}` back after the push")]
    UnreadableBlob {
        /// `host/repository`.
        name: String,
        /// The digest of the blob.
        digest: Digest,
        /// Why the read failed.
        #[source]
        cause: std::io::Error,
    },
    /// The bytes of a blob do not have its digest.
    #[error("the blob {expected} of `{name}` has other bytes after the push: they hash to {found}")]
    Blob {
        /// `host/repository`.
        name: String,
        /// The digest that it is stored under.
        expected: Digest,
        /// The digest of its bytes.
        found: Digest,
    },
    /// The content of a layer does not have the diff ID in the image's config.
    #[error(
        "the layer {digest} of `{name}` is not what the image's config says: it unpacks to {found}, \
         not {expected}"
    )]
    Layer {
        /// `host/repository`.
        name: String,
        /// The digest of the layer.
        digest: Digest,
        /// The diff ID that the config states.
        expected: Digest,
        /// The digest of its uncompressed content.
        found: Digest,
    },
}

/// Returns the error of the registry in an error of a stream. `None` if there is none.
fn registry_error(error: &std::io::Error) -> Option<&RegistryError> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error.get_ref()?);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = match error.downcast_ref::<std::io::Error>() {
            Some(error) => error.get_ref().map(|inner| inner as _),
            None => error.source(),
        };
    }
    None
}

impl Diagnostic for VerifyError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Missing { .. } => ExitCode::Temporary,
            Self::Other { .. } | Self::Blob { .. } | Self::Layer { .. } => ExitCode::Failed,
            Self::Registry { cause, .. } => cause.exit_code(),
            Self::Unreadable { cause, .. } => cause.exit_code(),
            Self::UnreadableBlob { cause, .. } => match registry_error(cause) {
                Some(cause) => cause.exit_code(),
                None => ExitCode::Temporary,
            },
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Missing { .. } => vec![
                "the registry confirmed the push: push again; if the problem continues, check that \
                 the registry itself answers, and that no other job deletes images there"
                    .to_owned(),
            ],
            Self::Unreadable { cause, .. } => cause.hints(),
            Self::UnreadableBlob { cause, .. } => registry_error(cause)
                .map(Diagnostic::hints)
                .unwrap_or_default(),
            Self::Blob { .. } => vec![
                "the registry returns different bytes than it received, or a proxy changes them: \
                 do not use this image until you know the cause"
                    .to_owned(),
            ],
            Self::Layer { .. } => vec![
                "push again with `layer_reuse: off`, because an earlier image of the repository \
                 may name a wrong layer; if the problem continues, the image itself is wrong"
                    .to_owned(),
            ],
            Self::Other { .. } => vec![
                "another job may have pushed the same tag at the same time; push again, or give \
                 each job its own tag"
                    .to_owned(),
            ],
            Self::Registry { cause, .. } => cause.hints(),
        }
    }
}

/// How a pushed image is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// By HEAD requests for digests and tags, and by the registry's listing.
    Listing,
    /// As `Listing`, and every blob is read back.
    Blobs,
    /// No verification.
    Off,
}
