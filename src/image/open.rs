//! Opens an image at a path. The content shows the format if `image` does not state it.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::Directory;
use super::error::{SourceError, display_path};
use super::file_kind::{CompressionFormat, FileKind, start_of};
use super::files::{Documents, SourceFiles};
use super::layout_referrers::OpenLayout;
use super::oci_layout::{IndexEntry, Layers, Layout, Loaded};
use super::spool::spool;
use super::tar::header::is_tar;
use super::tar::index::TarIndex;
use super::{Content, Image, Opened, docker_archive, names};
use crate::image::location::ArchiveKind;

/// Opens a bare path: a directory as a layout, anything else as an archive.
pub(super) fn path(path: PathBuf, spool_directory: &Path) -> Result<(String, Opened), SourceError> {
    if path.is_dir() {
        layout(&path, None)
    } else {
        archive_file(path, ArchiveKind::Any, None, spool_directory)
    }
}

/// Opens a layout directory.
pub(super) fn layout(
    path: &Path,
    reference: Option<String>,
) -> Result<(String, Opened), SourceError> {
    let what = display_path(path);
    let metadata = std::fs::metadata(path).map_err(|cause| no_access(path, cause))?;
    if !metadata.is_dir() {
        return Err(SourceError::WrongKind {
            instead: format!("oci-archive:{}", path.display()),
            what,
            transport: "oci:",
            found: "a file",
            expected: "a directory",
        });
    }
    let directory = Directory::open(path)?;
    let documents = Documents::new(&directory, format!("oci:{}", path.display()));
    let layout = Layout::read(&documents)?.ok_or_else(|| SourceError::NotLayout {
        what: what.clone(),
        advice: advice_for_directory(path),
    })?;
    let selected = select(&documents, &layout, reference.as_deref())?;
    let address = documents.address;
    Ok((
        what,
        open_layout_image(selected, Box::new(directory), address, layout),
    ))
}

fn select(
    documents: &Documents<'_>,
    layout: &Layout,
    reference: Option<&str>,
) -> Result<(IndexEntry, Loaded), SourceError> {
    let listed = layout.select(documents, reference)?;
    let loaded = layout.load(documents, &listed, Layers::MayBeElsewhere)?;
    Ok((listed, loaded))
}

fn open_layout_image(
    (listed, loaded): (IndexEntry, Loaded),
    files: Box<dyn SourceFiles + Send + Sync>,
    address: String,
    layout: Layout,
) -> Opened {
    Opened {
        image: Image {
            names: listed.names.into_iter().map(names::of_layout).collect(),
            notes: Vec::new(),
            content: Content::Manifests(loaded.tree),
        },
        blobs: loaded.blobs,
        layout: Some(OpenLayout {
            files,
            address,
            layout,
        }),
    }
}

/// Opens an archive file or a named pipe.
pub(super) fn archive_file(
    path: PathBuf,
    kind: ArchiveKind,
    reference: Option<String>,
    spool_directory: &Path,
) -> Result<(String, Opened), SourceError> {
    let archive = Archive {
        what: display_path(&path),
        path: path.display().to_string(),
        kind,
        reference,
    };
    let file = File::open(&path).map_err(|cause| no_access(&path, cause))?;
    if path.is_dir() {
        return Err(SourceError::WrongKind {
            instead: format!("oci:{}", path.display()),
            what: archive.what,
            transport: kind.transport(),
            found: "a directory",
            expected: "a file",
        });
    }
    archive.open(file, spool_directory)
}

/// Opens an archive on standard input: a pipe, or a redirected file (`< app.tar`), which is read in
/// place.
pub(super) fn standard_input(
    kind: ArchiveKind,
    reference: Option<String>,
    spool_directory: &Path,
) -> Result<(String, Opened), SourceError> {
    let archive = Archive {
        what: "standard input".to_owned(),
        path: "-".to_owned(),
        kind,
        reference,
    };
    let file = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|cause| SourceError::read(&archive.what, cause))?
        .into();
    archive.open(file, spool_directory)
}

/// An archive to be opened.
pub(super) struct Archive {
    /// Its name in messages.
    pub(super) what: String,
    /// Its path as written in `image`, after the transport.
    pub(super) path: String,
    pub(super) kind: ArchiveKind,
    /// The reference that selects one of its images.
    pub(super) reference: Option<String>,
}

impl Archive {
    /// Copies the bytes of a reader, and opens the copy.
    pub(super) fn copied(
        self,
        input: impl Read,
        spool_directory: &Path,
    ) -> Result<(String, Opened), SourceError> {
        let file = spool(input, &self.what, spool_directory)?;
        self.read(file)
    }

