//! URLs in messages and logs.

use reqwest::{Method, Url};

use crate::diagnostics::sanitize::sanitize;

/// Formats a URL without a user, without any part of the query but known harmless ones, and without
/// the upload session, which is a permission to write.
pub(crate) fn redacted(method: &Method, url: &Url) -> String {
    const KEPT_PARAMETERS: [&str; 8] = [
        "scope", "service", "mount", "from", "digest", "n", "last", "account",
    ];
    let mut redacted = url.clone();
    // Both fail only for URLs that cannot have a user.
    let _ = redacted.set_username("");
    let _ = redacted.set_password(None);
    redacted.set_query(None);
    let path = url.path();
    let session = path.find("/uploads/").map(|at| at + "/uploads/".len());
    if let Some(at) = session.filter(|at| *at < path.len()) {
        redacted.set_path(&format!("{}...", &path[..at]));
    } else if *method == Method::PUT && !path.starts_with("/v2/") {
        // An upload may continue at any address, whose path is private to the registry.
        redacted.set_path("/...");
    }
    let mut text = redacted.to_string();
    let query = url.query_pairs();
    let kept = query.filter(|(key, _)| KEPT_PARAMETERS.contains(&&**key));
    for (index, (key, value)) in kept.enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        text.push_str(&format!("{key}={}", sanitize(&value)));
    }
    text
}

/// `host` or `host:port`, as the user wrote it.
pub(crate) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn upload_session_is_not_shown() {
        assert_eq!(
            redacted(
                &Method::PUT,
                &url(
                    "https://u:p@gcr.io/artifacts-uploads/namespaces/p/repositories/r/uploads/SECRET?digest=sha256:ab&_state=SECRET"
                )
            ),
            "https://gcr.io/artifacts-uploads/namespaces/p/repositories/r/uploads/...?digest=sha256:ab"
        );
        assert_eq!(
            redacted(&Method::POST, &url("https://gcr.io/v2/p/a/blobs/uploads/")),
            "https://gcr.io/v2/p/a/blobs/uploads/"
        );
        assert_eq!(
            redacted(
                &Method::PUT,
                &url("https://storage.example/SECRET?x=SECRET")
            ),
            "https://storage.example/..."
        );
    }
}
