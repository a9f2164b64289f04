//! The OIDC token of the CI: from a variable, a file, or a URL.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, Url};
use serde_json::Value;

use super::claims::expiry;
use super::error::{AuthError, AuthOperation};
use super::exchange::Exchange;
use crate::diagnostics::secret::Secret;
use crate::http::{HttpError, redacted};

/// Where the OIDC token of the CI comes from.
#[derive(Clone, Debug)]
pub enum SubjectSource {
    /// The value of this variable, which is used until it expires.
    Given(&'static str, Secret),
    /// A file, which is read each time.
    File(PathBuf, Format),
    /// A URL, which is requested each time.
    Url(SubjectUrl),
}

/// A URL that returns tokens for requests with the right headers.
#[derive(Clone)]
pub struct SubjectUrl {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) format: Format,
}

/// How a token is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// The whole text is the token.
    Text,
    /// The token is this field of a JSON object.
    Json(String),
}

/// The field of the token in GitHub's response.
const GITHUB_FIELD: &str = "value";

impl std::fmt::Debug for SubjectUrl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The headers contain the secret that opens the URL.
        formatter.write_str(&redacted(&Method::GET, &self.url))
    }
}

impl SubjectSource {
    /// Creates GitHub's request URL, which returns a token for an audience in exchange for the
    /// job's own token. GitHub appends to the query of the URL
    /// (<https://github.com/actions/toolkit>, `oidc-utils.ts`).
    ///
    /// # Errors
    ///
    /// Returns what is wrong with the URL or the token.
    pub fn github(url: &str, token: &str, provider: &str) -> Result<Self, &'static str> {
        let mut url: Url = url.parse().map_err(|_| "it is not a URL")?;
        check_subject_url(&url)?;
        let token = Secret::new(token);
        url.query_pairs_mut().append_pair(
            "audience",
            &format!("https://iam.googleapis.com/{provider}"),
        );
        let headers = header_map([("Authorization", format!("Bearer {}", token.expose()))])?;
        Ok(Self::Url(SubjectUrl {
            url,
            headers,
            format: Format::Json(GITHUB_FIELD.to_owned()),
        }))
    }

    /// The error of a token in a variable that has expired.
    pub(super) fn expired_error(&self) -> Option<AuthError> {
        let Self::Given(variable, token) = self else {
            return None;
        };
        let at = expiry(token.expose())?;
        (at <= SystemTime::now()).then_some(AuthError::OidcExpired { variable, at })
    }

    /// Returns the current token.
    pub(super) async fn token(&self, exchange: &Exchange) -> Result<Secret, AuthError> {
        match self {
            Self::Given(_, token) => match self.expired_error() {
                Some(error) => Err(error),
                None => Ok(token.clone()),
            },
            Self::File(path, format) => read(path, format)
                .await
                .map_err(|cause| AuthError::SubjectFile(path.clone(), cause)),
            Self::Url(from) => from
                .token(exchange)
                .await
                .map_err(|cause| AuthError::Exchange {
                    step: AuthOperation::Subject,
                    cause: Box::new(cause),
                }),
        }
    }
}

impl SubjectUrl {
    async fn token(&self, exchange: &Exchange) -> Result<Secret, HttpError> {
        // The secrets in the headers stay registered for redaction while the response may quote
        // them.
        let registered: Vec<Secret> = self
            .headers
            .values()
            .filter_map(|value| value.to_str().ok())
            .map(|value| Secret::new(value.rsplit(' ').next().unwrap_or(value)))
            .filter(|secret| secret.expose().len() > 8)
            .collect();
        let complete = |request: RequestBuilder| request.headers(self.headers.clone());
        let response = exchange.send(Method::GET, &self.url, complete).await;
        drop(registered);
        let response = response?;
        let text = std::str::from_utf8(&response.body).ok();
        let token = text.and_then(|text| self.format.token(text));
        token.ok_or_else(|| response.is_no_token())
    }
}

