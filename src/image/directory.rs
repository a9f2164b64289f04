//! The files of a layout directory, none of them outside it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::error::{SourceError, quoted, shown};
use super::files::{ByteRange, SourceFiles};

/// A directory whose files are read where they are.
#[derive(Debug)]
pub(super) struct Directory {
    /// With every symbolic link followed, so that what is inside can be told from what is not.
    root: PathBuf,
    what: String,
    /// Where the links of its blobs may lead besides.
    surroundings: Vec<PathBuf>,
}

impl Directory {
    /// The directory at `path`, which may itself be a link.
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        let what = shown(path);
        match path.canonicalize() {
            Ok(root) => Ok(Self {
                surroundings: surroundings(path, &root),
                root,
                what,
            }),
            Err(cause) => Err(SourceError::read(&what, cause)),
        }
    }
}

/// What marks the topmost folder of a workspace.
const WORKSPACE: [&str; 5] = [
    "MODULE.bazel",
    "REPO.bazel",
    "WORKSPACE",
    "WORKSPACE.bazel",
    ".git",
];

/// Where a build may keep the blobs of a layout that it links to: the workspace that the layout is
/// in, and Bazel's output base with the workspace that it is for. <https://bazel.build/remote/output-directories>
fn surroundings(path: &Path, root: &Path) -> Vec<PathBuf> {
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
    // The root of all files is near to everything.
    let found = found
        .into_iter()
        .filter_map(|near| near.canonicalize().ok());
    found.filter(|near| near.parent().is_some()).collect()
}

/// The workspace that an output base of Bazel's is for.
fn workspace_of(output_base: &Path) -> Option<PathBuf> {
    let note = output_base.join("DO_NOT_BUILD_HERE");
    let mut text = String::new();
    // Opening a named pipe would wait for ever.
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
        let found = self.root.join(name).canonicalize().and_then(|path| {
            let metadata = path.symlink_metadata()?;
            Ok((path, metadata))
        });
        let (path, metadata) = match found {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => {
                let what = format!("{} of {}", quoted(name), self.what);
                return Err(SourceError::read(&what, cause));
            }
        };
        // A blob is what its digest says wherever it lies, and is compared with it.
        let may_be_linked = name.starts_with("blobs/");
        let is_near = || self.surroundings.iter().any(|near| path.starts_with(near));
        if !(path.starts_with(&self.root) || may_be_linked && is_near()) {
            return Err(SourceError::Outside {
                what: self.what.clone(),
                name: quoted(name),
                target: shown(&path),
            });
        }
        if !metadata.is_file() {
            // Opening a named pipe would wait for ever, and a device has no size.
            return Err(SourceError::NotRegular {
                what: self.what.clone(),
                name: quoted(name),
            });
        }
        Ok(Some(ByteRange::whole(path, metadata.len())))
    }
}
