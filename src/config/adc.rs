//! What the environment has to sign in to Google with, where nothing was given by name: the files
//! that google-github-actions/auth, GitLab and gcloud leave.
//! <https://google.aip.dev/auth/4110>

use std::path::{Path, PathBuf};

use super::credentials;
use super::document::{decoded, read_text};
use super::fault::Faults;
use super::paths::Paths;
use super::variables::Environment;
use crate::auth::credential_file;
use crate::auth::{CredentialSource, GoogleCredential};
use crate::diagnostics::sanitize::quoted;
use crate::diagnostics::secret::Secret;

/// The variables that name a credential file, best first: Google's own, then those that
/// google-github-actions/auth sets beside it.
const FILES: [&str; 3] = [
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_GHA_CREDS_PATH",
    "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
];

const WELL_KNOWN: &str = "application_default_credentials.json";

/// What was found, or the faults that kept it from being read. Whether they matter is for the
/// caller to say: a run that meets no host of Google's must not fail by them.
pub(super) fn google(
    given: &Environment,
    paths: &Paths<'_>,
) -> Result<Option<(CredentialSource, GoogleCredential)>, Vec<AdcFault>> {
    let mut lost = Vec::new();
    for variable in FILES {
        let Some(text) = given.ambient(variable) else {
            continue;
        };
        let path = find(text, given, paths);
        if path.is_none() && is_content(text) {
            return of_content(variable, text);
        }
        let Some(path) = path else {
            lost.push(AdcFault {
                variable,
                text: format!("there is no file {}", quoted(text)),
                hints: given
                    .ambient("GITHUB_ACTIONS")
                    .map(|_| LOST.to_owned())
                    .into_iter()
                    .collect(),
            });
            continue;
        };
        let origin = CredentialSource::Variable(variable);
        return match read(&path, paths) {
            Ok(credential) => Ok(Some((origin, credential))),
            Err((text, hints)) => Err(vec![AdcFault {
                variable,
                text,
                hints,
            }]),
        };
    }
    if let Some(fault) = lost.into_iter().next() {
        return Err(vec![fault]);
    }
    let directory = match (given.ambient("CLOUDSDK_CONFIG"), given.ambient("HOME")) {
        (Some(directory), _) => PathBuf::from(directory),
        (None, Some(home)) => Path::new(home).join(".config/gcloud"),
        (None, None) => return Ok(None),
    };
    let path = directory.join(WELL_KNOWN);
    if !paths.files().exists(&path) {
        return Ok(None);
    }
    match read(&path, paths) {
        Ok(credential) => Ok(Some((CredentialSource::WellKnownFile(path), credential))),
        Err((text, hints)) => Err(vec![AdcFault {
            variable: match given.ambient("CLOUDSDK_CONFIG") {
                Some(_) => "CLOUDSDK_CONFIG",
                None => "HOME",
            },
            text: format!("in its {}: {text}", quoted(&path.display().to_string())),
            hints,
        }]),
    }
}

/// True for what is a file's content and no path to it, as where a CI's variable is not of the type
/// that makes a file. What may be one is never quoted.
fn is_content(text: &str) -> bool {
    let decoded = decoded(text.to_owned());
    decoded.starts_with(['{', '[']) || text.contains('\n') || text.starts_with("-----BEGIN")
}

fn of_content(
    variable: &'static str,
    text: &str,
) -> Result<Option<(CredentialSource, GoogleCredential)>, Vec<AdcFault>> {
    // It is masked before anything is told of it.
    drop(Secret::new(text));
    let json = decoded(text.to_owned());
    let parsed = credential_file::parse(&json);
    let parsed = parsed.map_err(|fault| {
        let (what, fix) = credentials::told(&json, &fault);
        let as_file = format!(
            "`{variable}` names a file: on GitLab make it a variable of type File, or give the \
             content in `credentials_json`"
        );
        vec![AdcFault {
            variable,
            text: format!(
                "it holds a file's content, not its path, and {what}; its value is not shown"
            ),
            hints: fix.into_iter().chain([as_file]).collect(),
        }]
    });
    Ok(Some((CredentialSource::Variable(variable), parsed?)))
}

/// What google-github-actions/auth needs for its file to be seen by a later step.
const LOST: &str = "google-github-actions/auth leaves its file in the workspace: check the \
    repository out before that step, not after it, and leave `create_credentials_file` on";

/// A fault of a variable that is not ours, not yet told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AdcFault {
    variable: &'static str,
    text: String,
    hints: Vec<String>,
}

impl AdcFault {
    pub(super) fn tell(self, faults: &mut Faults) {
        faults.unusable(self.variable, self.text);
        for hint in self.hints {
            faults.hint(hint);
        }
    }
}

/// Where the file is: at the path that is given, or, in a job that the runner has given another
/// name for it, at the same name in the workspace.
fn find(text: &str, given: &Environment, paths: &Paths<'_>) -> Option<PathBuf> {
    let there = |path: &PathBuf| paths.files().exists(path);
    let as_given = paths.input(text).ok().filter(there);
    as_given.or_else(|| {
        let workspace = Path::new(given.ambient("GITHUB_WORKSPACE")?);
        let name = Path::new(text).file_name()?;
        Some(workspace.join(name)).filter(there)
    })
}

fn read(path: &Path, paths: &Paths<'_>) -> Result<GoogleCredential, (String, Vec<String>)> {
    let json = read_text(path, paths).map_err(|error| {
        let hint = (error.kind() == std::io::ErrorKind::PermissionDenied)
            .then(|| "only its owner may read it: run as the same user, or as root".to_owned());
        (
            format!("the file that it names cannot be read: {error}"),
            hint.into_iter().collect(),
        )
    })?;
    let json = decoded(json);
    credential_file::parse(&json).map_err(|fault| {
        let (what, fix) = credentials::told(&json, &fault);
        (
            format!("the file that it names cannot be used: {what}"),
            fix.into_iter().collect(),
        )
    })
}
