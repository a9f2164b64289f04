//! Authenticates to a registry: the token exchange, and a cache of one token per scope.
//!
//! oci-client's own authentication is not used: it sends Basic credentials to whatever realm a
//! challenge names, drops the text of a refusal, and keeps the first credential of a host for ever.
//! <https://distribution.github.io/distribution/spec/auth/token/>

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{CONTENT_TYPE, HeaderMap, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::challenge::{Challenge, Realms, parse_challenge};
use super::scope::{Access, Authorization, Scope};
use crate::auth::logins::PasswordKind;
use crate::auth::{BasicAuth, Credential, Identity};
use crate::diagnostics::secret::{Secret, redact};
use crate::http::{PAGE, RateLimiter, is_page};
use crate::oci::json;
use crate::oci::reference::Endpoint;
use crate::registry::error::RegistryError;
use crate::registry::hints::{Presented, Requester};
use crate::registry::http::read_bounded;
use crate::registry::transport::{RegistryRequest, Transport};

/// The current token of each scope, requested when it is first needed.
pub(crate) struct TokenCache {
    root: Url,
    credential: Credential,
    transport: Transport,
    /// The client that sends identity tokens. `None` if the credential has none.
    form_http: Option<reqwest::Client>,
    realms: Realms,
    /// The challenge of `/v2/`.
    challenge: Challenge,
    /// The challenges of repositories that differ from it.
    challenges: Mutex<HashMap<String, Challenge>>,
    /// The rate limiter of the token server.
    rate_limiter: RateLimiter,
    stall_timeout: Duration,
    /// True once the token server, which may be the registry itself, has answered.
    is_reached: AtomicBool,
    current: Mutex<HashMap<Scope, SharedToken>>,
    /// All secrets that were sent to the registry, in the forms in which they were sent.
    sent_secrets: Mutex<HashSet<String>>,
    /// Refresh tokens that replaced earlier ones. The lock is held during an exchange, because some
    /// refresh tokens can be used only once.
    refresh_tokens: tokio::sync::Mutex<HashMap<String, Secret>>,
}

/// A token that one request obtains while the others wait for it.
type SharedToken = Arc<OnceCell<Token>>;

#[derive(Clone)]
struct Token {
    authorization: Authorization,
    renew_at: Option<Instant>,
}

impl Token {
    fn is_due(&self) -> bool {
        self.renew_at.is_some_and(|at| at <= Instant::now())
    }
}

/// The lifetime of a token without `expires_in`, by the distribution token specification.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// The `client_id` in requests to a token server.
const CLIENT_ID: &str = "gcr-push";

/// How often the exchange is repeated with a new credential if the token server refuses the current
/// one.
const MAX_RENEWALS: u32 = 2;

/// The maximum size of a token response. Google's have a few KiB.
const MAX_TOKEN_BODY: usize = 1024 * 1024;

impl TokenCache {
    pub(in crate::registry) fn new(
        root: Url,
        credential: Credential,
        transport: Transport,
        realms: Realms,
        challenge: Challenge,
        rate_limiter: RateLimiter,
        stall_timeout: Duration,
    ) -> Self {
        let is_elsewhere = match &challenge {
            Challenge::Bearer { realm, .. } => realm.origin() != root.origin(),
            Challenge::None | Challenge::Basic => false,
        };
        Self {
            root,
            credential,
            transport,
            form_http: None,
            realms,
            challenge,
            challenges: Mutex::default(),
            rate_limiter,
            stall_timeout,
            is_reached: AtomicBool::new(!is_elsewhere),
            current: Mutex::default(),
            sent_secrets: Mutex::default(),
            refresh_tokens: tokio::sync::Mutex::default(),
        }
    }

    /// Sets the client that sends identity tokens.
    pub(crate) fn with_form_client(self, client: Option<reqwest::Client>) -> Self {
        Self {
            form_http: client,
            ..self
        }
    }

    /// Removes secrets that were sent to the registry from the text of a response. Some servers,
    /// and proxies even more, quote the request in their errors.
    pub(crate) fn without_secrets(&self, text: &[u8]) -> Vec<u8> {
        let sent_secrets = self.sent_secrets.lock();
        let mut text = String::from_utf8_lossy(text).into_owned();
        for secret in sent_secrets.iter().filter(|secret| !secret.is_empty()) {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), "***");
            }
        }
        redact(&text).into_bytes()
    }

    fn remember(&self, authorization: &Authorization) {
        let mut sent_secrets = self.sent_secrets.lock();
        match authorization {
            Authorization::None => {}
            Authorization::Bearer(token) => {
                sent_secrets.insert(token.expose().to_owned());
            }
            Authorization::Basic(user, password) => {
                sent_secrets.insert(password.expose().to_owned());
                sent_secrets.insert(STANDARD.encode(format!("{user}:{}", password.expose())));
            }
        }
    }

    /// The token server and the service, if the registry names them.
    pub(crate) fn server(&self) -> Option<(&Url, Option<&str>)> {
        match &self.challenge {
            Challenge::Bearer { realm, service } => Some((realm, service.as_deref())),
            Challenge::None | Challenge::Basic => None,
        }
    }

    /// True if listing sends the credential itself. A Google registry gives anonymous users a token
    /// instead.
    fn lists_with_credential(&self) -> bool {
        let host = self.root.host_str().and_then(|host| host.parse().ok());
        let is_google = host.is_some_and(|host: Endpoint| host.is_google());
        !(is_google && matches!(self.credential, Credential::Anonymous))
    }

    /// True if the credential is an OAuth token of Google.
    pub(crate) fn is_google_credential(&self) -> bool {
        matches!(self.credential, Credential::Tokens(_))
    }

    /// Describes the sender of a request about `repository`, for the hints of an error.
    pub(super) fn requester(
        &self,
        access: Access,
        presented: Presented,
        repository: &str,
    ) -> Requester {
        Requester {
            identity: self.identity(repository),
            presented,
            writes: access == Access::PullPush,
        }
    }

    /// The same for a request to this URL, which names the repository.
    pub(in crate::registry) fn requester_for(
        &self,
        access: Access,
        presented: Presented,
        url: &Url,
    ) -> Requester {
        self.requester(access, presented, repository_of(url))
    }

    /// The identity that is used for a repository.
    pub(crate) fn identity(&self, repository: &str) -> Identity {
        self.credential.for_repository(repository).identity()
    }

    /// What the response to a request says about the credential. If it is not `is_own`, it comes
    /// from another host, which received no credential.
    pub(in crate::registry) fn presented(
        &self,
        repository: &str,
        sent: &Authorization,
        is_own: bool,
    ) -> Presented {
        let credential = self.credential.for_repository(repository);
        match sent {
            Authorization::None => Presented::Nothing,
            _ if !is_own => Presented::Nothing,
            // A token that was issued to an anonymous user says nothing about a credential.
            Authorization::Bearer(_) if credential.identity() == Identity::Anonymous => {
                Presented::Nothing
            }
            Authorization::Bearer(_) => Presented::Token,
            Authorization::Basic(..) => Presented::Credential,
        }
    }

    /// Stores the challenge in the 401 of a request about `repository`. A registry may be open at
    /// `/v2/`, or for reading, and require authentication only for writing.
    ///
    /// # Errors
    ///
    /// Returns the text of an error if the challenge is not supported and no earlier one is known.
    pub(crate) fn update_challenge(
        &self,
        repository: &str,
        headers: &HeaderMap,
    ) -> Result<(), String> {
        let known = self.challenge(repository);
        let asked = match parse_challenge(headers, &self.realms) {
            Ok(asked) => asked,
            Err(what) if headers.contains_key(WWW_AUTHENTICATE) && known == Challenge::None => {
                return Err(what);
            }
            Err(_) => return Ok(()),
        };
        if self.moves_realm(&known, &asked) {
            return Ok(());
        }
        if asked != known {
            tracing::debug!("{repository} requires a different login than the registry's root");
            let mut challenges = self.challenges.lock();
            challenges.insert(repository.to_owned(), asked);
            drop(challenges);
            self.current
                .lock()
                .retain(|scope, _| scope.repository != repository);
        }
        Ok(())
    }

    /// True if a challenge would send the credential to another host than the known challenge does.
    /// A registry that has named a realm must not move it with a later response.
    fn moves_realm(&self, known: &Challenge, asked: &Challenge) -> bool {
        let Challenge::Bearer { realm, .. } = asked else {
            return false;
        };
        let is_known = match known {
            Challenge::None => true,
            Challenge::Basic => false,
            Challenge::Bearer { realm: own, .. } => own.origin() == realm.origin(),
        };
        !is_known && realm.origin() != self.root.origin()
    }

    fn challenge(&self, repository: &str) -> Challenge {
        let own = self.challenges.lock().get(repository).cloned();
        own.unwrap_or_else(|| self.challenge.clone())
    }

    /// Returns the authorization for a request to `repository`. If no token is cached, one request
    /// performs the exchange and the others wait for it.
    pub(crate) async fn authorization(
        &self,
        repository: &str,
        access: Access,
    ) -> Result<Authorization, RegistryError> {
        self.authorization_for(Scope::of(repository, access)).await
    }

    /// Returns the authorization for mounting a blob of `from` into `repository`.
    pub(crate) async fn authorization_to_mount(
        &self,
        repository: &str,
        from: &str,
    ) -> Result<Authorization, RegistryError> {
        let scope = Scope {
            mount_from: Some(from.to_owned()),
            ..Scope::of(repository, Access::PullPush)
        };
        self.authorization_for(scope).await
    }

    async fn authorization_for(&self, scope: Scope) -> Result<Authorization, RegistryError> {
        let cell = {
            let mut current = self.current.lock();
            let cell = current.entry(scope.clone()).or_default();
            if cell.get().is_some_and(Token::is_due) {
                *cell = Arc::default();
            }
            Arc::clone(cell)
        };
        let token = cell
            .get_or_try_init(|| async {
                let token = self.exchange(&scope).await?;
                self.remember(&token.authorization);
                Ok::<_, RegistryError>(token)
            })
            .await?;
        Ok(token.authorization.clone())
    }

    /// Drops a token that the registry refused, unless another request already replaced it.
    pub(crate) fn forget(&self, repository: &str, access: Access, sent: &Authorization) {
        let mut current = self.current.lock();
        if let Some(cell) = current.get_mut(&Scope::of(repository, access))
            && cell.get().is_some_and(|t| t.authorization == *sent)
        {
            *cell = Arc::default();
        }
    }

    async fn exchange(&self, scope: &Scope) -> Result<Token, RegistryError> {
        let Scope {
            repository, access, ..
        } = scope;
        let credential = self.credential.for_repository(repository);
        let (realm, service) = match self.challenge(repository) {
            Challenge::None => {
                return Ok(Token {
                    authorization: Authorization::None,
                    renew_at: None,
                });
            }
            Challenge::Basic => {
                return self
                    .token_from_login(&credential, |login| match login.kind {
                        PasswordKind::RegistryToken => Authorization::Bearer(login.password),
                        PasswordKind::Password | PasswordKind::IdentityToken => {
                            Authorization::Basic(login.user, login.password)
                        }
                    })
                    .await;
            }
            Challenge::Bearer { .. } if *access == Access::List && self.lists_with_credential() => {
                return self
                    .token_from_login(&credential, |login| Authorization::Bearer(login.password))
                    .await;
            }
            Challenge::Bearer { realm, service } => (realm, service),
        };
        let mut url = realm.clone();
        url.query_pairs_mut()
            .extend_pairs(service.as_deref().map(|service| ("service", service)))
            .append_pair("scope", &access.scope(repository));
        if let Some(other) = &scope.mount_from {
            url.query_pairs_mut()
                .append_pair("scope", &Access::Pull.scope(other));
        }
        let mut login = self.basic(&credential, url.clone()).await?;
        match &login {
            Some(login) if login.kind == PasswordKind::IdentityToken => {
                let token = self
                    .exchange_identity_token(&realm, service.as_deref(), scope, login)
                    .await?;
                if let Some(token) = token {
                    return Ok(token);
                }
            }
            Some(login) if login.kind == PasswordKind::RegistryToken => {
                return Ok(Token {
                    authorization: Authorization::Bearer(login.password.clone()),
                    renew_at: None,
                });
            }
            _ => {}
        }
        let mut response = self.request_token(&url, login.as_ref()).await?;
        for _ in 0..MAX_RENEWALS {
            let (StatusCode::UNAUTHORIZED, Some(rejected)) = (response.status(), &login) else {
                break;
            };
            // The OAuth token may have been revoked, or this machine's clock may be slow.
            let renewed = credential.renewed(&rejected.password).await;
            let renewed = renewed
                .map_err(|error| RegistryError::auth_failed(Method::GET, url.clone(), error))?;
            if renewed.is_some() {
                response = self.request_token(&url, renewed.as_ref()).await?;
                login = renewed;
            }
        }
        let presented = match &login {
            Some(_) => Presented::Credential,
            None => Presented::Nothing,
        };
        let body = self
            .read_granted(Method::GET, url.clone(), response, scope, presented)
            .await?;
        let mut token = parse_token(&body).ok_or_else(|| no_token(Method::GET, url, &body))?;
        // The registry token may not outlive the credential that it was issued for.
        if let Some(end) = login.as_ref().and_then(renewal_time) {
            token.renew_at = Some(token.renew_at.map_or(end, |at| at.min(end)));
        }
        Ok(token)
    }

    /// Returns the body of a token response, or the error if it is a refusal.
    async fn read_granted(
        &self,
        method: Method,
        url: Url,
        response: Response,
        scope: &Scope,
        presented: Presented,
    ) -> Result<Vec<u8>, RegistryError> {
        if response.status() != StatusCode::OK {
            let requester = self.requester(scope.access, presented, &scope.repository);
            let clean = |body: &[u8]| self.without_secrets(body);
            let refused =
                RegistryError::of_response(method, url, response, self.stall_timeout, clean);
            return Err(refused.await.of(requester));
        }
        let body = read_bounded(response, MAX_TOKEN_BODY, self.stall_timeout).await;
        body.map(Into::into)
            .map_err(|error| RegistryError::incomplete_body(method, url, error))
    }

    /// Exchanges an identity token for a registry token. `None` if the token server does not
    /// support this grant and the login has a user name, so that Basic authentication can be used.
    /// <https://distribution.github.io/distribution/spec/auth/oauth/>
    async fn exchange_identity_token(
        &self,
        realm: &Url,
        service: Option<&str>,
        scope: &Scope,
        login: &BasicAuth,
    ) -> Result<Option<Token>, RegistryError> {
        let mut replacements = self.refresh_tokens.lock().await;
        let replacement = replacements.get(login.password.expose());
        let refresh_token = replacement.unwrap_or(&login.password).clone();
        let mut scopes = scope.access.scope(&scope.repository);
        if let Some(other) = &scope.mount_from {
            scopes = format!("{scopes} {}", Access::Pull.scope(other));
        }
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "refresh_token")
            .extend_pairs(service.map(|service| ("service", service)))
            .append_pair("client_id", CLIENT_ID)
            .append_pair("scope", &scopes)
            .append_pair("refresh_token", refresh_token.expose())
            .finish();
        self.remember(&Authorization::Bearer(refresh_token));
        let Some(client) = &self.form_http else {
            return Ok(None);
        };
        let request = client.post(realm.clone());
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.rate_limiter.acquire().await;
        let response = request.body(form).send().await.map_err(|error| {
            let error = error.without_url();
            self.mark_first_contact(RegistryError::connection_failed(
                Method::POST,
                realm.clone(),
                error,
            ))
        })?;
        self.is_reached.store(true, Ordering::Relaxed);
        let is_unknown = matches!(
            response.status(),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
        );
        if is_unknown && !matches!(login.user.as_str(), "" | "<token>") {
            return Ok(None);
        }
        let url = realm.clone();
        let body = self
            .read_granted(
                Method::POST,
                url.clone(),
                response,
                scope,
                Presented::Credential,
            )
            .await?;
        let token = parse_token(&body).ok_or_else(|| no_token(Method::POST, url, &body))?;
        if let Some(next) = parse_refresh_token(&body) {
            self.remember(&Authorization::Bearer(next.clone()));
            replacements.insert(login.password.expose().to_owned(), next);
        }
        Ok(Some(token))
    }

    /// Builds a token from the login, for a registry that accepts it without an exchange.
    async fn token_from_login(
        &self,
        credential: &Credential,
        form: impl FnOnce(BasicAuth) -> Authorization,
    ) -> Result<Token, RegistryError> {
        let login = self.basic(credential, self.root.clone()).await?;
        Ok(Token {
            renew_at: login.as_ref().and_then(renewal_time),
            authorization: login.map_or(Authorization::None, form),
        })
    }

    /// Sends a request for a registry token.
    async fn request_token(
        &self,
        url: &Url,
        login: Option<&BasicAuth>,
    ) -> Result<Response, RegistryError> {
        let authorization = login.map_or(Authorization::None, |login| {
            Authorization::Basic(login.user.clone(), login.password.clone())
        });
        self.remember(&authorization);
        self.rate_limiter.acquire().await;
        let request = RegistryRequest {
            method: Method::GET,
            url,
            authorization: authorization.header(),
        };
        match self
            .transport
            .send(request, &self.rate_limiter, |r| r)
            .await
        {
            Ok(response) => {
                self.is_reached.store(true, Ordering::Relaxed);
                Ok(response)
            }
            Err(connection_failed) => Err(self.mark_first_contact(connection_failed)),
        }
    }

    /// Marks a failure as first contact if the token server has not answered before.
    fn mark_first_contact(&self, connection_failed: RegistryError) -> RegistryError {
        if self.is_reached.load(Ordering::Relaxed) {
            connection_failed
        } else {
            connection_failed.at_first_contact()
        }
    }

    async fn basic(
        &self,
        credential: &Credential,
        url: Url,
    ) -> Result<Option<BasicAuth>, RegistryError> {
        credential.basic().await.map_err(|error| {
            let sent_secrets = self.sent_secrets.lock();
            let failed = RegistryError::auth_failed(Method::GET, url, error);
            if sent_secrets.is_empty() {
                failed.at_first_contact()
            } else {
                failed
            }
        })
    }
}

