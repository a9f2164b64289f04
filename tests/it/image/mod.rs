//! Reading images from disk: every kind of archive, and every way in which one can be invalid.

mod archives;
mod damaged;
mod detection;
mod documents;
mod hostile;
mod indexes;
mod layouts;
mod streams;
mod tools;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use gcr_push::diagnostics::Diagnostic as _;
use gcr_push::diagnostics::render::write_chain;
use gcr_push::http::Network;
use gcr_push::image::location::ImageSource;
use gcr_push::image::{Content, Source, SourceError, Tree, UncompressedImage};
use gcr_push::oci::digest::Digest;
use tempfile::TempDir;

use crate::support::images::Layout;

/// A directory with one archive in it, `app.tar`.
struct Archive {
    folder: TempDir,
}

/// A directory with one layout in it, `app`.
struct LayoutDirectory {
    folder: TempDir,
}

impl LayoutDirectory {
    fn of(layout: &Layout) -> Self {
        let folder = tempfile::tempdir().unwrap();
        layout.write(&folder.path().join("app"));
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("app")
    }

    fn open(&self, reference: Option<&str>) -> Result<Source, SourceError> {
        open(ImageSource::OciLayout(
            self.path(),
            reference.map(str::to_owned),
        ))
    }

    fn error_text(&self, result: Result<Source, SourceError>) -> String {
        error_text(self.folder.path(), result)
    }
}

impl Archive {
    fn of(bytes: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("app.tar"), bytes).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("app.tar")
    }

    fn open(&self) -> Result<Source, SourceError> {
        open(ImageSource::Path(self.path()))
    }

    fn docker(&self, reference: Option<&str>) -> Result<Source, SourceError> {
        open(ImageSource::DockerArchive(
            self.path(),
            reference.map(str::to_owned),
        ))
    }

    fn oci(&self, reference: Option<&str>) -> Result<Source, SourceError> {
        open(ImageSource::OciArchive(
            self.path(),
            reference.map(str::to_owned),
        ))
    }

    /// The error as a user reads it, without the folder's name.
    fn error_text(&self, result: Result<Source, SourceError>) -> String {
        error_text(self.folder.path(), result)
    }
}

fn open(source: ImageSource) -> Result<Source, SourceError> {
    open_with(&source, &std::env::temp_dir())
}

fn open_with(source: &ImageSource, spool: &Path) -> Result<Source, SourceError> {
    let network = Network::default();
    run(Source::open(source, &network, spool))
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap()
        .block_on(future)
}

fn error_text(folder: &Path, result: Result<Source, SourceError>) -> String {
    let error = result.expect_err("an error");
    let mut text = Vec::new();
    write_chain(&mut text, &error, &error.hints()).unwrap();
    let text = String::from_utf8(text).unwrap();
    format!("{text}exit code {}", error.exit_code() as u8)
        .replace(&format!("{}/", folder.display()), "")
        .replace(&folder.display().to_string(), "FOLDER")
}

/// The bytes of a blob from an offset on.
fn read(source: &Source, digest: &Digest, offset: u64) -> Vec<u8> {
    run(async {
        let pieces: Vec<Bytes> = source
            .open_blob(digest, offset)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        pieces.concat()
    })
}

fn unpacked(source: &Source) -> &UncompressedImage {
    match &source.image().content {
        Content::Uncompressed(image) => image,
        Content::Manifests(_) => panic!("an unpacked image"),
    }
}

fn tree(source: &Source) -> &Tree {
    match &source.image().content {
        Content::Manifests(tree) => tree,
        Content::Uncompressed(_) => panic!("an image with manifests"),
    }
}
