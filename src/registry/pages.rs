//! Reads paginated lists.

use std::ops::ControlFlow;

use reqwest::header::{HeaderMap, LINK};
use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;

use super::auth::scope::Access;
use super::error::{PAGE, is_page};
use super::http::read_bounded;
use super::{Registry, RegistryError, RetryPolicy};
use crate::oci::json;

/// The maximum size of a page. Ten thousand of Google's entries have about 4 MB.
const MAX_PAGE: usize = 64 * 1024 * 1024;

/// The maximum number of pages, in case a registry always names another one.
const MAX_PAGES: usize = 2_000;

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
        mut url: Url,
        repository: &str,
        access: Access,
        what: &str,
        retries: &RetryPolicy,
        mut visit: impl FnMut(P) -> ControlFlow<()>,
    ) -> Result<bool, RegistryError> {
        let mut total = 0;
        for _ in 0..MAX_PAGES {
            let step = || self.page(&url, repository, access, what);
            let Some(page) = retries.run(step).await? else {
                return Ok(false);
            };
            total += page.size;
            if total > MAX_LISTING {
                break;
            }
            match (visit(page.content), page.next) {
                (ControlFlow::Continue(()), Some(next)) => url = next,
                _ => return Ok(true),
            }
        }
        let endless = "the listing has no end";
        Err(RegistryError::protocol_violation(Method::GET, url, endless))
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
                let what = format!("the answer is no {what}");
                Err(RegistryError::corrupt(Method::GET, url.clone(), what))
            }
        }
    }
}

/// Returns the URL of the next page from `Link: <…>; rel="next"` (RFC 8288), if it is at the same
/// registry.
pub(super) fn next_page(headers: &HeaderMap, current: &Url) -> Option<Url> {
    headers
        .get_all(LINK)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|link| {
            let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
            let is_next = parameters
                .split(';')
                .any(|parameter| matches!(parameter.trim(), r#"rel="next""# | "rel=next"));
            let url = current.join(target).ok()?;
            (is_next && url.origin() == current.origin() && url != *current).then_some(url)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(link: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(LINK, link.parse().unwrap());
        let current = Url::parse("https://r.example/v2/a/tags/list?n=2").unwrap();
        next_page(&headers, &current).map(|url| url.to_string())
    }

    #[test]
    fn next_page_must_be_on_the_same_registry() {
        assert_eq!(
            next(r#"</v2/a/tags/list?last=b&n=2>; rel="next""#).unwrap(),
            "https://r.example/v2/a/tags/list?last=b&n=2"
        );
        assert_eq!(
            next(r#"<https://evil.example/v2/a/tags/list>; rel="next""#),
            None
        );
        assert_eq!(
            next(r#"<http://r.example/v2/a/tags/list>; rel="next""#),
            None
        );
        assert_eq!(next(r#"</v2/a/tags/list?n=2>; rel="next""#), None);
        assert_eq!(next(r#"</v2/a>; rel="prev""#), None);
        assert_eq!(next("garbage"), None);
    }
}
