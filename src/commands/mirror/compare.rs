//! Compares the images of the plan with the destinations, by digest.

use std::sync::Arc;

use super::MirrorError;
use super::image::{PlannedImage, SyncState};
use super::plan::Planner;
use crate::image::{
    ManifestReferrers, ReferrerTags, Remote, Source, find_referrers, has_referrers,
};
use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, media_type};
use crate::push::targets::Target;
use crate::push::{self, Settings};
use crate::registry::{ListedManifest, ListingError, Registry};

/// The result of an image at the destinations, resolved with at most one request.
struct SourceSummary {
    /// The digest that the tags will have, if the source has every manifest of the index.
    digest: Digest,
    /// The manifests that can have referrers. `None` if that needs the child manifests.
    manifests: Option<Vec<Digest>>,
}

/// A destination with its registry and the digest that it has of an image. `None` if that is unknown.
type Found<'a> = (&'a Target, Option<(Arc<Registry>, Option<Digest>)>);

impl Planner<'_> {
    /// Determines the state of an image at each destination. Returns the unchanged image, and
    /// either the image with its states and the errors of required destinations, or the error of
    /// the source.
    pub(super) async fn diff(
        &self,
        image: PlannedImage,
    ) -> (
        PlannedImage,
        Result<(PlannedImage, Vec<MirrorError>), MirrorError>,
    ) {
        let result = self.compare(&image).await;
        (image, result)
    }

    async fn compare(
        &self,
        image: &PlannedImage,
    ) -> Result<(PlannedImage, Vec<MirrorError>), MirrorError> {
        let settings = image.settings(self.settings);
        let settled;
        let (image, known) = match &image.running {
            Some(running) => {
                let known = self.at_destinations(image, running).await;
                settled = self.settle(image, running, &known.0).await?;
                (&settled, Some(known))
            }
            None => (image, None),
        };
        let registry = self.registries.source(&image.source.endpoint).await?;
        let Some(mut summary) = self.summarize(&registry, image, &settings).await? else {
            // The push reads the manifest again and reports the error.
            return Ok((image.clone(), Vec::new()));
        };
        let (found, mut errors) = match known {
            Some(known) => known,
            None => self.at_destinations(image, &summary.digest).await,
        };
        let mut existing = found.iter().filter_map(|(_, there)| there.as_ref());
        let differs = existing.any(|(_, digest)| digest.as_ref() != Some(&summary.digest));
        if differs && !push::is_unfiltered(&settings) {
            // A missing child or a platform filter changes the index: only the manifests show it.
            let source =
                Source::open_remote(Arc::clone(&registry), &image.source, &image.platforms);
            let digest = match &source.await {
                Ok(source) => push::resulting_digest(source, &settings).await,
                Err(_) => None,
            };
            match digest {
                Some(digest) if digest == summary.digest => {}
                Some(digest) => {
                    summary = SourceSummary {
                        digest,
                        manifests: None,
                    };
                }
                None => return Ok((image.clone(), errors)),
            }
        }
        let mut destinations = Vec::new();
        for (target, there) in found {
            let state = match there {
                None => SyncState::Unknown,
                Some((_, None)) => SyncState::Missing,
                Some((_, Some(digest))) if digest != summary.digest => SyncState::Outdated,
                Some(_) if !image.referrers => SyncState::UpToDate,
                Some((registry_there, Some(_))) => {
                    let summary = (&registry, &summary);
                    let path = &target.repository;
                    match self
                        .referrers_at(summary, image, &registry_there, path)
                        .await
                    {
                        Ok(state) => state,
                        Err(error) => {
                            if !target.best_effort {
                                errors.push(error);
                            }
                            SyncState::Unknown
                        }
                    }
                }
            };
            destinations.push((target.clone(), state));
        }
        let image = PlannedImage {
            destinations,
            digest: Some(summary.digest),
            ..image.clone()
        };
        Ok((image, errors))
    }

    /// The image whose tag is settled: the digest that runs if the tag has moved since, and the tag as
    /// it is otherwise. That needs no request to the source if the destinations have the digest already.
    async fn settle(
        &self,
        image: &PlannedImage,
        running: &Digest,
        found: &[Found<'_>],
    ) -> Result<PlannedImage, MirrorError> {
        let mut settled = image.clone();
        settled.running = None;
        let is_there =
            |(_, there): &Found<'_>| matches!(there, Some((_, Some(digest))) if digest == running);
        if found.iter().all(is_there) {
            settled.source.digest = Some(running.clone());
            return Ok(settled);
        }
        let source = &image.source;
        let registry = self.registries.source(&source.endpoint).await?;
        let tag = source.tag.as_deref().unwrap_or("latest");
        let failed = |cause| ListingError::new(&source.endpoint, &source.repository, cause);
        let now = self.digest(&registry, &source.repository, tag).await?;
        // A node may tell the digest of its platform's manifest instead of that of the index.
        if now.as_ref() != Some(running) {
            if let Some(now) = now {
                let manifest = registry.get_manifest(&source.repository, now.as_str());
                if let Some(AnyManifest::Index(index)) = manifest.await.map_err(failed)?
                    && index.manifests.iter().any(|child| child.digest == *running)
                {
                    return Ok(settled);
                }
            }
            let there = registry.head_manifest(&source.repository, running.as_str());
            if there.await.map_err(failed)?.is_none() {
                return Err(MirrorError::Gone(running.clone()));
            }
        }
        settled.source.digest = Some(running.clone());
        Ok(settled)
    }

    /// What each destination has of an image, and the errors of required destinations.
    async fn at_destinations<'a>(
        &self,
        image: &'a PlannedImage,
        expected: &Digest,
    ) -> (Vec<Found<'a>>, Vec<MirrorError>) {
        let (mut found, mut errors) = (Vec::new(), Vec::new());
        for (target, _) in &image.destinations {
            match self.destination_digest(target, expected).await {
                Ok(there) => found.push((target, Some(there))),
                // A failing destination does not affect the others.
                Err(error) => {
                    found.push((target, None));
                    if !target.best_effort {
                        errors.push(error);
                    }
                }
            }
        }
        (found, errors)
    }

    /// The registry of a destination and the digest of its tag, or the digest itself if it has no tag
    /// there. The digest is `None` if it does not exist.
    async fn destination_digest(
        &self,
        target: &Target,
        expected: &Digest,
    ) -> Result<(Arc<Registry>, Option<Digest>), MirrorError> {
        let registries = self.registries;
        let registry = registries.destination(&target.endpoint, target.best_effort);
        let registry = registry.await?;
        let path = &target.repository;
        let digest = match target.tags.first() {
            Some(tag) => self.digest(&registry, path, tag).await?,
            None => {
                let found = registry.head_manifest(path, expected.as_str()).await;
                found.map_err(|cause| {
                    ListingError::new(&target.endpoint, &format!("{path}@{expected}"), cause)
                })?
            }
        };
        Ok((registry, digest))
    }

    /// Resolves the digest that the image will have at the destinations. `None` if that needs the
    /// child manifests.
    async fn summarize(
        &self,
        registry: &Arc<Registry>,
        image: &PlannedImage,
        settings: &Settings,
    ) -> Result<Option<SourceSummary>, MirrorError> {
        let (source, is_unfiltered) = (&image.source, push::is_unfiltered(settings));
        let repository = &source.repository;
        let tag = source.tag.as_deref().unwrap_or("latest");
        let no_image = || MirrorError::NoImage(image.name.clone());
        if let Some(digest) = source
            .digest
            .clone()
            .filter(|_| is_unfiltered && !image.referrers)
        {
            return Ok(Some(SourceSummary {
                digest,
                manifests: Some(Vec::new()),
            }));
        }
        let listed = self.listed(registry, repository, |manifest| match &source.digest {
            Some(digest) => manifest.digest == *digest,
            None => manifest.tags.iter().any(|known| known == tag),
        });
        let listed = listed.await?;
        if let Some(ListedManifest {
            digest, media_type, ..
        }) = &listed
            && [media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST]
                .contains(&media_type.as_str())
        {
            return Ok(Some(SourceSummary {
                digest: digest.clone(),
                manifests: Some(vec![digest.clone()]),
            }));
        }
        let known = listed
            .map(|listed| listed.digest)
            .or_else(|| source.digest.clone());
        let has_no_referrers =
            !image.referrers || self.has_no_referrers(registry, repository).await;
        if is_unfiltered && has_no_referrers {
            let digest = match known {
                Some(digest) => Some(digest),
                None => self.digest(registry, repository, tag).await?,
            };
            return Ok(Some(SourceSummary {
                digest: digest.ok_or_else(no_image)?,
                manifests: Some(Vec::new()),
            }));
        }
        let reference = known.as_ref().map_or(tag, Digest::as_str);
        let Ok(manifest) = registry.get_manifest(repository, reference).await else {
            return Ok(None);
        };
        Ok(match manifest.ok_or_else(no_image)? {
            AnyManifest::Manifest(manifest) => Some(SourceSummary {
                manifests: Some(vec![manifest.digest.clone()]),
                digest: manifest.digest,
            }),
            AnyManifest::Index(index) => match push::predict_index(&index, settings) {
                Some((digest, manifests)) => Some(SourceSummary {
                    digest,
                    manifests: Some(manifests),
                }),
                None => is_unfiltered.then_some(SourceSummary {
                    digest: index.digest,
                    manifests: None,
                }),
            },
        })
    }

    /// True if it is known that no image of the repository has referrers.
    async fn has_no_referrers(&self, registry: &Arc<Registry>, repository: &str) -> bool {
        let tags = self.referrer_tags(registry, repository).await;
        registry.has_no_referrers(repository) && tags.is_some_and(|tags| tags.is_empty())
    }

    /// The state of a destination that has the image: whether it has all referrers too.
    async fn referrers_at(
        &self,
        (registry, summary): (&Arc<Registry>, &SourceSummary),
        image: &PlannedImage,
        destination: &Arc<Registry>,
        path: &str,
    ) -> Result<SyncState, MirrorError> {
        let Some(manifests) = &summary.manifests else {
            return Ok(SyncState::Unknown);
        };
        let repository = &image.source.repository;
        let referrers = self.referrers_of(registry, repository, &summary.digest, manifests);
        let referrers = referrers.await?;
        // On other registries, listing all tags costs more than the few requests that it saves.
        let tags = if destination.endpoint().is_google() {
            self.referrer_tags(destination, path).await
        } else {
            None
        };
        let there = Remote::new(Arc::clone(destination), path, tags);
        let has_all = has_referrers(&there, &referrers).await;
        Ok(if has_all.map_err(MirrorError::Source)? {
            SyncState::UpToDate
        } else {
            SyncState::ReferrersMissing
        })
    }

    /// The referrers of an image of the source. They are found once for all tags and destinations.
    async fn referrers_of(
        &self,
        registry: &Arc<Registry>,
        path: &str,
        image: &Digest,
        manifests: &[Digest],
    ) -> Result<Arc<Vec<ManifestReferrers>>, MirrorError> {
        let key = (registry.endpoint().clone(), path.to_owned(), image.clone());
        let cell = self.referrers.of(key);
        let found = cell.get_or_try_init(|| async {
            let tags = self.referrer_tags(registry, path).await;
            let repository = Remote::new(Arc::clone(registry), path, tags);
            let found = find_referrers(&repository, manifests.to_vec()).await;
            found.map(Arc::new).map_err(MirrorError::Source)
        });
        found.await.cloned()
    }

    /// The tags of a repository that name referrers. `None` if the listing may be incomplete, so that
    /// each tag must be requested.
    async fn referrer_tags(
        &self,
        registry: &Arc<Registry>,
        repository: &str,
    ) -> Option<Arc<ReferrerTags>> {
        let key = (registry.endpoint().clone(), repository.to_owned());
        let cell = self.referrer_tags.of(key);
        let tags = cell.get_or_init(|| async {
            let listing = self.listing(registry, repository).await;
            let tags = ReferrerTags::of(&*listing.ok()??);
            tags.map(Arc::new)
        });
        tags.await.clone()
    }

    /// The digest of a tag. It is taken from the listing of the repository if the registry lists
    /// digests, else from a HEAD request. `None` if the tag does not exist.
    async fn digest(
        &self,
        registry: &Arc<Registry>,
        repository: &str,
        tag: &str,
    ) -> Result<Option<Digest>, MirrorError> {
        let matches = |manifest: &ListedManifest| manifest.tags.iter().any(|known| known == tag);
        if let Some(listed) = self.listed(registry, repository, matches).await? {
            return Ok(Some(listed.digest));
        }
        let found = registry.head_manifest(repository, tag).await;
        Ok(found.map_err(|cause| {
            let path = format!("{repository}:{tag}");
            ListingError::new(registry.endpoint(), &path, cause)
        })?)
    }

    /// The first listed manifest that matches. `None` if there is none, or if the registry lists no
    /// manifests.
    async fn listed(
        &self,
        registry: &Arc<Registry>,
        repository: &str,
        matches: impl Fn(&ListedManifest) -> bool,
    ) -> Result<Option<ListedManifest>, MirrorError> {
        if !registry.endpoint().is_google() {
            return Ok(None);
        }
        let listing = self.listing(registry, repository).await?;
        let manifests = listing.iter().flat_map(|listing| &listing.manifests);
        let mut found = manifests.filter(|manifest| matches(manifest));
        Ok(found.next().cloned())
    }
}
