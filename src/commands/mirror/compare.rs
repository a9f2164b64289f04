//! Whether an image is at its homes already, told by digests.

use std::sync::Arc;

use super::MirrorError;
use super::item::{PlannedImage, SyncState};
use super::plan::{Planner, list_error};
use super::referrers::{MirrorRepository, ReferrerCheck, ReferrerTags};
use crate::error::Error;
use crate::image::Source;
use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, media_type};
use crate::push::destinations::Target;
use crate::push::{self, Settings};
use crate::registry::{ListedManifest, Registry};

/// What becomes of an image, told by one question or none.
struct SourceSummary {
    /// What its tags lead to, if the source has all that it names.
    digest: Digest,
    /// Which of its manifests anything may refer to; none where one question does not tell.
    manifests: Option<Vec<Digest>>,
}

impl Planner<'_> {
    /// The item with what it needs, and the errors of homes that could not be asked and count; or the
    /// error that kept us from finding out.
    pub(super) async fn diff(
        &self,
        item: PlannedImage,
    ) -> (PlannedImage, Result<(PlannedImage, Vec<Error>), Error>) {
        let compared = self.compare(&item).await;
        (item, compared)
    }

    async fn compare(&self, item: &PlannedImage) -> Result<(PlannedImage, Vec<Error>), Error> {
        let registry = self.registries.source(&item.source.endpoint).await?;
        let settings = item.settings(self.settings);
        let Some(mut summary) = self.summarize(&registry, item, &settings).await? else {
            // Why not is told when it is brought.
            return Ok((item.clone(), Vec::new()));
        };
        let (mut found, mut unasked) = (Vec::new(), Vec::new());
        for (target, _) in &item.homes {
            match self.at(target).await {
                Ok(there) => found.push((target, Some(there))),
                // One that is in trouble keeps the image from no other.
                Err(error) => {
                    found.push((target, None));
                    if !target.best_effort {
                        unasked.push(error);
                    }
                }
            }
        }
        let mut there = found.iter().filter_map(|(_, there)| there.as_ref());
        let is_anywhere_else = there.any(|(_, digest)| digest.as_ref() != Some(&summary.digest));
        if is_anywhere_else && !push::is_unfiltered(&settings) {
            // What is not there, or for another platform, only the manifests tell.
            let source = Source::open_remote(Arc::clone(&registry), &item.source, &item.platforms);
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
                None => return Ok((item.clone(), unasked)),
            }
        }
        let mut homes = Vec::new();
        for (target, there) in found {
            let need = match there {
                None => SyncState::Unknown,
                Some((_, None)) => SyncState::Missing,
                Some((_, Some(digest))) if digest != summary.digest => SyncState::Outdated,
                Some(_) if !item.referrers => SyncState::UpToDate,
                Some((home, Some(_))) => {
                    let summary = (&registry, &summary);
                    let path = &target.repository;
                    match self.referrers_at(summary, item, &home, path).await {
                        Ok(need) => need,
                        Err(error) => {
                            if !target.best_effort {
                                unasked.push(error);
                            }
                            SyncState::Unknown
                        }
                    }
                }
            };
            homes.push((target.clone(), need));
        }
        let item = PlannedImage {
            homes,
            digest: Some(summary.digest),
            ..item.clone()
        };
        Ok((item, unasked))
    }

    /// The registry of a target, and what its tag leads to.
    async fn at(&self, target: &Target) -> Result<(Arc<Registry>, Option<Digest>), Error> {
        let registries = self.registries;
        let registry = registries.destination(&target.endpoint, target.best_effort);
        let registry = registry.await?;
        let tag = target.tags.first().map_or("latest", String::as_str);
        let digest = self.digest(&registry, &target.repository, tag).await?;
        Ok((registry, digest))
    }

    /// Asks what an image becomes; none where one question does not tell.
    async fn summarize(
        &self,
        registry: &Arc<Registry>,
        item: &PlannedImage,
        settings: &Settings,
    ) -> Result<Option<SourceSummary>, Error> {
        let (source, takes_all) = (&item.source, push::is_unfiltered(settings));
        let repository = &source.repository;
        let tag = source.tag.as_deref().unwrap_or("latest");
        let no_image = || Error::Mirror(MirrorError::NoImage(item.name.clone()));
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
        let has_no_companions =
            !item.referrers || self.has_no_companions(registry, repository).await;
        if takes_all && has_no_companions {
            let digest = match known {
                Some(digest) => Some(digest),
                None => self.digest(registry, repository, tag).await?,
            };
            return Ok(Some(SourceSummary {
                digest: digest.ok_or_else(no_image)?,
                manifests: Some(Vec::new()),
            }));
        }
        let named = known.as_ref().map_or(tag, Digest::as_str);
        let Ok(manifest) = registry.get_manifest(repository, named).await else {
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
                None => takes_all.then_some(SourceSummary {
                    digest: index.digest,
                    manifests: None,
                }),
            },
        })
    }

    /// True where it is known that nothing refers to any image of a source's repository.
    async fn has_no_companions(&self, registry: &Arc<Registry>, repository: &str) -> bool {
        let tags = self.companion_tags(registry, repository).await;
        registry.has_no_referrers(repository) && tags.is_some_and(|tags| tags.is_empty())
    }

    /// What is lacking at a home that has the image itself.
    async fn referrers_at(
        &self,
        (registry, summary): (&Arc<Registry>, &SourceSummary),
        item: &PlannedImage,
        home: &Arc<Registry>,
        path: &str,
    ) -> Result<SyncState, Error> {
        let Some(manifests) = &summary.manifests else {
            return Ok(SyncState::Unknown);
        };
        let repository = &item.source.repository;
        let companions = self.companions_of(registry, repository, &summary.digest, manifests);
        let Some(companions) = companions.await? else {
            return Ok(SyncState::Unknown);
        };
        let home = MirrorRepository {
            // Elsewhere a list costs more than the few questions that it answers.
            tags: match home.endpoint().is_google() {
                true => self.companion_tags(home, path).await,
                false => None,
            },
            registry: home,
            path,
        };
        let has_all = home.has(&companions).await;
        let failed = |cause| list_error(home.registry.endpoint(), path, cause);
        Ok(match has_all.map_err(failed)? {
            true => SyncState::UpToDate,
            false => SyncState::ReferrersMissing,
        })
    }

    /// What goes along with an image of the source, found out once however many tags and homes it has.
    async fn companions_of(
        &self,
        registry: &Arc<Registry>,
        path: &str,
        image: &Digest,
        manifests: &[Digest],
    ) -> Result<Option<Arc<ReferrerCheck>>, Error> {
        let key = (registry.endpoint().clone(), path.to_owned(), image.clone());
        let cell = self.companions.of(key);
        let found = cell.get_or_try_init(|| async {
            let repository = MirrorRepository {
                registry,
                path,
                tags: self.companion_tags(registry, path).await,
            };
            let found = repository.companions(manifests.to_vec()).await;
            let found = found.map_err(|cause| list_error(registry.endpoint(), path, cause))?;
            Ok::<_, Error>(found.map(Arc::new))
        });
        found.await.cloned()
    }

    /// The tags of a repository that companions are found by; none where they are not all listed, and
    /// have to be asked for one by one.
    async fn companion_tags(
        &self,
        registry: &Arc<Registry>,
        repository: &str,
    ) -> Option<Arc<ReferrerTags>> {
        let key = (registry.endpoint().clone(), repository.to_owned());
        let cell = self.companion_tags.of(key);
        let tags = cell.get_or_init(|| async {
            let listing = self.listing(registry, repository).await;
            let tags = ReferrerTags::of(&*listing.ok()??);
            tags.map(Arc::new)
        });
        tags.await.clone()
    }

    /// What a tag points at: one listing tells it for a whole repository where the registry lists
    /// digests, else it is asked for by itself.
    async fn digest(
        &self,
        registry: &Arc<Registry>,
        repository: &str,
        tag: &str,
    ) -> Result<Option<Digest>, Error> {
        let is_it = |manifest: &ListedManifest| manifest.tags.iter().any(|known| known == tag);
        if let Some(listed) = self.listed(registry, repository, is_it).await? {
            return Ok(Some(listed.digest));
        }
        let found = registry.head_manifest(repository, tag).await;
        found
            .map_err(|cause| list_error(registry.endpoint(), &format!("{repository}:{tag}"), cause))
    }

    /// A manifest of a repository, where the registry lists those.
    async fn listed(
        &self,
        registry: &Arc<Registry>,
        repository: &str,
        is_it: impl Fn(&ListedManifest) -> bool,
    ) -> Result<Option<ListedManifest>, Error> {
        if !registry.endpoint().is_google() {
            return Ok(None);
        }
        let listing = self.listing(registry, repository).await?;
        let manifests = listing.iter().flat_map(|listing| &listing.manifests);
        let mut found = manifests.filter(|manifest| is_it(manifest));
        Ok(found.next().cloned())
    }
}
