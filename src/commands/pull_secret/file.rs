//! Writes a pull secret to a file.

use std::path::Path;

use super::PullSecretError;
use crate::ci::files;
use crate::diagnostics::secret::Secret;

/// Writes `content` to `file`, which only its owner can read.
///
/// # Errors
///
/// If the directory cannot be written to, or `file` exists and is no regular file.
pub(super) fn write(content: &Secret, file: &Path) -> Result<(), PullSecretError> {
    match std::fs::metadata(file) {
        Ok(metadata) if !metadata.is_file() => {
            return Err(PullSecretError::NoFile(file.to_owned()));
        }
        // If the metadata cannot be read, the write reports the error.
        Ok(_) | Err(_) => {}
    }
    files::replace(content, file).map_err(|cause| PullSecretError::Write {
        file: file.to_owned(),
        cause,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::{Diagnostic as _, ExitCode};

    #[test]
    fn unrelated_file_is_left_alone() {
        let content = Secret::new("kind: Secret\n");
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("null");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        for place in [directory.path(), Path::new("/dev/null"), &link] {
            let error = write(&content, place).unwrap_err();
            assert!(matches!(error, PullSecretError::NoFile(_)), "{error:?}");
        }
        let error = write(&content, &directory.path().join("missing/x")).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Failed);
        assert_eq!(error.hints(), ["the directory must exist"]);
    }
}
