//! Files for secrets, which only the owner may read and which are replaced as a whole.

use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::diagnostics::secret::Secret;

/// Checks that `file` can be written, before there is anything to write.
///
/// # Errors
///
/// If no file can be created in its directory.
pub fn check(file: &Path) -> io::Result<()> {
    // The message would name a random temporary file.
    new_beside(file)
        .map(drop)
        .map_err(|error| error.kind().into())
}

/// Writes `content` to `file`. An existing file is replaced as a whole, so that no process has it
/// open already or reads a part of it.
///
/// # Errors
///
/// If the directory is not writable.
pub fn replace(content: &Secret, file: &Path) -> io::Result<()> {
    put(new_beside(file)?, content.expose().as_bytes(), file)
}

/// Writes a new file, changes its owner to that of the directory, and renames it to `file`.
///
/// # Errors
///
/// If the file cannot be written or renamed. The new file is then removed.
pub(crate) fn put(mut new: tempfile::NamedTempFile, content: &[u8], file: &Path) -> io::Result<()> {
    new.write_all(content)?;
    chown_to_owner_of(folder(file), new.as_file());
    new.as_file().sync_all()?;
    new.persist(file)?;
    Ok(())
}

fn new_beside(file: &Path) -> io::Result<tempfile::NamedTempFile> {
    new_with(std::fs::Permissions::from_mode(0o600), file)
}

/// Creates a new file in the directory of `file`. The umask applies to `permissions`.
///
/// # Errors
///
/// If no file can be created there.
pub(crate) fn new_with(
    permissions: std::fs::Permissions,
    file: &Path,
) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".gcr-push-")
        .permissions(permissions)
        .tempfile_in(folder(file))
}

fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Changes the owner of a file to that of its directory. A container action runs as root but later
/// steps do not, so a file that only its owner may read must belong to the runner's user. Other
/// users than root cannot change owners, and do not have to
/// (<https://github.com/actions/runner/issues/1282>).
fn chown_to_owner_of(folder: &Path, file: &std::fs::File) {
    if let Ok(owner) = std::fs::metadata(folder)
        && file.metadata().is_ok_and(|own| own.uid() != owner.uid())
    {
        // An error leaves the owner unchanged, as outside a container action.
        let _ = std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> Secret {
        Secret::new("kind: Secret\n")
    }

    fn mode(file: &Path) -> u32 {
        std::fs::metadata(file).unwrap().mode() & 0o7777
    }

    #[test]
    fn private_file_is_owner_only_and_complete() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pull-secret.yaml");
        for _ in 0..2 {
            replace(&content(), &file).unwrap();
            assert_eq!(mode(&file), 0o600);
            assert_eq!(std::fs::read_to_string(&file).unwrap(), content().expose());
            // An existing file with other content and permissions does not matter.
            std::fs::write(&file, "an earlier file, longer ".repeat(1000)).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        }
        let left = std::fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, 1, "nothing is left beside it");
    }

    #[test]
    fn link_is_replaced_and_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let public = directory.path().join("public");
        std::fs::write(&public, "public").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&public, &link).unwrap();
        replace(&content(), &link).unwrap();
        assert_eq!(std::fs::read_to_string(&public).unwrap(), "public");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_file());
        assert_eq!(mode(&link), 0o600);
    }

    #[test]
    fn check_leaves_nothing_and_predicts_the_write() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key.json");
        check(&file).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        let nowhere = directory.path().join("missing/key.json");
        let checked = check(&nowhere).unwrap_err();
        let replaced = replace(&content(), &nowhere).unwrap_err();
        assert_eq!(
            (checked.kind(), replaced.kind()),
            (io::ErrorKind::NotFound, checked.kind())
        );
    }

    #[test]
    fn root_gives_the_file_to_the_directory_owner() {
        let directory = tempfile::tempdir().unwrap();
        if std::os::unix::fs::chown(directory.path(), Some(1001), Some(121)).is_err() {
            println!("skipped: only root can give files away");
            return;
        }
        let file = directory.path().join("pull-secret.yaml");
        replace(&content(), &file).unwrap();
        let metadata = std::fs::metadata(&file).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (1001, 121));
        assert_eq!(mode(&file), 0o600);
    }
}
