//! Mounts a blob from another repository of the same registry, without sending its bytes.
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#mounting-a-blob-from-another-repository>

use reqwest::header::CONTENT_LENGTH;
use reqwest::{Method, RequestBuilder, StatusCode};

use super::transport::RegistryRequest;
use super::{Registry, RegistryError};
use crate::oci::digest::Digest;

impl Registry {
    /// Mounts a blob of the repository `from` into `repository`. False if the registry asks for an
    /// upload instead, which the specification allows and which is usual across projects.
    ///
    /// # Errors
    ///
    /// If there is no token for both repositories, or the registry refuses. The blob can still be
    /// uploaded.
    pub async fn mount_blob(
        &self,
        repository: &str,
        digest: &Digest,
        from: &str,
    ) -> Result<bool, RegistryError> {
        let mut url = self.url(&format!("/v2/{repository}/blobs/uploads/"));
        url.query_pairs_mut()
            .append_pair("mount", digest.as_str())
            .append_pair("from", from);
        let authorization = self.tokens.authorization_to_mount(repository, from).await?;
        self.retries.rate_limiter.acquire().await;
        let request = RegistryRequest {
            method: Method::POST,
            url: &url,
            authorization: authorization.header(),
        };
        let empty = |request: RequestBuilder| request.header(CONTENT_LENGTH, 0);
        let mut response = self
            .transport
            .send(request, &self.retries.rate_limiter, empty)
            .await?;
        self.retries.observe(&response);
        response
            .extensions_mut()
            .insert(self.tokens.presented(repository, &authorization, true));
        match response.status() {
            StatusCode::CREATED => Ok(true),
            // An upload session was opened. Registries discard it.
            StatusCode::ACCEPTED => Ok(false),
            _ => Err(self.refusal(Method::POST, url, response).await),
        }
    }
}
