//! Publishes an image at the destinations that have its blobs: child manifests before their indexes,
//! then referrers, then the tags.
//!
//! Blobs that the registry has garbage-collected in the meantime are sent again. Artifact Registry
//! deletes a blob as soon as the last manifest that names it is deleted, and other registries do so
//! at any time: <https://github.com/cloudfoundry/korifi/issues/2381>.

use std::collections::HashSet;

use futures_util::future::join_all;

use super::destination::Destination;
use super::prepare::PreparedImage;
use super::{PushError, Pushed, PushedTag, Settings, TagState, referrers_tag};
use crate::diagnostics::sanitize::sanitize;
use crate::image::Tree;
use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, Descriptor, Manifest};
use crate::registry::RegistryError;

/// How often the blobs of a refused manifest are sent again before the push fails.
const ROUNDS: u32 = 2;

/// Publishes the image at every destination to which the push goes on. If one of them refuses a
/// manifest in Docker's form and takes it in OCI's, all get that one, so that they have the same
/// digest.
pub(super) async fn publish(
    image: &mut PreparedImage,
    destinations: &[Destination],
    settings: &Settings,
) {
    let open = destinations.iter().filter(|one| one.is_open());
    let open: Vec<_> = open.collect();
    let publishing = open.iter().map(async |destination| {
        let publisher = ManifestPublisher::new(destination, image, settings);
        destination.finish(publisher.publish().await);
    });
    join_all(publishing).await;
    let Some(oci_tree) = image.oci_tree.take() else {
        return;
    };
    let is_refusal = |result: &Result<Pushed, PushError>| {
        let error = result.as_ref().err();
        error.is_some_and(PushError::may_reject_docker_manifest)
    };
    let has = |one: &&&Destination, test: &dyn Fn(&_) -> bool| one.of_result(test) == Some(true);
    let refused: Vec<_> = open.iter().filter(|one| has(one, &is_refusal)).collect();
    let succeeded: Vec<_> = open.iter().filter(|one| has(one, &Result::is_ok)).collect();
    let docker_tree = std::mem::replace(&mut image.tree, oci_tree);
    let accepting = refused.into_iter().map(async |destination| {
        let result = republish(destination, image, settings).await;
        // If the registry refuses the OCI manifest too, the first error is reported.
        let is_accepted = !is_refusal(&result);
        if is_accepted {
            destination.replace_result(result);
        }
        is_accepted.then(|| format!("`{}`", destination.name()))
    });
    let accepted: Vec<_> = join_all(accepting).await.into_iter().flatten().collect();
    if accepted.is_empty() {
        image.tree = docker_tree;
        return;
    }
    let others = succeeded.into_iter().map(async |destination| {
        destination.replace_result(republish(destination, image, settings).await);
    });
    join_all(others).await;
    let verb = if accepted.len() == 1 {
        "accepts"
    } else {
        "accept"
    };
    let note = format!(
        "{} {verb} only OCI manifests: the image is pushed with an OCI manifest and the same layers",
        accepted.join(", ")
    );
    tracing::info!("{note}");
    image.notes.push(note);
}

/// Publishes the image at a destination that has all blobs, with another manifest than before.
async fn republish(
    destination: &Destination,
    image: &PreparedImage,
    settings: &Settings,
) -> Result<Pushed, PushError> {
    let digest = image.tree.root.digest();
    destination.probe_tags(Some(digest)).await?;
    let publisher = ManifestPublisher::new(destination, image, settings);
    publisher.publish().await
}

/// Puts the manifests of an image at one destination.
pub(super) struct ManifestPublisher<'a> {
    pub(super) destination: &'a Destination,
    image: &'a PreparedImage,
    settings: &'a Settings,
}

