//! What a registry asks for before it lets anybody in, and where it may send us for it.
//! <https://distribution.github.io/distribution/spec/auth/token/>

use http_auth::ChallengeParser;
use reqwest::Url;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

use crate::reference::Endpoint;

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Nothing.
    None,
    /// User and password on every request.
    Basic,
    /// A token from a realm.
    Bearer {
        /// Where tokens are had.
        realm: Url,
        /// What the token is for; pkg.dev names none at `/v2/`.
        service: Option<String>,
    },
}

impl Challenge {
    /// The host that tokens are had from.
    pub(super) fn server(&self) -> Option<Endpoint> {
        let Self::Bearer { realm, .. } = self else {
            return None;
        };
        let host = realm.host_str()?;
        match realm.port() {
            Some(port) => format!("{host}:{port}").parse().ok(),
            None => host.parse().ok(),
        }
    }
}

/// Reads the challenge of a 401.
///
/// # Errors
///
/// The sentence that says why it cannot be answered: no scheme that is known here, or a realm that
/// credentials must not go to.
pub(super) fn read_challenge(
    headers: &HeaderMap,
    endpoint: &Endpoint,
    is_https: bool,
) -> Result<Challenge, String> {
    let mut basic = false;
    for value in headers.get_all(WWW_AUTHENTICATE) {
        let Ok(text) = value.to_str() else { continue };
        for challenge in ChallengeParser::new(text).flatten() {
            let parameter = |name: &str| {
                challenge
                    .params
                    .iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.to_unescaped())
            };
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                let realm = parameter("realm").ok_or("the registry's challenge has no realm")?;
                return Ok(Challenge::Bearer {
                    realm: check_realm(&realm, endpoint, is_https)?,
                    service: parameter("service"),
                });
            }
            basic |= challenge.scheme.eq_ignore_ascii_case("basic");
        }
    }
    if basic {
        Ok(Challenge::Basic)
    } else {
        Err("the registry asks for a login but does not say how".to_owned())
    }
}

/// Credentials go to the realm, so it must be the registry's own: for Google's hosts the very host;
/// for others any host over HTTPS, as Docker Hub's is, but named in the log.
fn check_realm(realm: &str, endpoint: &Endpoint, is_https: bool) -> Result<Url, String> {
    let url = Url::parse(realm).map_err(|_| "the registry's token realm is no URL".to_owned())?;
    let host = url.host_str().unwrap_or_default();
    let own = host == endpoint.host_name().trim_matches(['[', ']'])
        || url.host_str() == Some(endpoint.host_name());
    let plain_is_fine = !is_https && own;
    if url.scheme() != "https" && !plain_is_fine {
        return Err(format!(
            "the registry asks to send the credentials to `{}` without TLS, which is not done",
            crate::error::harmless(host)
        ));
    }
    if !own && endpoint.is_google() {
        return Err(format!(
            "the registry asks to send the credentials to `{}`, which is not `{endpoint}`",
            crate::error::harmless(host)
        ));
    }
    if !own {
        tracing::info!(
            "tokens for {endpoint} come from {}",
            crate::error::harmless(host)
        );
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(text: &str, host: &str, is_https: bool) -> Result<Challenge, String> {
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, text.parse().unwrap());
        read_challenge(&headers, &host.parse().unwrap(), is_https)
    }

    #[test]
    fn a_challenge_is_read_with_and_without_service() {
        assert_eq!(
            challenge(
                r#"Bearer realm="https://gcr.io/v2/token",service="gcr.io""#,
                "gcr.io",
                true
            ),
            Ok(Challenge::Bearer {
                realm: "https://gcr.io/v2/token".parse().unwrap(),
                service: Some("gcr.io".to_owned()),
            })
        );
        assert!(matches!(
            challenge(
                r#"Bearer realm="https://us-docker.pkg.dev/v2/token""#,
                "us-docker.pkg.dev",
                true
            ),
            Ok(Challenge::Bearer { service: None, .. })
        ));
        assert_eq!(
            challenge(r#"Basic realm="x""#, "r.example", true),
            Ok(Challenge::Basic)
        );
    }

    #[test]
    fn credentials_never_follow_a_realm_in_the_clear_nor_google_s_to_another_host() {
        for (realm, host, is_https) in [
            ("http://r.example/token", "r.example", true),
            ("http://evil.example/token", "localhost:5000", false),
            ("https://evil.example/token", "gcr.io", true),
            ("https://gcr.io.evil.example/token", "gcr.io", true),
            ("file:///etc/passwd", "r.example", true),
            ("nonsense", "r.example", true),
        ] {
            let text = format!(r#"Bearer realm="{realm}""#);
            assert!(
                challenge(&text, host, is_https).is_err(),
                "{realm} for {host}"
            );
        }
        assert!(
            challenge(
                r#"Bearer realm="https://auth.docker.io/token""#,
                "registry-1.docker.io",
                true
            )
            .is_ok()
        );
        assert!(
            challenge(
                r#"Bearer realm="http://localhost:5001/token""#,
                "localhost:5000",
                false
            )
            .is_ok()
        );
    }
}
