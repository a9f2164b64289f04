//! Signing in to a registry: the token exchange, and one current token a repository.
//!
//! oci-client's own sign-in is not used: it sends Basic to whatever realm a challenge names, loses
//! a refusal's text and keeps the first credential of a host for ever.
//! <https://distribution.github.io/distribution/spec/auth/token/>

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{CONTENT_TYPE, HeaderMap, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::challenge::{Challenge, Realms, read_challenge};
use super::scope::{Access, Authorization, Scope};
use crate::auth::logins::PasswordKind;
use crate::auth::{BasicAuth, Credential, Identity};
use crate::diagnostics::secret::{Secret, redact};
use crate::http::RateLimiter;
use crate::oci::json;
use crate::oci::reference::Endpoint;
use crate::registry::error::{MAX_ERROR_BODY, PAGE, RegistryError, is_page};
use crate::registry::hints::{Presented, Requester};
use crate::registry::http::read_bounded;
use crate::registry::transport::{Ask, Transport};

/// The current token of each repository, bought when it is first needed.
pub(crate) struct TokenCache {
    root: Url,
    credential: Credential,
    transport: Transport,
    /// Sends identity tokens; none where the credential has none.
    form_http: Option<reqwest::Client>,
    realms: Realms,
    /// What `/v2/` asks for.
    challenge: Challenge,
    /// What single repositories ask for, where it is something else.
    challenges: Mutex<HashMap<String, Challenge>>,
    /// The pace of where tokens are bought.
    pace: RateLimiter,
    stall_timeout: Duration,
    /// True when where they are bought has answered, as the registry itself has.
    is_reached: AtomicBool,
    current: Mutex<HashMap<Scope, Shared>>,
    /// All that was shown to the registry, in the forms in which it was.
    shown: Mutex<HashSet<String>>,
    /// Refresh tokens that took the place of earlier ones; held for as long as one is traded, because
    /// some work once.
    refresh_tokens: tokio::sync::Mutex<HashMap<String, Secret>>,
}

/// A token that one request buys while the others wait for it.
type Shared = Arc<OnceCell<Token>>;

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

/// What the distribution token spec says a token without `expires_in` lives.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// Whom the token server is told that it talks to.
const CLIENT_ID: &str = "gcr-push";

/// How often a new token is bought for one that is refused where it should buy another.
const RENEWALS: u32 = 2;

/// The most bytes of a token answer: Google's are a few KiB.
const MAX_TOKEN_BODY: usize = 1024 * 1024;

impl TokenCache {
    pub(in crate::registry) fn new(
        root: Url,
        credential: Credential,
        transport: Transport,
        realms: Realms,
        challenge: Challenge,
        pace: RateLimiter,
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
            pace,
            stall_timeout,
            is_reached: AtomicBool::new(!is_elsewhere),
            current: Mutex::default(),
            shown: Mutex::default(),
            refresh_tokens: tokio::sync::Mutex::default(),
        }
    }

    /// The same with a client that identity tokens are sent by.
    pub(crate) fn with_form_client(self, client: Option<reqwest::Client>) -> Self {
        Self {
            form_http: client,
            ..self
        }
    }

    /// An answer's text without what the registry was shown: some servers, and proxies more than
    /// they, quote a request in their errors.
    pub(crate) fn without_secrets(&self, text: &[u8]) -> Vec<u8> {
        let shown = lock(&self.shown);
        let mut text = String::from_utf8_lossy(text).into_owned();
        for secret in shown.iter().filter(|secret| !secret.is_empty()) {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), "***");
            }
        }
        redact(&text).into_bytes()
    }

    fn remember(&self, authorization: &Authorization) {
        let mut shown = lock(&self.shown);
        match authorization {
            Authorization::None => {}
            Authorization::Bearer(token) => drop(shown.insert(token.expose().to_owned())),
            Authorization::Basic(user, password) => {
                shown.insert(password.expose().to_owned());
                shown.insert(STANDARD.encode(format!("{user}:{}", password.expose())));
            }
        }
    }

    /// Where tokens are had, and what they are for, where the registry names it.
    pub(crate) fn server(&self) -> Option<(&Url, Option<&str>)> {
        match &self.challenge {
            Challenge::Bearer { realm, service } => Some((realm, service.as_deref())),
            Challenge::None | Challenge::Basic => None,
        }
    }

    /// True where listing shows the credential itself: Google's registries give anybody a token
    /// who has none.
    fn shows_itself(&self) -> bool {
        let host = self.root.host_str().and_then(|host| host.parse().ok());
        let is_google = host.is_some_and(|host: Endpoint| host.is_google());
        !(is_google && matches!(self.credential, Credential::Anonymous))
    }

    /// True where the credential is an OAuth token of Google's.
    pub(crate) fn are_googles(&self) -> bool {
        matches!(self.credential, Credential::Tokens(_))
    }

    /// Who is refused when a request about `repository` with this access is that showed this.
    pub(super) fn asker(
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
    pub(in crate::registry) fn asker_at(
        &self,
        access: Access,
        presented: Presented,
        url: &Url,
    ) -> Requester {
        self.asker(access, presented, repository_of(url))
    }

    /// Whom the registry knows us as in a repository.
    pub(crate) fn identity(&self, repository: &str) -> Identity {
        self.credential.for_repository(repository).identity()
    }

    /// What an answer about `repository` is about. Where it `is_own`, it comes from the registry
    /// itself; to another host nothing was shown.
    pub(in crate::registry) fn presented(
        &self,
        repository: &str,
        shown: &Authorization,
        is_own: bool,
    ) -> Presented {
        let credential = self.credential.for_repository(repository);
        match shown {
            Authorization::None => Presented::Nothing,
            _ if !is_own => Presented::Nothing,
            // A token that was bought with nothing tells nothing.
            Authorization::Bearer(_) if credential.identity() == Identity::Anonymous => {
                Presented::Nothing
            }
            Authorization::Bearer(_) => Presented::Token,
            Authorization::Basic(..) => Presented::Credential,
        }
    }

    /// Takes up what the 401 of a request about `repository` asks for: a registry may be open at
    /// `/v2/`, or for reading, and ask on a write.
    ///
    /// # Errors
    ///
    /// The sentence that says why it cannot be answered, where nothing else is known that it asks
    /// for.
    pub(crate) fn challenged(&self, repository: &str, headers: &HeaderMap) -> Result<(), String> {
        let known = self.challenge(repository);
        let asked = match read_challenge(headers, &self.realms) {
            Ok(asked) => asked,
            Err(what) if headers.contains_key(WWW_AUTHENTICATE) && known == Challenge::None => {
                return Err(what);
            }
            Err(_) => return Ok(()),
        };
        if self.leads_away(&known, &asked) {
            return Ok(());
        }
        if asked != known {
            tracing::debug!("{repository} asks for another login than the registry's root does");
            let mut challenges = lock(&self.challenges);
            challenges.insert(repository.to_owned(), asked);
            drop(challenges);
            lock(&self.current).retain(|scope, _| scope.repository != repository);
        }
        Ok(())
    }

    /// True for a challenge that sends the login to another host than the one that is known already: a
    /// registry that has said where it is shown does not move it elsewhere with a later answer.
    fn leads_away(&self, known: &Challenge, asked: &Challenge) -> bool {
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
        let own = lock(&self.challenges).get(repository).cloned();
        own.unwrap_or_else(|| self.challenge.clone())
    }

    /// What a request to `repository` shows now. All requests that find no token wait for the one
    /// exchange that the first of them makes.
    pub(crate) async fn authorization(
        &self,
        repository: &str,
        access: Access,
    ) -> Result<Authorization, RegistryError> {
        self.authorization_for(Scope::of(repository, access)).await
    }

    /// What a request shows that mounts a blob of `from` into `repository`.
    pub(crate) async fn authorization_to_mount(
        &self,
        repository: &str,
        from: &str,
    ) -> Result<Authorization, RegistryError> {
        let scope = Scope {
            and_read: Some(from.to_owned()),
            ..Scope::of(repository, Access::PullPush)
        };
        self.authorization_for(scope).await
    }

    async fn authorization_for(&self, scope: Scope) -> Result<Authorization, RegistryError> {
        let cell = {
            let mut current = lock(&self.current);
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
                Ok(token)
            })
            .await?;
        Ok(token.authorization.clone())
    }

    /// Forgets a token that the registry refused, unless another request already has.
    pub(crate) fn refused(&self, repository: &str, access: Access, shown: &Authorization) {
        let mut current = lock(&self.current);
        if let Some(cell) = current.get_mut(&Scope::of(repository, access))
            && cell.get().is_some_and(|t| t.authorization == *shown)
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
                    .login_itself(&credential, |shown| match shown.kind {
                        PasswordKind::RegistryToken => Authorization::Bearer(shown.password),
                        PasswordKind::Password | PasswordKind::IdentityToken => {
                            Authorization::Basic(shown.user, shown.password)
                        }
                    })
                    .await;
            }
            Challenge::Bearer { .. } if *access == Access::List && self.shows_itself() => {
                return self
                    .login_itself(&credential, |shown| Authorization::Bearer(shown.password))
                    .await;
            }
            Challenge::Bearer { realm, service } => (realm, service),
        };
        let mut url = realm.clone();
        url.query_pairs_mut()
            .extend_pairs(service.as_deref().map(|service| ("service", service)))
            .append_pair("scope", &access.scope(repository));
        if let Some(other) = &scope.and_read {
            url.query_pairs_mut()
                .append_pair("scope", &Access::Pull.scope(other));
        }
        let mut login = self.basic(&credential, url.clone()).await?;
        match &login {
            Some(login) if login.kind == PasswordKind::IdentityToken => {
                let traded = self.trade(&realm, service.as_deref(), scope, login).await?;
                if let Some(token) = traded {
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
        let mut answer = self.ask(&url, login.as_ref()).await?;
        for _ in 0..RENEWALS {
            let (StatusCode::UNAUTHORIZED, Some(refused)) = (answer.status(), &login) else {
                break;
            };
            // The token in hand may have been revoked, or this machine's clock may be slow.
            let renewed = credential.renewed(&refused.password).await;
            let renewed = renewed
                .map_err(|error| RegistryError::not_signed_in(Method::GET, url.clone(), error))?;
            if renewed.is_some() {
                answer = self.ask(&url, renewed.as_ref()).await?;
                login = renewed;
            }
        }
        let presented = match &login {
            Some(_) => Presented::Credential,
            None => Presented::Nothing,
        };
        let body = self
            .granted(Method::GET, url.clone(), answer, scope, presented)
            .await?;
        let mut token = read_token(&body).ok_or_else(|| no_token(Method::GET, url, &body))?;
        // Nobody says whether it outlives what bought it.
        if let Some(end) = login.as_ref().and_then(renewal) {
            token.renew_at = Some(token.renew_at.map_or(end, |at| at.min(end)));
        }
        Ok(token)
    }

    /// The body of a token server's answer, if it grants.
    async fn granted(
        &self,
        method: Method,
        url: Url,
        answer: Response,
        scope: &Scope,
        presented: Presented,
    ) -> Result<Vec<u8>, RegistryError> {
        let status = answer.status();
        if status != StatusCode::OK {
            let (headers, at) = (answer.headers().clone(), answer.url().clone());
            let body = read_bounded(answer, MAX_ERROR_BODY, self.stall_timeout)
                .await
                .unwrap_or_default();
            let body = self.without_secrets(&body);
            return Err(RegistryError::refused(method, url, status, &body)
                .with_headers(&headers)
                .at(&at)
                .of(self.asker(scope.access, presented, &scope.repository)));
        }
        let body = read_bounded(answer, MAX_TOKEN_BODY, self.stall_timeout).await;
        body.map(Into::into)
            .map_err(|error| RegistryError::unfinished(method, url, error))
    }

    /// Trades an identity token for a registry token; none where the token server has no such
    /// exchange, and the user name of the login may stand beside it instead.
    /// <https://distribution.github.io/distribution/spec/auth/oauth/>
    async fn trade(
        &self,
        realm: &Url,
        service: Option<&str>,
        scope: &Scope,
        login: &BasicAuth,
    ) -> Result<Option<Token>, RegistryError> {
        let mut newer = self.refresh_tokens.lock().await;
        let newest = newer.get(login.password.expose());
        let refresh_token = newest.unwrap_or(&login.password).clone();
        let mut scopes = scope.access.scope(&scope.repository);
        if let Some(other) = &scope.and_read {
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
        self.pace.acquire().await;
        let answer = request.body(form).send().await.map_err(|error| {
            let error = error.without_url();
            self.first_contact(RegistryError::broken(Method::POST, realm.clone(), error))
        })?;
        self.is_reached.store(true, Ordering::Relaxed);
        let is_unknown = matches!(
            answer.status(),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
        );
        if is_unknown && !matches!(login.user.as_str(), "" | "<token>") {
            return Ok(None);
        }
        let url = realm.clone();
        let body = self
            .granted(
                Method::POST,
                url.clone(),
                answer,
                scope,
                Presented::Credential,
            )
            .await?;
        let token = read_token(&body).ok_or_else(|| no_token(Method::POST, url, &body))?;
        if let Some(next) = read_refresh_token(&body) {
            self.remember(&Authorization::Bearer(next.clone()));
            newer.insert(login.password.expose().to_owned(), next);
        }
        Ok(Some(token))
    }

    /// What is shown where the registry takes the login itself.
    async fn login_itself(
        &self,
        credential: &Credential,
        form: impl FnOnce(BasicAuth) -> Authorization,
    ) -> Result<Token, RegistryError> {
        let shown = self.basic(credential, self.root.clone()).await?;
        Ok(Token {
            renew_at: shown.as_ref().and_then(renewal),
            authorization: shown.map_or(Authorization::None, form),
        })
    }

    /// One request for a registry token.
    async fn ask(&self, url: &Url, login: Option<&BasicAuth>) -> Result<Response, RegistryError> {
        let shown = login.map_or(Authorization::None, |login| {
            Authorization::Basic(login.user.clone(), login.password.clone())
        });
        self.remember(&shown);
        self.pace.acquire().await;
        let ask = Ask {
            method: Method::GET,
            url,
            authorization: shown.header(),
        };
        match self.transport.send(ask, &self.pace, |r| r).await {
            Ok(answer) => {
                self.is_reached.store(true, Ordering::Relaxed);
                Ok(answer)
            }
            Err(broken) => Err(self.first_contact(broken)),
        }
    }

    /// A failure, told as that of a server that has not answered yet where it has not.
    fn first_contact(&self, broken: RegistryError) -> RegistryError {
        if self.is_reached.load(Ordering::Relaxed) {
            broken
        } else {
            broken.at_first_contact()
        }
    }

    async fn basic(
        &self,
        credential: &Credential,
        url: Url,
    ) -> Result<Option<BasicAuth>, RegistryError> {
        credential.basic().await.map_err(|error| {
            let shown = lock(&self.shown);
            let failed = RegistryError::not_signed_in(Method::GET, url, error);
            if shown.is_empty() {
                failed.at_first_contact()
            } else {
                failed
            }
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When what was shown has lived nine tenths of what it has left.
fn renewal(shown: &BasicAuth) -> Option<Instant> {
    let left = shown.expires_at?.duration_since(SystemTime::now());
    Instant::now().checked_add(left.unwrap_or_default() * 9 / 10)
}

fn no_token(method: Method, url: Url, body: &[u8]) -> RegistryError {
    if is_page(body) {
        RegistryError::unexpected(method, url, PAGE)
    } else {
        RegistryError::garbled(method, url, "the answer holds no registry token")
    }
}

/// The repository that a URL of the distribution API is about; empty where it is about none.
fn repository_of(url: &Url) -> &str {
    let name = url.path().strip_prefix("/v2/").unwrap_or_default();
    let ends = ["/manifests/", "/blobs/", "/tags/", "/referrers/"]
        .iter()
        .filter_map(|part| name.rfind(part));
    ends.max().map_or("", |end| &name[..end])
}

/// The refresh token that an answer puts in the place of the one that it was asked with.
fn read_refresh_token(body: &[u8]) -> Option<Secret> {
    #[derive(Deserialize)]
    struct Answer {
        refresh_token: Option<String>,
    }
    let answer: Answer = json::from_slice(body).ok()?;
    let token = answer.refresh_token.filter(|token| !token.is_empty())?;
    Some(Secret::new(token))
}

/// Reads `token` or `access_token` and `expires_in`; a token that cannot stand in a header is none.
fn read_token(body: &[u8]) -> Option<Token> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<serde_json::Value>,
    }
    let answer: Answer = json::from_slice(body).ok()?;
    let token = [answer.token, answer.access_token]
        .into_iter()
        .flatten()
        .find(|token| !token.is_empty())?;
    let authorization = Authorization::Bearer(Secret::new(token));
    authorization.header()?;
    let lifetime = answer
        .expires_in
        .as_ref()
        .and_then(lifetime)
        .unwrap_or(DEFAULT_LIFETIME);
    // A tenth of its life is left for the request that shows it.
    Some(Token {
        authorization,
        renew_at: Instant::now().checked_add(lifetime * 9 / 10),
    })
}

/// The seconds of `expires_in`, which some servers write as text or with a fraction; none where
/// they are no time that is left.
fn lifetime(expires_in: &serde_json::Value) -> Option<Duration> {
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
        fn a_token_is_read_however_its_fields_are_written(
            text in variants::of(
                json!({"access_token": "ok"}),
                variants::Fields {
                    all: &["token", "access_token", "expires_in"],
                    optional: &["token", "expires_in", "issued_at"],
                },
            )
        ) {
            prop_assert!(read_token(text.as_bytes()).is_some());
        }
    }

    #[test]
    fn a_token_that_could_not_stand_in_a_header_is_no_token() {
        assert!(read_token(br#"{"token":"a\nb"}"#).is_none());
        assert!(read_token(br#"{"token":""}"#).is_none());
        assert!(read_token(br"{}").is_none());
        assert!(read_token(br#"{"access_token":"ok","expires_in":43200}"#).is_some());
    }

    #[test]
    fn an_odd_lifetime_is_no_fault_of_the_token() {
        let left = |text: &str| {
            let body = format!(r#"{{"token":"t","expires_in":{text}}}"#);
            let renew_at = read_token(body.as_bytes()).unwrap().renew_at.unwrap();
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
    async fn a_token_server_that_never_answered_is_not_waited_for_as_one_that_has() {
        use crate::http::Network;
        use crate::registry::{RetryKind, Retryable as _};

        // The port that discards what it gets is served by nobody any more.
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
            // The registry has answered there already.
            ("http://127.0.0.1:9/v2/", RetryKind::HostDown),
        ] {
            let failed = tokens(root).authorization("app", Access::Pull).await;
            assert_eq!(failed.err().unwrap().retry(), expected, "{root}");
        }
    }
}
