//! Accounts, their keys, and every token that was issued.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, header};
use serde_json::{Value, json};

use crate::call;
use crate::keys::Key;
use crate::random::{hex, number, opaque};

/// The identity of a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// A caller without a credential.
    Anonymous,
    /// A service account or a user, by e-mail address.
    Account(String),
    /// A user of the plain registry.
    User(String),
}

impl Identity {
    /// The e-mail address.
    pub(crate) fn member(&self) -> Option<&str> {
        match self {
            Identity::Account(email) => Some(email),
            Identity::Anonymous | Identity::User(_) => None,
        }
    }
}

/// A token that a registry's token endpoint gave out.
#[derive(Clone, Debug)]
pub(crate) struct RegistryToken {
    pub(crate) identity: Identity,
    /// The scopes it was asked for. Google ignores them, other registries do not.
    pub(crate) scopes: Vec<String>,
    /// The host it is for.
    pub(crate) host: String,
    /// The OAuth token that it was issued for.
    issued_for: Option<String>,
    expires: Instant,
}

struct Account {
    disabled: bool,
    keys: BTreeMap<String, Arc<Key>>,
    /// How many assertions are still refused because a new key has not propagated.
    unknown_keys: u32,
}

#[derive(Default)]
struct Inner {
    accounts: BTreeMap<String, Account>,
    keys_made: usize,
    access_tokens: HashMap<String, (String, Instant)>,
    registry_tokens: HashMap<String, RegistryToken>,
    refresh_tokens: HashMap<String, String>,
    users: HashMap<String, String>,
    /// The path that a user is restricted to.
    paths: HashMap<String, String>,
    /// The user of each refresh token of the plain registry.
    identity_tokens: HashMap<String, String>,
    secrets: BTreeSet<String>,
}

/// All accounts and tokens.
#[derive(Default)]
pub(crate) struct Accounts {
    inner: Mutex<Inner>,
}

impl Accounts {
    /// Creates a key for a service account. Returns its file in the form of `gcloud iam
    /// service-accounts keys create`.
    pub(crate) fn key_file(&self, email: &str, project: &str) -> String {
        let mut inner = self.inner.lock().unwrap();
        let key = Key::nth(inner.keys_made);
        inner.keys_made += 1;
        let id = hex(20);
        let pem = key.pem.clone();
        for form in [pem.clone(), pem.replace('\n', "\\n"), pem.replace('\n', "")] {
            inner.secrets.insert(form);
        }
        // The first line of the key, in case something logs only a part.
        inner.secrets.extend(pem.lines().nth(1).map(str::to_owned));
        let account = inner.account(email);
        account.keys.insert(id.clone(), key);
        let encoded = email.replace('@', "%40");
        let certificates = format!("https://www.googleapis.com/robot/v1/metadata/x509/{encoded}");
        // Written field by field: serde_json would sort them.
        let fields = [
            ("type", "service_account"),
            ("project_id", project),
            ("private_key_id", &id),
            ("private_key", &pem),
            ("client_email", email),
            ("client_id", "113456789012345678901"),
            ("auth_uri", "https://accounts.google.com/o/oauth2/auth"),
            ("token_uri", "https://oauth2.googleapis.com/token"),
            (
                "auth_provider_x509_cert_url",
                "https://www.googleapis.com/oauth2/v1/certs",
            ),
            ("client_x509_cert_url", &certificates),
            ("universe_domain", "googleapis.com"),
        ];
        let lines = fields.map(|(name, value)| format!("  \"{name}\": {}", Value::from(value)));
        format!("{{\n{}\n}}\n", lines.join(",\n"))
    }

    /// Creates the account if it does not exist. Returns an OAuth token for it.
    pub(crate) fn access_token(&self, email: &str, lifetime: Duration) -> String {
        let mut inner = self.inner.lock().unwrap();
        inner.account(email);
        let token = format!("ya29.c.{}", opaque(90));
        let expires = Instant::now() + lifetime;
        inner
            .access_tokens
            .insert(token.clone(), (email.to_owned(), expires));
        inner.secrets.insert(token.clone());
        token
    }

