//! The first push to a registry of Container Registry, which creates its bucket. A tiny image is
//! pushed like any other image.
//! <https://cloud.google.com/container-registry/docs/pushing-and-pulling#add-registry>

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::check::GRANT_PROPAGATION;
use super::{Setup, SetupError};
use crate::auth::{AuthError, Credential, Credentials};
use crate::commands::setup::request::{Role, SetupRegistry};
use crate::diagnostics::{Diagnostic, ExitCode, SharedError};
use crate::google::{Backoff, Resource};
use crate::image::location::ImageSource;
use crate::image::{Source, SourceError};
use crate::oci::digest::Digest;
use crate::oci::manifest::media_type;
use crate::oci::platform::Platforms;
use crate::push::compress::Compression;
use crate::push::tag_policy::ExistingTag;
use crate::push::targets::Target;
use crate::push::upload_slots::Concurrency;
use crate::push::verify::Verify;
use crate::push::{PushError, PushJob, PushOptions, Settings, TagLog};
use crate::registry::pool::RegistryPool;

/// A first push, and the bucket that it creates.
#[derive(Clone, Debug)]
pub(super) struct FirstPush {
    pub(super) registry: SetupRegistry,
    pub(super) bucket: String,
}

/// The name and the tag of the image below the project.
const NAME: &str = "gcr-push-setup";
const TAG: &str = "first-push";

/// The path and the tag of the image below a host.
pub(super) fn name(project: &str) -> String {
    format!("{}:{TAG}", repository(project))
}

fn repository(project: &str) -> String {
    format!("{}/{NAME}", project.replace(':', "/"))
}

/// The time that a new bucket may take to become visible.
const BUCKET_PROPAGATION: Duration = Duration::from_secs(2 * 60);

/// The layer: an empty tar file, compressed. Docker itself uses it for images without content
/// (docker/distribution, `manifest/schema1/config_builder.go`).
const LAYER: [u8; 32] = [
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x09, 0x6e, 0x88, 0x00, 0xff, 0x62, 0x18, 0x05, 0xa3, 0x60, 0x14,
    0x8c, 0x58, 0x00, 0x08, 0x00, 0x00, 0xff, 0xff, 0x2e, 0xaf, 0xb5, 0xef, 0x00, 0x04, 0x00, 0x00,
];

