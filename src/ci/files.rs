//! A file for a secret: its owner alone may read it, and it is there whole or not at all.

use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::diagnostics::secret::Secret;

/// Tells what could not be written, before there is anything to write.
///
/// # Errors
///
/// When no file can be made in its folder.
pub fn check(file: &Path) -> io::Result<()> {
    // The name of what was tried is chance, and tells nobody anything.
    new_beside(file)
        .map(drop)
        .map_err(|error| error.kind().into())
}

/// Writes `content` to `file`. What was there before is replaced as a whole, so that nobody can have
/// opened it beforehand or been given a half of it.
///
/// # Errors
///
/// When its folder cannot be written to.
pub fn replace(content: &Secret, file: &Path) -> io::Result<()> {
    put(new_beside(file)?, content.expose().as_bytes(), file)
}

/// Fills a new file, gives it to whoever its folder belongs to, and puts it in the place of `file`.
///
/// # Errors
///
/// When it cannot be written, or the place cannot be taken; nothing of it is left then.
pub(crate) fn put(mut new: tempfile::NamedTempFile, content: &[u8], file: &Path) -> io::Result<()> {
    new.write_all(content)?;
    give_to_owner_of(folder(file), new.as_file());
    new.as_file().sync_all()?;
    new.persist(file)?;
    Ok(())
}

fn new_beside(file: &Path) -> io::Result<tempfile::NamedTempFile> {
    new_with(std::fs::Permissions::from_mode(0o600), file)
}

/// A new file in the folder of `file`; the umask takes its share of `permissions`.
///
/// # Errors
///
/// When no file can be made there.
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

/// A container action runs as root, and the steps after it do not: what only its owner may read
/// must be theirs. Whoever is not root cannot give files away, and need not
/// (<https://github.com/actions/runner/issues/1282>).
fn give_to_owner_of(folder: &Path, file: &std::fs::File) {
    if let Ok(owner) = std::fs::metadata(folder)
        && file.metadata().is_ok_and(|own| own.uid() != owner.uid())
    {
        // Refused, the file is as it would be without this, which is what it is everywhere else.
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
            // Whatever was there, and whoever might read it.
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
        let told = check(&nowhere).unwrap_err();
        let met = replace(&content(), &nowhere).unwrap_err();
        assert_eq!(
            (told.kind(), met.kind()),
            (io::ErrorKind::NotFound, told.kind())
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
