//! Tokens of Google's, kept fresh: bought when they are needed, again before they run out, and once
//! for all requests that wait.

use std::time::{Duration, Instant, SystemTime};

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

use super::claims::expiry;
use super::error::AuthError;
use super::exchange::{Exchange, Issued};
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
    /// When it stops working, by this machine's clock; none where nobody said.
    pub expires_at: Option<SystemTime>,
}

/// The tokens of one way to sign in.
pub struct TokenSource {
    origin: CredentialSource,
    issuer: TokenIssuer,
    exchange: Exchange,
    quota_project: Option<String>,
    held: Mutex<Option<CachedToken>>,
}

/// Who sells tokens, made ready.
enum TokenIssuer {
    /// Nobody: there is the one that was given.
    Given(Secret),
    Key(KeyIssuer),
    User(AuthorizedUser),
    External(Box<ExternalAccount>),
    /// The last is the project whose quota the acting counts for.
    Impersonated(Box<TokenIssuer>, Impersonation, Option<String>),
    Machine(Machine),
}

struct CachedToken {
    token: AccessToken,
    renew_at: Option<Instant>,
    dies_at: Option<Instant>,
}

impl CachedToken {
    fn is_due(&self) -> bool {
        self.renew_at.is_some_and(|at| at <= Instant::now())
    }

    fn is_dead(&self) -> bool {
        self.dies_at.is_some_and(|at| at <= Instant::now())
    }
}

impl From<Issued> for CachedToken {
    fn from(issued: Issued) -> Self {
        let after = |lifetime| Instant::now().checked_add(lifetime);
        Self {
            renew_at: issued
                .lifetime
                .and_then(|lifetime| after(lifetime.saturating_sub(margin(lifetime)))),
            dies_at: issued.lifetime.and_then(after),
            token: AccessToken {
                expires_at: issued
                    .lifetime
                    .and_then(|lifetime| SystemTime::now().checked_add(lifetime)),
                secret: issued.secret,
            },
        }
    }
}

/// How long before its end a token is renewed: as long as Google's libraries take, but no more than
/// a quarter of its life, for some live two minutes.
fn margin(lifetime: Duration) -> Duration {
    (lifetime / 4).min(Duration::from_secs(225))
}

impl TokenSource {
    /// Makes ready to buy; nothing is sent yet.
    pub(super) async fn new(
        origin: CredentialSource,
        credential: GoogleCredential,
        exchange: Exchange,
    ) -> Result<Self, AuthError> {
        let quota_project = quota::of_file(&credential).map(str::to_owned);
        let issuer = TokenIssuer::of(credential).await?;
        Ok(Self::with(origin, issuer, exchange).counted_for(quota_project))
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
            held: Mutex::default(),
        }
    }

    /// The same, with requests to Google's APIs counted for the quota of this project, if one is
    /// given.
    #[must_use]
    pub(super) fn counted_for(mut self, project: Option<String>) -> Self {
        self.quota_project = project.or(self.quota_project);
        self
    }

    /// The project whose quota requests to Google's APIs count for.
    pub fn quota_project(&self) -> Option<&str> {
        self.quota_project.as_deref()
    }

    /// Where the way to sign in was found.
    pub fn origin(&self) -> &CredentialSource {
        &self.origin
    }

    /// A token that works now: the one in hand while it lasts, else a new one. Whoever asks while
    /// one is bought waits for that one.
    ///
    /// # Errors
    ///
    /// When none is sold.
    pub async fn token(&self) -> Result<AccessToken, AuthError> {
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_ref().filter(|held| !held.is_due()) {
            return Ok(held.token.clone());
        }
        match self.issuer.issue(&self.exchange).await {
            Ok(issued) => Ok(held.insert(issued.into()).token.clone()),
            // It was renewed ahead of time, so there may be time for another try.
            Err(error) => match held.as_mut().filter(|held| !held.is_dead()) {
                Some(held) => {
                    tracing::warn!("{error}: the token in hand is used while it lasts");
                    let left = held.dies_at.map_or(Duration::ZERO, |at| {
                        at.saturating_duration_since(Instant::now())
                    });
                    held.renew_at = Instant::now().checked_add(left / 2);
                    Ok(held.token.clone())
                }
                None => Err(error),
            },
        }
    }

    /// A token in place of one that a registry refused; none where there is nothing to buy one with.
    ///
    /// # Errors
    ///
    /// When none is sold.
    pub async fn replace_rejected(
        &self,
        refused: &Secret,
    ) -> Result<Option<AccessToken>, AuthError> {
        if let TokenIssuer::Given(_) = self.issuer {
            return Ok(None);
        }
        let mut held = self.held.lock().await;
        let other = held
            .as_ref()
            .filter(|held| held.token.secret != *refused && !held.is_due());
        if let Some(other) = other {
            return Ok(Some(other.token.clone()));
        }
        let issued = self.issuer.issue(&self.exchange).await?;
        Ok(Some(held.insert(issued.into()).token.clone()))
    }

    /// A token with as much of its life left as can be had, to be handed on.
    ///
    /// # Errors
    ///
    /// When none is sold.
    pub async fn fresh(&self) -> Result<AccessToken, AuthError> {
        let mut held = self.held.lock().await;
        let mut issued = self.issuer.issue(&self.exchange).await?;
        if issued.lifetime.is_none() {
            let info = token_info::ask(&issued.secret, &self.exchange).await;
            issued.lifetime = info.map(|info| info.lifetime);
        }
        Ok(held.insert(issued.into()).token.clone())
    }

    /// What Google tells of `token`, where it does not tell of itself whose it is and until when.
    pub async fn info(&self, token: &AccessToken) -> Option<TokenInfo> {
        let is_known = !matches!(self.identity(), Identity::AccessToken | Identity::User);
        if is_known && token.expires_at.is_some() {
            return None;
        }
        token_info::ask(&token.secret, &self.exchange).await
    }

    /// What the tokens are had with, in words.
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

    /// Whom the tokens belong to.
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

    /// A new token. Whoever asks for one need not know what that takes.
    fn issue<'a>(&'a self, exchange: &'a Exchange) -> BoxFuture<'a, Result<Issued, AuthError>> {
        Box::pin(async move {
            match self {
                Self::Given(token) => given(token),
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

/// A token that was given as text serves until it runs out, where it says when that is: Google's own
/// are opaque, but a service account may sign a JWT in place of one.
fn given(token: &Secret) -> Result<Issued, AuthError> {
    let lifetime = match expiry(token.expose()) {
        Some(at) => match at.duration_since(SystemTime::now()) {
            Ok(lifetime) if !lifetime.is_zero() => Some(lifetime),
            _ => return Err(AuthError::TokenExpired { at }),
        },
        None => None,
    };
    Ok(Issued {
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
            given(&jwt(r#"{"exp":1700000000}"#)),
            Err(AuthError::TokenExpired { .. })
        ));
        let issued = given(&jwt(r#"{"exp":99999999999}"#)).map(|issued| issued.lifetime);
        assert!(issued.is_ok_and(|lifetime| lifetime.is_some()));
        let opaque = given(&Secret::new("ya29.c.opaque")).map(|issued| issued.lifetime);
        assert!(opaque.is_ok_and(|lifetime| lifetime.is_none()));
    }
}
