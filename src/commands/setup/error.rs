//! The errors of `setup`, with their hints.

use std::io;
use std::path::PathBuf;

use super::first_push::FirstPushError;
use super::forge::ForgeError;
use super::project::role_with;
use crate::auth::AuthError;
use crate::ci::output::OutputError;
use crate::commands::setup::request::{Forge, ForgeKind};
use crate::diagnostics::sanitize::sanitize;
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::google::GoogleError;
use crate::http::NetworkError;

/// An error of `setup`.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A request to an API failed.
    #[error("{doing}")]
    Google {
        /// The failed operation, as a sentence.
        doing: String,
        /// The API's error.
        #[source]
        cause: GoogleError,
    },
    /// The project does not exist, or the caller has no access.
    #[error("could not check the project `{0}`")]
    Project(String, #[source] GoogleError),
    /// The project is deleted.
    #[error("the project `{0}` is deleted")]
    Deleted(String),
    /// Permissions for the plan are missing, so nothing was changed.
    #[error(
        "{} in `{project}`, so nothing was changed:{}",
        lacks(missing),
        listed(missing)
    )]
    Permissions {
        /// The project.
        project: String,
        /// The permissions that are missing.
        missing: Vec<&'static str>,
    },
    /// Some APIs of a batch could not be enabled.
    #[error("could not enable{}", failures(.0))]
    NotEnabled(Vec<(String, String)>),
    /// Images cannot be pushed to the repository.
    #[error("the repository `{0}` exists, but does not accept pushed images: it is {1}")]
    WrongRepository(String, String),
    /// The repository was empty when the plan was made, and no longer is.
    #[error("the repository `{0}` is no longer empty, so it was not deleted")]
    NotEmpty(String),
    /// A pool that setup did not create is deleted, and still has the name.
    #[error("the workload identity pool `{0}` is deleted, and setup did not create it")]
    ForeignPool(String, String),
    /// The forge did not return the ids of a repository.
    #[error("could not get the numeric ids of {}", at(forge))]
    Forge {
        /// The repository.
        forge: Forge,
        /// The reason.
        #[source]
        cause: ForgeError,
    },
    /// The account has the maximum number of keys.
    #[error("could not create a key for `{0}`: it already has {1} keys, the maximum")]
    TooManyKeys(String, usize, #[source] GoogleError),
    /// The file exists and is not a key of the account.
    #[error("`{}` exists, but is not a key of `{}`: it is not changed", .0.display(), .1)]
    InTheWay(PathBuf, String),
    /// The file of the key cannot be written.
    #[error("could not write the key to `{}`, so no key was created", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// Google's response with the key cannot be parsed.
    #[error("{0}")]
    Key(String),
    /// No token of the account could be obtained.
    #[error("could not sign in as `{0}`")]
    SignIn(String, #[source] Box<AuthError>),
    /// The first push, which creates a bucket, failed.
    #[error("the first push to `{0}`, which creates its bucket, failed")]
    FirstPush(String, #[source] Box<FirstPushError>),
    /// The HTTP client could not be built.
    #[error("could not prepare the request")]
    Network(#[source] NetworkError),
    /// There is no credential for Google's APIs.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// A result could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl SetupError {
    pub(super) fn google(doing: impl Into<String>, cause: GoogleError) -> Self {
        Self::Google {
            doing: doing.into(),
            cause,
        }
    }

    /// An error of a request that reads the project.
    pub(super) fn project(project: &str, cause: GoogleError) -> Self {
        Self::Project(project.to_owned(), cause)
    }
}

impl Diagnostic for SetupError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Google { cause, .. } | Self::Project(_, cause) => cause.exit_code(),
            Self::Permissions { .. } => ExitCode::Denied,
            Self::Deleted(_)
            | Self::WrongRepository(..)
            | Self::ForeignPool(..)
            | Self::InTheWay(..) => ExitCode::Usage,
            Self::Forge { cause, .. } => cause.exit_code(),
            Self::NotEnabled(_) => ExitCode::Temporary,
            Self::SignIn(_, cause) => cause.exit_code(),
            Self::FirstPush(_, cause) => cause.exit_code(),
            Self::NotEmpty(_)
            | Self::TooManyKeys(..)
            | Self::File(..)
            | Self::Key(_)
            | Self::Network(_) => ExitCode::Failed,
            Self::Auth(error) => error.exit_code(),
            Self::Output(error) => error.exit_code(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Google { cause, .. } => match cause.metadata("permission") {
                Some(permission) => vec![format!(
                    "it requires `{}`, which is in `{}`",
                    sanitize(permission),
                    role_with(permission)
                )],
                None => cause.hints(),
            },
            Self::Project(project, cause) => project_hints(project, cause),
            Self::Deleted(project) => vec![format!(
                "within thirty days, `gcloud projects undelete {project}` restores it; otherwise, \
                 set another project in `project_id`"
            )],
            Self::Permissions { project, missing } => {
                let mut roles: Vec<&str> = missing.iter().map(|one| role_with(one)).collect();
                roles.sort_unstable();
                roles.dedup();
                let grant = |role: &str| {
                    format!(
                        "ask for the role: `gcloud projects add-iam-policy-binding {project} \
                         --member=user:YOU --role={role} --condition=None`"
                    )
                };
                roles.into_iter().map(grant).collect()
            }
            Self::NotEnabled(_) => {
                vec!["the others are enabled: run this again to continue".to_owned()]
            }
            Self::WrongRepository(..) => {
                vec![
                    "set another one in `repository`, or another location in `registry`".to_owned(),
                ]
            }
            Self::NotEmpty(_) => {
                vec!["delete its images first, if they are not needed".to_owned()]
            }
            Self::ForeignPool(pool, project) => vec![format!(
                "its name stays reserved for thirty days: run `gcloud iam workload-identity-pools \
                 undelete {pool} --location=global --project={project} --quiet` to restore it, then \
                 run this again"
            )],
            Self::Forge { forge, cause } => cause.hints(forge),
            Self::TooManyKeys(email, ..) => vec![format!(
                "delete an unused key: `gcloud iam service-accounts keys list \
                 --iam-account={email} --managed-by=user` lists them, and `gcloud iam \
                 service-accounts keys delete ID --iam-account={email} --quiet` deletes one"
            )],
            Self::InTheWay(..) => vec!["set another file in `setup_key`".to_owned()],
            Self::File(..) => vec!["set a file in an existing folder".to_owned()],
            Self::SignIn(_, cause) => cause.hints(),
            Self::FirstPush(_, cause) => cause.hints(),
            Self::Auth(error) => error.hints(),
            Self::Output(error) => error.hints(),
            Self::Key(_) | Self::Network(_) => Vec::new(),
        }
    }
}

/// The hints for an unreadable project. Google also returns 403 for a project that does not exist.
fn project_hints(project: &str, cause: &GoogleError) -> Vec<String> {
    let own = cause.hints();
    if cause.reason() == Some("CONSUMER_INVALID") || cause.is_not_found() {
        return vec![format!(
            "check `project_id`: the project does not exist, or it is deleted; within thirty \
             days, `gcloud projects undelete {project}` restores it"
        )];
    }
    if cause.status() == Some(403) && cause.may_be_young() {
        let mut hints = vec![
            "check `project_id`: Google returns the same error for a project that does not exist"
                .to_owned(),
        ];
        hints.extend(match cause.metadata("permission") {
            Some(permission) => vec![format!(
                "or ask for a role: `{}` has `{}`",
                role_with(permission),
                sanitize(permission)
            )],
            None => own,
        });
        return hints;
    }
    own
}

fn at(forge: &Forge) -> String {
    let host = match &forge.kind {
        ForgeKind::GitHub => "github.com",
        ForgeKind::GitLab(host) => host,
    };
    format!("`{host}/{}`", forge.path)
}

fn lacks(missing: &[&str]) -> &'static str {
    match missing {
        [_] => "a permission is missing",
        _ => "permissions are missing",
    }
}

fn listed(missing: &[&str]) -> String {
    let line = |one: &&str| format!("\n`{one}` is in `{}`", role_with(one));
    missing.iter().map(line).collect()
}

fn failures(failures: &[(String, String)]) -> String {
    let line = |(id, why): &(String, String)| format!("\n`{}`: {}", sanitize(id), sanitize(why));
    failures.iter().map(line).collect()
}
