//! The referrers API of OCI distribution 1.1.
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers>

use std::collections::HashMap;

use parking_lot::Mutex;

use reqwest::header::ACCEPT;
use reqwest::{Method, Response, StatusCode, Url};

use super::http::{read_bounded, stated_type};
use super::{Registry, RegistryError};
use crate::http::next_page;
use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, Descriptor, MAX_MANIFEST_SIZE, media_type};
use crate::oci::reference::ArtifactRegistryRepository;

/// The maximum number of pages.
const MAX_PAGES: usize = 1000;

/// Which parts of a registry support the API, as far as it is known.
#[derive(Default)]
pub(super) struct ReferrersApi {
    roots: Mutex<HashMap<String, bool>>,
    /// Held during the first request to a part, so that one request finds out and the others wait.
    first: tokio::sync::Mutex<()>,
}

impl ReferrersApi {
    /// Whether a part may support the API. `None` if it was not requested yet.
    fn support(&self, api_root: &str) -> Option<bool> {
        let roots = self.roots.lock();
        roots.get(api_root).copied()
    }

    /// Records the result of the first request.
    fn record(&self, api_root: String, may_exist: bool) {
        let mut roots = self.roots.lock();
        roots.entry(api_root).or_insert(may_exist);
    }
}

/// The result of a request.
enum ReferrersResponse {
    /// The referrers of the manifest.
    Referrers(Vec<Descriptor>),
    /// The API is not supported.
    NoApi,
    /// Neither is certain.
    Unclear,
}

impl Registry {
    /// Lists the manifests of `repository` whose subject is this manifest. `None` if the registry
    /// does not support the API.
    ///
    /// Only an index counts as support: registries of OCI 1.0 answer 404, and Artifact Registry
    /// once answered 200 with a sign-in page (google/go-containerregistry#1968).
    ///
    /// A part without support is not asked again.
    ///
    /// # Errors
    ///
    /// If the registry fails in a way that leaves support unknown.
    pub async fn referrers(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let api_root = self.api_root(repository);
        let mut first = None;
        if self.referrers_api.support(&api_root).is_none() {
            first = Some(self.referrers_api.first.lock().await);
        }
        if self.referrers_api.support(&api_root) == Some(false) {
            return Ok(None);
        }
        let request = || self.referrers_once(repository, digest);
        let response = self.retries.run(request).await?;
        let may_exist = !matches!(response, ReferrersResponse::NoApi);
        self.referrers_api.record(api_root, may_exist);
        drop(first);
        Ok(match response {
            ReferrersResponse::Referrers(referrers) => Some(referrers),
            ReferrersResponse::NoApi | ReferrersResponse::Unclear => None,
        })
    }

    /// True if `repository` is known not to support the API.
    pub fn has_no_referrers(&self, repository: &str) -> bool {
        self.referrers_api.support(&self.api_root(repository)) == Some(false)
    }

    /// Returns the part of the registry that shares its API with a repository. Each of Google's
    /// repositories may be of another type. Registries that serve several under one host, such as
    /// Harbor, Artifactory and Nexus, separate them by the first path component.
    fn api_root(&self, repository: &str) -> String {
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
    ) -> Result<ReferrersResponse, RegistryError> {
        let mut url = self.url(&format!("/v2/{repository}/referrers/{digest}"));
        let mut referrers = Vec::new();
        for page in 0..MAX_PAGES {
            let response = self
                .send(
                    Method::GET,
                    url.clone(),
                    repository,
                    self.access,
                    |request| request.header(ACCEPT, media_type::OCI_INDEX),
                )
                .await?;
            let is_index = stated_type(&response) == Some(media_type::OCI_INDEX);
            let status = response.status();
            if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
                return Err(self.refusal(Method::GET, url, response).await);
            }
            if status != StatusCode::OK || !is_index {
                // After the first page the API is known to exist, and the result is what was listed
                // so far.
                return Ok(match page {
                    0 => self.without_referrers(url, response).await,
                    _ => ReferrersResponse::Referrers(referrers),
                });
            }
            let next = next_page(response.headers(), &url);
            let limit = usize::try_from(MAX_MANIFEST_SIZE).unwrap_or(usize::MAX);
            let body = read_bounded(response, limit, self.stall_timeout)
                .await
                .map_err(|error| RegistryError::incomplete_body(Method::GET, url.clone(), error))?;
            match AnyManifest::parse(body, Some(media_type::OCI_INDEX)) {
                Ok(AnyManifest::Index(index)) => referrers.extend(index.manifests),
                _ if page > 0 => return Ok(ReferrersResponse::Referrers(referrers)),
                _ => return Ok(ReferrersResponse::Unclear),
            }
            match next {
                Some(next) => url = next,
                None => break,
            }
        }
        Ok(ReferrersResponse::Referrers(referrers))
    }

    /// Decides whether a response without a list means that the API is not supported. A registry
    /// with the API answers 200 for an existing manifest, but some answer 404 for a missing one.
    async fn without_referrers(&self, url: Url, response: Response) -> ReferrersResponse {
        match response.status() {
            StatusCode::OK | StatusCode::METHOD_NOT_ALLOWED => ReferrersResponse::NoApi,
            StatusCode::NOT_FOUND => {
                let refusal = self.refusal(Method::GET, url, response).await;
                match refusal.code() {
                    Some("NAME_UNKNOWN" | "MANIFEST_UNKNOWN") => ReferrersResponse::Unclear,
                    _ => ReferrersResponse::NoApi,
                }
            }
            _ => ReferrersResponse::Unclear,
        }
    }
}
