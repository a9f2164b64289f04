//! Workload identity federation: the CI's own OIDC token is traded for Google's.
//! <https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token>

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::Value;

use super::error::{AuthError, Step};
use super::exchange::{Exchange, ExchangeError, Issued, SCOPE};
use super::impersonation::Impersonation;
use super::user::{FORM, form};
use crate::secret::Secret;

/// An identity of another provider that Google lets in.
#[derive(Clone, Debug)]
pub struct ExternalAccount {
    /// `//iam.googleapis.com/projects/NUMBER/…/providers/PROVIDER`.
    pub audience: String,
    pub(super) subject_token_type: String,
    pub(super) token_url: Url,
    pub(super) subject: SubjectSource,
    /// The service account that is acted as; none where the identity itself has the rights.
    pub impersonation: Option<Impersonation>,
    /// The project that a workforce identity is billed to.
    pub(super) user_project: Option<String>,
    /// What the last token of the CI's said of itself.
    pub(super) claims: Arc<Mutex<Claims>>,
}

/// Where the CI's token comes from.
#[derive(Clone, Debug)]
pub enum SubjectSource {
    /// It was given as text, by this variable, and serves until it runs out.
    Given(&'static str, Secret),
    /// It is read from a file, anew each time.
    File(PathBuf, Format),
    /// It is asked for at a URL, anew each time.
    Url(SubjectUrl),
}

/// A URL that hands out tokens to whoever shows the right headers.
#[derive(Clone)]
pub struct SubjectUrl {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) format: Format,
}

/// How a token lies in what holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// It is the whole text.
    Text,
    /// It is this field of a JSON object.
    Json(String),
}

/// Google's Security Token Service.
const STS: &str = "https://sts.googleapis.com/v1/token";

/// What `subject_token_type` says of an OIDC token.
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// The field of GitHub's answer that holds the token.
const GITHUB_FIELD: &str = "value";

impl std::fmt::Debug for SubjectUrl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The headers hold what opens the URL.
        write!(formatter, "{}", shown(&self.url))
    }
}

impl ExternalAccount {
    /// Of a provider, `projects/NUMBER/…/providers/PROVIDER`, which was checked.
    ///
    /// # Errors
    ///
    /// Never: the URL of the token service is Google's own.
    pub fn of_provider(
        provider: &str,
        subject: SubjectSource,
        impersonation: Option<Impersonation>,
    ) -> Result<Self, url::ParseError> {
        Ok(Self {
            audience: format!("//iam.googleapis.com/{provider}"),
            subject_token_type: JWT.to_owned(),
            token_url: Url::parse(STS)?,
            subject,
            impersonation,
            user_project: None,
            claims: Arc::default(),
        })
    }

    /// The identity in IAM's words, as narrow as what is known of it: by its repository or project,
    /// where the last token told one, else by its subject, else the whole pool.
    pub fn member(&self) -> String {
        let name = self.audience.trim_start_matches("//iam.googleapis.com/");
        let pool = name.split("/providers/").next().unwrap_or(name);
        let pool = format!("//iam.googleapis.com/{pool}");
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        if !claims.repository.is_empty() {
            format!(
                "principalSet:{pool}/attribute.repository/{}",
                claims.repository
            )
        } else if !claims.project_path.is_empty() {
            format!(
                "principalSet:{pool}/attribute.project_path/{}",
                claims.project_path
            )
        } else if !claims.subject.is_empty() {
            format!("principal:{pool}/subject/{}", claims.subject)
        } else {
            format!("principalSet:{pool}/*")
        }
    }

    /// A new token: the CI's is fetched, traded, and where a service account is acted as, traded
    /// again.
    pub(super) async fn issue(&self, exchange: &Exchange) -> Result<Issued, AuthError> {
        let subject = self.subject.token(exchange).await?;
        let claims = Claims::of(subject.expose()).unwrap_or_default();
        *self.claims.lock().unwrap_or_else(PoisonError::into_inner) = claims;
        let federated = self.trade(exchange, &subject).await;
        // It may have run out on the way.
        let federated = federated.map_err(|error| self.subject.ran_out().unwrap_or(error))?;
        match &self.impersonation {
            Some(account) => {
                let member = Some(self.member());
                account.issue(exchange, &federated.secret, member).await
            }
            None => Ok(federated),
        }
    }

    /// The OIDC token for Google's (RFC 8693).
    async fn trade(&self, exchange: &Exchange, subject: &Secret) -> Result<Issued, AuthError> {
        let options = self
            .user_project
            .as_ref()
            .map(|project| serde_json::json!({ "userProject": project }).to_string());
        let mut pairs = vec![
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ),
            ("audience", &self.audience),
            ("scope", SCOPE),
            (
                "requested_token_type",
                "urn:ietf:params:oauth:token-type:access_token",
            ),
            ("subject_token", subject.expose()),
            ("subject_token_type", &self.subject_token_type),
        ];
        pairs.extend(options.as_deref().map(|options| ("options", options)));
        let failed = |cause| AuthError::Exchange {
            step: Step::Federation {
                audience: self.audience.clone(),
                claims: Box::new(Claims::of(subject.expose()).unwrap_or_default()),
            },
            endpoint: self.token_url.to_string(),
            cause,
        };
        let request = exchange
            .client(&self.token_url)
            .post(self.token_url.clone())
            .header(CONTENT_TYPE, FORM)
            .body(form(&pairs));
        let granted = Exchange::ask(request, &[subject]).await;
        granted
            .and_then(|granted| granted.oauth_token())
            .map_err(failed)
    }
}

