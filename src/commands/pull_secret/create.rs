//! The whole story of a pull secret: what each host gets, that it pulls, where it goes.

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

/// How long a token in a cluster must still work to be left there: less than a new one lives (an
/// hour at most), and long enough for a few failed renewals.
const RENEW_BEFORE: Duration = Duration::from_secs(40 * 60);

/// What became of a pull secret.
#[derive(Clone, Debug)]
pub struct PullSecretResult {
    /// The Secret's name.
    pub name: String,
    /// The servers that it has a login for.
    pub hosts: Vec<String>,
    /// When it stops working, where it does and that is known.
    pub expires_at: Option<SystemTime>,
    /// The file that was written.
    pub file: Option<PathBuf>,
    /// What was changed in the cluster, as sentences.
    pub changes: Vec<String>,
    /// A Pod that uses the image and the secret, as YAML.
    pub pod: Option<String>,
}

/// What is to be given out.
#[derive(Clone, Copy, Debug)]
pub struct PullSecretInput<'a> {
    /// How, and whereto.
    pub asked: &'a PullSecretOptions,
    /// The hosts that it gets a login for.
    pub hosts: &'a [Endpoint],
    /// The images that a cluster is going to pull from them, as far as they are known.
    pub images: &'a [PulledImage],
    /// True where everything is checked and nothing written.
    pub dry_run: bool,
}

/// Makes the pull secret, proves that it pulls, writes it and applies it. None when everything is in
/// the cluster already: then nothing is said either.
///
/// # Errors
///
/// Everything that is in the way; nothing was written then, or the error tells what.
pub async fn create_pull_secret(
    wanted: PullSecretInput<'_>,
    credentials: &Credentials,
    network: &Network,
    stdout: &mut dyn Write,
) -> Result<Option<PullSecretResult>, Vec<PullSecretError>> {
    let PullSecretInput {
        asked,
        hosts,
        images,
        dry_run,
    } = wanted;
    let plan = LoginPlan::new(asked, hosts, images, credentials)
        .await
        .map_err(one)?;
    let state = match &asked.apply {
        Some(apply) => {
            let cluster = Cluster::connect(&apply.access, network)
                .await
                .map_err(|error| one(PullSecretError::Kubernetes(error)))?;
            let wanted = kubernetes::DesiredState {
                name: &asked.name,
                namespaces: &asked.namespaces,
                service_accounts: &apply.service_accounts,
                creates_namespaces: apply.create_namespace,
                replaces: apply.replace,
            };
            let mut state = cluster.state(wanted).await.map_err(several)?;
            for (found, is_current) in state.secrets() {
                *is_current = is_up_to_date(found, asked, &plan).await;
            }
            Some(state)
        }
        None => None,
    };
    if asked.output.is_none() && state.as_ref().is_some_and(ClusterState::is_up_to_date) {
        tracing::debug!(
            "the pull secret `{}` is in the cluster as it should be",
            asked.name
        );
        return Ok(None);
    }

    let logins = plan.gather(credentials).await.map_err(one)?;
    let expires_at = logins.token.and_then(|token| token.expires_at);
    let secret = build(&asked.name, &asked.labels, &logins.written, expires_at).map_err(one)?;
    // Of a pushing key nobody needs to be told that it can push.
    let is_push_key = matches!(
        asked.credential,
        Some(PullCredential::Key { pushes: true, .. })
    );
    let question = match (is_push_key, dry_run) {
        (true, _) => WriteProbe::Unasked,
        (false, false) => WriteProbe::Upload,
        (false, true) => WriteProbe::Permissions(as_reader(asked, credentials, network).await.ok()),
    };
    let proof = verify(&logins, images, &question, network)
        .await
        .map_err(|error| one(PullSecretError::Proof(Box::new(error))))?;
    let changes = match state {
        Some(state) => Some(state.check(&secret).await.map_err(several)?),
        None => None,
    };

    warn(asked, &logins, &proof, is_push_key);
    if dry_run {
        tracing::info!("the pull secret `{}` pulls, and is not written", asked.name);
        for change in changes.iter().flat_map(|changes| changes.planned()) {
            tracing::info!("would have {change}");
        }
        return Ok(None);
    }
    let file = write(asked, &secret, stdout).map_err(one)?;
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
    let namespace = asked.namespaces.first().map(String::as_str);
    Ok(Some(PullSecretResult {
        name: asked.name.clone(),
        hosts: logins.written.into_keys().collect(),
        expires_at,
        file,
        changes: changes.iter().map(WriteKind::to_string).collect(),
        pod: images
            .first()
            .map(|image| pod(image, &asked.name, namespace)),
    }))
}

