//! Files that root writes in the container of an action, handed back to the runner's user.
//!
//! Without that the next step can neither read a pull secret nor clean the workspace up.
//! <https://github.com/actions/runner/issues/434>

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

/// Gives a file that was written to whoever the directory belongs to that it lies in. What cannot be
/// given stays with us, which is told.
pub(super) fn hand_back(file: &Path) {
    let directory = match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let (Ok(directory), Ok(metadata)) = (directory.metadata(), file.symlink_metadata()) else {
        return;
    };
    if !metadata.is_file() || metadata.uid() == directory.uid() {
        return;
    }
    if let Err(error) = chown(file, Some(directory.uid()), Some(directory.gid())) {
        tracing::warn!(
            "{} stays with root, and other steps may not be allowed to use it: {error}",
            file.display()
        );
    }
}
