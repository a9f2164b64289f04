//! Proves that an image arrived, by asking the registry afterwards.
//!
//! HEAD by tag and by digest decides. The listing that people look at (`gcloud container images
//! list`) is checked as well, but one that is refused, capped or behind is a warning: a check that
//! cannot be made never fails a push.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::digest::Digest;
use crate::error::{ExitCode, Hint, causes, harmless};
use crate::push::{Destination, Pushed, PushedTag};
use crate::reference::Reference;
use crate::registry::{Listing, RegistryError};
use crate::source::Tree;

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

/// How often a listing that lags is asked again, and how long it is given each time.
const PATIENCE: [Duration; 4] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// Checks one destination of a push.
///
/// # Errors
///
/// When the registry has no such image, or another one, under a tag or digest that was pushed.
pub async fn verify(
    destination: &Destination,
    pushed: &Pushed,
    tree: &Tree,
) -> Result<Verified, VerifyError> {
    let is_kept = |tag: &PushedTag| tag.kept.is_some();
    if pushed.tags.iter().all(is_kept) {
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
    let (checked, verified) = tokio::join!(checks, patiently_listed(destination, pushed));
    checked.map(|()| verified)
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
            Ok(None) => VerifyError::Missing { name: name() },
            Err(cause) => VerifyError::Registry {
                name: name(),
                cause,
            },
        };
        // A refusal stays one.
        let may_lag = match &error {
            VerifyError::Registry { cause, .. } => cause.exit_code() == ExitCode::Temporary,
            VerifyError::Missing { .. } | VerifyError::Other { .. } => true,
        };
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
    let (own, above) = tokio::join!(destination.registry.list(&destination.repository), async {
        match reference.parent() {
            Some(parent) => Some((parent, destination.registry.list(parent).await)),
            None => None,
        }
    });
    match own {
        Ok(Some(listing)) => check_tags(&listing, pushed, &mut verified),
        Ok(None) => verified.doubts.push(format!(
            "`{}` is not in the registry's listing",
            pushed.name
        )),
        Err(error) => {
            refused += usize::from(error.exit_code() != ExitCode::Temporary);
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
                .map(|child| format!("{place}/{}", harmless(child)))
                .collect();
        }
        Ok(None) => verified
            .doubts
            .push(format!("the registry lists nothing at `{place}`")),
        Err(error) => {
            refused += usize::from(error.exit_code() != ExitCode::Temporary);
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
                "the listing of `{}` shows {found} under tag `{tag}`",
                pushed.name
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
    #[error("`{name}` is not there after the push")]
    Missing {
        /// The reference.
        name: String,
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
}

impl VerifyError {
    /// What the process exits with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Missing { .. } => ExitCode::Temporary,
            Self::Other { .. } => ExitCode::Failed,
            Self::Registry { cause, .. } => cause.exit_code(),
        }
    }
}

impl Hint for VerifyError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Missing { .. } => Vec::new(),
            Self::Other { .. } => vec![
                "another job may have pushed the same tag at the same time; push again, or give \
                 each job a tag of its own"
                    .to_owned(),
            ],
            Self::Registry { cause, .. } => cause.hints(),
        }
    }
}
