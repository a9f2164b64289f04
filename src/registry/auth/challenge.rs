//! Parses the authentication challenge of a registry, and checks where it may send credentials.
//! <https://distribution.github.io/distribution/spec/auth/token/>

use http_auth::ChallengeParser;
use reqwest::Url;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

use crate::http::has_login;
use crate::oci::reference::Endpoint;

/// Checks the token realm of a registry.
#[derive(Clone, Debug)]
pub(crate) struct Realms {
    pub(crate) endpoint: Endpoint,
    /// True if the registry is accessed over TLS.
    pub(crate) is_https: bool,
    /// Hosts that may be accessed over plain HTTP.
    pub(crate) insecure_registries: Vec<Endpoint>,
}

/// How a registry requires requests to be authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// No authentication.
    None,
    /// User name and password in every request.
    Basic,
    /// A token from a token server.
    Bearer {
        /// The URL of the token server.
        realm: Url,
        /// The `service` parameter. pkg.dev states none at `/v2/`.
        service: Option<String>,
    },
}

impl Challenge {
    /// The host of the token server.
    pub(crate) fn server(&self) -> Option<Endpoint> {
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

/// Parses the challenge of a 401.
///
/// # Errors
///
/// Returns the text of an error if no scheme is supported, or if credentials must not be sent to
/// the realm.
pub(crate) fn parse_challenge(headers: &HeaderMap, realms: &Realms) -> Result<Challenge, String> {
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
                    realm: realms.check(&realm)?,
                    service: parameter("service"),
                });
            }
            basic |= challenge.scheme.eq_ignore_ascii_case("basic");
        }
    }
    if basic {
        Ok(Challenge::Basic)
    } else {
        Err("the registry requires a login but does not say how to send it".to_owned())
    }
}

impl Realms {
    /// Checks a realm before credentials are sent to it. Google's registries must name their own
    /// host and port. Other registries may name any HTTPS host, as Docker Hub does, and that host
    /// is logged.
    fn check(&self, realm: &str) -> Result<Url, String> {
        let endpoint = &self.endpoint;
        let url =
            Url::parse(realm).map_err(|_| "the registry's token realm is not a URL".to_owned())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("the registry's token realm is not an HTTP URL".to_owned());
        }
        if has_login(&url) {
            return Err("the registry's token realm contains a login".to_owned());
        }
        let own = endpoint.url(url.scheme());
        let is_own = url.host() == own.host() && url.port() == own.port();
        let other_host = crate::diagnostics::sanitize::sanitize(&crate::http::host(&url));
        if url.scheme() != "https" && (self.is_https || !(is_own || self.may_use_plain_http(&url)))
        {
            return Err(format!(
                "the registry asks to send the credentials to `{other_host}` without TLS, which \
                 gcr-push does not do"
            ));
        }
        if !is_own && endpoint.is_google() {
            return Err(format!(
                "the registry asks to send the credentials to `{other_host}`, which is not `{endpoint}`"
            ));
        }
        if !is_own {
            tracing::info!("tokens for {endpoint} come from {other_host}");
        }
        Ok(url)
    }

    /// True if `insecure_registries` names this host and port.
    fn may_use_plain_http(&self, url: &Url) -> bool {
        let host = crate::http::host(url);
        url.scheme() == "http"
            && self
                .insecure_registries
                .iter()
                .any(|plain| plain.host() == host || Some(plain.host()) == url.host_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(text: &str, host: &str, is_https: bool) -> Result<Challenge, String> {
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, text.parse().unwrap());
        let realms = Realms {
            endpoint: host.parse().unwrap(),
            is_https,
            insecure_registries: vec!["auth.example:5001".parse().unwrap()],
        };
        parse_challenge(&headers, &realms)
    }

    #[test]
    fn challenge_is_parsed_with_and_without_service() {
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
    fn insecure_or_foreign_realm_gets_no_credential() {
        for (realm, host, is_https) in [
            ("http://r.example/token", "r.example", true),
            ("http://evil.example/token", "localhost:5000", false),
            ("https://evil.example/token", "gcr.io", true),
            ("https://gcr.io.evil.example/token", "gcr.io", true),
            ("https://gcr.io:8443/token", "gcr.io", true),
            ("http://localhost:5001/token", "localhost:5000", false),
            ("http://auth.example/token", "localhost:5000", false),
            ("https://u:p@r.example/token", "r.example", true),
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
        for (realm, host) in [
            ("http://localhost:5000/token", "localhost:5000"),
            ("http://auth.example:5001/token", "localhost:5000"),
        ] {
            let text = format!(r#"Bearer realm="{realm}""#);
            assert!(challenge(&text, host, false).is_ok(), "{realm} for {host}");
        }
    }
}
