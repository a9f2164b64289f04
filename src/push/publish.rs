//! Puts manifests, and sends blobs again that the registry has garbage-collected in the meantime.
//!
//! Artifact Registry deletes a blob as soon as the last manifest that names it is deleted, and
//! other registries do so at any time: <https://github.com/cloudfoundry/korifi/issues/2381>.

use super::blobs::{Blob, BlobReader};
use super::distribute::PushPlan;
use super::manifests::children_first;
use super::{Destination, PushError};
use crate::diagnostics::sanitize::sanitize;
use crate::image::Tree;
use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, Descriptor, Manifest};
use crate::registry::RegistryError;

/// How often the blobs of a refused manifest are sent again before the push fails.
const ROUNDS: u32 = 2;

/// Puts the manifests of an image at one destination.
pub(super) struct ManifestPublisher<'a> {
    pub(super) destination: &'a Destination,
    plan: &'a PushPlan<'a>,
}

/// Returns the foreign (non-distributable) layers of a manifest.
fn foreign_layers(manifest: &AnyManifest) -> impl Iterator<Item = &Descriptor> {
    let image = match manifest {
        AnyManifest::Manifest(image) => Some(image),
        AnyManifest::Index(_) => None,
    };
    image.into_iter().flat_map(Manifest::foreign_layers)
}

/// Returns whether the registry's error names a foreign layer of the manifest.
fn names_foreign_layer(manifest: &AnyManifest, refusal: &RegistryError) -> bool {
    foreign_layers(manifest).any(|layer| refusal.names(&layer.digest))
}

impl<'a> ManifestPublisher<'a> {
    /// Creates a publisher for one destination.
    pub(super) fn new(destination: &'a Destination, plan: &'a PushPlan<'a>) -> Self {
        Self { destination, plan }
    }

    /// Puts the child manifests of a tree, without its root.
    pub(super) async fn put_children(&self, tree: &Tree) -> Result<(), PushError> {
        for child in children_first(tree) {
            self.put(child.digest().as_str(), child).await?;
        }
        Ok(())
    }

    /// Puts a manifest. If the registry reports missing blobs or children, it sends them again.
    pub(super) async fn put(
        &self,
        reference: &str,
        manifest: &AnyManifest,
    ) -> Result<(), PushError> {
        for _ in 0..ROUNDS {
            match self.destination.put(reference, manifest).await {
                Err(PushError::Registry { cause, .. })
                    if cause.is_incomplete() && names_foreign_layer(manifest, &cause) =>
                {
                    return Err(self.foreign_layer_error(manifest, cause));
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
            // All other blobs were sent again, so the registry lacks the foreign layer.
            Err(PushError::Registry { cause, .. })
                if cause.is_incomplete() && foreign_layers(manifest).next().is_some() =>
            {
                Err(self.foreign_layer_error(manifest, cause))
            }
            done => done,
        }
    }

    /// Creates the error for a manifest that is refused because a foreign layer is missing.
    fn foreign_layer_error(&self, manifest: &AnyManifest, cause: RegistryError) -> PushError {
        let layer = foreign_layers(manifest)
            .find(|layer| cause.names(&layer.digest))
            .or_else(|| foreign_layers(manifest).next());
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

    /// Sends the blobs and child manifests that the error names; all of the manifest if it names
    /// none.
    async fn send_again(
        &self,
        manifest: &AnyManifest,
        refusal: &RegistryError,
    ) -> Result<(), PushError> {
        let all: Vec<&Digest> = match manifest {
            AnyManifest::Manifest(image) => image.blobs().iter().map(|b| &b.digest).collect(),
            AnyManifest::Index(index) => index.manifests.iter().map(|m| &m.digest).collect(),
        };
        let named: Vec<_> = all
            .iter()
            .copied()
            .filter(|digest| refusal.names(digest))
            .collect();
        for digest in if named.is_empty() { all } else { named } {
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

    /// Returns the manifest with this digest, from the image or its referrers.
    fn manifest(&self, digest: &Digest) -> Option<&'a AnyManifest> {
        let PushPlan {
            tree, referrers, ..
        } = self.plan;
        let of_image = tree.children.get(digest);
        of_image.or_else(|| referrers.manifests().find(|one| one.digest() == digest))
    }
}