impl Setup<'_> {
    /// Pushes the image as the pusher if a key or a token of it is available, else as the caller.
    /// Then waits until the bucket exists.
    ///
    /// # Errors
    ///
    /// If the push fails, or the bucket does not appear.
    pub(super) async fn first_push(&self, order: &FirstPush) -> Result<(), SetupError> {
        let host = &order.registry.host;
        let (credential, is_pusher) = match self.credential_of(Role::Pusher).await? {
            Ok((credential, _)) => (credential, true),
            Err(why) => {
                tracing::info!("pushing as the user who runs setup, not as the pusher: {why}");
                (self.google.credential().clone(), false)
            }
        };
        // A new grant takes time to propagate.
        let mut backoff = Backoff::new(if is_pusher {
            GRANT_PROPAGATION
        } else {
            Duration::ZERO
        });
        while let Err(error) = self.push_once(order, &credential).await {
            let is_denied = error.exit_code() == ExitCode::Denied;
            if !is_denied || !backoff.wait().await {
                return Err(SetupError::FirstPush(host.to_string(), Box::new(error)));
            }
            tracing::info!("the pusher is not allowed to push to `{host}` yet; waiting");
        }
        let bucket = Resource::Bucket(order.bucket.clone());
        let mut backoff = Backoff::new(BUCKET_PROPAGATION);
        loop {
            match self.google.policy(&bucket).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_not_found() && backoff.wait().await => {}
                Err(error) => {
                    let doing = format!("could not find `{bucket}` after the first push");
                    return Err(SetupError::google(doing, error));
                }
            }
        }
    }

    async fn push_once(
        &self,
        order: &FirstPush,
        credential: &Credential,
    ) -> Result<(), FirstPushError> {
        let directory = &self.request.session.temporary_directory;
        let folder = tempfile::tempdir_in(directory)
            .and_then(|folder| write(folder.path()).map(|()| folder))
            .map_err(|cause| FirstPushError::Layout(directory.clone(), cause))?;
        let image = ImageSource::OciLayout(folder.path().to_owned(), None);
        let source = Source::open(&image, self.network, folder.path()).await?;
        let Credential::Tokens(tokens) = credential else {
            return Err(AuthError::NoToken.into());
        };
        let credentials = Credentials::of_google(Arc::clone(tokens), self.network)?;
        let options = PushOptions {
            platforms: Platforms::All,
            attestations: None,
            referrers: false,
            dry_run: false,
            existing_tag: ExistingTag::Overwrite,
            compression: Compression::None,
            layer_reuse: false,
            verify: Verify::Off,
            concurrency: Concurrency { large: 1, all: 1 },
        };
        let settings = Settings::new(
            &options,
            self.network,
            folder.path().to_owned(),
            TagLog::default(),
        );
        let job = PushJob {
            source: &source,
            registries: &RegistryPool::new(&credentials, self.network),
            settings: &settings,
            locations: &Arc::default(),
        };
        let target = Target {
            endpoint: order.registry.host.clone(),
            repository: repository(&self.request.project),
            tags: vec![TAG.to_owned()],
            best_effort: false,
        };
        let outcome = job.run(&[target]).await;
        if let Some(error) = outcome.failure {
            return Err(error.into());
        }
        match outcome.results.into_iter().next() {
            Some(Err(failed)) => Err(FirstPushError::Destination(failed.error)),
            Some(Ok(_)) | None => Ok(()),
        }
    }
}

/// An error of the first push.
#[derive(Debug, thiserror::Error)]
pub enum FirstPushError {
    /// The layout of its image could not be written.
    #[error("could not write `{}`", .0.display())]
    Layout(PathBuf, #[source] io::Error),
    /// The layout could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There is no token for the registry.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The push could not start.
    #[error(transparent)]
    Push(#[from] PushError),
    /// The registry did not accept the image.
    #[error(transparent)]
    Destination(SharedError),
}

impl Diagnostic for FirstPushError {
    fn diagnostic_source(&self) -> Option<&dyn Diagnostic> {
        Some(match self {
            Self::Layout(..) => return None,
            Self::Source(error) => error,
            Self::Auth(error) => error,
            Self::Push(error) => error,
            Self::Destination(error) => &**error,
        })
    }
}

/// Writes the image as an OCI layout.
fn write(folder: &Path) -> std::io::Result<()> {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs)?;
    let put = |bytes: &[u8], media_type: &str| {
        let digest = Digest::of(bytes);
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        let (_, hex) = digest.as_str().split_once(':').unwrap_or_default();
        std::fs::write(blobs.join(hex), bytes).map(|()| descriptor)
    };
    // The digest of the uncompressed layer.
    let diff_id = Digest::of(&[0; 1024]);
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "history": [{"created_by": "gcr-push setup", "comment": "makes the registry's bucket"}],
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::DOCKER_MANIFEST,
        "config": put(config.to_string().as_bytes(), media_type::DOCKER_CONFIG)?,
        "layers": [put(&LAYER, media_type::DOCKER_LAYER_GZIP)?],
    });
    let root = put(manifest.to_string().as_bytes(), media_type::DOCKER_MANIFEST)?;
    let index = json!({"schemaVersion": 2, "manifests": [root]});
    std::fs::write(folder.join("index.json"), index.to_string())?;
    std::fs::write(
        folder.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn layer_unpacks_to_the_diff_id_of_the_config() {
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&LAYER[..])
            .read_to_end(&mut unpacked)
            .unwrap();
        assert_eq!(unpacked, [0; 1024]);
    }
}
