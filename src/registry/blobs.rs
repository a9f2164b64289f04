//! Checks whether blobs exist, and reads small ones.

use bytes::Bytes;
use reqwest::{Method, StatusCode};

use super::http::read_bounded;
use super::{Registry, RegistryError};
use crate::oci::digest::Digest;
use crate::oci::manifest::MAX_MANIFEST_SIZE;

impl Registry {
    /// True if `repository` has the blob.
    ///
    /// # Errors
    ///
    /// If the registry refuses the request.
    pub async fn has_blob(&self, repository: &str, digest: &Digest) -> Result<bool, RegistryError> {
        self.retries
            .run(|| self.has_blob_once(repository, digest))
            .await
    }

    /// The same without retries.
    pub(crate) async fn has_blob_once(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let url = self.blob_url(repository, digest);
        let response = self
            .send(Method::HEAD, url.clone(), repository, self.access, |r| r)
            .await?;
        match response.status() {
            status if status.is_success() => return Ok(true),
            StatusCode::NOT_FOUND => return Ok(false),
            _ => {}
        }
        // The response to HEAD has no body, so GET is used to read the error. If the blob is
        // returned after all, it is not read.
        let response = self
            .send(Method::GET, url.clone(), repository, self.access, |r| r)
            .await?;
        match response.status() {
            status if status.is_success() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.refusal(Method::GET, url, response).await),
        }
    }

    /// Reads a small blob, such as a config. `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// If the registry refuses, or sends more than [`MAX_MANIFEST_SIZE`] bytes or bytes that do not
    /// match the digest.
    pub async fn get_config(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<Bytes>, RegistryError> {
        // A config only saves work, so it is not retried for long.
        self.retries
            .short()
            .run(|| self.get_config_once(repository, digest))
            .await
    }

    async fn get_config_once(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<Bytes>, RegistryError> {
        let url = self.blob_url(repository, digest);
        let response = self
            .send(Method::GET, url.clone(), repository, self.access, |r| r)
            .await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(self.refusal(Method::GET, url, response).await),
        }
        let limit = usize::try_from(MAX_MANIFEST_SIZE).unwrap_or(usize::MAX);
        let body = read_bounded(response, limit, self.stall_timeout)
            .await
            .map_err(|error| RegistryError::incomplete_body(Method::GET, url.clone(), error))?;
        if Digest::of(&body) == *digest {
            Ok(Some(body))
        } else {
            let what = format!("it sent a blob whose digest is {}", Digest::of(&body));
            Err(RegistryError::corrupt(Method::GET, url, what))
        }
    }
}
