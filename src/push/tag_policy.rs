//! Applies `existing_tag`, the policy for tags that point at another digest.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::destination::Destination;
use super::{PushError, Pushed, PushedTag};
use crate::oci::digest::Digest;
use crate::oci::manifest::AnyManifest;

/// What a tag points at, as far as it is known before the digest of the image.
enum TagStatus {
    /// Nothing, or a manifest that this push put there.
    Free,
    /// Another image.
    OtherImage(Digest),
    /// An image with the same config: the same image, unless its layers are compressed differently.
    MaybeSame(Digest),
}

impl Destination {
    /// Applies the policy before any layer is compressed. The push to the destination ends if the
    /// policy decides that nothing is pushed.
    pub(super) async fn apply_tag_policy(&self, config: &Digest, policy: ExistingTag) {
        if policy != ExistingTag::Overwrite {
            self.finish_if(self.decide(config, policy).await);
        }
    }

    /// Applies the policy to one destination. `None` if the image has to be pushed there.
    async fn decide(
        &self,
        config: &Digest,
        policy: ExistingTag,
    ) -> Result<Option<Pushed>, PushError> {
        let statuses: Vec<_> = stream::iter(&self.tags)
            .map(|tag| self.tag_status(tag, config))
            .buffered(8)
            .try_collect()
            .await?;
        let first_other = self
            .tags
            .iter()
            .zip(&statuses)
            .find_map(|(tag, status)| match status {
                TagStatus::OtherImage(digest) => Some((tag, digest)),
                TagStatus::Free | TagStatus::MaybeSame(_) => None,
            });
        let Some((tag, other)) = first_other else {
            return Ok(None);
        };
        if policy == ExistingTag::Fail {
            return Err(self.tag_exists_error(tag, other, None));
        }
        if statuses
            .iter()
            .any(|status| matches!(status, TagStatus::Free))
        {
            return Ok(None);
        }
        // All tags exist, and one of them points at another image, so no tag is moved.
        let other = other.clone();
        let kept = statuses.into_iter().map(|status| match status {
            TagStatus::Free => None,
            TagStatus::OtherImage(digest) | TagStatus::MaybeSame(digest) => Some(digest),
        });
        Ok(Some(self.unchanged(other, kept)))
    }

    /// Finds what a tag points at.
    async fn tag_status(&self, tag: &str, config: &Digest) -> Result<TagStatus, PushError> {
        let current = self.head(tag).await?;
        let Some(digest) = current.filter(|digest| !self.has_tagged(tag, digest)) else {
            return Ok(TagStatus::Free);
        };
        Ok(match self.manifest(digest.as_str()).await? {
            Some(AnyManifest::Manifest(existing)) if existing.config.digest == *config => {
                TagStatus::MaybeSame(digest)
            }
            _ => TagStatus::OtherImage(digest),
        })
    }

    /// Returns the other digest that a tag points at. `None` if it is the digest of the image, or
    /// this push put it there in an earlier attempt.
    fn other_digest<'a>(
        &self,
        tag: &str,
        current: &'a Option<Digest>,
        digest: &Digest,
    ) -> Option<&'a Digest> {
        current
            .as_ref()
            .filter(|current| *current != digest && !self.has_tagged(tag, current))
    }

    /// Applies the policy once the digest of the image is known. `None` if it is pushed.
    ///
    /// # Errors
    ///
    /// If the policy is `fail` and a tag points at another digest.
    pub(super) fn unchanged_by_policy(
        &self,
        digest: &Digest,
        policy: ExistingTag,
    ) -> Result<Option<Pushed>, PushError> {
        let tags = self.known_tags();
        let mut pairs = self.tags.iter().zip(&tags);
        let other =
            pairs.find_map(|(tag, current)| Some((tag, self.other_digest(tag, current, digest)?)));
        let Some((tag, other)) = other else {
            return Ok(None);
        };
        match policy {
            ExistingTag::Fail => Err(self.tag_exists_error(tag, other, Some(digest))),
            ExistingTag::Keep if tags.iter().all(Option::is_some) => {
                let kept = tags.iter().flatten();
                let kept = kept.map(|found| (found != digest).then(|| found.clone()));
                Ok(Some(self.unchanged(other.clone(), kept)))
            }
            ExistingTag::Keep | ExistingTag::Overwrite => Ok(None),
        }
    }

    /// Returns the digest of each tag before the push.
    fn known_tags(&self) -> Vec<Option<Digest>> {
        self.state().tags.clone().unwrap_or_default()
    }

    /// Creates the error for a tag that points at another digest.
    fn tag_exists_error(&self, tag: &str, found: &Digest, digest: Option<&Digest>) -> PushError {
        PushError::TagExists {
            reference: format!("{}:{tag}", self.name()),
            found: found.clone(),
            digest: digest.cloned(),
        }
    }

    /// Returns for each tag whether it is moved or kept.
    pub(super) fn tag_updates(&self, digest: &Digest, policy: ExistingTag) -> Vec<PushedTag> {
        let known = self.known_tags();
        let tags = self.tags.iter().zip(&known);
        let tags = tags.map(|(tag, current)| {
            let other = self.other_digest(tag, current, digest);
            let kept = other.filter(|_| policy == ExistingTag::Keep).cloned();
            PushedTag {
                tag: tag.clone(),
                moved: current.as_ref() != Some(digest) && kept.is_none(),
                kept,
            }
        });
        tags.collect()
    }

    /// Returns the result for a destination that keeps all its tags. `kept` has the digest of each
    /// tag that points at another image.
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

/// What to do with a tag that points at another digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExistingTag {
    /// The tag is moved to the image.
    #[default]
    Overwrite,
    /// The tag is kept unchanged.
    Keep,
    /// The push to this destination fails before anything is sent.
    Fail,
}
