//! The Kubernetes Secret with which a cluster pulls what was pushed, byte for byte as kubectl would
//! make it; it writes a file and speaks to no cluster.

mod json;
mod yaml;

use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::auth::google::ServiceAccountKey;
use crate::error::{ExitCode, Hint};
use crate::reference::Endpoint;
use crate::secret::Secret;

/// The user whose password is a whole key file.
/// <https://cloud.google.com/artifact-registry/docs/docker/authentication#json-key>
const USER: &str = "_json_key";

/// The most that a Secret may hold.
/// <https://kubernetes.io/docs/concepts/configuration/secret/#restriction-data-size>
const LARGEST: usize = 1 << 20;

/// A Secret of type `kubernetes.io/dockerconfigjson`, in each of its namespaces.
#[derive(Clone, Debug)]
pub struct PullSecret {
    name: String,
    namespaces: Vec<String>,
    docker_config: Secret,
}

impl PullSecret {
    /// The Secret that lets every host be pulled from with `key`; without a namespace it goes to
    /// whichever is current where it is applied.
    ///
    /// # Errors
    ///
    /// When it would be larger than Kubernetes takes.
    pub fn new(
        name: &str,
        namespaces: &[String],
        hosts: &[Endpoint],
        key: &ServiceAccountKey,
    ) -> Result<Self, PullSecretError> {
        let hosts = hosts.iter().map(Endpoint::host);
        let docker_config = json::docker_config(hosts, USER, key.json().expose());
        if docker_config.len() > LARGEST {
            return Err(PullSecretError::TooLarge(docker_config.len()));
        }
        Ok(Self {
            name: name.to_owned(),
            namespaces: namespaces.to_vec(),
            docker_config: Secret::new(docker_config),
        })
    }

    /// What stands under `.dockerconfigjson`, decoded.
    pub fn docker_config(&self) -> &Secret {
        &self.docker_config
    }

    /// The YAML: what `kubectl create secret docker-registry --dry-run=client -o yaml` prints, a
    /// document for each namespace.
    pub fn yaml(&self) -> Secret {
        let document = |namespace| yaml::document(&self.name, namespace, self.docker_config());
        let documents: Vec<String> = if self.namespaces.is_empty() {
            vec![document(None)]
        } else {
            let namespaces = self.namespaces.iter().map(String::as_str);
            namespaces.map(Some).map(document).collect()
        };
        Secret::new(documents.join("---\n"))
    }

    /// Writes the YAML to `file`, which its owner alone may read. What was there before is replaced
    /// as a whole, so that nobody can have opened it beforehand or been given a half of it.
    ///
    /// # Errors
    ///
    /// When the directory cannot be written to, or something else than a file has that name.
    pub fn write(&self, file: &Path) -> Result<(), PullSecretError> {
        match std::fs::metadata(file) {
            Ok(there) if !there.is_file() => {
                return Err(PullSecretError::NoFile(file.to_owned()));
            }
            // What cannot be looked at is told by the attempt to write it.
            Ok(_) | Err(_) => {}
        }
        self.replace(file).map_err(|cause| PullSecretError::Write {
            file: file.to_owned(),
            cause,
        })
    }

    fn replace(&self, file: &Path) -> io::Result<()> {
        let directory = match file.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let mut new = tempfile::Builder::new()
            .prefix(".gcr-push-")
            .permissions(std::fs::Permissions::from_mode(0o600))
            .tempfile_in(directory)?;
        new.write_all(self.yaml().expose().as_bytes())?;
        give_to_owner_of(directory, new.as_file());
        new.as_file().sync_all()?;
        new.persist(file)?;
        Ok(())
    }
}

/// A container action runs as root, and the steps after it do not: what only its owner may read
/// must be theirs. Whoever is not root cannot give files away, and need not
/// (<https://github.com/actions/runner/issues/1282>).
fn give_to_owner_of(directory: &Path, file: &std::fs::File) {
    if let Ok(owner) = std::fs::metadata(directory)
        && file.metadata().is_ok_and(|own| own.uid() != owner.uid())
    {
        // Refused, the file is as it would be without this, which is what it is everywhere else.
        let _ = std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()));
    }
}

/// A pull secret that cannot be made or written.
#[derive(Debug, thiserror::Error)]
pub enum PullSecretError {
    /// Larger than Kubernetes takes.
    #[error("the pull secret would hold {0} bytes, and Kubernetes takes {LARGEST}")]
    TooLarge(usize),
    /// A directory, a device or a pipe.
    #[error("could not write the pull secret to `{}`: it is there, and no regular file", .0.display())]
    NoFile(PathBuf),
    /// The file system refused.
    #[error("could not write the pull secret to `{}`", file.display())]
    Write {
        /// The file that was to be written.
        file: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
}

impl PullSecretError {
    /// What the process exits with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::TooLarge(_) | Self::NoFile(_) => ExitCode::Usage,
            Self::Write { .. } => ExitCode::Failed,
        }
    }
}

impl Hint for PullSecretError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::TooLarge(_) => {
                vec!["a service-account key has about 2400 bytes: is it the right file?".to_owned()]
            }
            Self::NoFile(_) => {
                vec!["name a file in `pull_secret_file`, such as `pull-secret.yaml`".to_owned()]
            }
            Self::Write { cause, .. } if cause.kind() == io::ErrorKind::NotFound => {
                vec!["the directory must be there already".to_owned()]
            }
            Self::Write { .. } => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
