//! Google OAuth tokens, which are obtained when needed, renewed before they expire, and shared by
//! all requests that wait for one.

use std::time::{Duration, Instant, SystemTime};

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

use super::claims::expiry;
use super::error::AuthError;
use super::exchange::{Exchange, IssuedToken};
use super::google::federation::ExternalAccount;
use super::google::impersonation::Impersonation;
use super::google::key::KeyIssuer;
use super::google::metadata::Machine;
use super::google::quota;
use super::google::user::AuthorizedUser;
use super::token_info::{self, TokenInfo};
use super::{CredentialSource, GoogleCredential, Identity};
use crate::diagnostics::secret::Secret;

/// A short-lived OAuth token.
#[derive(Clone, Debug)]
pub struct AccessToken {
    /// The token itself.
    pub secret: Secret,
    /// When it expires, by this machine's clock. `None` if the issuer did not state it.
    pub expires_at: Option<SystemTime>,
}

/// A source of tokens for one credential.
pub struct TokenSource {
    origin: CredentialSource,
    issuer: TokenIssuer,
    exchange: Exchange,
    quota_project: Option<String>,
    cached: Mutex<Option<CachedToken>>,
}

/// The issuer of the tokens.
enum TokenIssuer {
    /// None. There is only the token in a variable.
    Given(Secret),
    Key(KeyIssuer),
    User(AuthorizedUser),
    External(Box<ExternalAccount>),
    /// The last field is the quota project of the impersonating credential.
    Impersonated(Box<TokenIssuer>, Impersonation, Option<String>),
    Machine(Machine),
}

struct CachedToken {
    token: AccessToken,
    renew_at: Option<Instant>,
    valid_until: Option<Instant>,
}

impl CachedToken {
    fn is_due(&self) -> bool {
        self.renew_at.is_some_and(|at| at <= Instant::now())
    }

    fn is_expired(&self) -> bool {
        self.valid_until.is_some_and(|at| at <= Instant::now())
    }
}

impl From<IssuedToken> for CachedToken {
    fn from(issued: IssuedToken) -> Self {
        let after = |lifetime| Instant::now().checked_add(lifetime);
        Self {
            renew_at: issued
                .lifetime
                .and_then(|lifetime| after(lifetime.saturating_sub(margin(lifetime)))),
            valid_until: issued.lifetime.and_then(after),
            token: AccessToken {
                expires_at: issued
                    .lifetime
                    .and_then(|lifetime| SystemTime::now().checked_add(lifetime)),
                secret: issued.secret,
            },
        }
    }
}

/// How long before its expiry a token is renewed: as in Google's libraries, but at most a quarter
/// of its lifetime, because some live only two minutes.
fn margin(lifetime: Duration) -> Duration {
    (lifetime / 4).min(Duration::from_secs(225))
}

impl TokenSource {
    /// Prepares the source. Nothing is sent yet.
    pub(super) async fn new(
        origin: CredentialSource,
        credential: GoogleCredential,
        exchange: Exchange,
    ) -> Result<Self, AuthError> {
        let quota_project = quota::of_file(&credential).map(str::to_owned);
        let issuer = TokenIssuer::of(credential).await?;
        Ok(Self::with(origin, issuer, exchange).with_quota_project(quota_project))
    }

    /// The tokens of the machine's own account.
    pub(super) fn of_machine(machine: Machine, exchange: Exchange) -> Self {
        Self::with(
            CredentialSource::MetadataServer,
            TokenIssuer::Machine(machine),
            exchange,
        )
    }

    fn with(origin: CredentialSource, issuer: TokenIssuer, exchange: Exchange) -> Self {
        Self {
            origin,
            issuer,
            exchange,
            quota_project: None,
            cached: Mutex::default(),
        }
    }

    /// Sets the quota project for requests to Google's APIs, unless `project` is `None`.
    #[must_use]
    pub(super) fn with_quota_project(mut self, project: Option<String>) -> Self {
        self.quota_project = project.or(self.quota_project);
        self
    }

    /// The quota project for requests to Google's APIs.
    pub fn quota_project(&self) -> Option<&str> {
        self.quota_project.as_deref()
    }

    /// Where the credential was found.
    pub fn origin(&self) -> &CredentialSource {
        &self.origin
    }

    /// Returns a valid token: the cached one, or a new one. Concurrent callers wait for the same
    /// token.
    ///
    /// # Errors
    ///
    /// If no token is issued.
    pub async fn token(&self) -> Result<AccessToken, AuthError> {
        let mut cached = self.cached.lock().await;
        if let Some(cached) = cached.as_ref().filter(|cached| !cached.is_due()) {
            return Ok(cached.token.clone());
        }
        match self.issuer.issue(&self.exchange).await {
            Ok(issued) => Ok(cached.insert(issued.into()).token.clone()),
            // The renewal was early, so the cached token may still be valid for another try.
            Err(error) => match cached.as_mut().filter(|cached| !cached.is_expired()) {
                Some(cached) => {
                    tracing::warn!("{error}: using the current token until it expires");
                    let left = cached.valid_until.map_or(Duration::ZERO, |at| {
                        at.saturating_duration_since(Instant::now())
                    });
                    cached.renew_at = Instant::now().checked_add(left / 2);
                    Ok(cached.token.clone())
                }
                None => Err(error),
            },
        }
    }