    /// Issues a refresh token to a user.
    pub(crate) fn refresh_token(&self, email: &str) -> String {
        let token = format!("1//{}", opaque(60));
        let mut inner = self.inner.lock().unwrap();
        inner.account(email);
        inner.secrets.insert(token.clone());
        inner.refresh_tokens.insert(token.clone(), email.to_owned());
        token
    }

    pub(crate) fn owner_of_refresh_token(&self, token: &str) -> Option<String> {
        let inner = self.inner.lock().unwrap();
        let email = inner.refresh_tokens.get(token)?;
        inner
            .accounts
            .get(email)
            .filter(|account| !account.disabled)?;
        Some(email.clone())
    }

    /// The owner of an OAuth token. `None` if it is not valid.
    pub(crate) fn access_token_owner(&self, token: &str) -> Option<String> {
        let inner = self.inner.lock().unwrap();
        let (email, expires) = inner.access_tokens.get(token)?;
        let enabled = inner
            .accounts
            .get(email)
            .is_some_and(|account| !account.disabled);
        (enabled && Instant::now() < *expires).then(|| email.clone())
    }

    /// The remaining lifetime of an OAuth token in seconds.
    pub(crate) fn access_token_lifetime(&self, token: &str) -> Option<u64> {
        self.access_token_owner(token)?;
        let inner = self.inner.lock().unwrap();
        let (_, expires) = inner.access_tokens.get(token)?;
        Some(expires.saturating_duration_since(Instant::now()).as_secs())
    }

    /// Issues a registry token. It is opaque to clients, but has the form of Google's: base64 of
    /// JSON, and no JWT.
    pub(crate) fn registry_token(
        &self,
        identity: Identity,
        scopes: Vec<String>,
        host: String,
        issued_for: Option<String>,
        lifetime: Duration,
    ) -> String {
        let inside = opaque(64);
        let content = json!({
            "access_token": inside,
            "commands": {},
            "token_id": number(),
            "product": "artifactregistry",
        });
        let token = BASE64_STANDARD.encode(content.to_string());
        let mut inner = self.inner.lock().unwrap();
        inner.secrets.extend([inside, token.clone()]);
        inner.registry_tokens.insert(
            token.clone(),
            RegistryToken {
                identity,
                scopes,
                host,
                issued_for,
                expires: Instant::now() + lifetime,
            },
        );
        token
    }

    /// A registry token that is still valid.
    pub(crate) fn find_registry_token(&self, token: &str, outlives: bool) -> Option<RegistryToken> {
        let found = {
            let inner = self.inner.lock().unwrap();
            inner.registry_tokens.get(token)?.clone()
        };
        let valid = Instant::now() < found.expires;
        let backed = outlives
            || found
                .issued_for
                .as_ref()
                .is_none_or(|bought| self.access_token_owner(bought).is_some());
        (valid && backed).then_some(found)
    }

    /// Makes every token invalid now.
    pub(crate) fn expire_tokens(&self) {
        let mut inner = self.inner.lock().unwrap();
        inner.access_tokens.clear();
        inner.registry_tokens.clear();
    }

    pub(crate) fn disable(&self, email: &str) {
        self.inner.lock().unwrap().account(email).disabled = true;
    }

    /// Enables the account, whatever its state was.
    pub(crate) fn revive(&self, email: &str) {
        self.inner.lock().unwrap().account(email).disabled = false;
    }

    /// Makes the account's keys unknown for this number of uses.
    pub(crate) fn delay_key(&self, email: &str, times: u32) {
        self.inner.lock().unwrap().account(email).unknown_keys = times;
    }

    pub(crate) fn delete_key(&self, email: &str, id: &str) {
        self.inner.lock().unwrap().account(email).keys.remove(id);
    }

    pub(crate) fn delete_keys(&self, email: &str) {
        self.inner.lock().unwrap().account(email).keys.clear();
    }

