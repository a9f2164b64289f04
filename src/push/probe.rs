//! What a destination already has, found out with as few requests as it takes.

use std::collections::HashSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::blobs::{Blob, Blobs};
use super::upload::UploadResult;
use super::{Destination, PushError};
use crate::image::{Referrers, Tree};
use crate::oci::digest::Digest;
use crate::oci::manifest::AnyManifest;
use crate::registry::RegistryError;

/// What is known of one destination.
#[derive(Clone, Debug, Default)]
pub(super) struct DestinationState {
    /// Where each tag pointed before the push, in the destination's order.
    pub(super) tags: Vec<Option<Digest>>,
    /// True when the image itself is there. A registry takes a manifest only when all that it names
    /// is there, so the manifest stands for its blobs.
    pub(super) image_is_present: bool,
    /// Blobs that this push sent.
    pub(super) sent: HashSet<Digest>,
    /// Blobs that this push had mounted from another repository.
    pub(super) mounted: HashSet<Digest>,
    /// Which of the companions of the image are there.
    pub(super) companions: Vec<bool>,
    /// Blobs that were found there.
    pub(super) present: HashSet<Digest>,
    /// True when the repository has no image yet, and so hardly a blob worth asking for.
    pub(super) is_empty: bool,
}

impl DestinationState {
    /// True when the blob need not be sent.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        [&self.sent, &self.mounted, &self.present]
            .iter()
            .any(|blobs| blobs.contains(digest))
    }

    /// Notes what became of blobs; the error that ended it, if one did.
    pub(super) fn add(&mut self, done: UploadResult) -> Result<(), PushError> {
        self.sent.extend(done.sent);
        self.mounted.extend(done.mounted);
        done.error.map_or(Ok(()), Err)
    }

    /// Notes the blobs of what is there.
    pub(super) fn mark_present(&mut self, tree: &Tree) {
        let there: Vec<_> = tree.blobs().map(|blob| &blob.digest).collect();
        for digest in there {
            if !self.has(digest) {
                self.present.insert(digest.clone());
            }
        }
    }
}

/// Below this a blob that the last image did not have is sent without asking whether it is there:
/// to ask costs as much as to send.
const ASK_FROM: u64 = 1024 * 1024;

/// The same where the repository has no image yet: a run that was stopped may have left blobs there.
const ASK_ANYWAY_FROM: u64 = 8 * 1024 * 1024;

impl Destination {
    /// Asks where a tag points, or whether a digest is there.
    pub(super) async fn head(&self, reference: &str) -> Result<Option<Digest>, PushError> {
        let found = self.registry.head_manifest(&self.repository, reference);
        found
            .await
            .map_err(|cause| self.failed(Some(reference), cause))
    }

    /// Asks where the tags point, and whether the image with this digest is there.
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

    /// Asks which of the companions of an image are there: each by its tag, or by its digest.
    pub(super) async fn probe_referrers(
        &self,
        companions: &Referrers,
        state: &mut DestinationState,
    ) -> Result<(), PushError> {
        let there: Vec<_> = stream::iter(&companions.all)
            .map(|companion| async move {
                let digest = companion.tree.root.digest();
                let reference = companion.tag.as_deref().unwrap_or(digest.as_str());
                let found = self.head(reference).await?;
                Ok::<_, PushError>(found.as_ref() == Some(digest))
            })
            .buffered(8)
            .try_collect()
            .await?;
        for (companion, _) in companions
            .all
            .iter()
            .zip(&there)
            .filter(|(_, there)| **there)
        {
            state.mark_present(&companion.tree);
        }
        state.companions = there;
        Ok(())
    }

    /// [`Self::probe_tags`], and where the image is missing [`Self::read_previous_manifest`].
    pub(super) async fn probe(&self, digest: &Digest) -> Result<DestinationState, PushError> {
        let mut state = self.probe_tags(digest).await?;
        if !state.image_is_present {
            self.read_previous_manifest(&mut state).await?;
        }
        Ok(state)
    }

    /// Learns what an earlier image of the repository tells about the blobs that are there. What
    /// cannot be learned is asked for blob by blob.
    async fn read_previous_manifest(&self, state: &mut DestinationState) -> Result<(), PushError> {
        let tagged = state.tags.iter().flatten().next().map(Digest::to_string);
        let earlier = match tagged {
            Some(digest) => Some(digest),
            None => self.previous_images(state).await.into_iter().next(),
        };
        if let Some(earlier) = earlier
            && let Some(manifest) = self.manifest(&earlier).await?
        {
            state.mark_present(&Tree::of(manifest));
        }
        Ok(())
    }

    /// The blobs that are not there.
    pub(super) async fn missing<'a>(
        &self,
        blobs: &'a Blobs,
        state: &mut DestinationState,
        concurrency: usize,
    ) -> Result<Vec<&'a Blob>, PushError> {
        let unknown = blobs.iter().filter(|blob| !state.has(&blob.digest));
        let ask_from = match state.is_empty {
            true => ASK_ANYWAY_FROM,
            false => ASK_FROM,
        };
        let (ask, mut missing): (Vec<_>, Vec<_>) =
            unknown.partition(|blob| blob.size >= ask_from || blob.is_absent());
        let answers: Vec<_> = stream::iter(ask)
            .map(|blob| async move { Ok::<_, PushError>((blob, self.has(&blob.digest).await?)) })
            .buffered(concurrency)
            .try_collect()
            .await?;
        for (blob, is_there) in answers {
            if is_there {
                state.present.insert(blob.digest.clone());
            } else {
                missing.push(blob);
            }
        }
        Ok(missing)
    }

    /// True when the blob is there.
    pub(super) async fn has(&self, digest: &Digest) -> Result<bool, PushError> {
        self.registry
            .has_blob(&self.repository, digest)
            .await
            .map_err(|cause| self.failed(None, cause))
    }

    /// The manifest under a tag or digest; none when there is no such, or none that can be read.
    pub(super) async fn manifest(&self, reference: &str) -> Result<Option<AnyManifest>, PushError> {
        match self
            .registry
            .get_manifest(&self.repository, reference)
            .await
        {
            Ok(manifest) => Ok(manifest),
            // What stands there may be anything; it will be overwritten.
            Err(error) if error.is_malformed() => Ok(None),
            Err(cause) => Err(self.failed(Some(reference), cause)),
        }
    }

    /// The error of a request that was made for this destination.
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