/// Google's APIs as the account in the pull secret.
async fn as_reader(
    asked: &PullSecretOptions,
    credentials: &Credentials,
    network: &Network,
) -> Result<Google, AuthError> {
    let credential = match &asked.credential {
        Some(PullCredential::Key { key, .. }) => {
            let origin = CredentialSource::Variable("pull_secret_credentials_json");
            Credential::of(origin, GoogleCredential::Key(key.clone()), network).await?
        }
        Some(PullCredential::Token) | None => credentials.for_google().await?,
    };
    let google = Google::new(credential, network).map_err(AuthError::Network)?;
    Ok(google.short_retries())
}

/// True when a Secret of the cluster can stay as it is.
async fn is_up_to_date(found: &FoundSecret, asked: &PullSecretOptions, plan: &LoginPlan) -> bool {
    let labelled = asked
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
        Some(docker_config) => plan.is_met_by(docker_config.expose()).await,
        None => false,
    }
}

/// True when a token that works until `time` is to be replaced, or nobody can tell.
fn is_due(time: &str) -> bool {
    use time::format_description::well_known::Rfc3339;
    time::OffsetDateTime::parse(time, &Rfc3339).map_or(true, |time| {
        SystemTime::from(time) < SystemTime::now() + RENEW_BEFORE
    })
}

/// Writes it where it was asked for.
fn write(
    asked: &PullSecretOptions,
    secret: &PullSecret,
    stdout: &mut dyn Write,
) -> Result<Option<PathBuf>, PullSecretError> {
    let Some(output) = &asked.output else {
        return Ok(None);
    };
    let content = forms::render(secret, asked.form, &asked.namespaces);
    match output {
        PullSecretOutput::File(path) => {
            file::write(&content, path)?;
            tracing::info!(
                "wrote the pull secret `{}` to {}",
                asked.name,
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

/// Tells what whoever hands it out should know.
fn warn(asked: &PullSecretOptions, logins: &SecretLogins, proof: &Verification, is_push_key: bool) {
    let name = &asked.name;
    if is_push_key {
        tracing::warn!(
            "the pull secret `{name}` holds the pushing key: whoever reads it can push; give a \
             reader's key in `pull_secret_credentials_json`"
        );
    }
    if let Some(token) = logins.token {
        let end = match token.expires_at {
            Some(time) => format!("works until {}", utc(time)),
            None => "lives for an hour at most".to_owned(),
        };
        tracing::warn!(
            "the pull secret `{name}` holds a token of this sign-in, which {end}: pods that start \
             later cannot pull; renew it before (deploy/pull-secret-refresher.yaml does), or give \
             a reader's key in `pull_secret_credentials_json`"
        );
    }
    for place in &proof.can_push {
        tracing::warn!(
            "the key in the pull secret `{name}` can push to `{place}` too: give it \
             `roles/artifactregistry.reader` alone"
        );
    }
    for place in &proof.unasked {
        tracing::warn!(
            "whether the login in the pull secret `{name}` can push to `{place}` could not be found \
             out"
        );
    }
    for image in &proof.absent {
        tracing::warn!(
            "`{image}` is not there, so the pull secret `{name}` could only be proven as far as \
             that it may read there"
        );
    }
    for host in &proof.untried {
        tracing::warn!(
            "no image at `{host}` was named, so it was not tried whether the pull secret `{name}` \
             pulls from there: name one in `tags`"
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
