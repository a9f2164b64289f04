//! URLs as they may stand in a log.

use reqwest::{Method, Url};

use crate::diagnostics::sanitize::sanitize;

/// A URL as it may stand in a log: no user, no value of a query but the harmless ones, and no
/// upload session, which is a permission to write in itself.
pub(in crate::registry) fn redacted(method: &Method, url: &Url) -> String {
    const SHOWN: [&str; 8] = [
        "scope", "service", "mount", "from", "digest", "n", "last", "account",
    ];
    let mut shown = url.clone();
    // Both fail only on URLs that cannot have a user, which then have none to hide.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_query(None);
    let path = url.path();
    let session = path.find("/uploads/").map(|at| at + "/uploads/".len());
    if let Some(at) = session.filter(|at| *at < path.len()) {
        shown.set_path(&format!("{}...", &path[..at]));
    } else if *method == Method::PUT && !path.starts_with("/v2/") {
        // An upload may go on anywhere, and its path is the registry's own affair.
        shown.set_path("/...");
    }
    let mut text = shown.to_string();
    for (index, (key, value)) in url.query_pairs().enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        text.push_str(&sanitize(&key));
        text.push('=');
        text.push_str(&if SHOWN.contains(&&*key) {
            sanitize(&value)
        } else {
            "...".to_owned()
        });
    }
    text
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
            "https://gcr.io/artifacts-uploads/namespaces/p/repositories/r/uploads/...?digest=sha256:ab&_state=..."
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
            "https://storage.example/...?x=..."
        );
    }
}