/// Returns the foreign (non-distributable) layers of a manifest.
fn foreign_layers(manifest: &AnyManifest) -> impl Iterator<Item = &Descriptor> {
    let image = match manifest {
        AnyManifest::Manifest(image) => Some(image),
        AnyManifest::Index(_) => None,
    };
    image.into_iter().flat_map(Manifest::foreign_layers)
}

impl<'a> ManifestPublisher<'a> {
    /// Creates a publisher for one destination.
    fn new(destination: &'a Destination, image: &'a PreparedImage, settings: &'a Settings) -> Self {
        Self {
            destination,
            image,
            settings,
        }
    }

    /// Puts the manifests, and moves the tags. A dry run only predicts that.
    async fn publish(&self) -> Result<Pushed, PushError> {
        let Self {
            destination,
            image: PreparedImage {
                tree, referrers, ..
            },
            settings,
        } = *self;
        let (digest, policy) = (tree.root.digest(), settings.options.existing_tag);
        if let Some(unchanged) = destination.unchanged_by_policy(digest, policy)? {
            return Ok(unchanged);
        }
        let mut tags = destination.tag_updates(digest, policy);
        if settings.options.dry_run {
            return Ok(destination.pushed(self.image, tags));
        }
        let image_is_present = destination.state().image_is_present;
        if !image_is_present {
            self.put_children(tree).await?;
            // Referrers are pushed before the tags, so that a tag never points at an unsigned image.
            if !referrers.all.is_empty() || destination.tags.is_empty() {
                self.put(digest.as_str(), &tree.root).await?;
            }
        }
        self.push_referrers().await?;
        if destination.tags.is_empty() {
            let name = format!("{}@", destination.name());
            destination.tag_log.note(&name, TagState::Updated);
        }
        for tag in tags.iter_mut().filter(|tag| tag.kept.is_none()) {
            let name = format!("{}:{}", destination.name(), tag.tag);
            if tag.moved {
                destination.tag_log.note(&name, TagState::Requested);
                self.put(&tag.tag, &tree.root).await?;
                destination.record_tagged(&tag.tag, digest);
            }
            tag.moved = destination.has_tagged(&tag.tag, digest);
            destination.tag_log.note(&name, TagState::Updated);
        }
        Ok(destination.pushed(self.image, tags))
    }

    /// Puts the referrers that the destination lacks, each after its subject.
    async fn push_referrers(&self) -> Result<(), PushError> {
        let referrers = &self.image.referrers;
        let present = self.destination.state().referrers.clone();
        let pairs = referrers.all.iter().zip(present);
        for (referrer, _) in pairs.filter(|(_, is_present)| !is_present) {
            let root = &referrer.tree.root;
            self.put_children(&referrer.tree).await?;
            let reference = referrer.tag.as_deref().unwrap_or(root.digest().as_str());
            self.put(reference, root).await?;
        }
        referrers_tag::update_referrers_tag(self, referrers).await
    }

    /// Puts the child manifests of a tree, without its root.
    async fn put_children(&self, tree: &Tree) -> Result<(), PushError> {
        for child in children_first(tree) {
            self.put(child.digest().as_str(), child).await?;
        }
        Ok(())
    }

