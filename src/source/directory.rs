//! The files of a layout directory, none of them outside it.

use std::io;
use std::path::{Path, PathBuf};

use super::error::{SourceError, quoted, shown};
use super::files::{Files, Place};

/// A directory whose files are read where they are.
#[derive(Debug)]
pub(super) struct Directory {
    /// With every symbolic link followed, so that what is inside can be told from what is not.
    root: PathBuf,
    what: String,
}

impl Directory {
    /// The directory at `path`, which may itself be a link.
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        let what = shown(path);
        match path.canonicalize() {
            Ok(root) => Ok(Self { root, what }),
            Err(cause) => Err(SourceError::read(&what, cause)),
        }
    }
}

impl Files for Directory {
    fn what(&self) -> &str {
        &self.what
    }

    fn find(&self, name: &str) -> Result<Option<Place>, SourceError> {
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
        if !path.starts_with(&self.root) {
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
        Ok(Some(Place::whole(path, metadata.len())))
    }
}
