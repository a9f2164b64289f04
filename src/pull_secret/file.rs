//! The file that a pull secret is written to, which its owner alone may read.

use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::PullSecretError;
use crate::secret::Secret;

/// Writes `content` to `file`. What was there before is replaced as a whole, so that nobody can
/// have opened it beforehand or been given a half of it.
///
/// # Errors
///
/// When the directory cannot be written to, or something else than a file has that name.
pub(super) fn write(content: &Secret, file: &Path) -> Result<(), PullSecretError> {
    match std::fs::metadata(file) {
        Ok(there) if !there.is_file() => {
            return Err(PullSecretError::NoFile(file.to_owned()));
        }
        // What cannot be looked at is told by the attempt to write it.
        Ok(_) | Err(_) => {}
    }
    replace(content, file).map_err(|cause| PullSecretError::Write {
        file: file.to_owned(),
        cause,
    })
}

fn replace(content: &Secret, file: &Path) -> io::Result<()> {
    let directory = match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let mut new = tempfile::Builder::new()
        .prefix(".gcr-push-")
        .permissions(std::fs::Permissions::from_mode(0o600))
        .tempfile_in(directory)?;
    new.write_all(content.expose().as_bytes())?;
    give_to_owner_of(directory, new.as_file());
    new.as_file().sync_all()?;
    new.persist(file)?;
    Ok(())
}

/// A container action runs as root, and the steps after it do not: what only its owner may read
/// must be theirs. Whoever is not root cannot give files away, and need not
/// (<https://github.com/actions/runner/issues/1282>).
fn give_to_owner_of(directory: &Path, file: &std::fs::File) {
    if let Ok(owner) = std::fs::metadata(directory)
        && file.metadata().is_ok_and(|own| own.uid() != owner.uid())
    {
        // Refused, the file is as it would be without this, which is what it is everywhere else.
        let _ = std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ExitCode, Hint as _};

    fn content() -> Secret {
        Secret::new("kind: Secret\n")
    }

    fn mode(file: &Path) -> u32 {
        std::fs::metadata(file).unwrap().mode() & 0o7777
    }

    #[test]
    fn it_is_its_owners_alone_and_whole() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pull-secret.yaml");
        for _ in 0..2 {
            write(&content(), &file).unwrap();
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
    fn a_link_is_replaced_and_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let public = directory.path().join("public");
        std::fs::write(&public, "public").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&public, &link).unwrap();
        write(&content(), &link).unwrap();
        assert_eq!(std::fs::read_to_string(&public).unwrap(), "public");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_file());
        assert_eq!(mode(&link), 0o600);
    }

    #[test]
    fn what_is_no_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("null");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        for place in [directory.path(), Path::new("/dev/null"), &link] {
            let error = write(&content(), place).unwrap_err();
            assert!(matches!(error, PullSecretError::NoFile(_)), "{error:?}");
        }
        let error = write(&content(), &directory.path().join("missing/x")).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Failed);
        assert_eq!(error.hints(), ["the directory must be there already"]);
    }

    #[test]
    fn root_gives_it_to_the_owner_of_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        if std::os::unix::fs::chown(directory.path(), Some(1001), Some(121)).is_err() {
            println!("skipped: only root can give files away");
            return;
        }
        let file = directory.path().join("pull-secret.yaml");
        write(&content(), &file).unwrap();
        let metadata = std::fs::metadata(&file).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (1001, 121));
        assert_eq!(mode(&file), 0o600);
    }
}
