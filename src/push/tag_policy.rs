//! What `existing_tag` decides about tags that are there with another digest.

use futures_util::future::join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::distribute::required;
use super::probe::DestinationState;
use super::{Destination, PushError, Pushed, PushedTag};
use crate::image::UncompressedImage;
use crate::oci::digest::Digest;
use crate::oci::manifest::AnyManifest;

/// What stands under a tag, as far as it can be told before the image's own digest is known.
enum TagStatus {
    Free,
    /// Another image.
    OtherImage(Digest),
    /// An image with the same config: the same one, unless its layers were compressed otherwise.
    MaybeSame(Digest),
}

/// What is decided already about destinations before anything is compressed for them; none for one
/// that the image has to be made for. Who is not waited for is asked when the others are done.
pub(super) async fn apply_tag_policy(
    image: &UncompressedImage,
    destinations: &[Destination],
    policy: ExistingTag,
) -> Vec<Option<Result<Pushed, PushError>>> {
    let config = Digest::of(&image.config);
    let asking = destinations.iter().zip(required(destinations));
    let asking = asking.map(|(destination, required)| {
        let config = &config;
        async move {
            match policy {
                ExistingTag::Keep | ExistingTag::Fail if required => {
                    destination.settled(config, policy).await.transpose()
                }
                _ => None,
            }
        }
    });
    join_all(asking).await
}

impl Destination {
    async fn settled(
        &self,
        config: &Digest,
        policy: ExistingTag,
    ) -> Result<Option<Pushed>, PushError> {
        let found: Vec<_> = stream::iter(self.tags.clone())
            .map(|tag| async move { self.under(&tag, config).await })
            .buffered(8)
            .try_collect()
            .await?;
        let others = self
            .tags
            .iter()
            .zip(&found)
            .find_map(|(tag, under)| match under {
                TagStatus::OtherImage(digest) => Some((tag, digest)),
                TagStatus::Free | TagStatus::MaybeSame(_) => None,
            });
        let Some((tag, other)) = others else {
            return Ok(None);
        };
        if policy == ExistingTag::Fail {
            return Err(self.taken(tag, other, None));
        }
        if found.iter().any(|under| matches!(under, TagStatus::Free)) {
            return Ok(None);
        }
        // Every tag is there and one of them is another image's: none of them moves.
        let other = other.clone();
        let kept = found.into_iter().map(|under| match under {
            TagStatus::Free => None,
            TagStatus::OtherImage(digest) | TagStatus::MaybeSame(digest) => Some(digest),
        });
        Ok(Some(self.unchanged(other, kept)))
    }

    async fn under(&self, tag: &str, config: &Digest) -> Result<TagStatus, PushError> {
        let found = self.head(tag).await?;
        let Some(digest) = found.filter(|found| !self.stats.has_tagged(tag, found)) else {
            return Ok(TagStatus::Free);
        };
        Ok(match self.manifest(digest.as_str()).await? {
            Some(AnyManifest::Manifest(there)) if there.config.digest == *config => {
                TagStatus::MaybeSame(digest)
            }
            _ => TagStatus::OtherImage(digest),
        })
    }

    /// The digest that a tag points at, where that is neither the image's nor one that this very
    /// push put there before it had to begin anew.
    fn other<'a>(
        &self,
        tag: &str,
        current: &'a Option<Digest>,
        digest: &Digest,
    ) -> Option<&'a Digest> {
        current
            .as_ref()
            .filter(|current| *current != digest && !self.stats.has_tagged(tag, current))
    }

    /// Refuses what `existing_tag: fail` does: a tag that is there with another digest.
    pub(super) fn check_tags(
        &self,
        state: &DestinationState,
        digest: &Digest,
        policy: ExistingTag,
    ) -> Result<(), PushError> {
        let mut tags = self.tags.iter().zip(&state.tags);
        let taken = tags.find_map(|(tag, current)| Some((tag, self.other(tag, current, digest)?)));
        match (policy, taken) {
            (ExistingTag::Fail, Some((tag, found))) => Err(self.taken(tag, found, Some(digest))),
            _ => Ok(()),
        }
    }

    fn taken(&self, tag: &str, found: &Digest, digest: Option<&Digest>) -> PushError {
        PushError::TagExists {
            reference: format!("{}:{tag}", self.name()),
            found: found.clone(),
            digest: digest.cloned(),
        }
    }

    /// True when every tag stays where it is, so that the image is not wanted there.
    pub(super) fn keeps_all(
        &self,
        state: &DestinationState,
        digest: &Digest,
        policy: ExistingTag,
    ) -> bool {
        let mut tags = self.tags.iter().zip(&state.tags);
        policy == ExistingTag::Keep
            && state.tags.iter().all(Option::is_some)
            && tags.any(|(tag, current)| self.other(tag, current, digest).is_some())
    }

    /// What becomes of each tag.
    pub(super) fn tag_updates(
        &self,
        state: &DestinationState,
        digest: &Digest,
        policy: ExistingTag,
    ) -> Vec<PushedTag> {
        let tags = self.tags.iter().zip(&state.tags);
        let tags = tags.map(|(tag, current)| {
            let other = self.other(tag, current, digest);
            let kept = other.filter(|_| policy == ExistingTag::Keep).cloned();
            PushedTag {
                tag: tag.clone(),
                moved: current.as_ref() != Some(digest) && kept.is_none(),
                kept,
            }
        });
        tags.collect()
    }

    /// What is told of a destination all of whose tags are there and stay where they are: `kept`
    /// holds where, for those that point at another digest than the image's.
    pub(super) fn unchanged(
        &self,
        digest: Digest,
        kept: impl Iterator<Item = Option<Digest>>,
    ) -> Pushed {
        let tags = self.tags.iter().zip(kept);
        let tags = tags.map(|(tag, kept)| PushedTag {
            tag: tag.clone(),
            moved: false,
            kept,
        });
        Pushed {
            name: self.name(),
            tags: tags.collect(),
            digest,
            sent_bytes: 0,
            mounted_bytes: 0,
            present_bytes: 0,
            reread: (0, 0),
            referrers: 0,
            referrer_tags: Vec::new(),
        }
    }
}

/// What is done to a tag that is there with another digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExistingTag {
    /// It is moved to the image.
    #[default]
    Overwrite,
    /// It stays where it is.
    Keep,
    /// The push to that destination fails before anything is sent.
    Fail,
}
