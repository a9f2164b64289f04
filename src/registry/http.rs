//! Sends requests to a registry: authenticated, rate-limited, repeated if a token was refused, and
//! with bounded bodies.

use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

use super::Registry;
use super::auth::scope::{Access, Authorization};
use super::error::RegistryError;
use super::transport::RegistryRequest;
pub(super) use crate::http::read_bounded;

/// How often a request is repeated with a new token. The second token may expire as well.
const MAX_REPEATS: u32 = 2;

/// The media type in `Content-Type`, without parameters.
pub(super) fn stated_type(response: &Response) -> Option<&str> {
    let stated = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    stated.split(';').next().map(str::trim)
}

impl Registry {
    /// Builds a URL at this registry's root.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.root.clone();
        url.set_path(path);
        url
    }

    /// Sends a request about `repository`. On a 401 it drops the token, stores the new challenge,
    /// and repeats the request. On a 429 it slows down all later requests. The caller checks the
    /// status.
    pub(super) async fn send(
        &self,
        method: Method,
        url: Url,
        repository: &str,
        access: Access,
        complete: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let mut sent = self.tokens.authorization(repository, access).await?;
        let mut repeats = 0;
        loop {
            self.retries.rate_limiter.acquire().await;
            let request = RegistryRequest {
                method: method.clone(),
                url: &url,
                authorization: sent.header(),
            };
            let mut response = self
                .transport
                .send(request, &self.retries.rate_limiter, &complete)
                .await?;
            self.retries.observe(&response);
            let is_own = response.url().origin() == url.origin();
            response
                .extensions_mut()
                .insert(self.tokens.presented(repository, &sent, is_own));
            if response.status() != StatusCode::UNAUTHORIZED || repeats == MAX_REPEATS || !is_own {
                return Ok(response);
            }
            // A GitLab API may be at another origin than the registry.
            if url.origin() == self.root.origin() {
                self.tokens
                    .update_challenge(repository, response.headers())
                    .map_err(|what| {
                        RegistryError::protocol_violation(method.clone(), url.clone(), what)
                    })?;
            }
            self.tokens.forget(repository, access, &sent);
            let next = self.tokens.authorization(repository, access).await?;
            if next == Authorization::None && sent == Authorization::None {
                return Ok(response);
            }
            sent = next;
            repeats += 1;
        }
    }

    /// Builds the error for a response with an error status.
    pub(super) async fn refusal(
        &self,
        method: Method,
        url: Url,
        response: Response,
    ) -> RegistryError {
        let presented = response.extensions().get().copied().unwrap_or_default();
        let requester = self.tokens.requester_for(self.access, presented, &url);
        let clean = |body: &[u8]| self.tokens.without_secrets(body);
        RegistryError::of_response(method, url, response, self.stall_timeout, clean)
            .await
            .of(requester)
    }
}
