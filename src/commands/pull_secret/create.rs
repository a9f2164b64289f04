//! Creates a pull secret: collects the logins, verifies that they pull, writes the Secret and
//! applies it.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::logins::{LoginPlan, SecretLogins};
use super::pod::pod;
use super::verify::{PulledImage, Verification, WriteProbe, verify};
use super::{PullSecretError, build, file, forms, utc};
use crate::auth::{AuthError, Credential, CredentialSource, Credentials, GoogleCredential};
use crate::commands::pull_secret::request::{PullCredential, PullSecretOptions, PullSecretOutput};
use crate::google::Google;
use crate::http::Network;
use crate::kubernetes::{
    self, Cluster, ClusterState, EXPIRY, FoundSecret, PullSecret, TYPE, WriteKind,
};
use crate::oci::reference::Endpoint;

/// The remaining lifetime below which a token in a cluster is renewed. It is shorter than the
/// lifetime of a new token (at most an hour), and long enough for a few failed renewals.
const RENEW_BEFORE: Duration = Duration::from_secs(40 * 60);

/// A created pull secret.
#[derive(Clone, Debug)]
pub struct PullSecretResult {
    /// The Secret's name.
    pub name: String,
    /// The servers of its logins.
    pub hosts: Vec<String>,
    /// When its token expires. `None` if it has no token or the time is unknown.
    pub expires_at: Option<SystemTime>,
    /// The written file. `None` if none was written.
    pub file: Option<PathBuf>,
    /// The changes in the cluster, as sentences.
    pub changes: Vec<String>,
    /// The YAML of a Pod that uses the image and the secret. `None` without an image.
    pub pod: Option<String>,
}

/// The input of [`create_pull_secret`].
#[derive(Clone, Copy, Debug)]
pub struct PullSecretInput<'a> {
    /// The Secret that is requested, and where it goes.
    pub options: &'a PullSecretOptions,
    /// The hosts that need a login.
    pub hosts: &'a [Endpoint],
    /// The images that a cluster will pull from them, as far as they are known.
    pub images: &'a [PulledImage],
    /// True if everything is checked and nothing is written.
    pub dry_run: bool,
}

/// Creates the pull secret, verifies that it pulls, writes it and applies it. `None` if nothing was
/// written: in a dry run, or if the cluster is up to date.
///
/// # Errors
///
/// All errors that were found. Nothing was written then, unless the error says so.
pub async fn create_pull_secret(
    input: PullSecretInput<'_>,
    credentials: &Credentials,
    network: &Network,
    stdout: &mut dyn Write,
) -> Result<Option<PullSecretResult>, Vec<PullSecretError>> {
    let PullSecretInput {
        options,
        hosts,
        images,
        dry_run,
    } = input;
    let plan = LoginPlan::new(options, hosts, images, credentials)
        .await
        .map_err(one)?;
    let state = match &options.apply {
        Some(apply) => {
            let cluster = Cluster::connect(&apply.access, network)
                .await
                .map_err(|error| one(PullSecretError::Kubernetes(error)))?;
            let desired = kubernetes::DesiredState {
                name: &options.name,
                namespaces: &options.namespaces,
                service_accounts: &apply.service_accounts,
                creates_namespaces: apply.create_namespace,
                replaces: apply.replace,
            };
            let mut state = cluster.state(desired).await.map_err(several)?;
            for (found, is_current) in state.secrets() {
                *is_current = is_up_to_date(found, options, &plan).await;
            }
            Some(state)
        }
        None => None,
    };
    if options.output.is_none() && state.as_ref().is_some_and(ClusterState::is_up_to_date) {
        tracing::debug!(
            "the pull secret `{}` in the cluster is up to date",
            options.name
        );
        return Ok(None);
    }

    let logins = plan.gather(credentials).await.map_err(one)?;
    let expires_at = logins.token.and_then(|token| token.expires_at);
    let secret = build(&options.name, &options.labels, &logins.written, expires_at).map_err(one)?;
    // A pushing key needs no probe of whether it can push.
    let is_push_key = matches!(
        options.credential,
        Some(PullCredential::Key { pushes: true, .. })
    );
    let write_probe = match (is_push_key, dry_run) {
        (true, _) => WriteProbe::Skip,
        (false, false) => WriteProbe::Upload,
        (false, true) => {
            let google = google_as_puller(options, credentials, network).await;
            WriteProbe::Permissions(google.ok().map(Box::new))
        }
    };
    let verification = verify(&logins, images, &write_probe, network)
        .await
        .map_err(|error| one(PullSecretError::Verification(Box::new(error))))?;
    let changes = match state {
        Some(state) => Some(state.check(&secret).await.map_err(several)?),
        None => None,
    };

    warn(options, &logins, &verification, is_push_key);
    if dry_run {
        tracing::info!(
            "the pull secret `{}` can pull; it is not written",
            options.name
        );
        for change in changes.iter().flat_map(|changes| changes.planned()) {
            tracing::info!("would have {change}");
        }
        return Ok(None);
    }
    let file = write(options, &secret, stdout).map_err(one)?;
    let changes = match changes {
        Some(changes) => changes
            .carry_out(&secret)
            .await
            .map_err(|error| one(PullSecretError::Kubernetes(error)))?,
        None => Vec::new(),
    };
    for change in &changes {
        tracing::info!("{change}");
    }
    let namespace = options.namespaces.first().map(String::as_str);
    Ok(Some(PullSecretResult {
        name: options.name.clone(),
        hosts: logins.written.into_keys().collect(),
        expires_at,
        file,
        changes: changes.iter().map(WriteKind::to_string).collect(),
        pod: images
            .first()
            .map(|image| pod(image, &options.name, namespace)),
    }))
}

