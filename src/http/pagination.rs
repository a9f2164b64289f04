//! Walks lists that come in pages: with a `Link` to the next page, or with Google's `pageToken`.

use reqwest::Url;
use reqwest::header::{HeaderMap, LINK};

/// The maximum number of pages, in case a server always names another one.
const MAX_PAGES: usize = 2_000;

/// A walk through the pages of a list.
pub(crate) struct PageWalk {
    next: Option<Url>,
    pages: usize,
}

impl PageWalk {
    /// Starts at the first page.
    pub(crate) fn new(first: Url) -> Self {
        Self {
            next: Some(first),
            pages: 0,
        }
    }

    /// Takes the URL of the page to read now. `None` if the last page was read.
    ///
    /// # Errors
    ///
    /// The URL, if the list seems to have no last page.
    pub(crate) fn take(&mut self) -> Result<Option<Url>, Url> {
        self.pages += 1;
        match self.next.take() {
            Some(url) if self.pages > MAX_PAGES => Err(url),
            next => Ok(next),
        }
    }

    /// Sets the URL of the next page.
    pub(crate) fn continue_at(&mut self, next: Option<Url>) {
        self.next = next;
    }
}

/// Returns the URL of the page with this `nextPageToken` of the list at `current`.
/// <https://google.aip.dev/158>
pub(crate) fn page_with_token(current: &Url, token: &str) -> Url {
    let others = current.query_pairs().filter(|(key, _)| key != "pageToken");
    let others: Vec<_> = others
        .map(|(k, v)| (k.into_owned(), v.into_owned()))
        .collect();
    let mut next = current.clone();
    let mut query = next.query_pairs_mut();
    query
        .clear()
        .extend_pairs(others)
        .append_pair("pageToken", token);
    drop(query);
    next
}

/// Returns the URL of the next page from `Link: <…>; rel="next"` (RFC 8288), if it is at the same
/// registry.
pub(crate) fn next_page(headers: &HeaderMap, current: &Url) -> Option<Url> {
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