    /// Returns a replacement for a token that a registry refused. `None` if there is none.
    ///
    /// # Errors
    ///
    /// If no token is issued.
    pub async fn replace_rejected(
        &self,
        refused: &Secret,
    ) -> Result<Option<AccessToken>, AuthError> {
        if let TokenIssuer::Given(_) = self.issuer {
            return Ok(None);
        }
        let mut cached = self.cached.lock().await;
        let other = cached
            .as_ref()
            .filter(|cached| cached.token.secret != *refused && !cached.is_due());
        if let Some(other) = other {
            return Ok(Some(other.token.clone()));
        }
        let issued = self.issuer.issue(&self.exchange).await?;
        Ok(Some(cached.insert(issued.into()).token.clone()))
    }

    /// Obtains a new token, whose remaining lifetime is as long as possible.
    ///
    /// # Errors
    ///
    /// If no token is issued.
    pub async fn fresh(&self) -> Result<AccessToken, AuthError> {
        let mut cached = self.cached.lock().await;
        let mut issued = self.issuer.issue(&self.exchange).await?;
        if issued.lifetime.is_none() {
            let info = token_info::request(&issued.secret, &self.exchange).await;
            issued.lifetime = info.map(|info| info.lifetime);
        }
        Ok(cached.insert(issued.into()).token.clone())
    }

    /// Returns Google's information about `token`, if its owner or its expiry is not known
    /// otherwise.
    pub async fn info(&self, token: &AccessToken) -> Option<TokenInfo> {
        let is_known = !matches!(self.identity(), Identity::AccessToken | Identity::User);
        if is_known && token.expires_at.is_some() {
            return None;
        }
        token_info::request(&token.secret, &self.exchange).await
    }

    /// Describes the credential, for messages.
    pub fn describe(&self) -> &'static str {
        match &self.issuer {
            TokenIssuer::Given(_) => "the token",
            TokenIssuer::Key(_) => "the key",
            TokenIssuer::User(_) => "the login",
            TokenIssuer::External(_) => "the workload identity",
            TokenIssuer::Impersonated(..) => "the impersonation",
            TokenIssuer::Machine(_) => "the account",
        }
    }

    /// The identity of the tokens.
    pub fn identity(&self) -> Identity {
        self.issuer.identity()
    }
}

impl TokenIssuer {
    async fn of(credential: GoogleCredential) -> Result<Self, AuthError> {
        Ok(match credential {
            GoogleCredential::AccessToken(token) => Self::Given(token),
            GoogleCredential::Key(key) => Self::Key(KeyIssuer::new(key).await?),
            GoogleCredential::User(user) => Self::User(user),
            GoogleCredential::External(account) => Self::External(account),
            GoogleCredential::Impersonated(source, account) => {
                let quota_project = quota::of_file(&source).map(str::to_owned);
                let source = Box::pin(Self::of(*source)).await?;
                Self::Impersonated(Box::new(source), account, quota_project)
            }
        })
    }

    /// Obtains a new token, whatever that takes for this issuer.
    fn issue<'a>(
        &'a self,
        exchange: &'a Exchange,
    ) -> BoxFuture<'a, Result<IssuedToken, AuthError>> {
        Box::pin(async move {
            match self {
                Self::Given(token) => fixed_token(token),
                Self::Key(key) => key.issue(exchange).await,
                Self::User(user) => user.issue(exchange).await,
                Self::External(account) => account.issue(exchange).await,
                Self::Impersonated(source, account, quota_project) => {
                    let token = source.issue(exchange).await?;
                    let member = source.identity().member();
                    let token = (&token.secret, quota_project.as_deref());
                    account.issue(exchange, token, member).await
                }
                Self::Machine(machine) => machine.issue(exchange).await,
            }
        })
    }

    fn identity(&self) -> Identity {
        match self {
            Self::Given(_) => Identity::AccessToken,
            Self::Key(key) => Identity::Account(key.account().to_owned()),
            Self::User(_) => Identity::User,
            Self::External(account) => match &account.impersonation {
                Some(account) => Identity::Account(account.account.clone()),
                None => Identity::Federated(account.member()),
            },
            Self::Impersonated(_, account, _) => Identity::Account(account.account.clone()),
            Self::Machine(machine) => machine.identity(),
        }
    }
}

/// Returns the token from a variable until it expires, if its expiry is known. Google's own tokens
/// are opaque, but a service account may sign a JWT in place of one.
fn fixed_token(token: &Secret) -> Result<IssuedToken, AuthError> {
    let lifetime = match expiry(token.expose()) {
        Some(at) => match at.duration_since(SystemTime::now()) {
            Ok(lifetime) if !lifetime.is_zero() => Some(lifetime),
            _ => return Err(AuthError::TokenExpired { at }),
        },
        None => None,
    };
    Ok(IssuedToken {
        secret: token.clone(),
        lifetime,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_refreshed_before_expiry_however_short() {
        for (lifetime, expected) in [(3600, 225), (600, 150), (120, 30), (4, 1), (0, 0)] {
            assert_eq!(
                margin(Duration::from_secs(lifetime)),
                Duration::from_secs(expected),
                "{lifetime}"
            );
        }
    }

    #[test]
    fn static_token_is_used_until_its_exp() {
        let jwt = |payload: &str| {
            use base64::Engine as _;
            use base64::engine::general_purpose::URL_SAFE_NO_PAD;
            Secret::new(format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(payload)))
        };
        assert!(matches!(
            fixed_token(&jwt(r#"{"exp":1700000000}"#)),
            Err(AuthError::TokenExpired { .. })
        ));
        let issued = fixed_token(&jwt(r#"{"exp":99999999999}"#)).map(|issued| issued.lifetime);
        assert!(issued.is_ok_and(|lifetime| lifetime.is_some()));
        let opaque = fixed_token(&Secret::new("ya29.c.opaque")).map(|issued| issued.lifetime);
        assert!(opaque.is_ok_and(|lifetime| lifetime.is_none()));
    }
}
