//! Checks, reads and writes manifests.

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

use super::auth::scope::Access;
use super::http::{read_bounded, stated_type};
use super::{Registry, RegistryError};
use crate::http::{PAGE, is_page};
use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, MAX_MANIFEST_SIZE};

const CONTENT_DIGEST: &str = "docker-content-digest";

/// All supported manifest types. A registry answers 404 for a type that is not in `Accept`.
const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

impl Registry {
    /// Returns the digest of the manifest under a tag or digest. `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// If the registry refuses the request or states no digest.
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
        let (_, response) = self
            .request_manifest(Method::HEAD, repository, reference)
            .await?;
        let stated = match response.status() {
            StatusCode::OK => content_digest(&response),
            StatusCode::NOT_FOUND => return Ok(None),
            _ => None,
        };
        if stated.is_some() {
            return Ok(stated);
        }
        // The header is optional (distribution spec, "Pulling manifests"), and an error has its
        // body only in the response to GET.
        let found = self.get_manifest_once(repository, reference).await?;
        Ok(found.map(|manifest| manifest.digest().clone()))
    }

    /// Requests a manifest of any supported type. Returns the URL with the response.
    async fn request_manifest(
        &self,
        method: Method,
        repository: &str,
        reference: &str,
    ) -> Result<(Url, Response), RegistryError> {
        let url = self.url(&format!("/v2/{repository}/manifests/{reference}"));
        let accept = |request: RequestBuilder| request.header(ACCEPT, ACCEPTED);
        let sent = self.send(method, url.clone(), repository, self.access, accept);
        Ok((url, sent.await?))
    }

    /// Reads the manifest under a tag or digest, with its exact bytes. `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// If the registry refuses the request, or returns something else than the requested manifest.
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
        let (url, response) = self
            .request_manifest(Method::GET, repository, reference)
            .await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(self.refusal(Method::GET, url, response).await),
        }
        let stated = stated_type(&response).map(str::to_owned);
        // A tag states no digest, but the registry does in a header.
        let digest = reference.parse().ok().or_else(|| content_digest(&response));
        let limit = usize::try_from(MAX_MANIFEST_SIZE).unwrap_or(usize::MAX);
        let body = read_bounded(response, limit, self.stall_timeout)
            .await
            .map_err(|error| RegistryError::incomplete_body(Method::GET, url.clone(), error))?;
        if is_page(&body) {
            return Err(RegistryError::protocol_violation(Method::GET, url, PAGE));
        }
        let actual = Digest::of(&body);
        if digest.as_ref().is_some_and(|digest| *digest != actual) {
            let what = format!("it sent a manifest whose digest is {actual}");
            return Err(RegistryError::corrupt(Method::GET, url, what));
        }
        let manifest = AnyManifest::parse(body, stated.as_deref()).map_err(|error| {
            let is_stored = digest.is_some();
            RegistryError::malformed(Method::GET, url, error, is_stored)
        })?;
        Ok(Some(manifest))
    }

    /// Uploads the exact bytes of a manifest under a tag or under its digest.
    ///
    /// # Errors
    ///
    /// If the registry refuses it, or states that it stored another digest.
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
        let response = self
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
        if !response.status().is_success() {
            let refusal = self.refusal(Method::PUT, url, response).await;
            return Err(refusal.of_manifest(manifest.media_type()));
        }
        match content_digest(&response) {
            Some(stored) if stored != *manifest.digest() => Err(RegistryError::corrupt(
                Method::PUT,
                url,
                format!("it stored {stored} instead of {}", manifest.digest()),
            )),
            // A sign-in page accepted the request, which would go unnoticed if nothing is verified.
            None if stated_type(&response).is_some_and(|kind| kind.starts_with("text/html")) => {
                Err(RegistryError::protocol_violation(Method::PUT, url, PAGE))
            }
            _ => Ok(()),
        }
    }
}

/// The digest that the response states.
fn content_digest(response: &Response) -> Option<Digest> {
    response
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
