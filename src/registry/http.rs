//! Requests to one registry: signed in, in their turn, replayed when a token was refused, bodies
//! bounded.

use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

use super::Registry;
use super::auth::scope::{Access, Authorization};
use super::error::{MAX_ERROR_BODY, RegistryError};
use super::transport::Ask;
pub(super) use crate::http::{BodyError, read_bounded};

/// How often a request is sent again with a new token: the second one may run out as well.
const REPLAYS: u32 = 2;

/// The media type that an answer states, without its parameters.
pub(super) fn stated_type(answer: &Response) -> Option<&str> {
    let stated = answer.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    stated.split(';').next().map(str::trim)
}

impl Registry {
    /// A URL below this registry's root.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.root.clone();
        url.set_path(path);
        url
    }

    /// Sends one request about `repository`. A 401 forgets the token, takes up what the registry asks
    /// for now, and asks once more; a 429 slows down all that is sent after it; otherwise the status is
    /// the caller's to judge.
    pub(super) async fn send(
        &self,
        method: Method,
        url: Url,
        repository: &str,
        access: Access,
        complete: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let mut shown = self.tokens.authorization(repository, access).await?;
        let mut replays = 0;
        loop {
            self.retries.pace.acquire().await;
            let ask = Ask {
                method: method.clone(),
                url: &url,
                authorization: shown.header(),
            };
            let mut answer = self
                .transport
                .send(ask, &self.retries.pace, &complete)
                .await?;
            self.retries.observe(&answer);
            let is_own = answer.url().origin() == url.origin();
            answer
                .extensions_mut()
                .insert(self.tokens.presented(repository, &shown, is_own));
            if answer.status() != StatusCode::UNAUTHORIZED || replays == REPLAYS || !is_own {
                return Ok(answer);
            }
            // The API of the GitLab that a registry belongs to is elsewhere.
            if url.origin() == self.root.origin() {
                self.tokens
                    .challenged(repository, answer.headers())
                    .map_err(|what| RegistryError::unexpected(method.clone(), url.clone(), what))?;
            }
            self.tokens.refused(repository, access, &shown);
            let next = self.tokens.authorization(repository, access).await?;
            if next == Authorization::None && shown == Authorization::None {
                return Ok(answer);
            }
            shown = next;
            replays += 1;
        }
    }

    /// Turns an answer that refuses into the error that tells so.
    pub(super) async fn refusal(
        &self,
        method: Method,
        url: Url,
        answer: Response,
    ) -> RegistryError {
        let (status, headers) = (answer.status(), answer.headers().clone());
        let presented = answer.extensions().get().copied().unwrap_or_default();
        let at = answer.url().clone();
        let asker = self.tokens.asker_at(self.access, presented, &url);
        let body = read_bounded(answer, MAX_ERROR_BODY, self.stall_timeout)
            .await
            .unwrap_or_default();
        let body = self.tokens.without_secrets(&body);
        RegistryError::refused(method, url, status, &body)
            .with_headers(&headers)
            .at(&at)
            .of(asker)
    }
}
