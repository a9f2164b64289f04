//! A directory with an OCI layout. Files outside of it are refused.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::error::{SourceError, display_path, quoted};
use super::files::{ByteRange, SourceFiles};

/// A directory whose files are read in place.
#[derive(Debug)]
pub(super) struct Directory {
    /// The path with all symbolic links resolved, to tell files inside from files outside.
    root: PathBuf,
    what: String,
    /// Other directories that links of its blobs may lead to.
    link_roots: Vec<PathBuf>,
}

impl Directory {
    /// Opens the directory at `path`, which may be a link itself.
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        let what = display_path(path);
        match path.canonicalize() {
            Ok(root) => Ok(Self {
                link_roots: link_roots(path, &root),
                root,
                what,
            }),
            Err(cause) => Err(SourceError::read(&what, cause)),
        }
    }
}

/// Files that mark the root of a workspace.
const WORKSPACE: [&str; 5] = [
    "MODULE.bazel",
    "REPO.bazel",
    "WORKSPACE",
    "WORKSPACE.bazel",
    ".git",
];

/// Returns the directories in which a build may keep the blobs that a layout links to: the
/// workspace of the layout, and Bazel's output base with the workspace that it belongs to.
/// <https://bazel.build/remote/output-directories>
fn link_roots(path: &Path, root: &Path) -> Vec<PathBuf> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let above = |path: &Path| -> Option<PathBuf> {
        let is_workspace = |folder: &&Path| WORKSPACE.iter().any(|it| folder.join(it).exists());
        let mut folders = path.ancestors().skip(1);
        folders.find(is_workspace).map(Path::to_owned)
    };
    let mut found: Vec<PathBuf> = above(&path).into_iter().chain(above(root)).collect();
    for folder in root.ancestors().skip(1) {
        let name = folder.file_name();
        let Some(parent) = folder.parent().filter(|_| name.is_some()) else {
            continue;
        };
        if name.is_some_and(|name| name == "bazel-out" || name == "execroot") {
            found.push(parent.to_owned());
            found.extend(workspace_of(parent));
        }
    }
    // Everything is below the root directory, so it cannot be allowed.
    let found = found
        .into_iter()
        .filter_map(|root| root.canonicalize().ok());
    found.filter(|root| root.parent().is_some()).collect()
}

/// Returns the workspace that an output base of Bazel belongs to.
fn workspace_of(output_base: &Path) -> Option<PathBuf> {
    let note = output_base.join("DO_NOT_BUILD_HERE");
    let mut text = String::new();
    // Opening a named pipe would block.
    note.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let file = File::open(note).ok()?;
    file.take(4096).read_to_string(&mut text).ok()?;
    Some(PathBuf::from(text.trim())).filter(|path| path.is_absolute())
}

impl SourceFiles for Directory {
    fn what(&self) -> &str {
        &self.what
    }

    fn is_directory(&self) -> bool {
        true
    }

    fn find(&self, name: &str) -> Result<Option<ByteRange>, SourceError> {
        let resolved = self.root.join(name).canonicalize().and_then(|path| {
            let metadata = path.symlink_metadata()?;
            Ok((path, metadata))
        });
        let (path, metadata) = match resolved {
            Ok(resolved) => resolved,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => {
                let what = format!("{} of {}", quoted(name), self.what);
                return Err(SourceError::read(&what, cause));
            }
        };
        // A blob may be outside of the layout: its content is compared with its digest.
        let may_be_linked = name.starts_with("blobs/");
        let is_allowed = || self.link_roots.iter().any(|root| path.starts_with(root));
        if !(path.starts_with(&self.root) || may_be_linked && is_allowed()) {
            return Err(SourceError::Outside {
                what: self.what.clone(),
                name: quoted(name),
                target: display_path(&path),
            });
        }
        if !metadata.is_file() {
            // Opening a named pipe would block, and a device has no size.
            return Err(SourceError::NotRegular {
                what: self.what.clone(),
                name: quoted(name),
            });
        }
        Ok(Some(ByteRange::whole(path, metadata.len())))
    }
}