    /// The account of a key file, as `_json_key` sends it. `None` if the key no longer works.
    pub(crate) fn owner_of_key_file(&self, file: &str) -> Option<String> {
        let file: Value = serde_json::from_str(file).ok()?;
        let email = file["client_email"].as_str()?;
        let inner = self.inner.lock().unwrap();
        let account = inner
            .accounts
            .get(email)
            .filter(|account| !account.disabled)?;
        let key = account.keys.get(file["private_key_id"].as_str()?)?;
        (file["private_key"].as_str() == Some(key.pem.as_str())).then(|| email.to_owned())
    }

    /// True if the account exists and is enabled, for the OAuth endpoint.
    pub(crate) fn is_enabled(&self, email: &str) -> bool {
        let inner = self.inner.lock().unwrap();
        inner
            .accounts
            .get(email)
            .is_some_and(|account| !account.disabled)
    }

    /// Checks an RS256 signature against the account's keys; `id` narrows it to one.
    pub(crate) fn signed(
        &self,
        email: &str,
        id: Option<&str>,
        text: &str,
        signature: &[u8],
    ) -> bool {
        let mut inner = self.inner.lock().unwrap();
        let Some(account) = inner.accounts.get_mut(email) else {
            return false;
        };
        if account.unknown_keys > 0 {
            account.unknown_keys -= 1;
            return false;
        }
        account
            .keys
            .iter()
            .filter(|(key_id, _)| id.is_none_or(|id| id == key_id.as_str()))
            .any(|(_, key)| key.signed(text, signature))
    }

    pub(crate) fn add_user(&self, user: &str, password: &str) {
        let mut inner = self.inner.lock().unwrap();
        inner.users.insert(user.to_owned(), password.to_owned());
        inner.secrets.insert(password.to_owned());
    }

    pub(crate) fn is_user(&self, user: &str, password: &str) -> bool {
        let inner = self.inner.lock().unwrap();
        inner.users.get(user).is_some_and(|known| known == password)
    }

    pub(crate) fn restrict_user(&self, user: &str, path: &str) {
        let mut inner = self.inner.lock().unwrap();
        inner.paths.insert(user.to_owned(), path.to_owned());
    }

    /// True if a user of the plain registry may access a repository.
    pub(crate) fn can_access(&self, user: &str, repository: &str) -> bool {
        let inner = self.inner.lock().unwrap();
        let path = inner.paths.get(user);
        path.is_none_or(|path| repository == path || repository.starts_with(&format!("{path}/")))
    }

    /// Issues a refresh token that works once.
    pub(crate) fn identity_token(&self, user: &str) -> String {
        let token = opaque(48);
        let mut inner = self.inner.lock().unwrap();
        inner.secrets.insert(token.clone());
        inner.identity_tokens.insert(token.clone(), user.to_owned());
        token
    }

    /// The owner of a refresh token, which is consumed.
    pub(crate) fn consume(&self, token: &str) -> Option<String> {
        self.inner.lock().unwrap().identity_tokens.remove(token)
    }

    /// Remembers a credential that a request carried.
    pub(crate) fn record_secrets(&self, headers: &HeaderMap) {
        let values = headers.get_all(header::AUTHORIZATION);
        for value in values.iter().filter_map(|value| value.to_str().ok()) {
            let (_, credential) = value.split_once(' ').unwrap_or(("", value));
            self.keep_secret(credential);
        }
        if let Some((_, password)) = call::basic(headers) {
            self.keep_secret(&password);
        }
    }

    /// Adds a secret that must never appear in a log.
    pub(crate) fn keep_secret(&self, secret: &str) {
        if !secret.is_empty() {
            self.inner.lock().unwrap().secrets.insert(secret.to_owned());
        }
    }

    pub(crate) fn secrets(&self) -> Vec<String> {
        self.inner.lock().unwrap().secrets.iter().cloned().collect()
    }
}

impl Inner {
    fn account(&mut self, email: &str) -> &mut Account {
        self.accounts
            .entry(email.to_owned())
            .or_insert_with(|| Account {
                disabled: false,
                keys: BTreeMap::new(),
                unknown_keys: 0,
            })
    }
}
