//! Mounting a blob that another repository of the same registry holds: no byte of it moves.
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#mounting-a-blob-from-another-repository>

use reqwest::header::CONTENT_LENGTH;
use reqwest::{Method, RequestBuilder, StatusCode};

use super::transport::Ask;
use super::{Registry, RegistryError};
use crate::oci::digest::Digest;

impl Registry {
    /// Asks for a blob of the repository `from` to be in `repository` too. False when the registry
    /// would rather have it sent, which is its right and the usual answer across projects.
    ///
    /// # Errors
    ///
    /// When there is no token for both repositories, or the registry refuses. It can be sent then
    /// all the same.
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
        let shown = self.tokens.authorization_to_mount(repository, from).await?;
        self.retries.pace.acquire().await;
        let ask = Ask {
            method: Method::POST,
            url: &url,
            authorization: shown.header(),
        };
        let empty = |request: RequestBuilder| request.header(CONTENT_LENGTH, 0);
        let mut answer = self.transport.send(ask, &self.retries.pace, empty).await?;
        self.retries.observe(&answer);
        answer
            .extensions_mut()
            .insert(self.tokens.presented(repository, &shown, true));
        match answer.status() {
            StatusCode::CREATED => Ok(true),
            // An upload was begun, which registries drop by themselves.
            StatusCode::ACCEPTED => Ok(false),
            _ => Err(self.refusal(Method::POST, url, answer).await),
        }
    }
}
