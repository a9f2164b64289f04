//! Requests to one registry: signed in, in their turn, replayed when a token was refused, bodies
//! bounded.

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

use super::Registry;
use super::authorization::Access;
use super::error::{MAX_ERROR_BODY, RegistryError};
pub(super) use crate::network::{BodyError, read_bounded};

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

    /// Sends one request about `repository`. A 401 forgets the token and asks once more with a new
    /// one, and a 429 slows down all that is sent after it; otherwise the status is the caller's to
    /// judge.
    pub(super) async fn send(
        &self,
        method: Method,
        url: Url,
        repository: &str,
        access: Access,
        complete: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let mut replays = 0;
        loop {
            let shown = self.tokens.authorization(repository, access).await?;
            let mut request = complete(self.http.request(method.clone(), url.clone()));
            if let Some(header) = shown.header() {
                request = request.header(AUTHORIZATION, header);
            }
            self.retries.pace.turn().await;
            tracing::debug!("{method} {}", url.path());
            let answer = request.send().await.map_err(|error| {
                RegistryError::broken(method.clone(), url.clone(), error.without_url())
            })?;
            self.retries.heed(&answer);
            if *answer.url() != url && answer.url().origin() == url.origin() {
                self.retries.pace.count();
            }
            if answer.status() != StatusCode::UNAUTHORIZED || replays == REPLAYS {
                return Ok(answer);
            }
            self.tokens.refused(repository, access, &shown);
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
        let asker = self.tokens.asker_at(self.access, &url);
        let body = read_bounded(answer, MAX_ERROR_BODY, self.stall_timeout)
            .await
            .unwrap_or_default();
        let body = self.tokens.without_secrets(&body);
        RegistryError::refused(method, url, status, &body)
            .with_headers(&headers)
            .of(asker)
    }
}
