//! What refers to a manifest: the referrers API of OCI distribution 1.1.
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers>

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use reqwest::header::ACCEPT;
use reqwest::{Method, Response, StatusCode, Url};

use super::http::{read_bounded, stated_type};
use super::pages::next_page;
use super::{Registry, RegistryError};
use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, Descriptor, MAX_MANIFEST_SIZE, media_type};
use crate::oci::reference::ArtifactRegistryRepository;

/// The most pages that are followed.
const MAX_PAGES: usize = 1000;

/// Which parts of a registry have the API, as far as that is known.
#[derive(Default)]
pub(super) struct ReferrersApi {
    parts: Mutex<HashMap<String, bool>>,
    /// Held by who asks a part for the first time, so that one asks and the others hear of it.
    first: tokio::sync::Mutex<()>,
}

impl ReferrersApi {
    /// Whether a part may have it; none before it was asked.
    fn known(&self, part: &str) -> Option<bool> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.get(part).copied()
    }

    /// Notes what a first answer told.
    fn note(&self, part: String, may_be_there: bool) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.entry(part).or_insert(may_be_there);
    }
}

/// What an answer tells.
enum Answer {
    /// What refers to the manifest.
    Referrers(Vec<Descriptor>),
    /// That there is no such API here.
    NoApi,
    /// Neither.
    Unclear,
}

impl Registry {
    /// The manifests of `repository` that name this one as their subject; none where the registry
    /// has no such API.
    ///
    /// Only an index is believed: registries of OCI 1.0 answer 404, or as Artifact Registry once
    /// did 200 with a page to sign in at (google/go-containerregistry#1968).
    ///
    /// A part that has it not is not asked again.
    ///
    /// # Errors
    ///
    /// When the registry is in trouble, so that it cannot be told which it is.
    pub async fn referrers(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let part = self.part(repository);
        let mut first = None;
        if self.referrers_api.known(&part).is_none() {
            first = Some(self.referrers_api.first.lock().await);
        }
        if self.referrers_api.known(&part) == Some(false) {
            return Ok(None);
        }
        let question = || self.referrers_once(repository, digest);
        let answer = self.retries.run(question).await?;
        let may_be_there = !matches!(answer, Answer::NoApi);
        self.referrers_api.note(part, may_be_there);
        drop(first);
        Ok(match answer {
            Answer::Referrers(found) => Some(found),
            Answer::NoApi | Answer::Unclear => None,
        })
    }

    /// True where it is known that `repository` has no such API.
    pub fn has_no_referrers(&self, repository: &str) -> bool {
        self.referrers_api.known(&self.part(repository)) == Some(false)
    }

    /// What a repository shares its API with: Google's repositories are kinds of their own, and others
    /// that join several registries under one host do it by the first component of the path, as
    /// Harbor, Artifactory and Nexus do.
    fn part(&self, repository: &str) -> String {
        match ArtifactRegistryRepository::of(&self.endpoint, repository) {
            Some(place) => place.resource(),
            None => match repository.split_once('/') {
                Some((first, _)) => first.to_owned(),
                None => String::new(),
            },
        }
    }

    async fn referrers_once(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Answer, RegistryError> {
        let mut url = self.url(&format!("/v2/{repository}/referrers/{digest}"));
        let mut found = Vec::new();
        for page in 0..MAX_PAGES {
            let answer = self
                .send(
                    Method::GET,
                    url.clone(),
                    repository,
                    self.access,
                    |request| request.header(ACCEPT, media_type::OCI_INDEX),
                )
                .await?;
            let is_index = stated_type(&answer) == Some(media_type::OCI_INDEX);
            let status = answer.status();
            if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
                return Err(self.refusal(Method::GET, url, answer).await);
            }
            if status != StatusCode::OK || !is_index {
                // Past the first page it has the API, and what it told so far is what it tells.
                return Ok(match page {
                    0 => self.without_referrers(url, answer).await,
                    _ => Answer::Referrers(found),
                });
            }
            let next = next_page(answer.headers(), &url);
            let limit = usize::try_from(MAX_MANIFEST_SIZE).unwrap_or(usize::MAX);
            let body = read_bounded(answer, limit, self.stall_timeout)
                .await
                .map_err(|error| RegistryError::unfinished(Method::GET, url.clone(), error))?;
            match AnyManifest::parse(body, Some(media_type::OCI_INDEX)) {
                Ok(AnyManifest::Index(index)) => found.extend(index.manifests),
                _ if page > 0 => return Ok(Answer::Referrers(found)),
                _ => return Ok(Answer::Unclear),
            }
            match next {
                Some(next) => url = next,
                None => break,
            }
        }
        Ok(Answer::Referrers(found))
    }

    /// Whether an answer that lists nothing means that there is no API: a registry that has it answers
    /// 200 for a manifest that is there, but some answer 404 for one that is not.
    async fn without_referrers(&self, url: Url, answer: Response) -> Answer {
        match answer.status() {
            StatusCode::OK | StatusCode::METHOD_NOT_ALLOWED => Answer::NoApi,
            StatusCode::NOT_FOUND => {
                let refusal = self.refusal(Method::GET, url, answer).await;
                match refusal.code() {
                    Some("NAME_UNKNOWN" | "MANIFEST_UNKNOWN") => Answer::Unclear,
                    _ => Answer::NoApi,
                }
            }
            _ => Answer::Unclear,
        }
    }
}
