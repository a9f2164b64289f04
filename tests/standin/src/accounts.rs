//! Accounts, their keys, and every token that was given out.

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

/// Who a caller turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Nobody in particular.
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
    /// The OAuth token that bought it.
    bought_with: Option<String>,
    expires: Instant,
}

struct Account {
    disabled: bool,
    keys: BTreeMap<String, Arc<Key>>,
    /// So many assertions are refused yet, because a new key is not known everywhere.
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
    /// The path that a user is kept to.
    paths: HashMap<String, String>,
    /// Whose login each refresh token of the plain registry stands for.
    identity_tokens: HashMap<String, String>,
    secrets: BTreeSet<String>,
}

/// All accounts and tokens.
#[derive(Default)]
pub(crate) struct Accounts {
    inner: Mutex<Inner>,
}

impl Accounts {
    /// Makes a key for a service account and gives its file, in the form that `gcloud iam
    /// service-accounts keys create` writes.
    pub(crate) fn key_file(&self, email: &str, project: &str) -> String {
        let mut inner = self.inner.lock().unwrap();
        let key = Key::nth(inner.keys_made);
        inner.keys_made += 1;
        let id = hex(20);
        let pem = key.pem.clone();
        for form in [pem.clone(), pem.replace('\n', "\\n"), pem.replace('\n', "")] {
            inner.secrets.insert(form);
        }
        // The first line of the key itself, in case something logs only a part.
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

    /// Makes the account if it is not there yet, and gives it an OAuth token.
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

    /// Gives a person a refresh token.
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

    /// Whose OAuth token this is, while it is valid.
    pub(crate) fn access_token_owner(&self, token: &str) -> Option<String> {
        let inner = self.inner.lock().unwrap();
        let (email, expires) = inner.access_tokens.get(token)?;
        let enabled = inner
            .accounts
            .get(email)
            .is_some_and(|account| !account.disabled);
        (enabled && Instant::now() < *expires).then(|| email.clone())
    }

    /// For how many seconds an OAuth token is still valid.
    pub(crate) fn access_token_lifetime(&self, token: &str) -> Option<u64> {
        self.access_token_owner(token)?;
        let inner = self.inner.lock().unwrap();
        let (_, expires) = inner.access_tokens.get(token)?;
        Some(expires.saturating_duration_since(Instant::now()).as_secs())
    }

    /// Gives out a registry token. It is opaque to clients, but has the make of Google's:
    /// base64 of JSON, and no JWT.
    pub(crate) fn registry_token(
        &self,
        identity: Identity,
        scopes: Vec<String>,
        host: String,
        bought_with: Option<String>,
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
                bought_with,
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
                .bought_with
                .as_ref()
                .is_none_or(|bought| self.access_token_owner(bought).is_some());
        (valid && backed).then_some(found)
    }

    /// Every token stops working now.
    pub(crate) fn expire_tokens(&self) {
        let mut inner = self.inner.lock().unwrap();
        inner.access_tokens.clear();
        inner.registry_tokens.clear();
    }

    pub(crate) fn disable(&self, email: &str) {
        self.inner.lock().unwrap().account(email).disabled = true;
    }

    /// The account is there, whatever it was before.
    pub(crate) fn revive(&self, email: &str) {
        self.inner.lock().unwrap().account(email).disabled = false;
    }

    /// So many times none of the account's keys is known.
    pub(crate) fn delay_key(&self, email: &str, times: u32) {
        self.inner.lock().unwrap().account(email).unknown_keys = times;
    }

    pub(crate) fn delete_key(&self, email: &str, id: &str) {
        self.inner.lock().unwrap().account(email).keys.remove(id);
    }

    pub(crate) fn delete_keys(&self, email: &str) {
        self.inner.lock().unwrap().account(email).keys.clear();
    }

    /// Whether this is the file of a key that still works, as `_json_key` sends it.
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

    /// The state of an account, for the OAuth endpoint.
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

    pub(crate) fn confine_user(&self, user: &str, path: &str) {
        let mut inner = self.inner.lock().unwrap();
        inner.paths.insert(user.to_owned(), path.to_owned());
    }

    /// Whether a user of the plain registry has anything to do with a repository.
    pub(crate) fn may_enter(&self, user: &str, repository: &str) -> bool {
        let inner = self.inner.lock().unwrap();
        let path = inner.paths.get(user);
        path.is_none_or(|path| repository == path || repository.starts_with(&format!("{path}/")))
    }

    /// A refresh token that works once.
    pub(crate) fn identity_token(&self, user: &str) -> String {
        let token = opaque(48);
        let mut inner = self.inner.lock().unwrap();
        inner.secrets.insert(token.clone());
        inner.identity_tokens.insert(token.clone(), user.to_owned());
        token
    }

    /// Whose refresh token it was, which is used up now.
    pub(crate) fn use_up(&self, token: &str) -> Option<String> {
        self.inner.lock().unwrap().identity_tokens.remove(token)
    }

    /// Remembers a credential that a request showed.
    pub(crate) fn saw(&self, headers: &HeaderMap) {
        let values = headers.get_all(header::AUTHORIZATION);
        for value in values.iter().filter_map(|value| value.to_str().ok()) {
            let (_, credential) = value.split_once(' ').unwrap_or(("", value));
            self.keep_secret(credential);
        }
        if let Some((_, password)) = call::basic(headers) {
            self.keep_secret(&password);
        }
    }

    /// Adds to what must never be seen in a log.
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
