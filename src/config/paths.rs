//! Paths of a run, translated into the container of a GitHub action, where the directories of the
//! host have other names.
//!
//! GitHub's runner translates a variable's value only where the whole of it is a path below a
//! mounted directory. It translates neither paths behind a prefix such as `docker-archive:` nor
//! those inside lists; this module does (actions/runner, `ContainerInfo.TranslateToContainerPath`).

use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use super::environment::{Ambient, Environment};

/// Access to the files that variables name; tests implement it without a disk.
pub trait FileSystem {
    /// Reads the content of a small file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is too large.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// True if the path exists.
    fn exists(&self, path: &Path) -> bool;

    /// True if the path is a directory.
    fn is_directory(&self, path: &Path) -> bool;
}

/// The file system of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Disk;

impl FileSystem for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // Keys, logins and certificates are small. A larger file is most likely an image.
        const LARGEST: u64 = 4 << 20;
        let mut content = Vec::new();
        let read = std::fs::File::open(path)?
            .take(LARGEST + 1)
            .read_to_end(&mut content)?;
        if read as u64 > LARGEST {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "it is larger than 4 MiB",
            ));
        }
        Ok(content)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn is_directory(&self, path: &Path) -> bool {
        path.is_dir()
    }
}

/// The reason why a path cannot be used in the container of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathError {
    /// An input that is not mounted into the container.
    Unseen,
    /// An output that would be lost with the container.
    Lost,
    /// A path in the runner's temporary directory, which a runner before 2.329 does not mount.
    OldRunner,
}

impl PathError {
    /// Describes the fault. `path` is the user's path in quotes, or a description of it.
    pub(super) fn about(self, path: &str) -> String {
        match self {
            Self::Unseen => format!("the action's container cannot see {path}"),
            Self::Lost => {
                format!("{path} would be written inside the action's container and be lost with it")
            }
            Self::OldRunner => format!(
                "the action's container cannot see {path}: runners before 2.329 do not share \
                 their temporary directory with it"
            ),
        }
    }

    /// The hint for the fault.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::Unseen | Self::Lost => {
                "a container action shares two directories with the other steps: the workspace (relative paths are below it) and `${{ runner.temp }}`"
            }
            Self::OldRunner => "put the file into the workspace, or update the runner",
        }
    }
}

/// Directories that the runner mounts into the container in addition, so that files in them
/// persist. (actions/runner, `ContainerActionHandler`)
const SHARED: [&str; 4] = [
    "/github/home",
    "/github/workflow",
    "/github/file_commands",
    "/dev",
];

const WORKSPACE: &str = "/github/workspace";
const TEMP: &str = "/github/runner_temp";

/// Resolves the paths of this run.
pub(super) struct Paths<'a> {
    files: &'a dyn FileSystem,
    action: Option<Mounts>,
}

/// The directories of the host that are mounted into the container of an action.
struct Mounts {
    /// Each directory's path on the host and in the container.
    translations: Vec<(PathBuf, PathBuf)>,
    /// The paths of the runner's temporary directory on the host. Empty if it is mounted.
    unmounted_temp: Vec<PathBuf>,
}

/// The directory for temporary files.
pub(super) fn temporary_directory(environment: &Environment<'_>) -> PathBuf {
    environment.ambient("TMPDIR").unwrap_or("/tmp").into()
}

impl<'a> Paths<'a> {
    pub(super) fn new(ambient: &Ambient, files: &'a dyn FileSystem) -> Self {
        // The runner sets `GITHUB_ACTIONS` for every step, but `GITHUB_WORKSPACE` has this value in
        // a container action only.
        let in_action = ambient.get("GITHUB_ACTIONS") == Some("true")
            && ambient.get("GITHUB_WORKSPACE") == Some(WORKSPACE);
        Self {
            files,
            action: in_action.then(|| Mounts::new(ambient)),
        }
    }

