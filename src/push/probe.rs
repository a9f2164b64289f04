//! Finds what a destination already has, with as few requests as possible.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::blobs::{Blob, BlobSource};
use super::destination::{BlobState, Destination};
use super::prepare::PreparedImage;
use super::{PushError, Settings};
use crate::image::{Referrers, Tree};
use crate::oci::digest::Digest;
use crate::oci::manifest::AnyManifest;
use crate::registry::RegistryError;

/// The smallest blob for which a HEAD request is sent before the upload, if the previous image did
/// not have it. The request costs as much as the upload of a smaller blob.
const CHECK_MIN_SIZE: u64 = 1024 * 1024;

/// The same size for a repository without images: an interrupted run may have left blobs there.
const CHECK_MIN_SIZE_IF_EMPTY: u64 = 8 * 1024 * 1024;

impl Destination {
    /// Sends a HEAD request for a tag or digest. Returns the digest, or `None` if there is no
    /// manifest.
    pub(super) async fn head(&self, reference: &str) -> Result<Option<Digest>, PushError> {
        let found = self.registry.head_manifest(&self.repository, reference);
        found
            .await
            .map_err(|cause| self.failed(Some(reference), cause))
    }

    /// Finds what the destination has of an image, whose manifest is not built yet if there is no
    /// `image`: where the tags point, which referrers it has, and which of `blobs`. The push to it
    /// ends if it fails, or if the tags decide that nothing is pushed.
    pub(super) async fn probe(
        &self,
        image: Option<&PreparedImage>,
        blobs: &[Blob],
        settings: &Settings,
    ) {
        let probing = async {
            let digest = image.map(|image| image.tree.root.digest());
            let is_known = self.state().tags.is_some();
            if !is_known {
                self.probe_tags(digest).await?;
                if !self.state().image_is_present {
                    self.read_previous_manifest().await?;
                }
            }
            if let Some(image) = image {
                let policy = settings.options.existing_tag;
                let unchanged = self.unchanged_by_policy(image.tree.root.digest(), policy)?;
                if unchanged.is_some() {
                    return Ok(unchanged);
                }
                if self.state().image_is_present {
                    self.record_present(image.tree.blobs());
                }
                self.probe_referrers(&image.referrers).await?;
            }
            self.probe_blobs(blobs, settings.slots.all()).await?;
            Ok(None)
        };
        self.finish_if(probing.await);
    }

    /// Finds where the tags point, and whether the destination has the manifest with this digest.
    pub(super) async fn probe_tags(&self, digest: Option<&Digest>) -> Result<(), PushError> {
        let tags: Vec<_> = stream::iter(&self.tags)
            .map(|tag| self.head(tag))
            .buffered(8)
            .try_collect()
            .await?;
        let image_is_present = match digest {
            Some(digest) => {
                tags.iter().flatten().any(|found| found == digest)
                    || self.head(digest.as_str()).await?.is_some()
            }
            None => false,
        };
        let mut state = self.state();
        state.tags = Some(tags);
        state.image_is_present = image_is_present;
        Ok(())
    }

    /// Finds which referrers of the image the destination has: each by its tag, or by its digest.
    async fn probe_referrers(&self, referrers: &Referrers) -> Result<(), PushError> {
        let present: Vec<_> = stream::iter(&referrers.all)
            .map(|referrer| async move {
                let digest = referrer.tree.root.digest();
                let reference = referrer.tag.as_deref().unwrap_or(digest.as_str());
                let found = self.head(reference).await?;
                Ok::<_, PushError>(found.as_ref() == Some(digest))
            })
            .buffered(8)
            .try_collect()
            .await?;
        let pairs = referrers.all.iter().zip(&present);
        for (referrer, _) in pairs.filter(|(_, is_present)| **is_present) {
            self.record_present(referrer.tree.blobs());
        }
        self.state().referrers = present;
        Ok(())
    }

    /// Records the blobs of a previous image of the repository as present: the image under one of
    /// the tags, or the newest. The other blobs are checked one by one.
    async fn read_previous_manifest(&self) -> Result<(), PushError> {
        let tagged = {
            let state = self.state();
            let mut tags = state.tags.iter().flatten().flatten();
            tags.next().map(Digest::to_string)
        };
        let previous = match tagged {
            Some(digest) => Some(digest),
            None => self.previous_images().await.into_iter().next(),
        };
        if let Some(previous) = previous
            && let Some(manifest) = self.manifest(&previous).await?
        {
            self.record_present(Tree::of(manifest).blobs());
        }
        Ok(())
    }

    /// Records which of these blobs the destination has. It does not send a HEAD request for blobs that
    /// are sent as fast.
    pub(super) async fn probe_blobs(
        &self,
        blobs: &[Blob],
        concurrency: usize,
    ) -> Result<(), PushError> {
        let (endpoint, repository) = (self.registry.endpoint(), &self.repository);
        for blob in blobs {
            if self.locations.has(endpoint, repository, &blob.digest) {
                self.record(&blob.digest, BlobState::Present);
            }
        }
        let is_empty = self.state().is_empty;
        let is_checked = |blob: &&Blob| {
            let min_size = match &blob.origin {
                _ if is_empty => CHECK_MIN_SIZE_IF_EMPTY,
                // An interrupted run may have left it, and it cost more than the request.
                BlobSource::File(_) => 0,
                _ => CHECK_MIN_SIZE,
            };
            !self.has(&blob.digest) && (blob.size >= min_size || blob.is_absent())
        };
        let checked =
            stream::iter(blobs.iter().filter(is_checked))
                .map(|blob| async move {
                    Ok::<_, PushError>((blob, self.has_blob(&blob.digest).await?))
                })
                .buffer_unordered(concurrency);
        checked
            .try_for_each(|(blob, is_present)| async move {
                if is_present {
                    self.record(&blob.digest, BlobState::Present);
                }
                Ok(())
            })
            .await
    }

    /// Returns whether the destination has the blob, by a HEAD request.
    pub(super) async fn has_blob(&self, digest: &Digest) -> Result<bool, PushError> {
        self.registry
            .has_blob(&self.repository, digest)
            .await
            .map_err(|cause| self.failed(None, cause))
    }

    /// Returns the manifest under a tag or digest. `None` if there is none, or it is malformed.
    pub(super) async fn manifest(&self, reference: &str) -> Result<Option<AnyManifest>, PushError> {
        match self
            .registry
            .get_manifest(&self.repository, reference)
            .await
        {
            Ok(manifest) => Ok(manifest),
            // A malformed manifest is treated as missing, and is overwritten.
            Err(error) if error.is_malformed() => Ok(None),
            Err(cause) => Err(self.failed(Some(reference), cause)),
        }
    }

    /// Creates the error for a failed request to this destination.
    pub(super) fn failed(&self, reference: Option<&str>, cause: RegistryError) -> PushError {
        let name = self.name();
        PushError::Registry {
            destination: match reference {
                Some(digest) if digest.contains(':') => format!("{name}@{digest}"),
                Some(tag) => format!("{name}:{tag}"),
                None => name,
            },
            cause,
        }
    }
}
