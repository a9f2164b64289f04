//! Service-account keys. They are only created on request, written to files that only their owner
//! can read, and never printed.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::plan::{PlanStep, ResourceState, StepAction};
use super::services::Services;
use super::{Setup, SetupError};
use crate::auth::google::key::ServiceAccountKey;
use crate::ci::files;
use crate::ci::table::timestamp;
use crate::commands::setup::request::Role;
use crate::diagnostics::secret::Secret;
use crate::google::{Api, Backoff, GoogleError};

/// A key to create.
#[derive(Clone, Debug)]
pub(super) struct KeyOrder {
    pub(super) email: String,
    pub(super) file: PathBuf,
}

/// A key as the API lists it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Key {
    /// `projects/P/serviceAccounts/EMAIL/keys/ID`.
    pub(super) name: String,
    #[serde(default)]
    valid_after_time: String,
}

impl Key {
    /// The id at the end of the name.
    pub(super) fn id(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    /// The day since when it is valid.
    pub(super) fn day(&self) -> &str {
        self.valid_after_time.split('T').next().unwrap_or_default()
    }

    /// True if the key is older than ninety days, so that Google advises to replace it.
    /// <https://cloud.google.com/iam/docs/best-practices-for-managing-service-account-keys>
    pub(super) fn is_old(&self) -> bool {
        const AGE: Duration = Duration::from_secs(90 * 24 * 60 * 60);
        let limit = SystemTime::now().checked_sub(AGE);
        // Both are RFC 3339 in UTC, which sorts as text.
        limit.is_some_and(|limit| {
            let since = self.valid_after_time.get(..19);
            since.is_some_and(|since| since < timestamp(limit).as_str())
        })
    }
}

/// The maximum number of user-managed keys of an account.
/// <https://cloud.google.com/iam/quotas>
const MAX_KEYS: usize = 10;

/// The time that a new account may take to propagate.
const ACCOUNT_PROPAGATION: Duration = Duration::from_secs(2 * 60);

impl Setup<'_> {
    /// The steps for the requested keys.
    pub(super) async fn plan_keys(&self, services: &Services) -> Result<Vec<PlanStep>, SetupError> {
        let mut steps = Vec::new();
        for (role, file) in &self.request.keys {
            let email = self.email(*role);
            let what = format!("key {}", file.display());
            let order = StepAction::CreateKey(KeyOrder {
                email: email.clone(),
                file: file.clone(),
            });
            let create = |why: String| {
                PlanStep::new(
                    ResourceState::Create,
                    what.clone(),
                    why,
                    Some(order.clone()),
                )
            };
            let Some(key) = read_key_file(file, &email)? else {
                // The file is checked before anything is changed.
                files::check(file).map_err(|cause| SetupError::File(file.clone(), cause))?;
                steps.push(create(format!("for {email}")));
                continue;
            };
            let known = if services.has(Api::Iam) {
                self.keys(&email).await?
            } else {
                Vec::new()
            };
            let is_known = known.iter().any(|known| Some(known.id()) == key.id());
            steps.push(if is_known {
                PlanStep::present(what, format!("for {email}"))
            } else {
                let why = format!("the key in it is no longer a key of {email}");
                PlanStep::new(ResourceState::Change, what, why, Some(order))
            });
        }
        Ok(steps)
    }

    /// The user-managed keys of an account. Empty if the account does not exist.
    pub(super) async fn keys(&self, email: &str) -> Result<Vec<Key>, SetupError> {
        let mut url = self.keys_url(email);
        url.query_pairs_mut()
            .append_pair("keyTypes", "USER_MANAGED");
        match self.google.pages(url, "keys").await {
            Ok(keys) => Ok(keys),
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(cause) => {
                let doing = format!("could not list the keys of `{email}`");
                Err(SetupError::google(doing, cause))
            }
        }
    }

