//! Application Default Credentials: the credential files of google-github-actions/auth, GitLab and
//! gcloud, which are read if none of our own variables names a credential.
//! <https://google.aip.dev/auth/4110>

use std::path::{Path, PathBuf};

use super::credentials;
use super::document::{decoded, read_text};
use super::environment::Environment;
use super::errors::Errors;
use crate::auth::credential_file;
use crate::auth::{CredentialSource, GoogleCredential};
use crate::diagnostics::sanitize::quoted;
use crate::diagnostics::secret::Secret;

/// The variables that name a credential file, in order of precedence: Google's own, then those that
/// google-github-actions/auth sets in addition.
const FILES: [&str; 3] = [
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_GHA_CREDS_PATH",
    "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
];

const WELL_KNOWN: &str = "application_default_credentials.json";

/// Finds and reads a credential.
///
/// # Errors
///
/// If a credential file cannot be read. The caller decides whether to report that: a run without a
/// host of Google's must not fail because of it.
pub(super) fn google(
    environment: &Environment<'_>,
) -> Result<Option<(CredentialSource, GoogleCredential)>, Vec<AdcError>> {
    let mut missing = Vec::new();
    for variable in FILES {
        let Some(text) = environment.ambient(variable) else {
            continue;
        };
        let path = find(text, environment);
        if path.is_none() && is_content(text) {
            return of_content(variable, text);
        }
        let Some(path) = path else {
            missing.push(AdcError {
                variable,
                text: format!("there is no file {}", quoted(text)),
                hints: environment
                    .ambient("GITHUB_ACTIONS")
                    .map(|_| MISSING_FILE.to_owned())
                    .into_iter()
                    .collect(),
            });
            continue;
        };
        let origin = CredentialSource::Variable(variable);
        return match read(environment, &path) {
            Ok(credential) => Ok(Some((origin, credential))),
            Err((text, hints)) => Err(vec![AdcError {
                variable,
                text,
                hints,
            }]),
        };
    }
    if let Some(fault) = missing.into_iter().next() {
        return Err(vec![fault]);
    }
    let directory = match (
        environment.ambient("CLOUDSDK_CONFIG"),
        environment.ambient("HOME"),
    ) {
        (Some(directory), _) => PathBuf::from(directory),
        (None, Some(home)) => Path::new(home).join(".config/gcloud"),
        (None, None) => return Ok(None),
    };
    let path = directory.join(WELL_KNOWN);
    if !environment.paths.files().exists(&path) {
        return Ok(None);
    }
    match read(environment, &path) {
        Ok(credential) => Ok(Some((CredentialSource::WellKnownFile(path), credential))),
        Err((text, hints)) => Err(vec![AdcError {
            variable: match environment.ambient("CLOUDSDK_CONFIG") {
                Some(_) => "CLOUDSDK_CONFIG",
                None => "HOME",
            },
            text: format!("in its {}: {text}", quoted(&path.display().to_string())),
            hints,
        }]),
    }
}

/// True if the text is the content of a file instead of its path, as when a GitLab variable is not
/// of type File. Such a text is never quoted.
fn is_content(text: &str) -> bool {
    let decoded = decoded(text.to_owned());
    decoded.starts_with(['{', '[']) || text.contains('\n') || text.starts_with("-----BEGIN")
}

fn of_content(
    variable: &'static str,
    text: &str,
) -> Result<Option<(CredentialSource, GoogleCredential)>, Vec<AdcError>> {
    // Masks the text before any message about it.
    drop(Secret::new(text));
    let json = decoded(text.to_owned());
    let parsed = credential_file::parse(&json);
    let parsed = parsed.map_err(|fault| {
        let (what, fix) = credentials::describe(&json, &fault);
        let as_file = format!(
            "`{variable}` must be the path of a file: on GitLab, make it a variable of type File, \
             or set `credentials_json` to the content"
        );
        vec![AdcError {
            variable,
            text: format!(
                "it is the content of a file, not its path, and {what}; its value is not shown"
            ),
            hints: fix.into_iter().chain([as_file]).collect(),
        }]
    });
    Ok(Some((CredentialSource::Variable(variable), parsed?)))
}

/// The hint for a file of google-github-actions/auth that a later step does not have.
const MISSING_FILE: &str = "google-github-actions/auth writes its file to the workspace: check \
                            out the repository before that step, not after it, and do not turn off \
                            `create_credentials_file`";

/// A fault of another tool's variable that is not reported yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AdcError {
    variable: &'static str,
    text: String,
    hints: Vec<String>,
}

impl AdcError {
    pub(super) fn report(self, errors: &Errors) {
        errors.invalid(self.variable, self.text);
        for hint in self.hints {
            errors.hint(hint);
        }
    }
}

/// Finds the file at its path, or by the same name in the workspace, for which the runner may use
/// another path in this job. `None` if it is at neither.
fn find(text: &str, environment: &Environment<'_>) -> Option<PathBuf> {
    let exists = |path: &PathBuf| environment.paths.files().exists(path);
    let at_path = environment.paths.input(text).ok().filter(exists);
    at_path.or_else(|| {
        let workspace = Path::new(environment.ambient("GITHUB_WORKSPACE")?);
        let name = Path::new(text).file_name()?;
        Some(workspace.join(name)).filter(exists)
    })
}

fn read(
    environment: &Environment<'_>,
    path: &Path,
) -> Result<GoogleCredential, (String, Vec<String>)> {
    let json = read_text(environment, path).map_err(|error| {
        let hint = (error.kind() == std::io::ErrorKind::PermissionDenied)
            .then(|| "only its owner can read it: run as the same user, or as root".to_owned());
        (
            format!("the file that it names cannot be read: {error}"),
            hint.into_iter().collect(),
        )
    })?;
    let json = decoded(json);
    credential_file::parse(&json).map_err(|fault| {
        let (what, fix) = credentials::describe(&json, &fault);
        (
            format!("the file that it names cannot be used: {what}"),
            fix.into_iter().collect(),
        )
    })
}
