//! Blobs of one registry: is it there, and the bytes of a small one.

use bytes::Bytes;
use reqwest::{Method, StatusCode};

use super::http::read_bounded;
use super::{Registry, RegistryError};
use crate::oci::digest::Digest;
use crate::oci::manifest::MAX_MANIFEST_SIZE;

impl Registry {
    /// True when `repository` holds the blob.
    ///
    /// # Errors
    ///
    /// When the registry refuses to say.
    pub async fn has_blob(&self, repository: &str, digest: &Digest) -> Result<bool, RegistryError> {
        self.retries
            .run(|| self.has_blob_once(repository, digest))
            .await
    }

    /// The same question, asked once.
    pub(crate) async fn has_blob_once(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let url = self.blob_url(repository, digest);
        let answer = self
            .send(Method::HEAD, url.clone(), repository, self.access, |r| r)
            .await?;
        match answer.status() {
            status if status.is_success() => return Ok(true),
            StatusCode::NOT_FOUND => return Ok(false),
            _ => {}
        }
        // A HEAD has no body, so the same question is asked again with GET to hear why; a blob that
        // comes after all is not read.
        let answer = self
            .send(Method::GET, url.clone(), repository, self.access, |r| r)
            .await?;
        match answer.status() {
            status if status.is_success() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.refusal(Method::GET, url, answer).await),
        }
    }

    /// The bytes of a small blob, a config; none when it is not there.
    ///
    /// # Errors
    ///
    /// When the registry refuses, or sends more than [`MAX_MANIFEST_SIZE`] bytes or other ones than
    /// the digest names.
    pub async fn get_config(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<Bytes>, RegistryError> {
        // What a config tells only saves work.
        self.retries
            .brief()
            .run(|| self.get_config_once(repository, digest))
            .await
    }

    async fn get_config_once(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<Bytes>, RegistryError> {
        let url = self.blob_url(repository, digest);
        let answer = self
            .send(Method::GET, url.clone(), repository, self.access, |r| r)
            .await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(self.refusal(Method::GET, url, answer).await),
        }
        let limit = usize::try_from(MAX_MANIFEST_SIZE).unwrap_or(usize::MAX);
        let body = read_bounded(answer, limit, self.stall_timeout)
            .await
            .map_err(|error| RegistryError::unfinished(Method::GET, url.clone(), error))?;
        if Digest::of(&body) == *digest {
            Ok(Some(body))
        } else {
            let what = format!("it sent a blob whose digest is {}", Digest::of(&body));
            Err(RegistryError::garbled(Method::GET, url, what))
        }
    }
}
