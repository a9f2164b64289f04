//! Parses credential files of Google's tools. Their `type` selects the format.
//! <https://google.aip.dev/auth/4110>

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;

use super::GoogleCredential;
use super::google::federation::ExternalAccount;
use super::google::impersonation::Impersonation;
use super::google::key::{KeyError, ServiceAccountKey, check_google_url, printable_type};
use super::google::quota;
use super::google::user::AuthorizedUser;
use super::subject::{Format, SubjectSource, SubjectUrl, check_subject_url, header_map};
use crate::diagnostics::secret::Secret;

/// Why a text is not a usable credential file. No message quotes a secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FileError {
    /// A service-account key with an error, or no credential at all.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A type of credential that is not supported.
    #[error("it is a credential of type `{0}`, which gcr-push cannot use")]
    UnknownType(String),
    /// A required field of this type is missing.
    #[error("it is of type `{0}`, but `{1}` is missing")]
    Missing(&'static str, &'static str),
    /// A URL that would receive a secret is not Google's.
    #[error("its `{0}` is not `https` at a Google host, so it is not used")]
    NotGoogle(&'static str),
    /// The URL for the subject token cannot be used.
    #[error("its `credential_source.url` cannot be used: {0}")]
    SubjectUrl(&'static str),
    /// A source of subject tokens that is not supported.
    #[error("its `credential_source` is {0}, which gcr-push does not support")]
    Source(&'static str),
    /// Both a file and a URL, which Google's own libraries refuse as well.
    #[error("its `credential_source` has both `file` and `url`: remove one of them")]
    TwoSources,
    /// A format of the subject token that is not supported.
    #[error(
        "its `credential_source.format` is not supported: expected `text`, or `json` with \
         `subject_token_field_name`"
    )]
    Format,
    /// A universe domain other than the public cloud.
    #[error("its `universe_domain` is not `googleapis.com`")]
    Universe,
}

