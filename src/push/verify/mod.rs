//! Proves that an image arrived, by asking the registry afterwards.
//!
//! HEAD by tag and by digest decides. The listing that people look at (`gcloud container images
//! list`) is checked as well, but one that is refused, capped or behind is a warning: a check that
//! cannot be made never fails a push.

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

/// What a registry reported about an image after the push.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// The images of the project (on `pkg.dev`: of the repository), as `gcloud container images
    /// list` prints them; none on registries that do not tell.
    pub images: Vec<String>,
    /// Every tag that was pushed, with the digest that the registry lists under it.
    pub tags: Vec<(String, Digest)>,
    /// What the listing could not confirm, as sentences.
    pub doubts: Vec<String>,
}

/// How often a registry that lags behind itself is asked again, and how long it is given each time.
const PATIENCE: [Duration; 5] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// Checks one destination of a push; `reads_blobs` reads the whole image back as well.
///
/// # Errors
///
/// When the registry has no such image, or another one, under a tag or digest that was pushed; when
/// a blob is not what it was when it was sent.
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
        match pushed.tags.is_empty() {
            // Most registries list what has a tag, and nothing else.
            true => Verified::default(),
            false => patiently_listed(destination, pushed).await,
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

/// The listings, asked again while they lag.
async fn patiently_listed(destination: &Destination, pushed: &Pushed) -> Verified {
    let mut patience = PATIENCE.iter();
    loop {
        let (verified, may_lag) = listed(destination, pushed).await;
        match patience.next() {
            Some(delay) if may_lag => tokio::time::sleep(*delay).await,
            _ => return verified,
        }
    }
}

/// HEAD by tag or digest, asked again while the registry does not know it yet.
async fn check(
    destination: &Destination,
    reference: String,
    expected: String,
) -> Result<(), VerifyError> {
    let mut patience = PATIENCE.iter();
    loop {
        let found = destination
            .registry
            .head_manifest(&destination.repository, &reference)
            .await;
        let name = || match reference.contains(':') {
            true => format!("{}@{reference}", destination.name()),
            false => format!("{}:{reference}", destination.name()),
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
        // What the registry cannot tell was asked often enough.
        let may_lag = !matches!(error, VerifyError::Registry { .. });
        match patience.next() {
            Some(delay) if may_lag => tokio::time::sleep(*delay).await,
            _ => return Err(error),
        }
    }
}

/// Compares the registry's listings with what was pushed; tells as well whether they may show it
/// later, as one that was refused never will.
async fn listed(destination: &Destination, pushed: &Pushed) -> (Verified, bool) {
    let mut verified = Verified::default();
    let mut refused = 0;
    let reference = Reference {
        endpoint: destination.registry.endpoint().clone(),
        repository: destination.repository.clone(),
        tag: None,
        digest: None,
    };
    let (own, above) = tokio::join!(
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
    let Some((parent, above)) = above else {
        let may_lag = verified.doubts.len() > refused;
        return (verified, may_lag);
    };
    let place = format!("{}/{parent}", reference.endpoint);
    match above {
        Ok(Some(listing)) => {
            let below = destination.repository[parent.len() + 1..].split('/').next();
            let child = below.unwrap_or_default();
            if !listing.children.iter().any(|listed| listed == child) {
                verified
                    .doubts
                    .push(format!("the listing of `{place}` does not show `{child}`"));
            }
            verified.images = listing
                .children
                .iter()
                .map(|child| format!("{place}/{}", sanitize(child)))
                .collect();
        }
        Ok(None) => verified
            .doubts
            .push(format!("the registry lists nothing at `{place}`")),
        Err(error) => {
            refused += 1;
            verified.doubts.push(unlistable(&place, &error));
        }
    }
    let may_lag = verified.doubts.len() > refused;
    (verified, may_lag)
}

fn check_tags(listing: &Listing, pushed: &Pushed, verified: &mut Verified) {
    let tags = pushed.tags.iter().filter(|tag| tag.kept.is_none());
    for tag in tags.map(|tag| &tag.tag) {
        if !listing.tags.contains(tag) {
            verified.doubts.push(format!(
                "the listing of `{}` does not show tag `{tag}`",
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
                "the listing of `{}` shows {found} under tag `{tag}`, not {}",
                pushed.name, pushed.digest
            )),
            // A plain registry lists names alone; the HEAD has told the digest.
            _ => verified.tags.push((tag.clone(), pushed.digest.clone())),
        }
    }
}

fn unlistable(place: &str, error: &RegistryError) -> String {
    let causes: String = causes(error)
        .iter()
        .map(|cause| format!(": {cause}"))
        .collect();
    format!("`{place}` could not be listed: {error}{causes}")
}

/// An image that the registry does not have after all.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Nothing there.
    #[error("`{name}` is not there after the push of {expected}")]
    Missing {
        /// The reference.
        name: String,
        /// The digest that was pushed.
        expected: String,
    },
    /// Something else there.
    #[error("`{name}` is {found} after the push, not {expected}")]
    Other {
        /// The reference.
        name: String,
        /// The digest that was pushed.
        expected: String,
        /// The digest that is there.
        found: Digest,
    },
    /// No telling.
    #[error("could not check `{name}` after the push")]
    Registry {
        /// The reference.
        name: String,
        /// What the registry said.
        #[source]
        cause: RegistryError,
    },
    /// The manifests cannot be read back.
    #[error("could not read `{name}` back after the push")]
    Unreadable {
        /// The reference.
        name: String,
        /// Why.
        #[source]
        cause: Box<SourceError>,
    },
    /// A blob cannot be read back.
    #[error("could not read the blob {digest} of `{name}` back after the push")]
    UnreadableBlob {
        /// `host/repository`.
        name: String,
        /// The blob.
        digest: Digest,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// A blob has other bytes.
    #[error("the blob {expected} of `{name}` has other bytes after the push: they hash to {found}")]
    Blob {
        /// `host/repository`.
        name: String,
        /// The digest that it is stored under.
        expected: Digest,
        /// What its bytes hash to.
        found: Digest,
    },
    /// A layer holds something else than the image's config says.
    #[error(
        "the layer {digest} of `{name}` is not what the image's config says: it unpacks to {found}, \
         not {expected}"
    )]
    Layer {
        /// `host/repository`.
        name: String,
        /// The layer.
        digest: Digest,
        /// The diff ID that the config states.
        expected: Digest,
        /// What its content hashes to.
        found: Digest,
    },
}

/// What a registry said, in an error of a stream.
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
                "the registry said that it took it: push again; where it stays so, check that it is \
                 the registry itself that answers, and that no other job deletes there"
                    .to_owned(),
            ],
            Self::Unreadable { cause, .. } => cause.hints(),
            Self::UnreadableBlob { cause, .. } => {
                registry_error(cause).map(Diagnostic::hints).unwrap_or_default()
            }
            Self::Blob { .. } => vec![
                "the registry hands out other bytes than it took, or something on the way changes \
                 them: do not use this image before that is clear"
                    .to_owned(),
            ],
            Self::Layer { .. } => vec![
                "push again with `layer_reuse: off`, for an earlier image of the repository may \
                 have told a wrong layer; where it stays so, the image itself is wrong"
                    .to_owned(),
            ],
            Self::Other { .. } => vec![
                "another job may have pushed the same tag at the same time; push again, or give \
                 each job a tag of its own"
                    .to_owned(),
            ],
            Self::Registry { cause, .. } => cause.hints(),
        }
    }
}

/// How the result is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// By digest, by tag and by the registry's own listing.
    Listing,
    /// Likewise, and every blob is read back.
    Blobs,
    /// Not at all.
    Off,
}
