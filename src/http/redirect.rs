//! Resolves redirects, and decides which are followed.

use reqwest::header::LOCATION;
use reqwest::{Method, Response, StatusCode, Url};

/// The maximum number of redirects of one request.
pub(crate) const MAX_REDIRECTS: usize = 5;

/// Why a redirect is not followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RedirectError {
    /// It would downgrade from HTTPS to plain HTTP.
    #[error("the registry redirects from HTTPS to plain HTTP, which gcr-push does not follow")]
    Downgrade,
    /// There are too many redirects.
    #[error("the registry redirects more than five times")]
    TooMany,
    /// The target is not an HTTP URL.
    #[error("the registry redirects to an address that is not an HTTP URL")]
    NoUrl,
    /// The target contains a user or a password.
    #[error(
        "the registry redirects to a URL that contains a login, which gcr-push does not follow"
    )]
    Login,
    /// It would turn a write into a read.
    #[error("the registry answers the {0} with 303 See Other, so it stores nothing")]
    SeeOther(Method),
}

/// Returns the target of a redirected request. `None` if the response is not a redirect. The method
/// is kept, even where browsers change it to GET (RFC 9110, section 15.4.2, permits that only for
/// POST).
///
/// # Errors
///
/// If the redirect must not be followed.
pub(crate) fn redirect_target(
    method: &Method,
    response: &Response,
) -> Result<Option<Url>, RedirectError> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match response.status() {
        StatusCode::SEE_OTHER if !reads => {
            return Err(RedirectError::SeeOther(method.clone()));
        }
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::SEE_OTHER
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => {}
        _ => return Ok(None),
    }
    let Some(location) = response.headers().get(LOCATION) else {
        return Ok(None);
    };
    let location = location.to_str().map_err(|_| RedirectError::NoUrl)?;
    next_url(response.url(), location).map(Some)
}

/// Resolves the `Location` of a response from `base`.
fn next_url(base: &Url, location: &str) -> Result<Url, RedirectError> {
    let next = base.join(location).map_err(|_| RedirectError::NoUrl)?;
    if !matches!(next.scheme(), "http" | "https") || !next.has_host() {
        return Err(RedirectError::NoUrl);
    }
    if has_login(&next) {
        return Err(RedirectError::Login);
    }
    if base.scheme() == "https" && next.scheme() == "http" {
        return Err(RedirectError::Downgrade);
    }
    Ok(next)
}

/// True if a URL contains a user or a password.
pub(crate) fn has_login(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn location_is_resolved_and_refused_if_it_leaks() {
        let base = Url::parse("https://r.example/v2/a/blobs/uploads/").unwrap();
        let next = |location| next_url(&base, location);
        assert_eq!(next("x?y").unwrap().path(), "/v2/a/blobs/uploads/x");
        assert_eq!(
            next("//s.example/x").unwrap().as_str(),
            "https://s.example/x"
        );
        assert!(matches!(
            next("http://r.example/"),
            Err(RedirectError::Downgrade)
        ));
        assert!(matches!(
            next("https://u:p@r.example/"),
            Err(RedirectError::Login)
        ));
        for other in [
            "ftp://r.example/",
            "file:///etc/passwd",
            "https://",
            "data:,x",
        ] {
            assert!(matches!(next(other), Err(RedirectError::NoUrl)), "{other}");
        }
    }
}