    /// The file system that the paths refer to.
    pub(super) fn files(&self) -> &'a dyn FileSystem {
        self.files
    }

    /// The file that a text may name. `None` if the text cannot be a path, or no file is there.
    pub(super) fn named_by(&self, text: &str) -> Result<Option<PathBuf>, PathError> {
        /// `PATH_MAX` of Linux.
        const LONGEST: usize = 4096;
        if text.len() >= LONGEST || text.contains(['\n', '\0']) {
            return Ok(None);
        }
        let path = self.input(text)?;
        Ok(Some(path).filter(|path| self.files.exists(path)))
    }

    /// True if the run is in the container of an action.
    pub(super) fn are_of_action(&self) -> bool {
        self.action.is_some()
    }

    /// The host's path of the temporary directory that all steps of the job share. `None` if it is
    /// not mounted.
    pub(super) fn temporary_directory_on_host(&self) -> Option<PathBuf> {
        let mounts = self.action.as_ref()?;
        let temp = mounts
            .translations
            .iter()
            .find(|(_, own)| own == Path::new(TEMP));
        temp.map(|(host, _)| host.clone())
    }

    /// Resolves the path of an input.
    pub(super) fn input(&self, path: &str) -> Result<PathBuf, PathError> {
        match self.translated(path)? {
            (path, false) if !self.files.exists(&path) => Err(PathError::Unseen),
            (path, _) => Ok(path),
        }
    }

    /// Resolves the path of an output.
    pub(super) fn output(&self, path: &str) -> Result<PathBuf, PathError> {
        match self.translated(path)? {
            (_, false) => Err(PathError::Lost),
            (path, true) => Ok(path),
        }
    }

    /// Returns the path in this container, and whether it is known to be usable.
    fn translated(&self, path: &str) -> Result<(PathBuf, bool), PathError> {
        let original = PathBuf::from(path);
        let Some(mounts) = &self.action else {
            return Ok((original, true));
        };
        // The working directory of the container is the workspace.
        let plain = without_dots(&Path::new(WORKSPACE).join(&original));
        for (host, container) in &mounts.translations {
            if let Ok(rest) = plain.strip_prefix(host) {
                return Ok((container.join(rest), true));
            }
        }
        if mounts.unmounted_temp.iter().any(|t| plain.starts_with(t)) {
            return Err(PathError::OldRunner);
        }
        let mounted = mounts.translations.iter().map(|(_, own)| own.as_path());
        let mut shared = mounted.chain(SHARED.iter().map(Path::new));
        let is_shared = shared.any(|own| plain.starts_with(own)) || plain.starts_with(WORKSPACE);
        Ok((original, is_shared))
    }
}

impl Mounts {
    fn new(ambient: &Ambient) -> Self {
        let mut workspaces = Vec::new();
        let mut temps = Vec::new();
        // `RUNNER_WORKSPACE` keeps its host's form, `…/REPO`; the workspace is `…/REPO/REPO` and
        // the temporary directory `…/_temp`. In a job that runs in a container of its own, the
        // parent is `/__w` (actions/runner, ContainerOperationProvider.cs), so such paths occur as
        // well.
        if let Some(runner) = ambient.get("RUNNER_WORKSPACE").map(Path::new)
            && let (Some(work), Some(directory)) = (runner.parent(), runner.file_name())
        {
            let repository = ambient
                .get("GITHUB_REPOSITORY")
                .and_then(|repository| Path::new(repository).file_name());
            for parent in [work, Path::new("/__w")] {
                for name in [Some(directory), repository].into_iter().flatten() {
                    workspaces.push(parent.join(directory).join(name));
                }
                temps.push(parent.join("_temp"));
            }
        }
        let mut translations: Vec<_> = workspaces
            .into_iter()
            .map(|host| (host, PathBuf::from(WORKSPACE)))
            .collect();
        let mounted = ambient.get("RUNNER_TEMP") == Some(TEMP);
        if mounted {
            let temps = temps.drain(..).map(|host| (host, PathBuf::from(TEMP)));
            translations.extend(temps);
        }
        Self {
            translations,
            unmounted_temp: temps,
        }
    }
}

/// Removes `.` and `..` from a path without reading the disk, because the path is of another
/// machine.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if plain.parent().is_some() => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oversized_file_is_not_read_to_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key.json");
        std::fs::write(&file, "{}").unwrap();
        assert_eq!(Disk.read(&file).unwrap(), b"{}");
        let error = Disk.read(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(Disk.read(directory.path()).is_err());
        assert!(Disk.is_directory(directory.path()) && !Disk.is_directory(&file));
    }

    #[test]
    fn dots_are_removed_from_a_path() {
        for (path, plain) in [
            ("/a/./b/../c", "/a/c"),
            ("/../a", "/../a"),
            ("a/../../b", "../b"),
            ("/a//b/", "/a/b"),
        ] {
            assert_eq!(without_dots(Path::new(path)), Path::new(plain), "{path}");
        }
    }
}
