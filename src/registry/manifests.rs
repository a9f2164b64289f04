//! Manifests of one registry: is it there, what are its bytes, put it there.

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, Response, StatusCode};

use super::auth::scope::Access;
use super::error::{PAGE, is_page};
use super::http::{read_bounded, stated_type};
use super::{Registry, RegistryError};
use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, MAX_MANIFEST_SIZE};

const CONTENT_DIGEST: &str = "docker-content-digest";

/// Everything that can stand behind a tag here; a registry answers 404 for a type that it is not
/// asked for.
const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

impl Registry {
    /// The digest under a tag or digest of `repository`; none when there is no such manifest.
    ///
    /// # Errors
    ///
    /// When the registry refuses or answers without a digest.
    pub async fn head_manifest(
        &self,
        repository: &str,
        reference: &str,
    ) -> Result<Option<Digest>, RegistryError> {
        self.retries
            .run(|| self.head_manifest_once(repository, reference))
            .await
    }

    async fn head_manifest_once(
        &self,
        repository: &str,
        reference: &str,
    ) -> Result<Option<Digest>, RegistryError> {
        let url = self.url(&format!("/v2/{repository}/manifests/{reference}"));
        let answer = self
            .send(
                Method::HEAD,
                url.clone(),
                repository,
                self.access,
                |request| request.header(ACCEPT, ACCEPTED),
            )
            .await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            // A HEAD has no body, so the same question is asked again with GET to hear why.
            _ => {
                return self
                    .get_manifest_once(repository, reference)
                    .await
                    .map(|found| found.map(|manifest| manifest.digest().clone()));
            }
        }
        match content_digest(&answer) {
            Some(digest) => Ok(Some(digest)),
            // The header is optional (distribution spec, "Pulling manifests").
            None => Ok(self
                .get_manifest_once(repository, reference)
                .await?
                .map(|manifest| manifest.digest().clone())),
        }
    }

    /// The manifest under a tag or digest of `repository`, bytes kept; none when there is no such.
    ///
    /// # Errors
    ///
    /// When the registry refuses, or what it sends is no manifest or not the one asked for.
    pub async fn get_manifest(
        &self,
        repository: &str,
        reference: &str,
    ) -> Result<Option<AnyManifest>, RegistryError> {
        self.retries
            .run(|| self.get_manifest_once(repository, reference))
            .await
    }

    async fn get_manifest_once(
        &self,
        repository: &str,
        reference: &str,
    ) -> Result<Option<AnyManifest>, RegistryError> {
        let url = self.url(&format!("/v2/{repository}/manifests/{reference}"));
        let answer = self
            .send(
                Method::GET,
                url.clone(),
                repository,
                self.access,
                |request| request.header(ACCEPT, ACCEPTED),
            )
            .await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(self.refusal(Method::GET, url, answer).await),
        }
        let stated = stated_type(&answer).map(str::to_owned);
        // A tag has no digest of its own, but a registry says which one it stands for.
        let digest = reference.parse().ok().or_else(|| content_digest(&answer));
        let limit = usize::try_from(MAX_MANIFEST_SIZE).unwrap_or(usize::MAX);
        let body = read_bounded(answer, limit, self.stall_timeout)
            .await
            .map_err(|error| RegistryError::unfinished(Method::GET, url.clone(), error))?;
        if is_page(&body) {
            return Err(RegistryError::unexpected(Method::GET, url, PAGE));
        }
        let actual = Digest::of(&body);
        if digest.as_ref().is_some_and(|digest| *digest != actual) {
            let what = format!("it sent a manifest whose digest is {actual}");
            return Err(RegistryError::garbled(Method::GET, url, what));
        }
        let manifest = AnyManifest::parse(body, stated.as_deref()).map_err(|error| {
            let is_what_it_has = digest.is_some();
            RegistryError::malformed(Method::GET, url, error, is_what_it_has)
        })?;
        Ok(Some(manifest))
    }

    /// Puts a manifest's exact bytes under a tag or under its own digest.
    ///
    /// # Errors
    ///
    /// When the registry refuses it, or says that it stored another digest.
    pub async fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        manifest: &AnyManifest,
    ) -> Result<(), RegistryError> {
        self.retries
            .run(|| self.put_manifest_once(repository, reference, manifest))
            .await
    }

    async fn put_manifest_once(
        &self,
        repository: &str,
        reference: &str,
        manifest: &AnyManifest,
    ) -> Result<(), RegistryError> {
        let url = self.url(&format!("/v2/{repository}/manifests/{reference}"));
        let body: Bytes = manifest.bytes().clone();
        let answer = self
            .send(
                Method::PUT,
                url.clone(),
                repository,
                Access::PullPush,
                |request| {
                    request
                        .header(CONTENT_TYPE, manifest.media_type())
                        .body(body.clone())
                },
            )
            .await?;
        if !answer.status().is_success() {
            return Err(self.refusal(Method::PUT, url, answer).await);
        }
        match content_digest(&answer) {
            Some(stored) if stored != *manifest.digest() => Err(RegistryError::garbled(
                Method::PUT,
                url,
                format!("it stored {stored} instead of {}", manifest.digest()),
            )),
            // A sign-in page took it, and nobody would know where nothing is verified.
            None if stated_type(&answer).is_some_and(|kind| kind.starts_with("text/html")) => {
                Err(RegistryError::unexpected(Method::PUT, url, PAGE))
            }
            _ => Ok(()),
        }
    }
}

/// The digest that a registry says its answer is about.
fn content_digest(answer: &Response) -> Option<Digest> {
    answer
        .headers()
        .get(CONTENT_DIGEST)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::manifest::media_type;

    #[test]
    fn every_manifest_type_of_a_tag_is_accepted() {
        for kind in [
            media_type::OCI_MANIFEST,
            media_type::OCI_INDEX,
            media_type::DOCKER_MANIFEST,
            media_type::DOCKER_LIST,
        ] {
            assert!(
                ACCEPTED.split(", ").any(|accepted| accepted == kind),
                "{kind}"
            );
        }
    }
}
