//! Puts manifests at a registry that may have lost what they name a moment ago.
//!
//! Artifact Registry collects a blob as soon as the last manifest that names it is deleted, and other
//! registries do so when they like: <https://github.com/cloudfoundry/korifi/issues/2381>.

use super::blobs::{Blob, BlobReader};
use super::distribute::PushPlan;
use super::manifests::children_first;
use super::{Destination, PushError};
use crate::diagnostics::sanitize::sanitize;
use crate::image::Tree;
use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, Descriptor, Manifest};
use crate::registry::RegistryError;

/// How often what a manifest names is sent again before the registry is believed.
const ROUNDS: u32 = 2;

/// An image at one destination, which says what it lacks of it.
pub(super) struct ManifestPublisher<'a> {
    pub(super) destination: &'a Destination,
    plan: &'a PushPlan<'a>,
}

/// The layers of a manifest that are not passed on.
fn foreign(manifest: &AnyManifest) -> impl Iterator<Item = &Descriptor> {
    let image = match manifest {
        AnyManifest::Manifest(image) => Some(image),
        AnyManifest::Index(_) => None,
    };
    image.into_iter().flat_map(Manifest::foreign_layers)
}

fn blames_foreign(manifest: &AnyManifest, refusal: &RegistryError) -> bool {
    foreign(manifest).any(|layer| refusal.names(&layer.digest))
}

impl<'a> ManifestPublisher<'a> {
    /// Nothing is lacking yet.
    pub(super) fn new(destination: &'a Destination, plan: &'a PushPlan<'a>) -> Self {
        Self { destination, plan }
    }

    /// Puts what is below the root of a tree.
    pub(super) async fn put_children(&self, tree: &Tree) -> Result<(), PushError> {
        for child in children_first(tree) {
            self.put(child.digest().as_str(), child).await?;
        }
        Ok(())
    }

    /// Puts a manifest; what the registry then says it lacks is sent again.
    pub(super) async fn put(
        &self,
        reference: &str,
        manifest: &AnyManifest,
    ) -> Result<(), PushError> {
        for _ in 0..ROUNDS {
            match self.destination.put(reference, manifest).await {
                Err(PushError::Registry { cause, .. })
                    if cause.is_incomplete() && blames_foreign(manifest, &cause) =>
                {
                    return Err(self.foreign(manifest, cause));
                }
                Err(PushError::Registry { cause, .. }) if cause.is_incomplete() => {
                    tracing::info!(
                        "{} no longer has all that {} names: sending it again",
                        self.destination.name(),
                        manifest.digest()
                    );
                    self.send_again(manifest, &cause).await?;
                }
                done => return done,
            }
        }
        match self.destination.put(reference, manifest).await {
            // All else was sent again, so that it is what was never sent that it lacks.
            Err(PushError::Registry { cause, .. })
                if cause.is_incomplete() && foreign(manifest).next().is_some() =>
            {
                Err(self.foreign(manifest, cause))
            }
            done => done,
        }
    }

    /// The error for a manifest that is refused because of a layer that is not passed on.
    fn foreign(&self, manifest: &AnyManifest, cause: RegistryError) -> PushError {
        let layer = foreign(manifest)
            .find(|layer| cause.names(&layer.digest))
            .or_else(|| foreign(manifest).next());
        let destination = self.destination.name();
        match layer {
            Some(layer) => PushError::Foreign {
                destination,
                digest: layer.digest.clone(),
                from: sanitize(&layer.urls.join("`, `")),
                cause: Box::new(cause),
            },
            None => PushError::Registry { destination, cause },
        }
    }

    /// Sends what the refusal names; all that the manifest names where it names nothing.
    async fn send_again(
        &self,
        manifest: &AnyManifest,
        refusal: &RegistryError,
    ) -> Result<(), PushError> {
        let names: Vec<&Digest> = match manifest {
            AnyManifest::Manifest(image) => image.blobs().iter().map(|b| &b.digest).collect(),
            AnyManifest::Index(index) => index.manifests.iter().map(|m| &m.digest).collect(),
        };
        let blamed: Vec<_> = names
            .iter()
            .copied()
            .filter(|name| refusal.names(name))
            .collect();
        for digest in if blamed.is_empty() { names } else { blamed } {
            if let Some(child) = self.manifest(digest) {
                Box::pin(self.put(digest.as_str(), child)).await?;
            } else if let Some(blob) = self.plan.blobs.iter().find(|b| b.digest == *digest) {
                let (stats, locations) = (self.destination.stats.clone(), self.plan.locations);
                let blob = Blob {
                    place: Some(BlobReader::new(None, stats, locations)),
                    ..blob.clone()
                };
                let progress = &self.plan.settings.progress;
                blob.send(self.destination, progress).await?;
            }
        }
        Ok(())
    }

    /// The manifest with this digest, of the image or of what refers to it.
    fn manifest(&self, digest: &Digest) -> Option<&'a AnyManifest> {
        let PushPlan {
            tree, companions, ..
        } = self.plan;
        let of_image = tree.children.get(digest);
        of_image.or_else(|| companions.manifests().find(|one| one.digest() == digest))
    }
}