/// Returns the time at which a credential has used nine tenths of its remaining lifetime.
fn renewal_time(login: &BasicAuth) -> Option<Instant> {
    let left = login.expires_at?.duration_since(SystemTime::now());
    Instant::now().checked_add(left.unwrap_or_default() * 9 / 10)
}

fn no_token(method: Method, url: Url, body: &[u8]) -> RegistryError {
    if is_page(body) {
        RegistryError::protocol_violation(method, url, PAGE)
    } else {
        RegistryError::corrupt(
            method,
            url,
            "the response does not contain a registry token",
        )
    }
}

/// Returns the repository that a URL of the distribution API names. Empty if it names none.
fn repository_of(url: &Url) -> &str {
    let name = url.path().strip_prefix("/v2/").unwrap_or_default();
    let ends = ["/manifests/", "/blobs/", "/tags/", "/referrers/"]
        .iter()
        .filter_map(|part| name.rfind(part));
    ends.max().map_or("", |end| &name[..end])
}

/// Returns the refresh token that replaces the one in the request.
fn parse_refresh_token(body: &[u8]) -> Option<Secret> {
    #[derive(Deserialize)]
    struct TokenResponse {
        refresh_token: Option<String>,
    }
    let response: TokenResponse = json::from_slice(body).ok()?;
    let token = response.refresh_token.filter(|token| !token.is_empty())?;
    Some(Secret::new(token))
}

