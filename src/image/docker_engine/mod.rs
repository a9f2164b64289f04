//! What a Docker engine holds, by the engine's own export: the archive that `docker save` writes.
//!
//! No engine is ever needed. Where one happens to be (GitHub mounts its socket into the container of
//! every action) this spares the user the archive file.

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
use export::{Export, Pieces};

/// How many pieces wait to be written; each is what one read of the connection brought.
const PIECES: usize = 4;

/// Asks the engine for the image, and opens what it exports. The export is written to an unnamed
/// file in `spool` while it comes.
pub(super) async fn open(
    image: &DaemonImage,
    network: &Network,
    spool: PathBuf,
) -> Result<Source, SourceError> {
    let (wanted, export) = request_export(image, network)
        .await
        .map_err(SourceError::Engine)?;
    let (send, receive) = mpsc::channel(PIECES);
    let archive = Archive {
        what: format!("`docker-daemon:{}`", image.reference),
        path: image.reference.clone(),
        kind: ArchiveKind::Docker,
        reference: None,
    };
    let opening = Source::opened(move || {
        let (what, mut opened) = archive.copied(Pieces::from(receive), &spool)?;
        if let Some(name) = wanted.name {
            opened.image.names = vec![name];
        }
        Ok((what, opened))
    });
    // Where the engine breaks off, its reason is worth more than what half an archive looks like;
    // where the copy fails, nobody takes the pieces, and that is no fault of the engine's.
    match tokio::join!(export.send_to(send), opening) {
        (Err(error), _) => Err(SourceError::Engine(error)),
        (Ok(()), source) => source,
    }
}

async fn request_export(
    image: &DaemonImage,
    network: &Network,
) -> Result<(ExportRequest, Export), EngineError> {
    let engine = Engine::meet(&image.engine, network).await?;
    let found = engine.find(&image.reference).await?;
    let wanted = ExportRequest::of(&image.reference, &found);
    let export = engine.export(&wanted.asked_for, found.size()).await?;
    Ok((wanted, export))
}

/// What the engine is asked to export, and what that is called.
#[derive(Debug, PartialEq, Eq)]
struct ExportRequest {
    asked_for: String,
    /// None where the image was asked for by its ID: then it has no name.
    name: Option<String>,
}

impl ExportRequest {
    /// Of a name without a tag an engine would export every tag that there is
    /// (moby, daemon/internal/image/tarexport/save.go), though everywhere else it is `latest`.
    fn of(reference: &str, found: &ImageMatch) -> Self {
        if found.is_meant_by_id(reference) {
            return Self {
                asked_for: found.id().to_owned(),
                name: None,
            };
        }
        let last = reference.rsplit('/').next().unwrap_or(reference);
        let name = match last.contains([':', '@']) {
            true => reference.to_owned(),
            false => format!("{reference}:latest"),
        };
        Self {
            asked_for: name.clone(),
            name: Some(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "sha256:cafe00000000000000000000000000000000000000000000000000000000beef";

    fn wanted(reference: &str, tags: &[&str]) -> (String, Option<String>) {
        let wanted = ExportRequest::of(reference, &ImageMatch::new(ID, tags));
        (wanted.asked_for, wanted.name)
    }

    #[test]
    fn image_is_exported_by_tagged_name_or_full_id() {
        let named = |name: &str| (name.to_owned(), Some(name.to_owned()));
        assert_eq!(wanted("app:1", &["app:1"]), named("app:1"));
        assert_eq!(wanted("app", &["app:latest"]), named("app:latest"));
        assert_eq!(
            wanted("localhost:5000/app", &["localhost:5000/app:latest"]),
            named("localhost:5000/app:latest")
        );
        let digest = "app@sha256:0000000000000000000000000000000000000000000000000000000000000000";
        assert_eq!(wanted(digest, &["app:1"]), named(digest));
        for id in [ID, &ID[..19], &ID[7..], "cafe"] {
            assert_eq!(wanted(id, &["app:1"]), (ID.to_owned(), None), "{id}");
        }
    }

    #[test]
    fn id_like_name_is_a_name_if_it_exists() {
        let name = "cafe:latest".to_owned();
        assert_eq!(
            wanted("cafe", &["app:1", "cafe:latest"]),
            (name.clone(), Some(name))
        );
    }
}