    /// Creates a key and writes it to its file. If the file cannot be written, the key is deleted
    /// again, so that no unknown key is left.
    pub(super) async fn create_key(&self, order: &KeyOrder) -> Result<(), SetupError> {
        let KeyOrder { email, file } = order;
        let answer = self.new_key(email).await?;
        let doing = || format!("could not read the new key of `{email}`");
        let text = STANDARD
            .decode(answer.private_key_data)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| SetupError::Key(doing()))?;
        let written = files::replace(&Secret::new(text), file);
        if let Err(cause) = written {
            self.delete_key(&answer.name).await?;
            return Err(SetupError::File(file.clone(), cause));
        }
        Ok(())
    }

    async fn new_key(&self, email: &str) -> Result<NewKey, SetupError> {
        let url = self.keys_url(email);
        let body = json!({"privateKeyType": "TYPE_GOOGLE_CREDENTIALS_FILE"});
        let mut backoff = Backoff::new(ACCOUNT_PROPAGATION);
        loop {
            // A second request would create a second key, so it is only sent again after an error
            // response.
            let error = match self.google.post_once(url.clone(), &body).await {
                Ok(key) => return Ok(key),
                Err(error) => error,
            };
            let is_propagating =
                self.may_be_propagating(email, &error) && error.constraint().is_none();
            let is_retryable = is_propagating || (error.is_temporary() && error.status().is_some());
            if !is_retryable || !backoff.wait().await {
                return Err(self.key_error(email, error).await);
            }
            tracing::info!("Google does not create a key for `{email}` yet; waiting");
        }
    }

    /// The error of a key that was not created. Google names a violated policy, but not the limit:
    /// that is recognized by the number of keys.
    async fn key_error(&self, email: &str, error: GoogleError) -> SetupError {
        let names_cause = error.has_violations() || error.constraint().is_some();
        if error.code() == Some("FAILED_PRECONDITION") && !names_cause {
            let count = self.keys(email).await.map_or(0, |keys| keys.len());
            if count >= MAX_KEYS {
                return SetupError::TooManyKeys(email.to_owned(), count, error);
            }
        }
        SetupError::google(format!("could not create a key for `{email}`"), error)
    }

    /// Deletes a key.
    pub(super) async fn delete_key(&self, name: &str) -> Result<(), SetupError> {
        let url = Api::Iam.url(&format!("v1/{name}"));
        match self.google.delete::<Value>(url).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(cause) => {
                let doing = format!("could not delete the key `{name}`");
                Err(SetupError::google(doing, cause))
            }
        }
    }

    fn keys_url(&self, email: &str) -> reqwest::Url {
        let project = &self.request.project;
        Api::Iam.url(&format!(
            "v1/projects/{project}/serviceAccounts/{email}/keys"
        ))
    }

    /// The key in the requested file. `None` if there is none.
    pub(super) fn key_of(&self, role: Role) -> Option<ServiceAccountKey> {
        let mut files = self.request.keys.iter();
        let (_, file) = files.find(|(of, _)| *of == role)?;
        read_key_file(file, &self.email(role)).ok()?
    }
}

/// The response to creating a key, which contains its private part. It has no `Debug`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewKey {
    name: String,
    private_key_data: String,
}

/// Reads the key of an account from a file. `None` if the file does not exist. Any other content is
/// an error, because it must not be replaced.
fn read_key_file(file: &Path, email: &str) -> Result<Option<ServiceAccountKey>, SetupError> {
    let in_the_way = || SetupError::InTheWay(file.to_owned(), email.to_owned());
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(_) => return Err(in_the_way()),
    };
    match ServiceAccountKey::parse(&text) {
        Ok(key) if key.client_email == email => Ok(Some(key)),
        Ok(_) | Err(_) => Err(in_the_way()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_old_after_ninety_days() {
        let since = |days: u64| {
            let age = Duration::from_secs(days * 24 * 60 * 60);
            Key {
                name: "projects/p/serviceAccounts/e/keys/k".to_owned(),
                valid_after_time: timestamp(SystemTime::now() - age) + "Z",
            }
        };
        assert!(since(91).is_old());
        assert!(!since(89).is_old());
        let unknown = Key {
            valid_after_time: String::new(),
            ..since(0)
        };
        assert!(!unknown.is_old());
    }
}