impl FileError {
    /// What to do if the type is not supported.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Source("an executable") => Some(
                "run that program in an earlier step, and set `oidc_token` to the token that it \
                 prints, with `workload_identity_provider`",
            ),
            Self::Source("AWS") => Some(
                "get the token in an earlier step: `gcloud auth login --cred-file=FILE`, then set \
                 `access_token` to the output of `gcloud auth print-access-token`",
            ),
            Self::Source("a certificate") => Some(
                "get the token in an earlier step with Google's own libraries, and put it in \
                 `access_token`",
            ),
            Self::UnknownType(_) => Some(
                "set `access_token` to a token of this credential: `gcloud auth print-access-token`",
            ),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct File {
    r#type: Option<String>,
    universe_domain: Option<String>,
    quota_project_id: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    refresh_token: Option<String>,
    audience: Option<String>,
    subject_token_type: Option<String>,
    token_url: Option<String>,
    credential_source: Option<Source>,
    service_account_impersonation_url: Option<String>,
    service_account_impersonation: Option<Lifetime>,
    workforce_pool_user_project: Option<String>,
    delegates: Option<Vec<String>>,
    source_credentials: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Lifetime {
    token_lifetime_seconds: Option<u64>,
}

#[derive(Deserialize)]
struct Source {
    file: Option<String>,
    url: Option<String>,
    #[serde(default)]
    headers: HashMap<String, String>,
    format: Option<SourceFormat>,
    executable: Option<serde_json::Value>,
    environment_id: Option<String>,
    certificate: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct SourceFormat {
    r#type: Option<String>,
    subject_token_field_name: Option<String>,
}

/// Parses a credential file of any type.
///
/// # Errors
///
/// If no token can be obtained with it.
pub fn parse(json: &str) -> Result<GoogleCredential, FileError> {
    let file: File = serde_json::from_str(json).map_err(|_| KeyError::NotJson)?;
    let Some(kind) = file.r#type.as_deref() else {
        return Err(KeyError::Missing("type").into());
    };
    let domain = file.universe_domain.as_deref();
    if domain.is_some_and(|domain| domain != "googleapis.com") {
        return Err(FileError::Universe);
    }
    match kind {
        "service_account" => Ok(GoogleCredential::Key(ServiceAccountKey::parse(json)?)),
        "authorized_user" => user(file).map(GoogleCredential::User),
        "external_account" => {
            external(file).map(|account| GoogleCredential::External(Box::new(account)))
        }
        "impersonated_service_account" => impersonated(file),
        other if printable_type(other) => Err(FileError::UnknownType(other.to_owned())),
        _ => Err(KeyError::Missing("type").into()),
    }
}

fn user(file: File) -> Result<AuthorizedUser, FileError> {
    let missing = |field| FileError::Missing("authorized_user", field);
    let secret = |value: Option<String>, field| value.map(Secret::new).ok_or(missing(field));
    Ok(AuthorizedUser {
        client_id: file.client_id.ok_or(missing("client_id"))?,
        client_secret: secret(file.client_secret, "client_secret")?,
        refresh_token: secret(file.refresh_token, "refresh_token")?,
        quota_project: file.quota_project_id.as_deref().and_then(quota::project),
    })
}

fn external(file: File) -> Result<ExternalAccount, FileError> {
    let missing = |field| FileError::Missing("external_account", field);
    let source = file.credential_source.ok_or(missing("credential_source"))?;
    let subject = subject(source)?;
    let token_url = file.token_url.ok_or(missing("token_url"))?;
    let lifetime = file
        .service_account_impersonation
        .and_then(|asked| asked.token_lifetime_seconds)
        .map(Duration::from_secs);
    let impersonation = file
        .service_account_impersonation_url
        .map(|url| impersonation(&url))
        .transpose()?
        .map(|account| account.with_lifetime(lifetime));
    Ok(ExternalAccount {
        audience: file.audience.ok_or(missing("audience"))?,
        subject_token_type: file
            .subject_token_type
            .ok_or(missing("subject_token_type"))?,
        token_url: google_url("token_url", &token_url)?,
        subject,
        impersonation,
        user_project: file.workforce_pool_user_project,
        quota_project: file.quota_project_id.as_deref().and_then(quota::project),
        claims: Arc::default(),
    })
}

fn subject(source: Source) -> Result<SubjectSource, FileError> {
    if source.executable.is_some() {
        return Err(FileError::Source("an executable"));
    }
    if source.environment_id.is_some() {
        return Err(FileError::Source("AWS"));
    }
    if source.certificate.is_some() {
        return Err(FileError::Source("a certificate"));
    }
    let format = match source.format {
        None => Format::Text,
        Some(format) => match (format.r#type.as_deref(), format.subject_token_field_name) {
            (None | Some("text"), _) => Format::Text,
            (Some("json"), Some(field)) => Format::Json(field),
            _ => return Err(FileError::Format),
        },
    };
    match (source.file, source.url) {
        (Some(_), Some(_)) => Err(FileError::TwoSources),
        (Some(path), None) => Ok(SubjectSource::File(path.into(), format)),
        (None, Some(url)) => {
            let url: Url = url
                .parse()
                .map_err(|_| FileError::SubjectUrl("it is not a URL"))?;
            check_subject_url(&url).map_err(FileError::SubjectUrl)?;
            let headers = header_map(&source.headers).map_err(FileError::SubjectUrl)?;
            Ok(SubjectSource::Url(SubjectUrl {
                url,
                headers,
                format,
            }))
        }
        (None, None) => Err(FileError::Missing(
            "external_account",
            "credential_source.url",
        )),
    }
}

fn impersonated(file: File) -> Result<GoogleCredential, FileError> {
    const TYPE: &str = "impersonated_service_account";
    let missing = |field| FileError::Missing(TYPE, field);
    let url = file
        .service_account_impersonation_url
        .ok_or(missing("service_account_impersonation_url"))?;
    let source = file
        .source_credentials
        .ok_or(missing("source_credentials"))?;
    let source = parse(&source.to_string())?;
    if matches!(source, GoogleCredential::Impersonated(..)) {
        return Err(FileError::UnknownType(TYPE.to_owned()));
    }
    let quota_project = file.quota_project_id.as_deref().and_then(quota::project);
    let account = impersonation(&url)?
        .with_delegates(file.delegates.unwrap_or_default())
        .with_quota_project(quota_project);
    Ok(GoogleCredential::Impersonated(Box::new(source), account))
}

fn impersonation(url: &str) -> Result<Impersonation, FileError> {
    Impersonation::at(url).map_err(|_| FileError::NotGoogle("service_account_impersonation_url"))
}

fn google_url(field: &'static str, text: &str) -> Result<Url, FileError> {
    check_google_url(text).map_err(|()| FileError::NotGoogle(field))?;
    text.parse().map_err(|_| FileError::NotGoogle(field))
}
