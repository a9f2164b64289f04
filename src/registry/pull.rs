//! What a kubelet asks of a registry, and whether more would be allowed.

use reqwest::header::{LOCATION, RANGE};
use reqwest::{Method, StatusCode};

use super::auth::scope::Access;
use super::transport::Ask;
use super::{Registry, RegistryError};
use crate::oci::digest::Digest;

impl Registry {
    /// True when the first byte of a blob comes, wherever the registry sends us for it.
    ///
    /// # Errors
    ///
    /// When the registry refuses.
    pub async fn can_read_blob(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let url = self.blob_url(repository, digest);
        let mut answer = self
            .send(
                Method::GET,
                url.clone(),
                repository,
                self.access,
                |request| request.header(RANGE, "bytes=0-0"),
            )
            .await?;
        match answer.status() {
            // A registry may send all of it (RFC 9110, section 14.2); no more than begins is read.
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => match answer.chunk().await {
                Ok(_) => Ok(true),
                Err(error) => Err(RegistryError::broken(Method::GET, url, error.without_url())),
            },
            // An empty blob has no first byte (RFC 9110, section 15.5.17).
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.refusal(Method::GET, url, answer).await),
        }
    }

    /// True when this credential could push to `repository`. Whatever else the registry says counts
    /// as no.
    pub async fn can_push(&self, repository: &str) -> bool {
        self.open_and_cancel_upload(repository).await.is_ok()
    }

    /// Asks for what a push asks for first: an upload, which is given up at once.
    ///
    /// # Errors
    ///
    /// When the registry refuses.
    pub async fn probe_upload(&self, repository: &str) -> Result<(), RegistryError> {
        let probe = || self.open_and_cancel_upload(repository);
        self.retries.without_downtime().run(probe).await
    }

    async fn open_and_cancel_upload(&self, repository: &str) -> Result<(), RegistryError> {
        let answer = self.start_upload(repository).await?;
        let url = answer.url();
        let session = answer
            .headers()
            .get(LOCATION)
            .and_then(|location| location.to_str().ok())
            .and_then(|location| url.join(location).ok())
            .filter(|session| session.origin() == url.origin());
        let shown = self
            .tokens
            .authorization(repository, Access::PullPush)
            .await;
        if let (Some(session), Ok(shown)) = (session, shown) {
            // Not every registry knows how to cancel; each forgets in time.
            let ask = Ask {
                method: Method::DELETE,
                url: &session,
                authorization: shown.header(),
            };
            drop(self.transport.send(ask, &self.retries.pace, |r| r).await);
        }
        Ok(())
    }
}
