//! Requests to one registry: signed in, replayed once when a token was refused, bodies bounded.

use reqwest::header::AUTHORIZATION;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

use super::Registry;
use super::error::{MAX_ERROR_BODY, RegistryError};
use super::token::Access;
pub(super) use crate::network::read_bounded;

impl Registry {
    /// A URL below this registry's root.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.root.clone();
        url.set_path(path);
        url
    }

    /// Sends one request about `repository`. A 401 forgets the token and asks once more with a new
    /// one; any other status is the caller's to judge.
    pub(super) async fn send(
        &self,
        method: Method,
        url: Url,
        repository: &str,
        access: Access,
        complete: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let mut replayed = false;
        loop {
            let shown = self.tokens.authorization(repository, access).await?;
            let mut request = complete(self.http.request(method.clone(), url.clone()));
            if let Some(header) = shown.header() {
                request = request.header(AUTHORIZATION, header);
            }
            tracing::debug!("{method} {}", url.path());
            let answer = request.send().await.map_err(|error| {
                RegistryError::broken(method.clone(), url.clone(), error.without_url())
            })?;
            if answer.status() != StatusCode::UNAUTHORIZED || replayed {
                return Ok(answer);
            }
            self.tokens.refused(repository, access, &shown);
            replayed = true;
        }
    }

    /// Turns an answer that refuses into the error that tells so.
    pub(super) async fn refusal(
        &self,
        method: Method,
        url: Url,
        answer: Response,
    ) -> RegistryError {
        let status = answer.status();
        let body = read_bounded(answer, MAX_ERROR_BODY)
            .await
            .unwrap_or_default();
        let body = self.tokens.without_secrets(&body);
        RegistryError::refused(method, url, status, &body).of(self.tokens.asker(self.access))
    }
}
