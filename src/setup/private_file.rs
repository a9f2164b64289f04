//! A file that its owner alone may read, and that is there whole or not at all.

use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::secret::Secret;

/// Refuses what could not be written, before there is anything to write.
pub(super) fn check(file: &Path) -> io::Result<()> {
    // The name of what was tried is chance, and tells nobody anything.
    new_beside(file)
        .map(drop)
        .map_err(|error| error.kind().into())
}

/// Writes `content` to `file`, replacing what was there as a whole.
pub(super) fn replace(content: &Secret, file: &Path) -> io::Result<()> {
    let mut new = new_beside(file)?;
    new.write_all(content.expose().as_bytes())?;
    give_to_owner_of(folder(file), new.as_file());
    new.as_file().sync_all()?;
    new.persist(file)?;
    Ok(())
}

fn new_beside(file: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".gcr-push-")
        .permissions(std::fs::Permissions::from_mode(0o600))
        .tempfile_in(folder(file))
}

fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// A container action runs as root, and the steps after it do not: what only its owner may read
/// must be theirs (<https://github.com/actions/runner/issues/1282>).
fn give_to_owner_of(folder: &Path, file: &std::fs::File) {
    if let Ok(owner) = std::fs::metadata(folder)
        && file.metadata().is_ok_and(|own| own.uid() != owner.uid())
    {
        // Refused, the file is as it would be without this, which is what it is everywhere else.
        let _ = std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()));
    }
}
