//! What a destination already has.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::blobs::{Blob, Blobs};
use super::{Destination, PushError};
use crate::digest::Digest;
use crate::registry::RegistryError;

/// Blobs that are known to be at one destination.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Sent by this push.
    pub(super) sent: Vec<Digest>,
    /// Found there.
    pub(super) present: Vec<Digest>,
}

impl Known {
    pub(super) fn holds(&self, digest: &Digest) -> bool {
        self.sent.contains(digest) || self.present.contains(digest)
    }
}

/// Where the tags of a destination point before anything is put.
pub(super) struct Tags {
    /// One entry a tag, in the destination's order.
    pub(super) current: Vec<Option<Digest>>,
    /// True when the image itself is there, under one of the tags or under its digest.
    pub(super) image_is_present: bool,
}

impl Destination {
    /// Asks where the tags point, and whether the image is there.
    ///
    /// A registry takes a manifest only when all that it names is there, so a manifest that is
    /// there stands for its blobs.
    pub(super) async fn look(&self, digest: &Digest) -> Result<Tags, PushError> {
        let head = |reference: String| async move {
            self.registry
                .head_manifest(&self.repository, &reference)
                .await
                .map_err(|cause| self.failed(Some(&reference), cause))
        };
        let current: Vec<_> = stream::iter(self.tags.clone())
            .map(head)
            .buffered(self.tags.len().clamp(1, 8))
            .try_collect()
            .await?;
        let image_is_present = current.iter().flatten().any(|found| found == digest)
            || head(digest.to_string()).await?.is_some();
        Ok(Tags {
            current,
            image_is_present,
        })
    }

    /// The blobs that are not there, asked one by one.
    pub(super) async fn missing<'a>(
        &self,
        blobs: &'a Blobs,
        known: &mut Known,
        concurrency: usize,
    ) -> Result<Vec<&'a Blob>, PushError> {
        let asked: Vec<_> = stream::iter(blobs.iter().filter(|blob| !known.holds(&blob.digest)))
            .map(|blob| async move {
                let present = self
                    .registry
                    .has_blob(&self.repository, &blob.digest)
                    .await
                    .map_err(|cause| self.failed(None, cause))?;
                Ok::<_, PushError>((blob, present))
            })
            .buffered(concurrency)
            .try_collect()
            .await?;
        let (present, missing): (Vec<_>, Vec<_>) =
            asked.into_iter().partition(|(_, present)| *present);
        known
            .present
            .extend(present.into_iter().map(|(blob, _)| blob.digest.clone()));
        Ok(missing.into_iter().map(|(blob, _)| blob).collect())
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
