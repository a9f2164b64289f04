//! From a path to an opened image: told by content where `image` does not say.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::Directory;
use super::error::{SourceError, shown};
use super::files::{Documents, Files as _};
use super::layout::Layout;
use super::sniff::{Looks, Packing, start_of};
use super::spool::spool;
use super::tar_header::is_tar;
use super::tar_index::TarIndex;
use super::{Content, Image, Opened, docker_archive};
use crate::config::ImageSource;

/// What `image` says that a file is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Docker,
    Oci,
    Any,
}

/// Opens the image, blocking; returns the source's name in messages as well.
pub(super) fn open(
    source: &ImageSource,
    spool_directory: &Path,
) -> Result<(String, Opened), SourceError> {
    match source {
        ImageSource::DockerArchive(path, reference) => {
            archive(path, Kind::Docker, reference.as_deref(), spool_directory)
        }
        ImageSource::OciArchive(path, reference) => {
            archive(path, Kind::Oci, reference.as_deref(), spool_directory)
        }
        ImageSource::OciLayout(path, reference) => layout(path, reference.as_deref()),
        ImageSource::Path(path) if path.is_dir() && !is_standard_input(path) => layout(path, None),
        ImageSource::Path(path) => archive(path, Kind::Any, None, spool_directory),
    }
}

/// Opens a layout directory.
fn layout(path: &Path, reference: Option<&str>) -> Result<(String, Opened), SourceError> {
    let what = shown(path);
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
        lacks: "oci-layout",
        advice: advice_for_directory(path),
    })?;
    Ok((what, of_layout(&documents, &layout, reference)?))
}

fn of_layout(
    documents: &Documents<'_>,
    layout: &Layout,
    reference: Option<&str>,
) -> Result<Opened, SourceError> {
    let listed = layout.choose(documents, reference)?;
    let loaded = layout.load(documents, &listed)?;
    Ok(Opened {
        image: Image {
            names: listed.names,
            content: Content::Manifests(loaded.tree),
        },
        blobs: loaded.blobs,
    })
}

/// Opens an archive file, or what comes through a pipe.
fn archive(
    path: &Path,
    kind: Kind,
    reference: Option<&str>,
    spool_directory: &Path,
) -> Result<(String, Opened), SourceError> {
    let what = match is_standard_input(path) {
        true => "standard input".to_owned(),
        false => shown(path),
    };
    let mut file = match is_standard_input(path) {
        true => standard_input().map_err(|cause| SourceError::read(&what, cause))?,
        false => File::open(path).map_err(|cause| no_access(path, cause))?,
    };
    let metadata = file
        .metadata()
        .map_err(|cause| SourceError::read(&what, cause))?;
    if metadata.is_dir() {
        return Err(SourceError::WrongKind {
            instead: format!("oci:{}", path.display()),
            what,
            transport: kind.transport(),
            found: "a directory",
            expected: "a file",
        });
    }
    if file.is_terminal() {
        let looks = Looks::Terminal;
        return Err(SourceError::NotImage { what, looks });
    }
    let is_in_place = metadata.is_file() && Packing::of(&start(&file, &what)?).is_none();
    if !is_in_place {
        file = spool(file, &what, spool_directory)?;
    }
    let opened = of_tar(file, what.clone(), kind, reference, path)?;
    Ok((what, opened))
}

/// Opens an archive that comes from elsewhere, and is told by its content.
pub(super) fn copied(
    input: impl Read,
    what: String,
    reference: Option<&str>,
    spool_directory: &Path,
) -> Result<(String, Opened), SourceError> {
    let file = spool(input, &what, spool_directory)?;
    let path = Path::new(STANDARD_INPUT);
    let opened = of_tar(file, what.clone(), Kind::Any, reference, path)?;
    Ok((what, opened))
}

/// The path that stands for standard input; a file of that name is `./-`.
const STANDARD_INPUT: &str = "-";

fn is_standard_input(path: &Path) -> bool {
    path == Path::new(STANDARD_INPUT)
}

/// Standard input as a file of our own; where it is redirected from a file (`< app.tar`), that is
/// read in place like any other.
fn standard_input() -> io::Result<File> {
    Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
}

fn start(file: &File, what: &str) -> Result<Vec<u8>, SourceError> {
    start_of(file).map_err(|cause| SourceError::read(what, cause))
}

fn of_tar(
    file: File,
    what: String,
    kind: Kind,
    reference: Option<&str>,
    path: &Path,
) -> Result<Opened, SourceError> {
    let start = start(&file, &what)?;
    if !is_tar(&start) {
        let looks = Looks::of(&start);
        return Err(SourceError::NotImage { what, looks });
    }
    let index = TarIndex::scan(Arc::new(file), what.clone())?;
    let has = |name: &str| Ok(index.find(name)?.is_some());
    let (is_docker, is_layout) = (has("manifest.json")?, has("oci-layout")?);
    if !is_docker && !is_layout {
        let looks = Looks::of_names(index.names());
        return Err(SourceError::NotImage { what, looks });
    }
    index.refuse_tricks()?;
    // containerd's exporter writes no `manifest.json` where it resolves no manifest of an index, so
    // a Docker archive may be a layout alone.
    let is_docker = is_docker && kind != Kind::Oci;
    let transport = match is_docker {
        true => "docker-archive",
        false => "oci-archive",
    };
    let documents = Documents::new(&index, format!("{transport}:{}", path.display()));
    if is_docker {
        return docker_archive::open(&documents, reference);
    }
    match Layout::read(&documents)? {
        Some(layout) => of_layout(&documents, &layout, reference),
        None => Err(SourceError::WrongKind {
            what,
            transport: kind.transport(),
            found: "a Docker archive without an OCI layout in it",
            expected: "an OCI archive",
            instead: format!("docker-archive:{}", path.display()),
        }),
    }
}

impl Kind {
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
            what: shown(path),
            similar: similar(path),
        }
    } else {
        SourceError::read(&shown(path), cause)
    }
}

/// What to do with a directory that is no layout, where it can be told what it is.
fn advice_for_directory(path: &Path) -> Option<String> {
    let has = |name: &str| path.join(name).exists();
    if has("manifest.json") && has("version") {
        // containers-transports(5), `dir:`
        Some("it is in skopeo's `dir:` form; `skopeo copy dir:… oci:…` makes a layout of it".into())
    } else if has("manifest.json") {
        Some(format!(
            "it is an unpacked Docker archive; pack it again: `tar -C {} -cf image.tar .`",
            path.display()
        ))
    } else if has("Dockerfile") || has("Containerfile") {
        Some("it is the input of a build; build the image first".into())
    } else {
        None
    }
}

/// The files of the folder of `path` that look like images, at most five.
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
        // A folder of a million files is not searched to its end for the sake of a hint.
        .take(10_000)
        .filter(|entry| {
            let name = entry.file_name().to_string_lossy().to_lowercase();
            ENDINGS.iter().any(|ending| name.ends_with(ending))
                || entry.path().join("oci-layout").is_file()
        })
        .map(|entry| shown(&path.with_file_name(entry.file_name())))
        .collect();
    found.sort();
    found.truncate(5);
    found
}
