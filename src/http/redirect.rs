//! Where an answer redirects a request, and which redirects are not followed.

use reqwest::header::LOCATION;
use reqwest::{Method, Response, StatusCode, Url};

/// The most redirects of one request.
pub(crate) const MAX_REDIRECTS: usize = 5;

/// A redirect that is not followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RedirectError {
    /// It would send what was encrypted in the clear.
    #[error("the registry redirects from HTTPS to plain HTTP, which is not followed")]
    Downgrade,
    /// It has no end.
    #[error("the registry redirects more than five times")]
    TooMany,
    /// It leads to no address of HTTP.
    #[error("the registry redirects to what is no HTTP URL")]
    NoUrl,
    /// It brings a user or a password of its own.
    #[error("the registry redirects to a URL with a login in it, which is not followed")]
    Login,
    /// It would make a read of a write.
    #[error("the registry answers the {0} with 303 See Other, which stores nothing")]
    SeeOther(Method),
}

/// Where an answer to `method` redirects; `None` if it does not. The method is kept, also where
/// browsers make a GET of it (RFC 9110, section 15.4.2 leaves the choice for POST alone).
///
/// # Errors
///
/// When the redirect must not be followed.
pub(crate) fn redirect_target(
    method: &Method,
    answer: &Response,
) -> Result<Option<Url>, RedirectError> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match answer.status() {
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
    let Some(location) = answer.headers().get(LOCATION) else {
        return Ok(None);
    };
    let location = location.to_str().map_err(|_| RedirectError::NoUrl)?;
    next_url(answer.url(), location).map(Some)
}

/// The URL of a `Location` in an answer from `base`.
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

/// True when a URL has a user or a password in it.
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
