//! What refers to a manifest: the referrers API of OCI distribution 1.1.
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers>

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, StatusCode};

use super::http::read_bounded;
use super::pages::next_page;
use super::{Registry, RegistryError};
use crate::digest::Digest;
use crate::manifest::{AnyManifest, Descriptor, MAX_MANIFEST_SIZE, media_type};

/// The most pages that are followed.
const MAX_PAGES: usize = 1000;

impl Registry {
    /// The manifests of `repository` that name this one as their subject; none where the registry
    /// has no such API.
    ///
    /// Only an index is believed: registries of OCI 1.0 answer 404, or as Artifact Registry once
    /// did 200 with a page to sign in at (google/go-containerregistry#1968).
    ///
    /// # Errors
    ///
    /// When the registry is in trouble, so that it cannot be told which it is.
    pub async fn referrers(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        self.retries
            .run(|| self.referrers_once(repository, digest))
            .await
    }

    async fn referrers_once(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
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
            let kind = answer.headers().get(CONTENT_TYPE);
            let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            let is_index = kind.split(';').next().map(str::trim) == Some(media_type::OCI_INDEX);
            let status = answer.status();
            if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
                return Err(self.refusal(Method::GET, url, answer).await);
            }
            if status != StatusCode::OK || !is_index {
                // Past the first page it has the API, and what it told so far is what it tells.
                return Ok((page > 0).then_some(found));
            }
            let next = next_page(answer.headers(), &url);
            let limit = usize::try_from(MAX_MANIFEST_SIZE).unwrap_or(usize::MAX);
            let body = read_bounded(answer, limit, self.stall_timeout)
                .await
                .map_err(|error| RegistryError::unfinished(Method::GET, url.clone(), error))?;
            match AnyManifest::parse(body, Some(media_type::OCI_INDEX)) {
                Ok(AnyManifest::Index(index)) => found.extend(index.manifests),
                _ => return Ok((page > 0).then_some(found)),
            }
            match next {
                Some(next) => url = next,
                None => break,
            }
        }
        Ok(Some(found))
    }
}