    /// Puts a manifest. If the registry reports missing blobs or children, it sends them again.
    pub(super) async fn put<'m>(
        &'m self,
        reference: &str,
        manifest: &'m AnyManifest,
    ) -> Result<(), PushError> {
        let mut pending = vec![(reference.to_owned(), manifest, ROUNDS)];
        while let Some((reference, manifest, rounds)) = pending.pop() {
            let refusal = match self.destination.put(&reference, manifest).await {
                Ok(()) => continue,
                Err(cause) if cause.is_incomplete() => cause,
                Err(cause) => return Err(self.destination.failed(Some(&reference), cause)),
            };
            // After the last round the registry lacks the foreign layer: all others were sent again.
            let mut foreign = foreign_layers(manifest);
            let is_foreign = foreign.any(|layer| rounds == 0 || refusal.names(&layer.digest));
            if is_foreign {
                return Err(self.foreign_layer_error(manifest, refusal));
            }
            let Some(rounds) = rounds.checked_sub(1) else {
                return Err(self.destination.failed(Some(&reference), refusal));
            };
            tracing::info!(
                "{} no longer has everything that {} needs: sending it again",
                self.destination.name(),
                manifest.digest()
            );
            pending.push((reference, manifest, rounds));
            let children = self.send_again(manifest, &refusal).await?;
            let children = children.into_iter().rev();
            pending.extend(children.map(|child| (child.digest().to_string(), child, ROUNDS)));
        }
        Ok(())
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

    /// Sends the blobs that the error names, or all of the manifest if it names none. Returns the child
    /// manifests that are to be put again.
    async fn send_again(
        &self,
        manifest: &AnyManifest,
        refusal: &RegistryError,
    ) -> Result<Vec<&'a AnyManifest>, PushError> {
        let mut digests: Vec<&Digest> = match manifest {
            AnyManifest::Manifest(image) => image.blobs().iter().map(|b| &b.digest).collect(),
            AnyManifest::Index(index) => index.manifests.iter().map(|m| &m.digest).collect(),
        };
        if digests.iter().any(|digest| refusal.names(digest)) {
            digests.retain(|digest| refusal.names(digest));
        }
        let mut children = Vec::new();
        for digest in digests {
            if let Some(child) = self.manifest(digest) {
                children.push(child);
            } else if let Some(blob) = self.image.blobs.iter().find(|b| b.digest == *digest) {
                let progress = &self.settings.progress;
                blob.send(self.destination, None, progress).await?;
            }
        }
        Ok(children)
    }

    /// Returns the manifest with this digest, from the image or its referrers.
    fn manifest(&self, digest: &Digest) -> Option<&'a AnyManifest> {
        let PreparedImage {
            tree, referrers, ..
        } = self.image;
        let of_image = tree.children.get(digest);
        of_image.or_else(|| referrers.manifests().find(|one| one.digest() == digest))
    }
}

impl Destination {
    /// Puts one manifest under a tag or digest.
    async fn put(&self, reference: &str, manifest: &AnyManifest) -> Result<(), RegistryError> {
        tracing::debug!("setting {reference} to {}", manifest.digest());
        self.registry
            .put_manifest(&self.repository, reference, manifest)
            .await
    }

    /// Creates the result of a push at the destination.
    fn pushed(&self, image: &PreparedImage, tags: Vec<PushedTag>) -> Pushed {
        let (sent_bytes, mounted_bytes, present_bytes) = self.totals(&image.blobs);
        let referrers = &image.referrers.all;
        let tagged = referrers.iter().filter_map(|referrer| {
            let tag = referrer.tag.clone()?;
            Some((tag, referrer.tree.root.digest().clone()))
        });
        Pushed {
            name: self.name(),
            tags,
            digest: image.tree.root.digest().clone(),
            sent_bytes,
            mounted_bytes,
            present_bytes,
            reread: self.reread(),
            referrers: referrers.len(),
            referrer_tags: tagged.collect(),
        }
    }
}

/// Returns the child manifests of the tree, each once, and each after the manifests that it names.
fn children_first(tree: &Tree) -> Vec<&AnyManifest> {
    fn walk<'a>(
        manifest: &'a AnyManifest,
        tree: &'a Tree,
        seen: &mut HashSet<&'a Digest>,
        order: &mut Vec<&'a AnyManifest>,
    ) {
        if let AnyManifest::Index(index) = manifest {
            for child in &index.manifests {
                if let Some(child) = tree.children.get(&child.digest)
                    && seen.insert(child.digest())
                {
                    walk(child, tree, seen, order);
                    order.push(child);
                }
            }
        }
    }
    let mut order = Vec::new();
    walk(&tree.root, tree, &mut HashSet::new(), &mut order);
    order
}
