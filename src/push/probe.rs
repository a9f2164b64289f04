//! Finds what a destination already has, with as few requests as possible.

use std::collections::HashSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::blobs::{Blob, Blobs};
use super::upload::UploadResult;
use super::{Destination, PushError};
use crate::image::{Referrers, Tree};
use crate::oci::digest::Digest;
use crate::oci::manifest::AnyManifest;
use crate::registry::RegistryError;

/// The known state of one destination.
#[derive(Clone, Debug, Default)]
pub(super) struct DestinationState {
    /// The digest of each tag before the push, in the destination's order. `None` if the tag is
    /// new.
    pub(super) tags: Vec<Option<Digest>>,
    /// Whether the image's manifest is at the destination. A registry accepts a manifest only if it
    /// has everything that the manifest names, so all blobs are there too.
    pub(super) image_is_present: bool,
    /// Blobs that this push sent.
    pub(super) sent: HashSet<Digest>,
    /// Blobs that this push mounted from another repository.
    pub(super) mounted: HashSet<Digest>,
    /// For each referrer of the image, whether it is at the destination.
    pub(super) referrers: Vec<bool>,
    /// Blobs that the destination had before the push.
    pub(super) present: HashSet<Digest>,
    /// Whether the repository has no image yet, so that it is unlikely to have any blob.
    pub(super) is_empty: bool,
}

impl DestinationState {
    /// Returns whether the destination has the blob, so that it need not be sent.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        [&self.sent, &self.mounted, &self.present]
            .iter()
            .any(|blobs| blobs.contains(digest))
    }

    /// Adds the blobs that an upload has sent or mounted.
    ///
    /// # Errors
    ///
    /// The error that ended the upload.
    pub(super) fn add(&mut self, done: UploadResult) -> Result<(), PushError> {
        self.sent.extend(done.sent);
        self.mounted.extend(done.mounted);
        done.error.map_or(Ok(()), Err)
    }

    /// Records the blobs of a tree whose manifest is at the destination.
    pub(super) fn mark_present(&mut self, tree: &Tree) {
        let digests: Vec<_> = tree.blobs().map(|blob| &blob.digest).collect();
        for digest in digests {
            if !self.has(digest) {
                self.present.insert(digest.clone());
            }
        }
    }
}

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

    /// Finds where the tags point, and whether the destination has the manifest with this digest.
    pub(super) async fn probe_tags(&self, digest: &Digest) -> Result<DestinationState, PushError> {
        let tags: Vec<_> = stream::iter(self.tags.clone())
            .map(|tag| async move { self.head(&tag).await })
            .buffered(8)
            .try_collect()
            .await?;
        let image_is_present = tags.iter().flatten().any(|found| found == digest)
            || self.head(digest.as_str()).await?.is_some();
        Ok(DestinationState {
            tags,
            image_is_present,
            ..DestinationState::default()
        })
    }

    /// Finds which referrers of the image the destination has: each by its tag, or by its digest.
    pub(super) async fn probe_referrers(
        &self,
        referrers: &Referrers,
        state: &mut DestinationState,
    ) -> Result<(), PushError> {
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
            state.mark_present(&referrer.tree);
        }
        state.referrers = present;
        Ok(())
    }

    /// Probes the tags and, if the image is missing, reads a previous manifest of the repository.
    pub(super) async fn probe(&self, digest: &Digest) -> Result<DestinationState, PushError> {
        let mut state = self.probe_tags(digest).await?;
        if !state.image_is_present {
            self.read_previous_manifest(&mut state).await?;
        }
        Ok(state)
    }

    /// Records the blobs of a previous image of the repository as present: the image under one of
    /// the tags, or the newest. The other blobs are checked one by one.
    async fn read_previous_manifest(&self, state: &mut DestinationState) -> Result<(), PushError> {
        let tagged = state.tags.iter().flatten().next().map(Digest::to_string);
        let previous = match tagged {
            Some(digest) => Some(digest),
            None => self.previous_images(state).await.into_iter().next(),
        };
        if let Some(previous) = previous
            && let Some(manifest) = self.manifest(&previous).await?
        {
            state.mark_present(&Tree::of(manifest));
        }
        Ok(())
    }

    /// Returns the blobs that the destination lacks. It does not send a HEAD request for small
    /// blobs.
    pub(super) async fn missing<'a>(
        &self,
        blobs: &'a Blobs,
        state: &mut DestinationState,
        concurrency: usize,
    ) -> Result<Vec<&'a Blob>, PushError> {
        let unknown = blobs.iter().filter(|blob| !state.has(&blob.digest));
        let min_size = if state.is_empty {
            CHECK_MIN_SIZE_IF_EMPTY
        } else {
            CHECK_MIN_SIZE
        };
        let (to_check, mut missing): (Vec<_>, Vec<_>) =
            unknown.partition(|blob| blob.size >= min_size || blob.is_absent());
        let checked: Vec<_> = stream::iter(to_check)
            .map(|blob| async move { Ok::<_, PushError>((blob, self.has(&blob.digest).await?)) })
            .buffered(concurrency)
            .try_collect()
            .await?;
        for (blob, is_present) in checked {
            if is_present {
                state.present.insert(blob.digest.clone());
            } else {
                missing.push(blob);
            }
        }
        Ok(missing)
    }

    /// Returns whether the destination has the blob, by a HEAD request.
    pub(super) async fn has(&self, digest: &Digest) -> Result<bool, PushError> {
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
