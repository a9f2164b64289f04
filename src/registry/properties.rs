//! Properties that hold for every header a registry may send.

use reqwest::Url;
use reqwest::header::{CONTENT_RANGE, HeaderMap, HeaderValue, LINK, RETRY_AFTER, WWW_AUTHENTICATE};

use super::auth::challenge::{Challenge, Realms, parse_challenge};
use super::download::starts_at;
use crate::http::{next_page, retry_after};

/// Parses headers of any bytes. Parsing must not panic, must not send credentials away from
/// Google's host, and must not continue a list at another registry.
///
/// # Panics
///
/// If a property does not hold.
pub fn headers(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    let mut headers = HeaderMap::new();
    for name in [WWW_AUTHENTICATE, LINK, RETRY_AFTER, CONTENT_RANGE] {
        headers.insert(name, value.clone());
    }
    let realms = |host: &str| {
        let endpoint = host.parse().ok()?;
        Some(Realms {
            endpoint,
            is_https: true,
            insecure_registries: Vec::new(),
        })
    };
    let realm = |host| match parse_challenge(&headers, &realms(host)?) {
        Ok(Challenge::Bearer { realm, .. }) => Some(realm),
        Ok(Challenge::None | Challenge::Basic) | Err(_) => None,
    };
    if let Some(realm) = realm("gcr.io") {
        assert_eq!(
            (realm.scheme(), realm.host_str()),
            ("https", Some("gcr.io"))
        );
    }
    if let Some(realm) = realm("r.example") {
        assert_eq!(realm.scheme(), "https");
    }
    if let Ok(current) = Url::parse("https://r.example/v2/a/tags/list?n=2")
        && let Some(next) = next_page(&headers, &current)
    {
        assert_eq!(next.origin(), current.origin());
        assert_ne!(next, current);
    }
    let _ = retry_after(&headers);
    let _ = starts_at(&headers);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn random_headers_cause_no_panic(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..60),
                "(Bearer|Basic|bearer) (realm|service|scope)=\"?[a-z:/.@%0-9\\\\-]{0,40}\"?(, ?[a-z]{1,7}=\"[ -~]{0,20}\")?"
                    .prop_map(String::into_bytes),
                "<[a-z:/.@%0-9?=-]{0,40}>; ?rel=\"?(next|prev)\"?(, <[a-z/]{0,10}>; rel=next)?"
                    .prop_map(String::into_bytes),
                "bytes [0-9]{0,25}-[0-9*]{0,25}/[0-9*]{0,5}".prop_map(String::into_bytes),
                "[0-9]{0,25}".prop_map(String::into_bytes),
                "[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
                    .prop_map(String::into_bytes),
            ],
        ) {
            headers(&bytes);
        }
    }
}