/// Parses `token` or `access_token`, and `expires_in`. `None` if the token cannot be sent in a
/// header.
fn parse_token(body: &[u8]) -> Option<Token> {
    #[derive(Deserialize)]
    struct TokenResponse {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<serde_json::Value>,
    }
    let response: TokenResponse = json::from_slice(body).ok()?;
    let token = [response.token, response.access_token]
        .into_iter()
        .flatten()
        .find(|token| !token.is_empty())?;
    let authorization = Authorization::Bearer(Secret::new(token));
    authorization.header()?;
    let lifetime = response
        .expires_in
        .as_ref()
        .and_then(parse_lifetime)
        .unwrap_or(DEFAULT_LIFETIME);
    // The rest of the lifetime is for the requests that use it.
    Some(Token {
        authorization,
        renew_at: Instant::now().checked_add(lifetime * 9 / 10),
    })
}

/// Parses `expires_in`, which some servers send as text or with a fraction. `None` if it is not
/// positive.
fn parse_lifetime(expires_in: &serde_json::Value) -> Option<Duration> {
    let seconds = match expires_in {
        serde_json::Value::String(text) => text.trim().parse().ok()?,
        other => other.as_f64()?,
    };
    (seconds > 0.0).then(|| Duration::from_secs_f64(seconds.clamp(1.0, 86_400.0)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::oci::json::variants;

    proptest! {
        #[test]
        fn token_is_read_with_any_spelling_of_fields(
            text in variants::of(
                json!({"access_token": "ok"}),
                variants::Fields {
                    all: &["token", "access_token", "expires_in"],
                    optional: &["token", "expires_in", "issued_at"],
                },
            )
        ) {
            prop_assert!(parse_token(text.as_bytes()).is_some());
        }
    }

    #[test]
    fn token_invalid_in_a_header_is_refused() {
        assert!(parse_token(br#"{"token":"a\nb"}"#).is_none());
        assert!(parse_token(br#"{"token":""}"#).is_none());
        assert!(parse_token(br"{}").is_none());
        assert!(parse_token(br#"{"access_token":"ok","expires_in":43200}"#).is_some());
    }

    #[test]
    fn odd_token_lifetime_is_tolerated() {
        let left = |text: &str| {
            let body = format!(r#"{{"token":"t","expires_in":{text}}}"#);
            let renew_at = parse_token(body.as_bytes()).unwrap().renew_at.unwrap();
            (renew_at - Instant::now()).as_secs_f64().round()
        };
        for (text, expected) in [
            ("300", 270.0),
            ("\"300\"", 270.0),
            ("300.5", 270.0),
            ("0.1", 1.0),
            ("1000000000000000000", 77_760.0),
            ("1e300", 77_760.0),
            ("-1", 54.0),
            ("0", 54.0),
            ("null", 54.0),
            ("\"soon\"", 54.0),
            ("\"NaN\"", 54.0),
            ("true", 54.0),
            ("[]", 54.0),
        ] {
            assert_eq!(left(text), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn never_reached_token_server_is_not_waited_for() {
        use crate::http::Network;
        use crate::http::{RetryKind, Retryable as _};

        // No server listens on the discard port.
        let away: Url = "http://127.0.0.1:9/token".parse().unwrap();
        let endpoint: Endpoint = "127.0.0.1:5000".parse().unwrap();
        let tokens = |root: &str| {
            TokenCache::new(
                root.parse().unwrap(),
                Credential::Anonymous,
                Transport::new(Network::default().registry_clients(&endpoint).unwrap()),
                Realms {
                    endpoint: endpoint.clone(),
                    is_https: false,
                    insecure_registries: Vec::new(),
                },
                Challenge::Bearer {
                    realm: away.clone(),
                    service: None,
                },
                RateLimiter::default(),
                Duration::from_secs(60),
            )
        };
        for (root, expected) in [
            ("http://127.0.0.1:5000/v2/", RetryKind::NeverReached),
            // The registry itself has answered at this address.
            ("http://127.0.0.1:9/v2/", RetryKind::HostDown),
        ] {
            let failed = tokens(root).authorization("app", Access::Pull).await;
            assert_eq!(failed.err().unwrap().retry(), expected, "{root}");
        }
    }
}
