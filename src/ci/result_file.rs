//! Writes result files. A file is replaced as a whole, and links are not followed.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

use crate::ci::files;

/// Writes a file. An existing file or link is replaced; a pipe or device is written to.
///
/// # Errors
///
/// If the file cannot be written. A file that existed before is then left unchanged.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    let there = fs::symlink_metadata(path).ok();
    let is_special = there
        .as_ref()
        .is_some_and(|it| !it.is_file() && !it.is_symlink());
    if is_special || is_of_system(path) {
        return OpenOptions::new()
            .append(true)
            .open(path)?
            .write_all(text.as_bytes());
    }
    let kept = there.filter(fs::Metadata::is_file);
    match replace(path, text, kept.as_ref().map(fs::Metadata::permissions)) {
        // The directory may not be writable, or the file may be a mount of its own, as in
        // containers.
        Err(error) if kept.is_some() && is_of_place(&error) => overwrite(path, text),
        replaced => replaced,
    }
}

fn replace(path: &Path, text: &str, kept: Option<Permissions>) -> io::Result<()> {
    let new = files::new_with(Permissions::from_mode(0o666), path)
        // The message would name a random temporary file.
        .map_err(|error| io::Error::from(error.kind()))?;
    if let Some(permissions) = kept {
        new.as_file().set_permissions(permissions)?;
    }
    files::put(new, text.as_bytes(), path)
}

fn overwrite(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .truncate(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?
        .write_all(text.as_bytes())
}

fn is_of_place(error: &io::Error) -> bool {
    use ErrorKind::{CrossesDevices, PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    matches!(
        error.kind(),
        CrossesDevices | PermissionDenied | ReadOnlyFilesystem | ResourceBusy
    )
}

/// True for `/dev/stdout` and similar links, which are meant to be followed.
fn is_of_system(path: &Path) -> bool {
    path.starts_with("/dev") || path.starts_with("/proc")
}

/// Removes the result of an earlier run, so that it is not mistaken for that of a run that fails. A
/// file that does not begin as a result does is left alone.
pub(crate) fn forget(path: &Path) {
    const BEGINNINGS: [&[u8]; 5] = [b"{", b"[", b"sha256:", b"sha512:", b"PUSH"];

    let is_file = fs::metadata(path).is_ok_and(|it| it.is_file());
    if !is_file || is_of_system(path) {
        return;
    }
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(7).read_to_end(&mut start));
    if read.is_ok() && BEGINNINGS.iter().any(|it| start.starts_with(it)) {
        // A file that cannot be removed may still be writable, which is tried when there is a
        // result.
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    #[test]
    fn file_is_replaced_with_its_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("digest");
        fs::write(&file, "an earlier one").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        let before = fs::metadata(&file).unwrap();
        write(&file, "new").unwrap();
        let after = fs::metadata(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_ne!(before.ino(), after.ino());
        assert_eq!(after.mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn link_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (other, link) = (folder.path().join("other"), folder.path().join("link"));
        fs::write(&other, "theirs").unwrap();
        for target in [other.clone(), folder.path().join("nothing")] {
            let _ = fs::remove_file(&link);
            symlink(&target, &link).unwrap();
            write(&link, "ours").unwrap();
            assert!(fs::symlink_metadata(&link).unwrap().is_file());
            assert_eq!(fs::read_to_string(&link).unwrap(), "ours");
        }
        assert_eq!(fs::read_to_string(&other).unwrap(), "theirs");
        assert!(!folder.path().join("nothing").exists());
    }

    #[test]
    fn device_is_written_into() {
        write(Path::new("/dev/null"), "text").unwrap();
        assert!(!fs::symlink_metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn only_a_result_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        for (name, content, stays) in [
            ("report.json", "{\"dry_run\": false}", false),
            ("list.json", "[\n", false),
            ("digest", "sha256:aa", false),
            ("push.env", "PUSHED_DIGEST=sha256:aa\n", false),
            ("image.tar", "blobs/\0\0", true),
            ("empty", "", true),
        ] {
            let file = folder.path().join(name);
            fs::write(&file, content).unwrap();
            forget(&file);
            assert_eq!(file.exists(), stays, "{name}");
        }
        let link = folder.path().join("link");
        symlink("/dev/stdout", &link).unwrap();
        for kept in [&link, Path::new("/dev/stdout"), folder.path()] {
            forget(kept);
            assert!(fs::symlink_metadata(kept).is_ok());
        }
    }
}