/// A client of Google's APIs that is signed in as the account in the pull secret.
async fn google_as_puller(
    options: &PullSecretOptions,
    credentials: &Credentials,
    network: &Network,
) -> Result<Google, AuthError> {
    let credential = match &options.credential {
        Some(PullCredential::Key { key, .. }) => {
            let origin = CredentialSource::Variable("pull_secret_credentials_json");
            Credential::of(origin, GoogleCredential::Key(key.clone()), network).await?
        }
        Some(PullCredential::Token) | None => credentials.for_google().await?,
    };
    let google = Google::new(credential, network).map_err(AuthError::Network)?;
    Ok(google.short_retries())
}

/// True if a Secret of the cluster needs no update.
async fn is_up_to_date(found: &FoundSecret, options: &PullSecretOptions, plan: &LoginPlan) -> bool {
    let labelled = options
        .labels
        .iter()
        .all(|(key, value)| found.label(key) == Some(value));
    if found.r#type() != TYPE || !labelled {
        return false;
    }
    if plan.has_token() && found.annotation(EXPIRY).is_none_or(is_due) {
        return false;
    }
    match found.docker_config() {
        Some(docker_config) => plan.is_current(docker_config.expose()).await,
        None => false,
    }
}

/// True if a token that expires at `time` must be renewed, or if `time` is invalid.
fn is_due(time: &str) -> bool {
    use time::format_description::well_known::Rfc3339;
    time::OffsetDateTime::parse(time, &Rfc3339).map_or(true, |time| {
        SystemTime::from(time) < SystemTime::now() + RENEW_BEFORE
    })
}

/// Writes the Secret to the requested output. Returns the path if that is a file.
fn write(
    options: &PullSecretOptions,
    secret: &PullSecret,
    stdout: &mut dyn Write,
) -> Result<Option<PathBuf>, PullSecretError> {
    let Some(output) = &options.output else {
        return Ok(None);
    };
    let content = forms::render(secret, options.form, &options.namespaces);
    match output {
        PullSecretOutput::File(path) => {
            file::write(&content, path)?;
            tracing::info!(
                "wrote the pull secret `{}` to {}",
                options.name,
                path.display()
            );
            Ok(Some(path.clone()))
        }
        PullSecretOutput::Stdout => {
            stdout
                .write_all(content.expose().as_bytes())
                .and_then(|()| stdout.flush())
                .map_err(PullSecretError::Print)?;
            Ok(None)
        }
    }
}

/// Logs a warning for each risk and for each missing verification.
fn warn(
    options: &PullSecretOptions,
    logins: &SecretLogins,
    verification: &Verification,
    is_push_key: bool,
) {
    let name = &options.name;
    if is_push_key {
        tracing::warn!(
            "the pull secret `{name}` contains the pushing key, so everyone who reads it can \
             push; set `pull_secret_credentials_json` to the key of an account that can only read"
        );
    }
    if let Some(token) = logins.token {
        let end = match token.expires_at {
            Some(time) => format!("is valid until {}", utc(time)),
            None => "is valid for an hour at most".to_owned(),
        };
        tracing::warn!(
            "the pull secret `{name}` contains a token of this sign-in, which {end}: Pods that \
             start later cannot pull; renew it in time (deploy/pull-secret-refresher.yaml does \
             this), or set `pull_secret_credentials_json` to the key of an account that can only \
             read"
        );
    }
    for place in &verification.can_push {
        tracing::warn!(
            "the key in the pull secret `{name}` can also push to `{place}`: grant it only \
             `roles/artifactregistry.reader`"
        );
    }
    for place in &verification.unknown_push {
        tracing::warn!(
            "could not check if the login in the pull secret `{name}` can push to `{place}`"
        );
    }
    for image in &verification.absent {
        tracing::warn!(
            "`{image}` does not exist, so the check proved only that the pull secret `{name}` can \
             read there"
        );
    }
    for host in &verification.untried {
        tracing::warn!(
            "no image at `{host}` is set, so gcr-push did not check if the pull secret `{name}` \
             can pull from there: add one to `tags`"
        );
    }
}

fn one(error: PullSecretError) -> Vec<PullSecretError> {
    vec![error]
}

fn several(errors: Vec<crate::kubernetes::KubernetesError>) -> Vec<PullSecretError> {
    errors
        .into_iter()
        .map(PullSecretError::Kubernetes)
        .collect()
}
