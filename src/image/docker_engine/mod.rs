//! Reads an image from a Docker engine by its export, which is the archive that `docker save`
//! writes.
//!
//! No engine is ever required. If there is one (GitHub mounts its socket into the container of
//! every action), the user needs no archive file.

mod engine;
mod error;
mod export;

use std::path::PathBuf;

use tokio::sync::mpsc;

use super::open::Archive;
use super::{Source, SourceError};
use crate::http::Network;
use crate::image::location::{ArchiveKind, DaemonImage};
use engine::{Engine, ImageMatch};
pub use error::EngineError;
use export::{ChunkReader, Export};

/// The number of chunks that are buffered. A chunk is what one read of the connection returns.
const QUEUED_CHUNKS: usize = 4;

/// Requests an image from the engine and opens its export. The export is written to an unnamed file
/// in `spool` as it arrives.
pub(super) async fn open(
    image: &DaemonImage,
    network: &Network,
    spool: PathBuf,
) -> Result<Source, SourceError> {
    let (request, export) = request_export(image, network)
        .await
        .map_err(SourceError::Engine)?;
    let (send, receive) = mpsc::channel(QUEUED_CHUNKS);
    let archive = Archive {
        what: format!("`docker-daemon:{}`", image.reference),
        path: image.reference.clone(),
        kind: ArchiveKind::Docker,
        reference: None,
    };
    let opening = Source::open_on_thread(move || {
        let (what, mut opened) = archive.copied(ChunkReader::from(receive), &spool)?;
        if let Some(name) = request.name {
            opened.image.names = vec![name];
        }
        Ok((what, opened))
    });
    // If the export breaks off, the engine's error explains it, and the error of the incomplete
    // archive does not. If the copy fails, the receiver is dropped, which is not an error of the
    // engine.
    match tokio::join!(export.send_to(send), opening) {
        (Err(error), _) => Err(SourceError::Engine(error)),
        (Ok(()), source) => source,
    }
}

async fn request_export(
    image: &DaemonImage,
    network: &Network,
) -> Result<(ExportRequest, Export), EngineError> {
    let engine = Engine::connect(&image.engine, network).await?;
    let image_match = engine.find(&image.reference).await?;
    let request = ExportRequest::of(&image.reference, &image_match);
    let export = engine
        .export(&request.reference, image_match.size())
        .await?;
    Ok((request, export))
}

/// The image that the engine is asked to export.
#[derive(Debug, PartialEq, Eq)]
struct ExportRequest {
    reference: String,
    /// The name of the image. `None` if it was requested by its ID.
    name: Option<String>,
}

impl ExportRequest {
    /// Builds the request. An engine exports all tags of a name without a tag (moby,
    /// daemon/internal/image/tarexport/save.go), so `latest` is added, which is what such a name
    /// means everywhere else.
    fn of(reference: &str, image_match: &ImageMatch) -> Self {
        if image_match.is_id_prefix(reference) {
            return Self {
                reference: image_match.id().to_owned(),
                name: None,
            };
        }
        let last = reference.rsplit('/').next().unwrap_or(reference);
        let name = if last.contains([':', '@']) {
            reference.to_owned()
        } else {
            format!("{reference}:latest")
        };
        Self {
            reference: name.clone(),
            name: Some(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "sha256:cafe00000000000000000000000000000000000000000000000000000000beef";

    fn request(reference: &str, tags: &[&str]) -> (String, Option<String>) {
        let request = ExportRequest::of(reference, &ImageMatch::new(ID, tags));
        (request.reference, request.name)
    }

    #[test]
    fn image_is_exported_by_tagged_name_or_full_id() {
        let named = |name: &str| (name.to_owned(), Some(name.to_owned()));
        assert_eq!(request("app:1", &["app:1"]), named("app:1"));
        assert_eq!(request("app", &["app:latest"]), named("app:latest"));
        assert_eq!(
            request("localhost:5000/app", &["localhost:5000/app:latest"]),
            named("localhost:5000/app:latest")
        );
        let digest = "app@sha256:0000000000000000000000000000000000000000000000000000000000000000";
        assert_eq!(request(digest, &["app:1"]), named(digest));
        for id in [ID, &ID[..19], &ID[7..], "cafe"] {
            assert_eq!(request(id, &["app:1"]), (ID.to_owned(), None), "{id}");
        }
    }

    #[test]
    fn id_like_name_is_a_name_if_it_exists() {
        let name = "cafe:latest".to_owned();
        assert_eq!(
            request("cafe", &["app:1", "cafe:latest"]),
            (name.clone(), Some(name))
        );
    }
}