impl Format {
    fn token(&self, text: &str) -> Option<Secret> {
        let token = match self {
            // Google's own libraries do not trim it, so a token with a line break works nowhere.
            Self::Text => text.trim().to_owned(),
            Self::Json(field) => {
                let object: Value = serde_json::from_str(text).ok()?;
                object.get(field)?.as_str()?.to_owned()
            }
        };
        (!token.is_empty()).then(|| Secret::new(token))
    }
}

async fn read(path: &Path, format: &Format) -> std::io::Result<Secret> {
    let text = tokio::task::spawn_blocking({
        let path = path.to_owned();
        move || std::fs::read_to_string(path)
    })
    .await
    .map_err(std::io::Error::other)??;
    format.token(&text).ok_or_else(|| {
        std::io::Error::other(match format {
            Format::Text => "it is empty".to_owned(),
            Format::Json(field) => format!("it is not JSON with a text in `{field}`"),
        })
    })
}

/// Checks a URL that tokens are requested from. It must use HTTPS, or HTTP on this machine or at
/// the address of a metadata server.
pub(super) fn check_subject_url(url: &Url) -> Result<(), &'static str> {
    let is_near = match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback() || address.is_link_local(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => matches!(name, "localhost" | "metadata.google.internal"),
        None => false,
    };
    match url.scheme() {
        "https" if url.host().is_some() => Ok(()),
        "http" if is_near => Ok(()),
        _ => Err("it must use `https`, except on this machine or its metadata server"),
    }
}

/// Builds the headers of a credential file. All of them are marked as sensitive.
pub(super) fn header_map<N: AsRef<str>, V: AsRef<str>>(
    pairs: impl IntoIterator<Item = (N, V)>,
) -> Result<HeaderMap, &'static str> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name: reqwest::header::HeaderName = name
            .as_ref()
            .parse()
            .map_err(|_| "the name of a header is not valid")?;
        let mut value: reqwest::header::HeaderValue = value
            .as_ref()
            .parse()
            .map_err(|_| "the value of a header is not valid")?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audience_is_appended_to_the_query_of_the_github_url() {
        let provider = "projects/1/locations/global/workloadIdentityPools/p/providers/gh";
        let url = "https://pipelines.example/oidc?api-version=2.0";
        let Ok(SubjectSource::Url(from)) = SubjectSource::github(url, "t", provider) else {
            panic!("no source");
        };
        assert_eq!(
            from.url.as_str(),
            "https://pipelines.example/oidc?api-version=2.0&audience=https%3A%2F%2Fiam.googleapis.com%2Fprojects%2F1%2Flocations%2Fglobal%2FworkloadIdentityPools%2Fp%2Fproviders%2Fgh"
        );
        assert_eq!(format!("{from:?}"), "https://pipelines.example/oidc");
    }

    #[test]
    fn plain_http_token_url_is_allowed_on_loopback_only() {
        for (url, good) in [
            ("https://auth.gcp.gitlab.com/token", true),
            (
                "http://169.254.169.254/metadata/identity/oauth2/token",
                true,
            ),
            ("http://localhost:8080/", true),
            ("http://[::1]/", true),
            ("http://example.com/", false),
            ("http://10.0.0.1/", false),
            ("file:///etc/passwd", false),
        ] {
            let url: Url = url.parse().unwrap();
            assert_eq!(check_subject_url(&url).is_ok(), good, "{url}");
        }
    }

    #[test]
    fn token_is_found_in_text_or_field() {
        let json = Format::Json("id_token".to_owned());
        for (format, text, token) in [
            (&Format::Text, " a.b.c\n", Some("a.b.c")),
            (&Format::Text, "\n", None),
            (&json, r#"{"id_token":"a.b.c"}"#, Some("a.b.c")),
            (&json, r#"{"id_token":1}"#, None),
            (&json, r#"{"token":"a"}"#, None),
            (&json, "a.b.c", None),
        ] {
            let found = format.token(text);
            assert_eq!(found.as_ref().map(Secret::expose), token, "{text}");
        }
    }
}
