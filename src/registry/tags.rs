//! `tags/list`: the tags of a repository, over pages, with Google's extension where there is one.

use reqwest::header::{HeaderMap, LINK};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use super::error::{PAGE, is_page};
use super::google::{Extension, ListedManifest};
use super::http::read_bounded;
use super::token::Access;
use super::{Registry, RegistryError};

/// What a registry lists below a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The tags of the path itself.
    pub tags: Vec<String>,
    /// The next component of each path below; Google's registries alone tell.
    pub children: Vec<String>,
    /// The manifests of the path; Google's registries alone tell.
    pub manifests: Vec<ListedManifest>,
}

/// Google answers with everything at once up to this many; go-containerregistry asks the same.
const GOOGLE_PAGE: u32 = 10_000;

/// The most bytes of one page: ten thousand of Google's entries are about 4 MB.
const MAX_PAGE: usize = 64 * 1024 * 1024;

/// The most pages that are followed, so that a registry that always names another one ends too.
const MAX_PAGES: usize = 10_000;

impl Registry {
    /// Lists what is at `path`: a repository, or a project on Google's registries. None when the
    /// registry knows nothing there.
    ///
    /// # Errors
    ///
    /// When the registry refuses, or what it sends is no listing.
    pub async fn list(&self, path: &str) -> Result<Option<Listing>, RegistryError> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
            #[serde(flatten)]
            extension: Extension,
        }

        let mut listing = Listing::default();
        let mut url = self.url(&format!("/v2/{path}/tags/list"));
        if self.endpoint.is_google() {
            url.query_pairs_mut()
                .append_pair("n", &GOOGLE_PAGE.to_string());
        }
        for _ in 0..MAX_PAGES {
            let answer = self
                .send(Method::GET, url.clone(), path, Access::Pull, |request| {
                    request
                })
                .await?;
            match answer.status() {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => return Ok(None),
                _ => return Err(self.refusal(Method::GET, url, answer).await),
            }
            let next = next_page(answer.headers(), &url);
            let body = read_bounded(answer, MAX_PAGE)
                .await
                .map_err(|error| RegistryError::broken(Method::GET, url.clone(), error))?;
            let page: Page = serde_json::from_slice(&body).map_err(|_| {
                let what = if is_page(&body) {
                    PAGE
                } else {
                    "the answer is no list of tags"
                };
                RegistryError::unexpected(Method::GET, url.clone(), what)
            })?;
            listing.tags.extend(page.tags.unwrap_or_default());
            let whole = page.extension.is_present();
            listing.children.extend_from_slice(&page.extension.child);
            listing.manifests.extend(page.extension.manifests());
            match next {
                // With the extension the first page is all there is.
                Some(next) if !whole => url = next,
                _ => break,
            }
        }
        Ok(Some(listing))
    }
}

/// The next page's URL from `Link: <…>; rel="next"` (RFC 8288), on the same registry only.
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
    fn the_next_page_is_taken_from_the_same_registry_alone() {
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