    /// Opens a file of any kind. It is copied first if it cannot be read in place.
    fn open(self, mut file: File, spool_directory: &Path) -> Result<(String, Opened), SourceError> {
        if file.is_terminal() {
            return Err(self.not_an_image(FileKind::Terminal));
        }
        let metadata = file
            .metadata()
            .map_err(|cause| SourceError::read(&self.what, cause))?;
        let is_in_place =
            metadata.is_file() && CompressionFormat::of(&self.start(&file)?).is_none();
        if !is_in_place {
            file = spool(file, &self.what, spool_directory)?;
        }
        self.read(file)
    }

    /// Opens a tar file.
    fn read(self, file: File) -> Result<(String, Opened), SourceError> {
        let opened = self.of_tar(file)?;
        Ok((self.what, opened))
    }

    fn of_tar(&self, file: File) -> Result<Opened, SourceError> {
        let start = self.start(&file)?;
        if !is_tar(&start) {
            return Err(self.not_an_image(FileKind::of(&start)));
        }
        let index = TarIndex::scan(Arc::new(file), self.what.clone())?;
        let has = |name: &str| Ok(index.find(name)?.is_some());
        let (is_docker, is_layout) = (has("manifest.json")?, has("oci-layout")?);
        if !is_docker && !is_layout {
            return Err(self.not_an_image(FileKind::of_names(index.names())));
        }
        index.refuse_hostile()?;
        // containerd's exporter writes no `manifest.json` if it resolves no manifest of an index,
        // so a Docker archive may contain only a layout.
        let is_docker = is_docker && self.kind != ArchiveKind::Oci;
        let transport = if is_docker {
            "docker-archive"
        } else {
            "oci-archive"
        };
        let documents = Documents::new(&index, format!("{transport}:{}", self.path));
        if is_docker {
            return docker_archive::open(&documents, self.reference.as_deref());
        }
        match Layout::read(&documents)? {
            Some(layout) => {
                let selected = select(&documents, &layout, self.reference.as_deref())?;
                let address = documents.address;
                Ok(open_layout_image(
                    selected,
                    Box::new(index),
                    address,
                    layout,
                ))
            }
            None => Err(SourceError::WrongKind {
                what: self.what.clone(),
                transport: self.kind.transport(),
                found: "a Docker archive without an OCI layout in it",
                expected: "an OCI archive",
                instead: format!("docker-archive:{}", self.path),
            }),
        }
    }

    fn start(&self, file: &File) -> Result<Vec<u8>, SourceError> {
        start_of(file).map_err(|cause| SourceError::read(&self.what, cause))
    }

    fn not_an_image(&self, kind: FileKind) -> SourceError {
        SourceError::NotImage {
            what: self.what.clone(),
            kind,
        }
    }
}

impl ArchiveKind {
    fn transport(self) -> &'static str {
        match self {
            Self::Docker => "docker-archive:",
            Self::Oci => "oci-archive:",
            Self::Any => "image",
        }
    }
}

fn no_access(path: &Path, cause: io::Error) -> SourceError {
    if cause.kind() == io::ErrorKind::NotFound {
        SourceError::Missing {
            what: display_path(path),
            similar: similar(path),
        }
    } else {
        SourceError::read(&display_path(path), cause)
    }
}

/// Returns a hint for a directory that is not a layout.
fn advice_for_directory(path: &Path) -> String {
    let has = |name: &str| path.join(name).exists();
    if has("manifest.json") && has("version") {
        // containers-transports(5), `dir:`
        "it is in skopeo's `dir:` format; convert it with `skopeo copy dir:… oci:…`".to_owned()
    } else if has("manifest.json") {
        format!(
            "it is an unpacked Docker archive; pack it again: `tar -C {} -cf image.tar .`",
            path.display()
        )
    } else if has("Dockerfile") || has("Containerfile") {
        FileKind::BuildInput.advice().to_owned()
    } else {
        "use the directory that contains `oci-layout` and `index.json`".to_owned()
    }
}

/// Returns the files next to `path` that look like images, at most five.
fn similar(path: &Path) -> Vec<String> {
    const ENDINGS: [&str; 9] = [
        ".tar", ".tgz", ".tar.gz", ".tar.zst", ".tzst", ".tar.xz", ".txz", ".tar.bz2", ".oci",
    ];
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return Vec::new();
    };
    let mut found: Vec<String> = entries
        .filter_map(Result::ok)
        // Limits the search, because it only serves a hint.
        .take(10_000)
        .filter(|entry| {
            let name = entry.file_name().to_string_lossy().to_lowercase();
            ENDINGS.iter().any(|ending| name.ends_with(ending))
                || entry.path().join("oci-layout").is_file()
        })
        .map(|entry| display_path(&path.with_file_name(entry.file_name())))
        .collect();
    found.sort();
    found.truncate(5);
    found
}
