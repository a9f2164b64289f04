//! The requests of a kubelet's pull, and checks whether the credential could also push.

use reqwest::header::{LOCATION, RANGE};
use reqwest::{Method, StatusCode};

use super::auth::scope::Access;
use super::transport::RegistryRequest;
use super::{Registry, RegistryError};
use crate::oci::digest::Digest;

impl Registry {
    /// True if the first byte of a blob can be read, including from a host that the registry
    /// redirects to.
    ///
    /// # Errors
    ///
    /// If the registry refuses the request.
    pub async fn can_read_blob(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let url = self.blob_url(repository, digest);
        let mut response = self
            .send(
                Method::GET,
                url.clone(),
                repository,
                self.access,
                |request| request.header(RANGE, "bytes=0-0"),
            )
            .await?;
        match response.status() {
            // A registry may send the whole blob (RFC 9110, section 14.2). Only its start is read.
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => match response.chunk().await {
                Ok(_) => Ok(true),
                Err(error) => Err(RegistryError::connection_failed(
                    Method::GET,
                    url,
                    error.without_url(),
                )),
            },
            // An empty blob has no first byte (RFC 9110, section 15.5.17).
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.refusal(Method::GET, url, response).await),
        }
    }

    /// True if this credential could push to `repository`. Any other response counts as no.
    pub async fn can_push(&self, repository: &str) -> bool {
        self.open_and_cancel_upload(repository).await.is_ok()
    }

    /// Opens an upload session, which is the first request of a push, and cancels it.
    ///
    /// # Errors
    ///
    /// If the registry refuses the request.
    pub async fn probe_upload(&self, repository: &str) -> Result<(), RegistryError> {
        let probe = || self.open_and_cancel_upload(repository);
        self.retries.without_downtime().run(probe).await
    }

    async fn open_and_cancel_upload(&self, repository: &str) -> Result<(), RegistryError> {
        let response = self.start_upload(repository).await?;
        let url = response.url();
        let session = response
            .headers()
            .get(LOCATION)
            .and_then(|location| location.to_str().ok())
            .and_then(|location| url.join(location).ok())
            .filter(|session| session.origin() == url.origin());
        let authorization = self
            .tokens
            .authorization(repository, Access::PullPush)
            .await;
        if let (Some(session), Ok(authorization)) = (session, authorization) {
            // Not every registry supports cancelling, but all expire sessions.
            let request = RegistryRequest {
                method: Method::DELETE,
                url: &session,
                authorization: authorization.header(),
            };
            drop(
                self.transport
                    .send(request, &self.retries.rate_limiter, |r| r)
                    .await,
            );
        }
        Ok(())
    }
}