impl SubjectSource {
    /// GitHub's request URL, which gives a token for an audience to whoever shows the job's own
    /// token. GitHub appends to the query that the URL has
    /// (<https://github.com/actions/toolkit>, `oidc-utils.ts`).
    ///
    /// # Errors
    ///
    /// The sentence that says what is wrong with the URL or the token.
    pub fn github(url: &str, token: &str, provider: &str) -> Result<Self, &'static str> {
        let mut url: Url = url.parse().map_err(|_| "it is no URL")?;
        check_subject_url(&url)?;
        url.query_pairs_mut().append_pair(
            "audience",
            &format!("https://iam.googleapis.com/{provider}"),
        );
        let headers = header_map([("Authorization", format!("Bearer {token}"))])?;
        Ok(Self::Url(SubjectUrl {
            url,
            headers,
            format: Format::Json(GITHUB_FIELD.to_owned()),
        }))
    }

    /// The error of a token that was given and has run out.
    fn ran_out(&self) -> Option<AuthError> {
        let Self::Given(variable, token) = self else {
            return None;
        };
        let at = expiry(token.expose())?;
        (at <= SystemTime::now()).then_some(AuthError::OidcExpired { variable, at })
    }

    async fn token(&self, exchange: &Exchange) -> Result<Secret, AuthError> {
        match self {
            Self::Given(_, token) => match self.ran_out() {
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
                    step: Step::Subject,
                    endpoint: shown(&from.url),
                    cause,
                }),
        }
    }
}

impl SubjectUrl {
    async fn token(&self, exchange: &Exchange) -> Result<Secret, ExchangeError> {
        let request = exchange
            .client(&self.url)
            .get(self.url.clone())
            .headers(self.headers.clone());
        let held: Vec<Secret> = self
            .headers
            .values()
            .filter_map(|value| value.to_str().ok())
            .map(|value| Secret::new(value.rsplit(' ').next().unwrap_or(value)))
            .filter(|secret| secret.expose().len() > 8)
            .collect();
        let granted = Exchange::ask(request, &held.iter().collect::<Vec<_>>()).await?;
        let text = std::str::from_utf8(&granted.body).map_err(|_| ExchangeError::Answer)?;
        self.format.token(text).ok_or(ExchangeError::Answer)
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
            Format::Json(field) => format!("it is no JSON with a text in `{field}`"),
        })
    })
}

/// A URL that a token may be asked for at: over HTTPS, or over HTTP on this machine or at the
/// address of a cloud's metadata server.
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
        _ => Err("it is neither `https`, nor on this machine or its metadata server"),
    }
}

/// Headers of a credential file, all of them as secret as the token that most hold.
pub(super) fn header_map<N: AsRef<str>, V: AsRef<str>>(
    pairs: impl IntoIterator<Item = (N, V)>,
) -> Result<HeaderMap, &'static str> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name: reqwest::header::HeaderName = name
            .as_ref()
            .parse()
            .map_err(|_| "a header's name is none")?;
        let mut value: reqwest::header::HeaderValue = value
            .as_ref()
            .parse()
            .map_err(|_| "a header's value cannot be sent")?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// A URL without its query, which may say more than a log needs to know.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    // Both fail only on URLs that cannot have a user.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

/// What an OIDC token says of itself, as far as advice depends on it. The signature is Google's to
/// check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Who gave it out.
    pub issuer: String,
    /// Whom it is about.
    pub subject: String,
    /// Whom it is for.
    pub audience: String,
    /// GitHub's repository, `OWNER/NAME`.
    pub repository: String,
    /// GitLab's project, `GROUP/NAME`.
    pub project_path: String,
}

impl Claims {
    /// Reads them from a JWT.
    pub fn of(token: &str) -> Option<Self> {
        let claims = payload(token)?;
        let text = |name: &str| {
            let value = claims.get(name).and_then(Value::as_str);
            let text: String = value.unwrap_or_default().chars().take(300).collect();
            text
        };
        Some(Self {
            issuer: text("iss"),
            subject: text("sub"),
            audience: text("aud"),
            repository: text("repository"),
            project_path: text("project_path"),
        })
    }
}

/// When a JWT stops working; none where it is no JWT or does not say.
pub(crate) fn expiry(token: &str) -> Option<SystemTime> {
    let seconds = payload(token)?.get("exp")?.as_u64()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn payload(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn github_s_url_gets_the_audience_behind_the_query_that_it_has() {
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
    fn a_token_is_asked_for_in_the_clear_on_this_machine_alone() {
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
    fn a_token_is_found_in_its_text_or_in_its_field() {
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

    #[test]
    fn the_expiry_of_a_jwt_is_read_with_and_without_padding() {
        for payload in ["eyJleHAiOjF9", "eyJleHAiOjEwfQ=="] {
            assert!(expiry(&format!("e30.{payload}.x")).is_some(), "{payload}");
        }
        for none in ["", "a.b", "e30.e30.x", "ya29.a.b", "e30.eyJleHAiOjF9.x.y"] {
            assert_eq!(expiry(none), None, "{none}");
        }
    }
}
