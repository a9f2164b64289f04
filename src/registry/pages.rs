//! Reads paginated lists.

use std::ops::ControlFlow;

use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;

use super::auth::scope::Access;
use super::http::read_bounded;
use super::{Registry, RegistryError};
use crate::http::{PAGE, PageWalk, RetryPolicy, is_page, next_page};
use crate::oci::json;

/// The maximum size of a page. Ten thousand of Google's entries have about 4 MB.
const MAX_PAGE: usize = 64 * 1024 * 1024;

/// The maximum size of all pages together.
const MAX_LISTING: usize = 256 * 1024 * 1024;

/// A page that was read.
struct Page<P> {
    content: P,
    size: usize,
    /// The URL of the next page.
    next: Option<Url>,
}

impl Registry {
    /// Calls `visit` for each page from `url` on. False if the list does not exist. `what` names
    /// the expected content. Each page is a separate step for `retries`.
    pub(super) async fn pages<P: DeserializeOwned>(
        &self,
        url: Url,
        repository: &str,
        access: Access,
        what: &str,
        retries: &RetryPolicy,
        mut visit: impl FnMut(P) -> ControlFlow<()>,
    ) -> Result<bool, RegistryError> {
        let endless = |url| {
            let endless = "the list does not end";
            RegistryError::protocol_violation(Method::GET, url, endless)
        };
        let (mut walk, mut total) = (PageWalk::new(url), 0);
        while let Some(url) = walk.take().map_err(endless)? {
            let step = || self.page(&url, repository, access, what);
            let Some(page) = retries.run(step).await? else {
                return Ok(false);
            };
            total += page.size;
            if total > MAX_LISTING {
                return Err(endless(url));
            }
            if let ControlFlow::Continue(()) = visit(page.content) {
                walk.continue_at(page.next);
            }
        }
        Ok(true)
    }

    /// Reads one page. `None` if it does not exist.
    async fn page<P: DeserializeOwned>(
        &self,
        url: &Url,
        repository: &str,
        access: Access,
        what: &str,
    ) -> Result<Option<Page<P>>, RegistryError> {
        let response = self
            .send(Method::GET, url.clone(), repository, access, |r| r)
            .await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(self.refusal(Method::GET, url.clone(), response).await),
        }
        let next = next_page(response.headers(), url);
        let body = read_bounded(response, MAX_PAGE, self.stall_timeout)
            .await
            .map_err(|error| RegistryError::incomplete_body(Method::GET, url.clone(), error))?;
        match json::from_slice(&body) {
            Ok(content) => Ok(Some(Page {
                content,
                size: body.len(),
                next,
            })),
            Err(_) if is_page(&body) => Err(RegistryError::protocol_violation(
                Method::GET,
                url.clone(),
                PAGE,
            )),
            Err(_) => {
                let what = format!("the response is not a {what}");
                Err(RegistryError::corrupt(Method::GET, url.clone(), what))
            }
        }
    }
}
